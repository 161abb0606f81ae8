"""The rows of the encoder benches: Banking77, encoded once by Rung's own data path, as token ids for every side.

They are kept in a file, so that the process of a peer holds nothing of Rung: `python -m benchmarks.intents FILE`.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "minilm-l6"
DATA = Path(__file__).parents[1] / "examples" / "data"
KEPT = Path(__file__).parents[1] / "build" / "benchmarks" / "rows"
TRAIN, HELD_OUT = 2048, 500


@dataclass(frozen=True, slots=True)
class Text:
    """A row: `[T]` ids, `[T]` segments, and the number of its label."""

    ids: tuple[int, ...]
    types: tuple[int, ...]
    label: int


@dataclass(frozen=True, slots=True)
class Intents:
    """The rows of a measurement, and the recipe that is alike on all sides.

    Attributes:
        model: Folder of the model.
        labels: Number of labels.
        train: Rows trained on; the first step's batch is not timed.
        held_out: Rows it is judged by.
        batch: Rows of a step.
        epochs: Passes.
        rate: Peak learning rate: 3 % of the steps rise to it linearly, the others fall to 0.
        digest: Hash of all rows.
    """

    model: str
    labels: int
    train: tuple[Text, ...]
    held_out: tuple[Text, ...]
    batch: int
    epochs: int
    rate: float
    digest: str

    def timed(self, untimed_steps: int = 1) -> tuple[int, int]:
        """Rows and real tokens that are timed; of the untimed steps the average number of tokens is taken."""
        all_rows = self.epochs * len(self.train)
        rows = all_rows - untimed_steps * min(self.batch, len(self.train))
        return rows, round(self.epochs * sum(len(text.ids) for text in self.train) * rows / all_rows)


def load(args: dict[str, Any]) -> Intents:
    """The rows that a measurement's arguments name: `rows`, `held_out`, `batch`, `epochs`, `rate`."""
    kept = json.loads(_kept().read_text(encoding="utf-8"))
    train, held_out = (
        tuple(Text(tuple(ids), tuple(types), label) for ids, types, label in kept[part][:count])
        for part, count in (("train", args["rows"]), ("test", args["held_out"]))
    )
    digest = hashlib.sha256(repr((train, held_out)).encode()).hexdigest()[:16]
    recipe = (args["batch"], args["epochs"], args["rate"])
    return Intents(kept["model"], kept["labels"], train, held_out, *recipe, digest)


def encode() -> dict[str, Any]:
    """Some rows of each split as Rung reads and encodes them, shuffled: the file stands in the order of its labels."""
    from rung.models.load import load_tokenizer
    from rung.models.locate import locate
    from rung.objectives.classification import Classification
    from rung.run import RunConfig
    from rung.run.prepare import prepare_data

    config = RunConfig.model_validate(
        {
            "data": {
                "train": str(DATA / "banking77_train.csv"),
                "test": str(DATA / "banking77_test.csv"),
                "max_train_rows": TRAIN,
                "max_test_rows": HELD_OUT,
                "near_duplicates": False,
            },
            "task": {"type": "classification", "text": "text", "label": "category"},
            "model": MODEL,
            "method": {"type": "full"},
        }
    )
    data, task = prepare_data(config)
    folder = locate(MODEL)
    tokenizer = load_tokenizer(folder)
    parts = {}
    for part, records in (("train", data.splits.train), ("test", data.splits.test)):
        rows = [Classification().encode(task.render(record, task.prompt), tokenizer, 512) for record in records]
        parts[part] = [
            [one.input_ids, one.token_type_ids or (0,) * len(one), row.target] for row in rows for one in row.sequences
        ]
        random.Random(0).shuffle(parts[part])
    return {"model": str(folder), "labels": len(task.labels), **parts}


def _kept() -> Path:
    source = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]
    path = KEPT / f"intents-{source}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "benchmarks.intents", str(path)], check=True, timeout=120)
    return path


def main() -> None:
    """Encode rows into a file."""
    draft = Path(sys.argv[1] + ".draft")
    draft.write_text(json.dumps(encode()), encoding="utf-8")
    draft.replace(sys.argv[1])


if __name__ == "__main__":
    main()
