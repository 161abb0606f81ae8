"""Whose checkpoints a folder holds: the run, its settings, and the changes of settings it was gone on with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rung.engine.manifest import read_sealed, write_sealed
from rung.errors import CheckpointError, ConfigError, unknown


@dataclass(frozen=True, slots=True)
class Owner:
    """The run that a folder of checkpoints belongs to.

    Attributes:
        run_id: Stays the same when the same command is given again, and through accepted changes.
        config_hash: Of its settings now.
        config: Its settings now.
        accepted: The changes of settings it was gone on with, oldest first: the `step` it stood at, the
            `config_hash` until then, and `changes`, setting to old and new value.
    """

    run_id: str
    config_hash: str
    config: Mapping[str, Any]
    accepted: tuple[Mapping[str, Any], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Owner:
        """Read what `write` wrote.

        Raises:
            DamagedError: It is missing or not as written.
        """
        body = read_sealed(path)
        return cls(body["run_id"], body["config_hash"], body["config"], tuple(body.get("accepted", ())))

    def write(self, path: Path) -> None:
        """Write it, sealed."""
        write_sealed(path, self.body())

    def body(self) -> dict[str, Any]:
        """As JSON has it."""
        body = {"run_id": self.run_id, "config_hash": self.config_hash, "config": self.config}
        return json.loads(json.dumps({**body, "accepted": self.accepted}))

    @property
    def hashes(self) -> set[str]:
        """The settings its checkpoints may have been written under: now, and before each accepted change."""
        return {self.config_hash, *(str(one["config_hash"]) for one in self.accepted)}

    def gone_on_with(self, new: Owner, accept: Collection[str], step: int | None, folder: Path) -> Owner:
        """This run under new settings, where nothing but what was accepted has changed.

        Args:
            new: The run as the command now gives it.
            accept: Settings that may differ, or tables of them: `training.learning_rate`, `training`.
            step: Where the run stands, for the record.
            folder: Where the checkpoints are, for the message.

        Raises:
            CheckpointError: Another setting differs, or another run wrote here.
        """
        if new.config_hash == self.config_hash:
            if new.run_id != self.run_id and not self.accepted:
                raise CheckpointError(
                    f"the checkpoints in {folder} are of run {self.run_id!r}, this is run {new.run_id!r}.",
                    "Set another output_dir, or start anew with --fresh (the checkpoints are moved aside).",
                )
            return self
        changed = differences(self.config, new.config)
        refused = {key: pair for key, pair in changed.items() if not _is_accepted(key, accept)}
        if refused:
            raise CheckpointError(
                f"the checkpoints in {folder} were written under other settings: {'; '.join(worded(refused))}.",
                f"Give the old values back; or go on under the new ones with --accept {','.join(refused)}; or start "
                "anew with --fresh (the checkpoints are moved aside, not deleted).",
            )
        entry = {"step": step, "config_hash": self.config_hash, "changes": changed}
        return Owner(self.run_id, new.config_hash, new.config, (*self.accepted, entry))


def require_known(accept: Collection[str], config: Mapping[str, Any]) -> None:
    """Refuse to accept a change of what is no setting.

    Raises:
        ConfigError: With the nearest name.
    """
    known = {part for key in _leaves(config) for part in (key, *_tables(key))}
    for name in accept:
        if name not in known:
            raise ConfigError(f"--accept {name}: {unknown('setting', name, sorted(known))}")


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The settings that differ, leaf by leaf, with the old and the new value; one that is not set is null."""
    # As JSON: a tuple read back is a list, and 1 is not True.
    before, after = _leaves(json.loads(json.dumps(old))), _leaves(json.loads(json.dumps(new)))
    pairs = {key: [before.get(key), after.get(key)] for key in before | after}
    return {key: pair for key, pair in pairs.items() if _shown(pair[0]) != _shown(pair[1])}


def worded(changed: Mapping[str, list[Any]]) -> list[str]:
    """Changes in words: `training.learning_rate: 0.01 -> 0.001`."""
    return [f"{key}: {_shown(old)} -> {_shown(new)}" for key, (old, new) in changed.items()]


def _is_accepted(key: str, accept: Collection[str]) -> bool:
    return any(name in accept for name in (key, *_tables(key)))


def _tables(key: str) -> list[str]:
    """`a` and `a.b` of `a.b.c`."""
    parts = key.split(".")
    return [".".join(parts[:count]) for count in range(1, len(parts))]


def _leaves(value: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, inner in value.items():
        key = f"{at}.{name}" if at else str(name)
        found |= _leaves(inner, key) if isinstance(inner, Mapping) and inner else {key: inner}
    return found


def _shown(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)
