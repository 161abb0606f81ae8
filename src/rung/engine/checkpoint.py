"""Checkpoints that a crash, a full disk or a flipped bit can't turn into a wrong run.

`save` stages a folder, hashes each file while it is written, writes the manifest last, syncs, renames, and reads the
result back before anything older is removed. `latest` believes only what verifies and belongs to this run; what does
not is moved to `quarantine/` with the reason. No random state is kept: seeds are functions of the step.
"""

from __future__ import annotations

import math
import os
import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rung.engine import fsio
from rung.engine.diskfaults import free_bytes
from rung.engine.lease import take_lease
from rung.engine.manifest import DamagedError, FileEntry, Manifest, current_versions, read_sealed
from rung.engine.owner import Owner
from rung.engine.trainstate import TrainState
from rung.errors import CheckpointError, StorageError

__all__ = ["CheckpointStore", "TrainState", "check_space"]

CONFIG = "config.json"
QUARANTINE = "quarantine"
SPACE_FACTOR = 2.5
"""Free space asked for, in checkpoints: the old one, the new one while it is staged, and half for the logs."""

_STEP = re.compile(r"step-(0|[1-9][0-9]*)")


class CheckpointStore:
    """The checkpoints of one run in one folder, which has one writer at a time.

    Args:
        folder: Holds `step-<n>` folders, `config.json` and `quarantine/`; made by the first save.
        run_id: Stays the same when the same command is given again.
        config_hash: Of the resolved settings.
        config: The resolved settings themselves, to say which one changed.
        save_total_limit: Checkpoints kept at most, the best and the last always among them; None keeps all.
        accept: Settings that may differ from those the checkpoints here were written under.

    Attributes:
        owner: The run with its settings, and the changes it was gone on with.
        notes: What was moved aside or is worth knowing, one sentence each, for the run's log.
    """

    def __init__(
        self,
        folder: Path,
        run_id: str,
        config_hash: str,
        config: Mapping[str, Any] | None = None,
        save_total_limit: int | None = None,
        accept: Collection[str] = (),
    ) -> None:
        if save_total_limit is not None and save_total_limit < 1:
            raise CheckpointError(f"save_total_limit={save_total_limit} keeps nothing.", "Give 1 or more, or null.")
        self.folder = folder
        self.owner = self._asked = Owner(run_id, config_hash, dict(config or {}))
        self.accept = accept
        self.save_total_limit = save_total_limit
        self.notes: list[str] = []
        self._parent: int | None = None
        self._best_step: int | None = None
        self._lease: int | None = None

    def save(self, state: TrainState, keep: Collection[int] = frozenset()) -> Path:
        """Save `state`, verify it, and only then remove what `save_total_limit` no longer allows.

        Saving the same state of a step again does nothing.

        Args:
            state: At an optimizer step's boundary.
            keep: Steps that must not be removed.

        Returns:
            The folder `step-<n>`, durable and read back.

        Raises:
            TrainingError: A weight, moment or scalar is not finite; nothing is written.
            StorageError: The disk refuses; nothing saved earlier is touched.
            CheckpointError: Another process writes here, or the folder holds another run.
        """
        state.require_finite()
        self._claim()
        final = self._path(state.step)
        best_step = state.step if state.best else self._best_step
        if os.path.lexists(final):
            self._require_saved(final, state)
        else:
            self._write(final, state, best_step)
        self._parent, self._best_step = state.step, best_step
        self._prune({state.step, *keep})
        return final

    def latest(self) -> TrainState | None:
        """The newest state to go on from; None when there is none. What is damaged or foreign is moved aside.

        A checkpoint whose best predecessor is damaged is moved aside too: from it the run could not end with its best.

        Raises:
            CheckpointError: The checkpoints here were written under settings that differ in more than was accepted, or
                by another run.
        """
        self._require_same_run()
        for step in reversed(self._steps()):
            try:
                manifest = self._verified(step)
                if manifest.best_step not in (None, step):
                    self._verified(manifest.best_step)
                state = TrainState.read(self._path(step))
            except DamagedError as fault:
                self.set_aside(self._path(step), str(fault))
                continue
            self._parent, self._best_step = step, manifest.best_step
            self._note_versions(manifest)
            return state
        return None

    def best(self) -> TrainState | None:
        """The state marked best most recently, as of the last `save` or `latest`, without moments; None when none was.

        Raises:
            CheckpointError: It was damaged since; the same command goes back to before it.
        """
        if self._best_step is None:
            return None
        try:
            self._verified(self._best_step)
            return TrainState.read(self._path(self._best_step), moments=False)
        except DamagedError as fault:
            raise CheckpointError(
                f"the best checkpoint can't be used: {fault}.",
                "Give the same command again: it goes on from the newest state before the damage.",
            ) from None

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step}"

    def _steps(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for entry in self.folder.iterdir() if (found := _STEP.fullmatch(entry.name)))

    def _write(self, final: Path, state: TrainState, best_step: int | None) -> None:
        with fsio.staged_directory(final) as stage:
            written = state.write(stage)
            manifest = Manifest(
                step=state.step,
                cursor=state.cursor,
                run_id=self.owner.run_id,
                config_hash=self.owner.config_hash,
                parent=self._parent,
                best_step=best_step,
                files={name: FileEntry(size=file.size, sha256=file.sha256) for name, file in written.items()},
                versions=current_versions(),
            )
            manifest.write(stage)
        try:
            self._verified(state.step)
        except DamagedError as fault:
            self.set_aside(final, str(fault))
            raise StorageError(
                f"{final} did not read back as it was written: {fault}. Nothing saved earlier was touched.",
                "Set output_dir to another disk, then give the same command again.",
            ) from None

    def _require_saved(self, final: Path, state: TrainState) -> None:
        try:
            self._verified(state.step)
            fault = "" if TrainState.read(final).equals(state) else "it holds another state"
        except DamagedError as found:
            fault = str(found)
        if fault:
            raise CheckpointError(
                f"{final} stands where step {state.step} should go: {fault}.",
                "Give the same command again: it goes on from there, or from before it. Or start anew with --fresh.",
            )

    def _verified(self, step: int) -> Manifest:
        path = self._path(step)
        manifest = Manifest.read(path)
        if manifest.run_id != self.owner.run_id:
            raise DamagedError(f"{path.name} was written by run {manifest.run_id!r}, this is run {self.owner.run_id!r}")
        if manifest.config_hash not in self.owner.hashes:
            raise DamagedError(f"{path.name} was written under other settings (hash {manifest.config_hash})")
        try:
            manifest.verify(path)
        except DamagedError as fault:
            raise DamagedError(f"{path.name}: {fault}") from None
        return manifest

    def _prune(self, keep: set[int]) -> None:
        if self.save_total_limit is None:
            return
        ours = []
        for step in self._steps():
            # A folder without a readable manifest can't be shown to be ours: it is left alone.
            with suppress(DamagedError):
                if Manifest.read(self._path(step)).run_id == self.owner.run_id:
                    ours.append(step)
        spare = [step for step in ours if step not in keep and step != self._best_step]
        for step in spare[: max(0, len(ours) - self.save_total_limit)]:
            fsio.remove_tree(self._path(step))

    def set_aside(self, path: Path, reason: str) -> None:
        """Move what can't be believed to `quarantine/`, with the reason beside it and in `notes`."""
        aside = self.folder / QUARANTINE / f"{path.name}-{secrets.token_hex(4)}"
        fsio.write_text(aside.with_name(f"{aside.name}.reason.txt"), reason + "\n")
        fsio.rename(path, aside)
        self.notes.append(f"{path} was moved to {aside}: {reason}.")

    def _claim(self) -> None:
        """Become the folder's sole writer, once: take the lease, sweep what died here, put the settings down."""
        if self._lease is not None:
            return
        fsio.make_folder(self.folder)
        lease, note = take_lease(self.folder)
        self._lease = lease
        self.notes += note
        self._require_same_run()
        for place in (self.folder, self.folder / QUARANTINE):
            fsio.sweep(place)
        if not (self.folder / CONFIG).exists() or read_sealed(self.folder / CONFIG) != self.owner.body():
            self.owner.write(self.folder / CONFIG)

    def _require_same_run(self) -> None:
        path = self.folder / CONFIG
        if not os.path.lexists(path):
            return
        try:
            owner = Owner.read(path)
        except DamagedError as fault:
            self.set_aside(path, str(fault))
            return
        # Settings without checkpoints bind nobody.
        has_steps = bool(self._steps())
        self.owner = (
            owner.gone_on_with(self._asked, self.accept, self._parent, self.folder) if has_steps else self._asked
        )

    def _note_versions(self, manifest: Manifest) -> None:
        now = current_versions()
        moved = [f"{name} {old} -> {now.get(name)}" for name, old in manifest.versions.items() if old != now.get(name)]
        if moved:
            self.notes.append(f"step-{manifest.step} was written under {', '.join(moved)}: bytes may differ from here.")


def check_space(folder: Path, bytes_needed: int) -> None:
    """Refuse before step 1 what would fail at the first save.

    Args:
        folder: Where checkpoints go; made if missing.
        bytes_needed: Bytes of one checkpoint (`TrainState.nbytes`).

    Raises:
        StorageError: Less than 2.5 times that is free, or the folder can't be written.
    """
    fsio.make_folder(folder)
    if not os.access(folder, os.W_OK | os.X_OK):
        raise StorageError(f"output_dir={folder} can't be written to.", "Set output_dir to a folder of yours.")
    needed, free = math.ceil(SPACE_FACTOR * bytes_needed), free_bytes(folder)
    if free < needed:
        raise StorageError(
            f"{folder} has {free:,} bytes free; checkpoints of {bytes_needed:,} bytes need {needed:,}.",
            "Free space, or set output_dir to another disk.",
        )
