"""Features from the disk are the bits that the body gives, and anything that could change them is another file."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch

from rung.compute import features
from rung.compute.features import FeatureStore, body_hash, prune
from rung.compute.pooling import pooled
from rung.compute.states import states
from rung.models.families import Family
from rung.types import Tokens


class Body:
    """A frozen body that counts the batches it computes."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self.computed = 0

    @torch.no_grad()
    def __call__(self, batch: Sequence[Tokens]) -> torch.Tensor:
        self.computed += 1
        return pooled(lambda texts, positions: states(self.family, texts, positions), batch, "mean")


@pytest.fixture
def body(tiny: ModuleType) -> Body:
    """A tiny encoder in fp32."""
    return Body(tiny.build("bert", torch.float32))


@pytest.fixture
def batches(tiny: ModuleType) -> list[list[Tokens]]:
    """Three batches of texts of several lengths."""
    rows = tiny.sequences([3 + at for at in range(12)], 1)
    return [rows[:5], rows[5:10], rows[10:]]


@pytest.fixture
def store(body: Body, tmp_path: Path) -> FeatureStore:
    """An empty store of that encoder."""
    return FeatureStore(body_hash(body.family, {}, ()), tmp_path / "features")


def the_file(store: FeatureStore) -> Path:
    (path,) = store.folder.iterdir()
    return path


def test_bits_of_the_body_mapped_from_the_disk(store: FeatureStore, body: Body, batches: list[list[Tokens]]) -> None:
    wanted = torch.cat([body(batch) for batch in batches])
    body.computed = 0
    first = store.features(batches, "mean", body)
    assert body.computed == 3
    second = FeatureStore(store.body, store.folder).features(batches, "mean", body)
    assert body.computed == 3
    for found in (first, second):
        assert torch.equal(found, wanted)
        assert found.dtype == torch.float32
    assert the_file(store).name in Path("/proc/self/maps").read_text() or not Path("/proc/self/maps").exists()


def test_what_changes_bits_is_another_file(store: FeatureStore, body: Body, batches: list[list[Tokens]]) -> None:
    store.features(batches, "mean", body)
    typed = [[Tokens(text.input_ids, None, (0,) * len(text)) for text in batch] for batch in batches]
    others = [
        batches[::-1],
        batches[:2],
        [batches[0] + batches[1], batches[2]],
        [batches[0][::-1], *batches[1:]],
        typed,
    ]
    for other in others:
        before = body.computed
        store.features(other, "mean", body)
        assert body.computed == before + len(other)
    before = body.computed
    store.features(batches, "cls", body)
    assert body.computed == before + 3
    assert len(list(store.folder.iterdir())) == 7


def test_the_body_is_known_by_every_weight_and_setting(body: Body, monkeypatch: pytest.MonkeyPatch) -> None:
    family = body.family
    start = body_hash(family, {}, ())
    assert body_hash(family, {}, ()) == start
    seen = {start, body_hash(family, {"a": torch.ones(1)}, ()), body_hash(family, {"a": torch.zeros(1)}, ())}
    seen |= {body_hash(family, {}, ["lora", {"lora_alpha": 8}]), body_hash(family, {}, ["lora", {"lora_alpha": 16}])}
    assert len(seen) == 5
    for parameter in family.body.parameters():
        flat = parameter.data.view(-1)
        last = flat[-1].clone()
        flat[-1] = torch.nextafter(last, last + 1)
        seen.add(body_hash(family, {}, ()))
        flat[-1] = last
    assert len(seen) == 5 + len(list(family.body.parameters()))
    assert body_hash(family, {}, ()) == start
    family.module.config.layer_norm_eps *= 2
    seen.add(body_hash(family, {}, ()))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 99)
    seen.add(body_hash(family, {}, ()))
    assert len(seen) == 7 + len(list(family.body.parameters()))


