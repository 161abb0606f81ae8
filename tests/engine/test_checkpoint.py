from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rung.engine import checkpoint
from rung.engine.checkpoint import CheckpointStore, TrainState, check_space
from rung.engine.owner import differences, require_known, worded
from rung.errors import CheckpointError, ConfigError, StorageError, TrainingError

Make = Callable[..., CheckpointStore]


def state(step: int, *, best: bool = False, value: float | None = None) -> TrainState:
    weights = {"w": torch.full((2, 3), float(step) if value is None else value)}
    optimizer = {"w.exp_avg": torch.full((2, 3), 0.5), "w.step": torch.tensor(float(step))}
    return TrainState(step, step, weights, optimizer, {"patience": step, "metric": None}, best)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def store(
        config: dict | None = None, run_id: str = "run", limit: int | None = None, accept: tuple[str, ...] = ()
    ) -> CheckpointStore:
        config = config or {"training": {"learning_rate": 0.01, "seed": 7}, "method": {"type": "lora"}}
        return CheckpointStore(tmp_path / "ckpt", run_id, repr(config), config, limit, accept)

    return store


def steps(store: CheckpointStore) -> list[int]:
    return sorted(int(path.name.removeprefix("step-")) for path in store.folder.glob("step-*"))


def test_what_is_saved_is_what_is_loaded(make: Make) -> None:
    assert make().latest() is None
    path = make().save(state(2, best=True))
    assert path.name == "step-2"
    assert {file.name for file in path.iterdir()} == {
        "MANIFEST.json", "optimizer.safetensors", "state.json", "weights.safetensors"
    }  # fmt: skip
    assert path.stat().st_mode & 0o777 == 0o700
    loaded = make().latest()
    assert loaded is not None
    assert loaded.equals(state(2, best=True))
    assert not loaded.equals(state(2))
    assert loaded.nbytes == 2 * 24 + 4


def test_saving_the_same_state_again_does_nothing_and_another_is_refused(make: Make) -> None:
    store = make()
    path = store.save(state(2))
    before = (path / "MANIFEST.json").stat().st_mtime_ns
    assert store.save(state(2)) == path
    assert (path / "MANIFEST.json").stat().st_mtime_ns == before
    with pytest.raises(CheckpointError, match="step-2 stands where step 2 should go: it holds another state"):
        store.save(state(2, value=3.0))


def test_the_limit_spares_best_last_and_pinned(make: Make) -> None:
    store = make(limit=2)
    store.save(state(1, best=True))
    for step in (2, 3, 4):
        store.save(state(step), keep={2})
    assert steps(store) == [1, 2, 4]
    store.save(state(5, best=True))
    assert steps(store) == [4, 5]
    best = store.best()
    assert best is not None
    assert best.step == 5
    store = make(limit=1)
    assert store.latest() is not None
    store.save(state(6))
    assert steps(store) == [5, 6]


def test_what_this_run_did_not_write_is_never_removed(make: Make) -> None:
    store = make(limit=1)
    store.save(state(1))
    foreign = store.folder / "step-0"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    store.save(state(2))
    assert steps(store) == [0, 2]


def test_a_limit_of_nothing_is_refused(make: Make) -> None:
    with pytest.raises(CheckpointError, match="save_total_limit=0 keeps nothing"):
        make(limit=0)


def test_damage_falls_back_and_says_where_it_went(make: Make) -> None:
    store = make()
    for step in (1, 2):
        store.save(state(step))
    (store.folder / "step-2" / "optimizer.safetensors").unlink()
    store = make()
    loaded = store.latest()
    assert loaded is not None
    assert loaded.step == 1
    (note,) = store.notes
    assert note.endswith(": step-2: optimizer.safetensors is missing.")
    assert steps(store) == [1]
    assert store.save(state(2)).is_dir()


def test_a_damaged_best_takes_the_run_back_to_before_it(make: Make) -> None:
    store = make()
    store.save(state(1, best=True))
    store.save(state(2, best=True))
    store.save(state(3))
    (store.folder / "step-2" / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"the best checkpoint can't be used: step-2: state\.json has 2 bytes"):
        store.best()
    store = make()
    loaded = store.latest()
    assert loaded is not None
    assert loaded.step == 1
    assert len(store.notes) == 2


def test_changed_settings_are_named_leaf_by_leaf_and_refused(make: Make) -> None:
    make().save(state(1))
    other = make({"training": {"learning_rate": 0.001, "seed": 7}, "method": {"type": "lora", "r": 8}})
    wording = (
        r"other settings: training\.learning_rate: 0\.01 -> 0\.001; method\.r: null -> 8\.\n"
        r".*--accept training\.learning_rate,method\.r; or start anew with --fresh"
    )
    with pytest.raises(CheckpointError, match=wording):
        other.latest()
    with pytest.raises(CheckpointError, match=wording):
        other.save(state(1))
    with pytest.raises(CheckpointError, match="are of run 'run', this is run 'other'"):
        make(run_id="other").latest()
    assert steps(other) == [1]


