"""Checkpoints with a file missing, torn, flipped or swapped: an exact run or a refusal, never another result."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from rung.engine.checkpoint import CheckpointStore, TrainState
from rung.engine.optim import Optimizer, OptimizerConfig
from rung.errors import CheckpointError

pytestmark = pytest.mark.crash

FILES = ("weights.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json")
STEPS = 6


def train(folder: Path, *, stop: int = STEPS, run_id: str = "a", seed: int = 0) -> dict[str, bytes]:
    """A small real run, saved at every second step; its result as bytes, best weights included."""
    weight = torch.nn.Parameter(torch.zeros(3, 2))
    optimizer = Optimizer({"weight": weight}, OptimizerConfig(learning_rate=0.1))
    store = CheckpointStore(folder, run_id, f"hash {seed}", {"seed": seed})
    state = store.latest()
    if state is not None:
        optimizer.load_master(state.weights)
        optimizer.load_state(state.optimizer)
    for step in range(state.step if state else 0, stop):
        data = torch.Generator().manual_seed(100 * seed + step)
        (weight @ torch.randn(2, 5, generator=data) - torch.randn(3, 5, generator=data)).square().mean().backward()
        optimizer.step(0.1)
        optimizer.zero_grad()
        if step % 2:
            # The best is step 4, so it is neither the first nor the last.
            store.save(TrainState(step + 1, step + 1, optimizer.master(), optimizer.state(), {}, best=step + 1 <= 4))
    best = store.best()
    assert best is not None
    tensors = {**optimizer.master(), **optimizer.state(), f"best {best.step}": best.weights["weight"]}
    return {name: tensor.numpy().tobytes() for name, tensor in tensors.items()}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return train(tmp_path_factory.mktemp("clean"))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a`: the run under test, saved at 2, 4, 6; `seed`: another run's settings; `id`: another run's id."""
    base = tmp_path_factory.mktemp("runs")
    train(base / "a")
    train(base / "seed", seed=1)
    train(base / "id", run_id="b")
    return base


def flip(place: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 1
        path.write_bytes(data)

    return damage


def cut(share: float) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)]) and None


def dangle(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/passwd")


DAMAGES = {
    "missing": Path.unlink,
    "empty": cut(0.0),
    "half": cut(0.5),
    "nearly whole": cut(0.99),
    "link": dangle,
    **{f"bit flipped at {place:.0%}": flip(place) for place in (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)},
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("step", [4, 6])
def test_a_damaged_file_is_noticed_and_the_run_ends_exactly(
    tmp_path: Path, runs: Path, wanted: dict[str, bytes], step: int, file: str, damage: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "a", folder)
    DAMAGES[damage](folder / f"step-{step}" / file)
    assert train(folder) == wanted
    reasons = [path.read_text() for path in (folder / "quarantine").glob(f"step-{step}-*.reason.txt")]
    assert len(reasons) == 1
    assert file in reasons[0]


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("source", ["a/step-4", "seed/step-6", "id/step-6"])
def test_a_file_of_another_step_or_run_is_noticed_and_the_run_ends_exactly(
    tmp_path: Path, runs: Path, wanted: dict[str, bytes], source: str, file: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "a", folder)
    shutil.copy(runs / source / file, folder / "step-6" / file)
    assert train(folder) == wanted


@pytest.mark.parametrize("source", ["a/step-4", "seed/step-6", "id/step-6"])
def test_a_whole_checkpoint_of_another_step_or_run_is_moved_aside(
    tmp_path: Path, runs: Path, wanted: dict[str, bytes], source: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "a", folder)
    shutil.rmtree(folder / "step-6")
    shutil.copytree(runs / source, folder / "step-6")
    assert train(folder) == wanted
    assert len(list((folder / "quarantine").glob("step-6-*.reason.txt"))) == 1


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_settings_are_written_again(tmp_path: Path, runs: Path, wanted: dict[str, bytes], damage: str) -> None:
    folder = tmp_path / "run"
    shutil.copytree(runs / "a", folder)
    shutil.rmtree(folder / "step-6")
    DAMAGES[damage](folder / "config.json")
    assert train(folder) == wanted
    assert (folder / "config.json").read_bytes() == (runs / "a" / "config.json").read_bytes()


def test_another_runs_settings_beside_our_checkpoints_are_refused(tmp_path: Path, runs: Path) -> None:
    for other in ("seed", "id"):
        folder = tmp_path / other
        shutil.copytree(runs / "a", folder)
        shutil.copy(runs / other / "config.json", folder / "config.json")
        with pytest.raises(CheckpointError):
            train(folder)