def damaged(whole: bytes) -> Iterator[bytes]:
    """A feature file cut, emptied, with a bit flipped in head or data, and one that is something else."""
    yield from (whole[: len(whole) * part // 7] for part in range(7))
    yield whole[:-1]
    for at in (3, 20, len(whole) - 2):
        yield whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]
    yield b"not a feature file"


def test_a_damaged_file_is_said_and_made_again(
    store: FeatureStore, body: Body, batches: list[list[Tokens]], caplog: pytest.LogCaptureFixture
) -> None:
    wanted = store.features(batches, "mean", body).clone()
    path = the_file(store)
    whole = path.read_bytes()
    for bad in damaged(whole):
        path.unlink()
        path.write_bytes(bad)
        caplog.clear()
        before = body.computed
        assert torch.equal(store.features(batches, "mean", body), wanted)
        assert body.computed == before + 3
        (told,) = caplog.messages
        assert told.startswith(str(path)) and told.endswith("its features are computed again")
        assert the_file(store).read_bytes() == whole


def test_a_file_of_another_name_is_not_believed(
    store: FeatureStore, body: Body, batches: list[list[Tokens]], caplog: pytest.LogCaptureFixture
) -> None:
    store.features(batches, "mean", body)
    right = the_file(store)
    store.features([batch[::-1] for batch in batches], "mean", body)
    (wrong,) = set(store.folder.iterdir()) - {right}
    wanted = torch.cat([body(batch) for batch in batches])
    wrong.replace(right)
    assert torch.equal(store.features(batches, "mean", body), wanted)
    assert caplog.messages == [f"{right} does not hold what its name says: its features are computed again"]


def test_a_cache_that_can_not_be_written_costs_time_alone(
    store: FeatureStore,
    body: Body,
    batches: list[list[Tokens]],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wanted = torch.cat([body(batch) for batch in batches])
    with monkeypatch.context() as patch:
        patch.setattr(features, "SPARE_BYTES", 1 << 60)
        assert torch.equal(store.features(batches, "mean", body), wanted)
    assert list(store.folder.iterdir()) == []
    assert caplog.messages == []
    store.folder.rmdir()
    store.folder.write_text("in the way")
    assert torch.equal(store.features(batches, "mean", body), wanted)
    assert caplog.messages == [f"features are computed again each time: can't write below {store.folder}: File exists."]


def test_the_folder_stays_small(
    store: FeatureStore, body: Body, batches: list[list[Tokens]], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = []
    for number, batch in enumerate(batches):
        before = set(store.folder.glob("*"))
        store.features([batch], "mean", body)
        files += set(store.folder.iterdir()) - before
        os.utime(files[number], (number, number))
    dead, alive = store.folder / ".stage-x-1", store.folder / ".stage-x-2"
    for stage in (dead, alive):
        stage.write_bytes(b"half")
    os.utime(dead, (0, time.time() - 7200))
    used = store.features(batches[:1], "mean", body)
    monkeypatch.setattr(features, "CAP_BYTES", sum(path.stat().st_size for path in files))
    store.features([batches[0][::-1]], "mean", body)
    assert body.computed == 4
    assert not dead.exists()
    assert alive.exists()
    assert [path.exists() for path in files] == [True, False, True]  # the first was used since
    monkeypatch.setattr(features, "CAP_BYTES", 0)
    prune(store.folder, files[2])
    assert list(store.folder.glob("*.safetensors")) == [files[2]]
    assert torch.equal(used, body(batches[0]))  # read on after it was removed


RACE = """
import sys
from pathlib import Path
import torch
from rung.compute.features import FeatureStore
from rung.types import Tokens

store = FeatureStore("body", Path(sys.argv[1]))
for turn in range(24):
    batch = [Tokens((turn % 6, at)) for at in range(9)]
    made = torch.full((9, 64), float(turn % 6))
    found = store.features([batch], "mean", lambda _: made)
    assert torch.equal(found, made), turn
    if turn % 3 == 0:
        for path in store.folder.glob("*.safetensors"):
            path.unlink(missing_ok=True)
"""


def test_processes_that_write_and_remove_at_once_read_the_right_bits(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-c", RACE, str(tmp_path / "shared")]
    started = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in started:
        _, told = process.communicate()
        assert (process.returncode, told) == (0, "")
    left = list((tmp_path / "shared").iterdir())
    assert all(path.suffix == ".safetensors" for path in left)
