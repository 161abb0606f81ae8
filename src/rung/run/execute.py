"""Runs a config: the one composition root."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from rung.config.hashing import config_hash
from rung.engine.callbacks.quiet import quiet
from rung.engine.callbacks.scoring import Judge
from rung.engine.finite import NotFiniteError
from rung.engine.loop import Hook
from rung.engine.owner import require_known
from rung.evaluate.forgetting import forgetting, kind_of, measure
from rung.evaluate.generating import predictor_for
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.base import PromptMethod, WeightMethod
from rung.methods.control import ControlMethod
from rung.run import record
from rung.run.compiling import compiles
from rung.run.config import RunConfig, objective_for
from rung.run.controls import ControlPredictor
from rung.run.endpoint import run_endpoint
from rung.run.expected import expectation, settle_memory
from rung.run.find_lr import searched
from rung.run.forecast import Body
from rung.run.identity import holds, identity, replace_folder
from rung.run.memory import memory_in_words
from rung.run.memory_model import require_room_for_weights
from rung.run.prepare import adapt, execution, prepare_data, settle_machine
from rung.run.prompting import Search
from rung.run.reporting import Run, report
from rung.run.score import Answers, answers_of, watched_metrics
from rung.run.selection import selection
from rung.run.start import Opened, open_model
from rung.run.supervision import lengths_said, require_supervision
from rung.run.train import Place, fit, settled
from rung.run.validate import validate

Watch = Callable[[int], Hook]
Say = Callable[[str], None]


@memory_in_words()
def execute(
    config: RunConfig,
    given: Mapping[str, Any],
    *,
    fresh: bool = False,
    accept: Collection[str] = (),
    watch: Watch | None = None,
    say: Say = lambda _: None,
    tell_data: bool = True,
) -> Path:
    """Run a config to its artifact; a finished run of the same settings is reused, an unfinished one gone on with.

    Args:
        config: The settings.
        given: What the user wrote, for `run.json`.
        fresh: Start anew whatever the folder holds.
        accept: Settings that may have changed since an unfinished run began: it goes on under the new ones.
        watch: Given the steps of the run, a hook that shows progress.
        say: Told in sentences what was inferred and done.
        tell_data: Whether to say what was found in the data; a ladder has said it once for all its runs.

    Returns:
        The artifact folder.

    Raises:
        RungError: Whatever the user can mend.
    """
    facts = validate(config)
    folder = Path(config.output_dir)
    choices = execution(config, facts)
    settle_machine(choices)
    if fresh and (aside := replace_folder(folder)):
        say(f"What {folder} held is kept in {aside}.")
    data, task = prepare_data(config)
    choices["torch_compile"] = compiles(config, facts, choices, len(data.splits.train))
    run = Run(config, folder, facts, data, task, choices)
    decides = identity(config, facts, choices, data.hashes)
    require_known(accept, decides)
    key = config_hash(decides)
    if holds(folder, key):
        record.drop_checkpoints(folder)
        say(f"{folder} holds this very run, finished: reused. --fresh runs it anew.")
        return folder
    search = searched(folder, decides)
    run.cost.search_seconds = 0.0 if search is None else search["seconds"]
    for sentence in (*data.columns.reasons, *data.report.sentences()) if tell_data else ():
        say(sentence)
    method = config.method
    if isinstance(method, ControlMethod):
        base = _run_control(run, method)
    elif isinstance(method, PromptMethod) and config.asks_endpoint:
        base = run_endpoint(run, method, key, say)
    else:
        base = _run_model(run, method, Place(folder, key[:16], key, decides, accept), watch or quiet, say)
    facts_found = {"identity": key, "execution": _execution(run), "data": _data(run), "base": base}
    trained = {} if run.trained is None else {"accepted": list(run.trained.accepted), "find_lr": search}
    beside = {"forecast": expectation(folder, key, run.forecast), "outcome": _outcome(run)}
    record.seal(folder, config, given, facts_found | trained | beside)
    return folder


def _execution(run: Run) -> dict[str, Any]:
    """The machine's choices; whether layers are recomputed is known last, and changes no bit of the result."""
    found = run.forecast
    return {**run.choices, **({} if found is None else {"gradient_checkpointing": found.gradient_checkpointing})}


def _outcome(run: Run) -> dict[str, Any]:
    """What became of the forecast; the seconds are all of the run's, stops left out."""
    trained = run.trained
    seconds = time.perf_counter() - run.began + (0.0 if trained is None else trained.earlier)
    return {
        "peak_memory_bytes": run.cost.peak_memory_bytes,
        "steps": 0 if trained is None else trained.steps,
        "seconds_per_step": run.cost.seconds_per_step,
        "seconds": seconds,
    }


def _data(run: Run) -> dict[str, Any]:
    rows = {name: len(records) for name, records in run.data.splits.named().items()}
    found = run.data.columns
    return {
        "hashes": run.data.hashes,
        "rows": rows,
        "labels": list(run.task.labels),
        "columns": {"text": found.text, "text_pair": found.text_pair, "label": found.label},
        "all_columns": list(run.data.splits.train[0].fields),
        "ledger": run.data.ledger.as_dict(),
    }


