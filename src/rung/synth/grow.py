"""Grows a set of instructions round by round, until there are enough or the budget is spent."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import psutil

from rung.config.hashing import config_hash
from rung.data.content import as_text
from rung.data.language import require_language
from rung.data.readers import read
from rung.engine import fsio
from rung.engine.lease import take_lease
from rung.errors import ConfigError
from rung.run.identity import replace_folder
from rung.run.journal import DurableJournal
from rung.run.start import facts_of
from rung.synth import results
from rung.synth.asking import Desk, Model, SpentError
from rung.synth.documents import read_passages
from rung.synth.filters import Contamination
from rung.synth.instructions import Instructions
from rung.synth.local import LocalModel, machine
from rung.synth.outcome import Outcome
from rung.synth.questions import Questions
from rung.synth.remote import RemoteModel
from rung.synth.seeds import read_seeds
from rung.synth.settings import SynthConfig
from rung.synth.similar import Pool

ANSWERS = "answers.jsonl"
"""Every answer of the model, in the folder: the same command goes on from there, and asks nothing twice."""
REQUESTS = "requests.jsonl"
"""Every try of every request to an endpoint."""

Watch = Callable[[int, int, int], None]
"""Told after each round: rows accepted, rows wanted, proposals so far."""


class Rounds(Protocol):
    """What a set grows by; see `instructions` and `questions`."""

    def round(self, number: int) -> None:
        """Round `number`, from 1."""
        ...


def grow(
    config: SynthConfig,
    *,
    fresh: bool = False,
    say: Callable[[str], None] = lambda _: None,
    watch: Watch = lambda accepted, wanted, proposals: None,
) -> dict[str, Any]:
    """Make rows, and write them with what was rejected and a report into `output_dir`.

    Killed anywhere, the same call goes on and asks nothing twice; with a larger budget, more rounds or more rows wanted
    it goes on too.

    Args:
        config: The settings.
        fresh: Begin anew; what is in the folder is moved aside.
        say: Told in sentences.
        watch: Told how far it is.

    Returns:
        What `report.json` holds.

    Raises:
        DataError: A file can't be used.
        ConfigError: The model can't write, or the folder holds rows that were not made here.
        ArtifactError: The folder holds answers of other settings or files.
        EndpointError: The endpoint gives no answer.
    """
    folder = Path(config.output_dir)
    if fresh and (folder / ANSWERS).exists() and (aside := replace_folder(folder)):
        say(f"The earlier rows are kept in {aside}.")
    _require_own(folder, config)
    fsio.make_folder(folder)
    lease, notes = take_lease(folder)
    try:
        for note in notes:
            say(note)
        return _grown(config, folder, say, watch)
    finally:
        os.close(lease)


def _grown(config: SynthConfig, folder: Path, say: Callable[[str], None], watch: Watch) -> dict[str, Any]:
    if config.filters.language not in ("en", "any"):
        require_language("filters.language", config.filters.language)
    seeds, seeds_hash = ([], "") if config.seed_file is None else read_seeds(config.seed_file)
    passages, passage_hashes = read_passages(config.documents, config.passage_words) if config.documents else ([], [])
    against = [read(path) for path in config.against]
    facts = facts_of(config.model)
    threads = config.num_threads or psutil.cpu_count(logical=False) or os.cpu_count() or 1
    choices = {} if config.asks_endpoint else machine(config, threads)
    files = {"seeds": seeds_hash, "documents": passage_hashes, "against": [table.sha256 for table in against]}
    identity = config_hash(config.identity() | {"files": files, "base": facts.base_hash, "machine": choices})
    journal = DurableJournal(folder / ANSWERS, identity, "rows made")
    prices = config.endpoint.prices if config.asks_endpoint else None
    model: Model = (
        RemoteModel(config, folder / REQUESTS, identity[:16])
        if config.asks_endpoint
        else LocalModel(config, facts, choices)
    )
    desk = Desk(model, journal, config.budget, prices)
    tests = Contamination(
        [as_text(value) for table in against for row in table.records for value in row.fields.values()]
    )
    outcome = Outcome(config.wanted, config.filters, tests, Pool(config.filters.similarity))
    source: Rounds = Instructions(config, seeds, desk, outcome) if seeds else Questions(config, passages, desk, outcome)
    try:
        rounds, stopped = _rounds(config, source, outcome, watch)
    finally:
        if isinstance(model, RemoteModel):
            model.client.close()
    outcome.check()
    ledger = model.client.spending.as_dict(prices) if isinstance(model, RemoteModel) else None
    report = results.report(config, outcome, desk, (rounds, stopped), {"files": files, "machine": choices})
    report |= {"identity": identity, "base_hash": facts.base_hash, "ledger": ledger}
    results.write(folder, outcome, report)
    say(results.sentence(report))
    return report


def _rounds(config: SynthConfig, source: Rounds, outcome: Outcome, watch: Watch) -> tuple[int, str]:
    """Rounds that were begun, and why there was no further one."""
    for number in range(1, config.rounds + 1):
        try:
            source.round(number)
        except SpentError as error:
            return number, str(error)
        watch(len(outcome.accepted), config.wanted, outcome.proposals)
        if len(outcome.accepted) >= config.wanted:
            return number, "wanted"
    return config.rounds, f"rounds={config.rounds}"


def _require_own(folder: Path, config: SynthConfig) -> None:
    """Rows that a user put there, or grows from, are never written over."""
    rows = folder / results.ROWS
    if rows.exists() and not (folder / ANSWERS).exists():
        raise ConfigError(f"{rows} was not made by this command, and would be written over", "Set another output_dir.")
    inputs = [path for path in (config.seed_file, *config.documents, *config.against) if path is not None]
    clash = next((path for path in inputs if Path(path).resolve() == rows.resolve()), None)
    if clash is not None:
        raise ConfigError(f"{clash} is read, and would be written over", "Set another output_dir.")
