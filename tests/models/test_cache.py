from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from rung.errors import StorageError
from rung.models.cache import cache_root, locked, models_root, stage, storage_errors


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_environment_decides_where_the_cache_is(own_cache: Path) -> None:
    assert cache_root() == own_cache
    assert models_root() == own_cache / "models"


def test_a_stage_becomes_its_target_when_the_block_ends_well() -> None:
    target = models_root() / "m"
    with locked("m"), stage(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    assert [path.name for path in target.parent.iterdir()] == ["m"]


def test_a_stage_vanishes_when_the_block_fails() -> None:
    target = models_root() / "m"
    with pytest.raises(ValueError, match="stop"), locked("m"), stage(target) as folder:
        (folder / "a").write_text("1")
        raise ValueError("stop")
    assert list(target.parent.iterdir()) == []


def test_what_a_dead_process_left_is_removed_and_a_neighbour_is_not() -> None:
    target = models_root() / "m"
    left_over, neighbour = target.parent / ".m.stage-1-ab", target.parent / ".m2.stage-1-ab"
    left_over.mkdir(parents=True)
    neighbour.mkdir()
    with locked("m"), stage(target):
        assert not left_over.exists()
    assert neighbour.exists()


def test_the_lock_of_a_killed_process_is_free(own_cache: Path) -> None:
    code = (
        "import os, signal\nfrom rung.models.cache import locked\n"
        "with locked('m'):\n    print('held', flush=True)\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (-9, "held\n"), ended.stderr
    with locked("m"):
        pass


def test_an_unwritable_cache_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "file"))
    with pytest.raises(StorageError, match=r"can't write below .*/file/locks: Not a directory\."), locked("m"):
        pass


def test_a_full_disk_is_a_storage_error_with_the_room_left(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=rf"no space left below {tmp_path}: free [\d,]+ MB\."),
        storage_errors(tmp_path),
        Path("/dev/full").open("w") as full,
    ):
        full.write("x")
        full.flush()