def _run_control(run: Run, method: ControlMethod) -> None:
    splits = run.data.splits
    numbers = {name: number for number, name in enumerate(run.task.labels)}
    predictor = ControlPredictor(run.task)
    with run.timed("train_seconds"):
        texts = predictor.texts(splits.train)
        targets = [numbers[str(run.task.truth(record))] for record in splits.train]
        fitted = method.fit(texts, targets, len(run.task.labels), run.config.training.seed)
    predictor.fitted = fitted
    run.cost.artifact_bytes = record.write_control(run.folder, fitted)
    report(run, Answers(predictor.predict, lambda _: ()), None)


def _run_model(run: Run, method: PromptMethod | WeightMethod, place: Place, watch: Watch, say: Say) -> dict[str, Any]:
    assert run.config.model is not None and run.facts is not None and run.facts.path is not None
    require_room_for_weights(run.facts.path, run.choices)
    with run.timed("load_seconds"):
        weights = method if isinstance(method, WeightMethod) else None
        opened = open_model(run.config.model, run.choices, weights is not None and weights.trains_model)
    objective = objective_for(run.config, run.facts.kind)
    adapted = adapt(weights, opened, run.task, objective, run.config.training.seed)
    predictor = predictor_for(adapted, opened.loaded.tokenizer, run.task, objective, int(run.choices["max_length"]))
    adapted.evaluating()
    validation = None
    search = None
    if isinstance(method, PromptMethod):
        kept = (run.folder, place.config_hash)
        search = Search(kept, run.task, run.data.splits, predictor, run.choices, run.config.endpoint, say)
        with run.timed("search_seconds"), closing(search):
            prompt = search.fit(method, run.config.training.seed)
        run.cost.search_seconds += search.earlier_seconds
    else:
        prompt = run.task.prompt
        validation = _train(run, adapted, predictor, (method, place), watch, say)
    run.cost.artifact_bytes = record.write_adapted(run.folder, adapted, opened.loaded.tokenizer)
    run.cost.artifact_bytes += record.write_prompt(run.folder, prompt)
    is_decoder = opened.family.kind == "decoder"
    template = record.write_template(run.folder, opened.loaded.tokenizer, prompt.chat_template) if is_decoder else None
    run.cost.trainable_parameters = sum(value.numel() for value in adapted.trainable.values())
    report(
        run,
        answers_of(predictor, prompt),
        lambda: _forgetting(run, adapted, opened) if weights is not None else None,
        validation,
    )
    if search is not None:
        search.report(prompt)
    return {
        "reference": run.config.model,
        "hash": run.facts.base_hash,
        "kind": run.facts.kind,
        "model_type": run.facts.model_type,
        "parameters": opened.parameters,
        "chat_template": template,
    }


def _train(
    run: Run, adapted: Adapted, predictor: LocalPredictor, how: tuple[WeightMethod, Place], watch: Watch, say: Say
) -> Mapping[str, float] | None:
    """Train; gives the validation metrics of the weights it ends with, if they were scored."""
    method, place = how
    splits = run.data.splits
    assert predictor.objective is not None
    with run.timed("tokenize_seconds"):
        rows = predictor.rows(splits.train, run.task.prompt)
    sources = {record.id: record.source for record in splits.train}
    for sentence in lengths_said(rows, sources, run.choices["max_length"]):
        say(sentence)

    chosen = selection(run.config)

    def score() -> Mapping[str, float]:
        with run.timed("eval_seconds"):
            answers = answers_of(predictor, run.task.prompt)
            return watched_metrics(run.task, splits.validation, answers, chosen.written)

    settings, peak = settled(run.config.training, method, adapted.family.kind)
    settings = settings.model_copy(update={"torch_compile": run.choices["torch_compile"]})
    assert run.facts is not None and run.facts.path is not None
    run.forecast = settle_memory(adapted, method, rows, settings, run.facts.path, say)
    judge = Judge(chosen.metric.name, score, chosen.metric.lower_is_better)
    require_supervision(predictor.objective, rows, predictor.tokenizer, sources)
    try:
        trained = run.trained = fit(adapted, predictor.objective, rows, (settings, peak), place, judge, watch)
    except NotFiniteError as error:
        raise error.at(sources) from None
    for note in trained.notes:
        say(note)
    run.cost.train_seconds, run.cost.seconds_per_step = trained.seconds, trained.seconds / trained.steps
    run.cost.tokens, run.cost.optimizer_bytes = trained.tokens, trained.optimizer_bytes
    trainable = sum(value.numel() for value in adapted.trainable.values())
    body = Body.of(adapted.family)
    lengths = ((one.size, body.through(len(one.source_ids or ()), len(one))) for row in rows for one in row.sequences)
    tokens, through = map(sum, zip(*lengths, strict=True))
    epochs = trained.tokens / tokens
    run.cost.flops = method.training_flops(body.weights, trainable, round(epochs * through), epochs)
    return trained.validation


def _forgetting(run: Run, adapted: Adapted, opened: Opened) -> dict[str, Any]:
    after = measure(adapted, opened.loaded.tokenizer)
    with adapted.root():
        before = measure(adapted, opened.loaded.tokenizer)
    return forgetting(kind_of(opened.family), before, after)
