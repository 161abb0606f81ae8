from __future__ import annotations

import errno
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from rung.engine import fsio
from rung.engine.diskfaults import guard
from rung.errors import StorageError


@pytest.fixture
def events() -> Iterator[list[tuple[str, str]]]:
    seen: list[tuple[str, str]] = []
    fsio.observer = lambda event, path: seen.append((event, path.name.split("-")[0]))
    yield seen
    fsio.observer = None


def test_a_file_is_synced_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, events: list[tuple[str, str]]
) -> None:
    fsio.write_bytes(tmp_path / "a", b"x")
    stage = ".stage"
    synced = tmp_path.name.split("-")[0]
    assert events == [("create", stage), ("write", stage), ("fsync", stage), ("rename", stage), ("fsync", synced)]


def test_writes_make_parents_replace_and_give_size_and_hash(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    fsio.write_text(path, "old")
    written = fsio.write_text(path, "néw")
    assert path.read_bytes() == "néw".encode()
    assert written == fsio.Written(4, hashlib.sha256("néw".encode()).hexdigest())
    assert fsio.sha256_file(path) == written.sha256
    assert [entry.name for entry in path.parent.iterdir()] == ["a.txt"]


def test_json_keeps_lone_surrogates_and_refuses_nan(tmp_path: Path) -> None:
    value = {"text": "ä \ud800 \\ud800", "number": 1}
    fsio.write_json(tmp_path / "a.json", value)
    assert "ä" in (tmp_path / "a.json").read_text()
    assert json.loads((tmp_path / "a.json").read_text()) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        fsio.write_json(tmp_path / "b.json", float("nan"))


def test_safetensors_are_read_back_by_the_library_to_the_bit(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "half": torch.randn(3, 5, generator=generator).bfloat16(),
        "slice": torch.randn(6, 6, generator=generator).T[::2],
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "flags": torch.tensor([True, False, True]),
        "ids": torch.arange(7),
        "é": torch.ones(1, dtype=torch.float64),
    }
    written = fsio.write_safetensors(tmp_path / "a", tensors, {"format": "pt"})
    assert (written.size, written.sha256) == ((tmp_path / "a").stat().st_size, fsio.sha256_file(tmp_path / "a"))
    loaded = load_file(tmp_path / "a")
    assert loaded.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert loaded[name].dtype == tensor.dtype
        assert torch.equal(loaded[name], tensor)
    reordered = dict(reversed(tensors.items()))
    assert fsio.write_safetensors(tmp_path / "b", reordered, {"format": "pt"}) == written


def test_log_lines_are_appended_and_cut_back_to_whole_ones(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "history.jsonl"
    for number in range(3):
        fsio.append_line(log, f"line {number}", durable=number == 2)
    with log.open("a") as file:
        file.write("torn")
    fsio.keep_lines(log, 10)
    assert log.read_text() == "line 0\nline 1\nline 2\n"
    fsio.keep_lines(log, 1)
    assert log.read_text() == "line 0\n"
    fsio.keep_lines(tmp_path / "none", 1)
    assert not (tmp_path / "none").exists()


def test_a_staged_folder_appears_whole_and_private_or_not_at_all(tmp_path: Path) -> None:
    with fsio.staged_directory(tmp_path / "out") as stage:
        assert stage.stat().st_mode & 0o777 == 0o700
        assert stage.parent == tmp_path
        (stage / "plain").write_text("made without fsio")
        fsio.write_text(stage / "inner" / "b", "b")
        assert not (tmp_path / "out").exists()
    assert (tmp_path / "out" / "plain").read_text() == "made without fsio"
    with pytest.raises(RuntimeError, match="mine"), fsio.staged_directory(tmp_path / "two") as stage:
        (stage / "a").write_text("a")
        raise RuntimeError("mine")
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_staged_folder_never_takes_a_name_that_is_taken(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError, match="out exists already"), fsio.staged_directory(tmp_path / "out"):
        raise AssertionError
    with pytest.raises(StorageError, match="late exists already"), fsio.staged_directory(tmp_path / "late"):
        (tmp_path / "late").symlink_to("nowhere")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["late", "out"]


def test_only_our_folders_are_removed(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.txt").write_text("years of work")
    with pytest.raises(ValueError, match="theirs is not a folder written here"):
        fsio.remove_tree(theirs)
    ours = tmp_path / "ours"
    fsio.write_json(ours / fsio.MANIFEST, {})
    (ours / "link").symlink_to(theirs)
    (tmp_path / "alias").symlink_to(ours)
    with pytest.raises(ValueError, match="alias is not a folder written here"):
        fsio.remove_tree(tmp_path / "alias")
    fsio.remove_tree(ours)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["alias", "theirs"]
    assert (theirs / "thesis.txt").exists()


def test_sweep_takes_what_died_half_made_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / ".stage-step-2-0123456789abcdef").mkdir()
    (tmp_path / ".stage-step-2-0123456789abcdef" / "weights").write_text("half")
    (tmp_path / ".stage-config.json-0123456789abcdef").write_text("half")
    (tmp_path / ".stage-mine").write_text("not by us")
    fsio.sweep(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [".stage-mine"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES])
def test_a_refusal_names_path_bytes_and_that_nothing_was_touched(tmp_path: Path, code: int) -> None:
    wording = r"can't write .*/a: .+ \(1,234 bytes needed, [\d,]+ bytes free\)\. Nothing saved earlier was touched\."
    with pytest.raises(StorageError, match=wording), guard(tmp_path / "a", 1234):
        raise OSError(code, "refused")


def test_a_failed_write_leaves_the_old_file_and_no_stage(tmp_path: Path) -> None:
    fsio.write_text(tmp_path / "a", "old")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="a file stands where a folder should go"):
        fsio.write_text(tmp_path / "file" / "a", "new")

    def refuse(event: str, path: Path) -> None:
        if event == "fsync":
            raise OSError(errno.ENOSPC, "refused")

    fsio.observer = refuse
    try:
        with pytest.raises(StorageError, match=r"a: no space is left on the disk \(3 bytes needed"):
            fsio.write_text(tmp_path / "a", "new")
    finally:
        fsio.observer = None
    assert (tmp_path / "a").read_text() == "old"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["a", "file"]


def test_a_log_on_a_full_disk_is_a_storage_error() -> None:
    with pytest.raises(StorageError, match="can't write /dev/full: no space is left on the disk"):
        fsio.append_line(Path("/dev/full"), "line")


def test_a_library_that_gives_the_systems_number_in_words_alone_is_understood(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no space is left on the disk"), guard(tmp_path / "tokenizer.json"):
        raise Exception("No space left on device (os error 28)")
    with pytest.raises(Exception, match=r"^another matter$"), guard(tmp_path):
        raise Exception("another matter")