FIRST = {"training": {"learning_rate": 0.01, "seed": 7}, "method": {"type": "lora"}}
SECOND = {"training": {"learning_rate": 0.001, "seed": 8}, "method": {"type": "lora"}}


@pytest.mark.parametrize("accept", [("training",), ("training.seed", "training.learning_rate", "method.type")])
def test_accepted_changes_are_gone_on_with_and_recorded(make: Make, accept: tuple[str, ...]) -> None:
    make().save(state(1))
    with pytest.raises(CheckpointError, match=r"other settings: training\.learning_rate: 0\.01 -> 0\.001\.\n"):
        make(SECOND, run_id="other", accept=("training.seed",)).latest()
    store = make(SECOND, run_id="other", accept=accept)
    loaded = store.latest()
    assert loaded is not None
    assert loaded.step == 1
    changed = {"training.learning_rate": [0.01, 0.001], "training.seed": [7, 8]}
    store.save(state(2))
    # The same command again, with the flag or without, and then a further change.
    for again in (make(SECOND, run_id="other"), make(SECOND, run_id="other", accept=accept)):
        assert again.latest() is not None
        assert again.owner.accepted == ({"step": 1, "config_hash": repr(FIRST), "changes": changed},)
    third = make(FIRST, run_id="run", accept=("training",))
    assert third.latest() is not None
    third.save(state(3))
    assert [one["step"] for one in third.owner.accepted] == [1, 2]
    assert steps(third) == [1, 2, 3]
    with pytest.raises(CheckpointError, match="other settings"):
        make(SECOND, run_id="other").latest()


def test_a_change_can_be_accepted_of_settings_alone() -> None:
    require_known(["training", "training.seed", "method.type"], FIRST)
    with pytest.raises(ConfigError, match=r"--accept training\.sed: unknown setting .* Did you mean 'training\.seed'"):
        require_known(["training.sed"], FIRST)


def test_settings_without_checkpoints_bind_nobody(make: Make) -> None:
    store = make()
    path = store.save(state(1))
    for file in path.iterdir():
        file.unlink()
    path.rmdir()
    other = make({"a": 1})
    assert other.latest() is None
    other.save(state(1))
    assert make({"a": 1}).latest() is not None


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_saved(make: Make, bad: float) -> None:
    store = make()
    with pytest.raises(TrainingError, match="weight w is not finite at step 3; nothing was saved of it"):
        store.save(state(3, value=bad))
    moment = state(3)
    moment.optimizer["w.exp_avg"][0, 0] = bad
    with pytest.raises(TrainingError, match=r"optimizer state w\.exp_avg is not finite at step 3"):
        store.save(moment)
    scalar = state(3)
    scalar.scalars["metric"] = bad
    with pytest.raises(TrainingError, match="a metric is not finite at step 3"):
        store.save(scalar)
    assert not store.folder.exists()


def test_a_second_process_may_not_write(make: Make) -> None:
    store = make()
    store.save(state(1))
    code = (
        "import sys; from pathlib import Path; from rung.engine.lease import take_lease\n"
        "try: take_lease(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(store.folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env={"PYTHONPATH": ":".join(sys.path)})
    assert result.stdout.startswith(f"another process is writing to {store.folder}.")


def test_other_library_versions_are_noted(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make().save(state(1))
    now = checkpoint.current_versions()
    monkeypatch.setattr(checkpoint, "current_versions", lambda: now | {"torch": "99"})
    store = make()
    assert store.latest() is not None
    assert store.notes == [f"step-1 was written under torch {now['torch']} -> 99: bytes may differ from here."]


def test_a_disk_that_gives_back_other_bytes_is_named_and_nothing_is_removed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make(limit=1)
    store.save(state(1))
    honest = checkpoint.fsio.sha256_file
    monkeypatch.setattr(checkpoint.fsio, "sha256_file", lambda path: honest(path)[::-1])
    with pytest.raises(StorageError, match="step-2 did not read back as it was written: step-2: weights"):
        store.save(state(2))
    monkeypatch.undo()
    loaded = make().latest()
    assert loaded is not None
    assert loaded.step == 1


def test_too_little_space_is_refused_before_the_first_step(tmp_path: Path) -> None:
    check_space(tmp_path / "new" / "ckpt", 1000)
    with pytest.raises(
        StorageError, match=r"bytes free; checkpoints of 1,000,000,000,000,000 bytes need 2,500,000,000,"
    ):
        check_space(tmp_path, 10**15)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"can't write .*: a file stands where a folder should go"):
        check_space(tmp_path / "file" / "ckpt", 1)


def test_settings_are_compared_as_json() -> None:
    assert differences({"a": (1, 2), "b": {"c": 1}, "d": None}, {"a": [1, 2], "b": {"c": 1}}) == {}
    changed = differences({"a": 1, "b": {"c": 1}}, {"a": True, "b": None})
    assert changed == {"a": [1, True], "b.c": [1, None]}
    assert worded(changed) == ["a: 1 -> true", "b.c: 1 -> null"]
