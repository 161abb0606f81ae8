"""Rows through the data path: seconds and memory of each stage, for a thousand to a million rows.

Each size runs in a process of its own. It reads a CSV of short labelled texts (one in fifty comes again, one in fifty
nearly), finds the columns, cuts and checks the splits, encodes the training rows for a decoder and for an encoder,
orders an epoch and fetches all of its batches. A thread samples the process's memory: `anonymous` is what the process
itself holds beyond what it held before the first stage; `mapped` are pages of files, which the system takes back.
"""

from __future__ import annotations

import random
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

WORDS_OF_A_TEXT = 20
DECODED = 20_000
"""Rows encoded for a decoder, at most: the rate shows long before the last row."""
BATCH = 16
MODELS = {"encode (encoder)": "bert-tiny", "encode (decoder)": "smollm2-135m-instruct"}


def through(args: dict[str, Any]) -> dict[str, Any]:
    """Every stage over a file of `size` rows: see README.md for what comes back, and `stages` beside it."""
    size = args["size"]
    with tempfile.TemporaryDirectory(prefix="rung-growth-") as folder:
        path = Path(folder) / "rows.csv"
        write_rows(path, size)
        stages = measure(str(path))
    return {"rows": size, "seconds": sum(stage["seconds"] for stage in stages.values()), "tokens": 0, "stages": stages}


def write_rows(path: Path, size: int) -> None:
    """A CSV of `size` texts of about twenty words, the same for the same size."""
    chance = random.Random(0)
    syllables = [first + vowel + last for first in "bdfgklmnprst" for vowel in "aeiou" for last in ("", "n", "r", "st")]
    words = [chance.choice(syllables) + chance.choice(syllables) for _ in range(5_000)]
    earlier = ["nothing said yet"]
    with path.open("w", encoding="utf-8") as file:
        file.write("text,label\n")
        for number in range(size):
            kind = number % 50
            text = " ".join(chance.choices(words, k=chance.randint(WORDS_OF_A_TEXT - 8, WORDS_OF_A_TEXT + 8)))
            if kind in (1, 2):
                text = chance.choice(earlier) + (" again" if kind == 2 else "")
            elif len(earlier) < 1_000:
                earlier.append(text)
            file.write(f"{text},{chance.choice(('calm', 'glad', 'angry', 'sad'))}\n")


class Meter:
    """Seconds and peak memory of each stage."""

    def __init__(self) -> None:
        self.stages: dict[str, dict[str, Any]] = {}
        self._before = memory()
        self._peak = dict(self._before)
        threading.Thread(target=self._watch, daemon=True).start()

    @contextmanager
    def stage(self, name: str, rows: int) -> Iterator[None]:
        """Measure what runs within, which handles `rows` rows."""
        self._peak = memory()
        began = time.perf_counter()
        yield
        seconds = time.perf_counter() - began
        self._look()
        self.stages[name] = {
            "rows": rows,
            "seconds": seconds,
            "rows_per_second": rows / seconds,
            **{kind: self._peak[kind] - self._before[kind] for kind in self._peak},
        }

    def _watch(self) -> None:
        while True:
            self._look()
            time.sleep(0.02)

    def _look(self) -> None:
        for kind, size in memory().items():
            self._peak[kind] = max(self._peak[kind], size)


def memory() -> dict[str, int]:
    """Bytes the process holds now: `anonymous`, `mapped` from files, and `resident` in all."""
    names = {"RssAnon": "anonymous", "RssFile": "mapped", "VmRSS": "resident"}
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    parts = (line.split() for line in lines)
    return {names[part[0][:-1]]: int(part[1]) * 1024 for part in parts if part[0][:-1] in names}


def measure(path: str) -> dict[str, dict[str, Any]]:
    """All stages over one file, in one process."""
    from rung.data.checks import check
    from rung.data.columns import infer_columns
    from rung.data.ledger import Ledger
    from rung.data.readers import read
    from rung.data.settings import DataConfig
    from rung.data.split import split
    from rung.engine.sources import DatasetSource

    encoders = {name: encoder(model) for name, model in MODELS.items()}
    config = DataConfig(train=path)
    meter = Meter()
    with Path(path).open(encoding="utf-8") as file:
        size = sum(1 for _ in file) - 1
    with meter.stage("read", size):
        table = read(path)
    with meter.stage("find columns", size):
        columns = infer_columns(table, {})
    ledger = Ledger()
    ledger.include(table.ledger)
    with meter.stage("split", size):
        splits = split(config, columns, {"train": table}, ledger)
    with meter.stage("check", size):
        report = check(splits, columns)
    train = splits.train
    rows = []
    for name, encode in reversed(encoders.items()):
        part = train[:DECODED] if "decoder" in name else train
        with meter.stage(name, len(part)):
            rows = encode(part, columns, sorted(report.classes["train"]))
    with meter.stage("order of an epoch", len(rows)):
        source = DatasetSource(rows, BATCH, 1, 0, False)
        source.step(0)
    with meter.stage("batches of an epoch", len(rows)):
        fetched = sum(len(batch.rows) for step in range(source.steps_per_epoch) for batch in source.step(step))
    assert fetched == len(rows), f"{fetched} of {len(rows)} rows were fetched"
    return meter.stages


def encoder(model: str) -> Callable[..., Any]:
    """Encodes records as a run with this model does."""
    from transformers import AutoTokenizer

    from rung.evaluate.predictor import LocalPredictor
    from rung.models.fetch import fetch
    from rung.models.references import CatalogueReference
    from rung.objectives.causal_lm import CausalLM
    from rung.objectives.classification import Classification
    from rung.tasks.classification import ClassificationConfig

    tokenizer = AutoTokenizer.from_pretrained(fetch(CatalogueReference(model)))
    objective = CausalLM() if tokenizer.chat_template else Classification()
    nobody: Any = SimpleNamespace(family=None)  # rows are encoded by the tokenizer alone

    def encode(records: Any, columns: Any, labels: list[str]) -> Any:
        task = ClassificationConfig().resolve(columns.text, None, columns.label, labels, tuple(records[0].fields))
        return LocalPredictor(nobody, tokenizer, task, objective, 256).rows(records, task.prompt)

    return encode
