"""`--find-lr`: a small search for the peak learning rate, before a run; what was tried stands in `find_lr.json`."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from rung.engine import fsio
from rung.engine.callbacks.quiet import quiet
from rung.engine.loop import Hook
from rung.engine.manifest import DamagedError, read_sealed, write_sealed
from rung.engine.owner import differences, worded
from rung.errors import ArtifactError, ConfigError, TrainingError
from rung.methods.base import WeightMethod
from rung.run.config import RunConfig
from rung.run.identity import identity, replace_folder
from rung.run.memory import memory_in_words
from rung.run.prepare import execution, prepare_data, settle_machine
from rung.run.rates import Range, SearchSettings, Trial, best, is_hopeless, next_rate
from rung.run.train import settled
from rung.run.trials import Trials
from rung.run.validate import validate

FOUND = "find_lr.json"

Say = Callable[[str], None]
Watch = Callable[[int], Hook]


class Search:
    """What was tried for one run: every trial that ended is on the disk, and is not made again.

    Args:
        folder: The run's folder.
        wanted: All that decides what the search finds.

    Raises:
        ArtifactError: The folder holds another search, a run that began without one, or a damaged file.
    """

    def __init__(self, folder: Path, wanted: Mapping[str, Any]) -> None:
        self._path = folder / FOUND
        self._wanted = json.loads(json.dumps(wanted))
        self.trials: list[Trial] = []
        self.learning_rate: float | None = None
        body = _read(folder)
        if body is None:
            if (folder / "run.json").exists() or (folder / "checkpoints").exists():
                raise ArtifactError(
                    f"{folder} holds a run that was begun without --find-lr",
                    "Give the command without --find-lr, choose another output_dir, or begin anew with --fresh.",
                )
            return
        changed = differences(body["identity"], self._wanted)
        if changed:
            raise ArtifactError(
                f"the search in {self._path} was made under other settings: {'; '.join(worded(changed))}",
                "Give the old values back, choose another output_dir, or begin anew with --fresh.",
            )
        self.trials = [Trial.of(one) for one in body["trials"]]
        self.learning_rate = body["learning_rate"]

    def keep(self) -> None:
        """Write what is known now."""
        fsio.make_folder(self._path.parent)
        trials = [trial.as_dict() for trial in self.trials]
        write_sealed(self._path, {"identity": self._wanted, "trials": trials, "learning_rate": self.learning_rate})


@memory_in_words()
def find_learning_rate(
    config: RunConfig,
    *,
    fresh: bool = False,
    accept: Collection[str] = (),
    watch: Watch = quiet,
    say: Say = lambda _: None,
    search: SearchSettings | None = None,
) -> RunConfig:
    """Search for a run's peak learning rate on its validation rows; a search that was killed goes on.

    Args:
        config: The run, without a learning rate.
        fresh: Start anew whatever the folder holds; the run that follows must then not be fresh again.
        accept: Must be empty: a begun run has its rate.
        watch: Given the steps of a trial, a hook that shows progress.
        say: Told every trial.
        search: How much it takes.

    Returns:
        The run with the rate in its settings: executing it is executing a run where that rate was given.

    Raises:
        ConfigError: There is no rate to find.
        TrainingError: No rate trains without NaN or infinity.
        RungError: The run itself can't be.
    """
    method = _searchable(config, accept)
    search = search or SearchSettings()
    facts = validate(config)
    assert facts is not None
    middle = search.around or settled(config.training, method, facts.kind)[1]
    search, among = replace(search, around=middle), Range(middle, search.span)
    folder = Path(config.output_dir)
    choices = execution(config, facts)
    settle_machine(choices)
    if fresh and (aside := replace_folder(folder)):
        say(f"What {folder} held is kept in {aside}.")
    data, task = prepare_data(config)
    found = Search(folder, {**identity(config, facts, choices, data.hashes), "find_lr": asdict(search)})
    if found.learning_rate is None:
        if len(found.trials) < search.trials:
            _try(found, among, search, Trials(config, facts, choices, data, task, search), watch, say)
            gc.collect()  # the model has cycles; the run loads its own
        found.learning_rate = _chosen(found, among, say)
        found.keep()
    else:
        say(f"learning_rate={found.learning_rate:.3g} was found before ({folder / FOUND}).")
    training = config.training.model_copy(update={"learning_rate": found.learning_rate})
    return config.model_copy(update={"training": training})


def searched(folder: Path, decides: Mapping[str, Any]) -> dict[str, Any] | None:
    """The search that a run's learning rate came from, as `run.json` records it; None where it was given.

    Args:
        folder: The run's folder.
        decides: The run's identity.

    Raises:
        ArtifactError: The file is damaged.
    """
    body = _read(folder)
    if body is None or body["learning_rate"] != decides["training"]["learning_rate"]:
        return None
    whose, now = body["identity"], json.loads(json.dumps(decides))
    if any(whose[name] != now[name] for name in ("model", "method", "files")):
        return None
    seconds = sum(trial["seconds"] for trial in body["trials"])
    return {"settings": whose["find_lr"], "trials": body["trials"], "seconds": seconds}


def _searchable(config: RunConfig, accept: Collection[str]) -> WeightMethod:
    """The method, where it has a learning rate that is open."""
    method = config.method
    if not isinstance(method, WeightMethod):
        raise ConfigError(
            f"--find-lr with method={method.name}: it is not trained by steps, so there is no learning rate to find",
            "Leave --find-lr out, or choose a method that trains weights, for example method=lora.",
        )
    given = config.training.learning_rate
    if given is not None:
        raise ConfigError(
            f"--find-lr and training.learning_rate={given:g}: the rate is given, so there is nothing to find",
            "Leave one of the two out.",
        )
    if accept:
        raise ConfigError(
            f"--find-lr with --accept {','.join(accept)}: a run that is gone on with has its learning rate already",
            f"Give it as training.learning_rate (it stands in {FOUND}) and leave --find-lr out.",
        )
    return method


def _try(found: Search, among: Range, search: SearchSettings, trials: Trials, watch: Watch, say: Say) -> None:
    """Make the trials that are missing."""
    say(
        f"Looking for a learning rate from {among.low:.1e} to {among.high:.1e}: {search.trials} trials of at most "
        f"{trials.steps} steps, judged by the loss of {trials.judging} validation rows."
    )
    for number, trial in enumerate(found.trials, 1):
        say(f"{_row(number, search.trials, trial)}, kept from before")
    while len(found.trials) < search.trials:
        done = tuple(found.trials)
        rate = next_rate(done, among, trials.seed)

        def give_up(step: int, loss: float, done: tuple[Trial, ...] = done) -> bool:
            return search.prune and is_hopeless(done, among, step, loss)

        found.trials.append(trials.run(rate, give_up, watch))
        found.keep()
        say(_row(len(found.trials), search.trials, found.trials[-1]))


def _row(number: int, of: int, trial: Trial) -> str:
    last = max(trial.losses, default=0)
    said = {
        "finished": f"validation loss {trial.loss or 0:.4f}",
        "pruned": f"given up after {last} steps, worse than most there",
        "diverged": "came to NaN or infinity",
    }
    return f"  {number} of {of}: learning_rate {trial.learning_rate:.2e}, {said[trial.status]}"


def _chosen(found: Search, among: Range, say: Say) -> float:
    taken = best(found.trials)
    if taken is None:
        raise TrainingError(
            f"no learning rate from {among.low:.1e} to {among.high:.1e} trains: every trial came to NaN or infinity",
            "Train without --find-lr: the rows behind it are then named.",
        )
    edge = taken.learning_rate in (among.low, among.high)
    say(
        f"learning_rate={taken.learning_rate:.3g} is taken."
        + (" It is the last one that was looked at on its side: a better one may lie beyond." if edge else "")
    )
    return taken.learning_rate


def _read(folder: Path) -> dict[str, Any] | None:
    path = folder / FOUND
    if not path.exists():
        return None
    try:
        return read_sealed(path)
    except DamagedError as error:
        raise ArtifactError(f"{path} is damaged: {error}", "Remove it, or begin anew with --fresh.") from error
