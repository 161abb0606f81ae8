"""The rows of the decoder benches: encoded once by Rung's own data path, and given to every side as token ids.

They are kept in a file, so that the process of a peer holds nothing of Rung: `python -m benchmarks.rows NAME FILE`.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MODEL = "smollm2-135m-instruct"
ROOT = Path(__file__).parents[1]
KEPT = ROOT / "build" / "benchmarks" / "rows"
TRAIN, HELD_OUT, MAX_LENGTH, IGNORED = 256, 64, 1024, -100
INSTRUCTION = (
    "You are given one text message as it arrived on a phone. Decide whether it was sent by a person to someone they "
    "know, or is unwanted advertising or fraud."
)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A row as every side gets it: `[T]` ids and `[T]` labels, aligned with them, `IGNORED` where unsupervised."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Workload:
    """The rows of a measurement.

    Attributes:
        model: Folder of the model.
        warmup: Rows of the first step, which is not timed.
        timed: Rows of all further steps.
        held_out: Rows of the final loss.
        batch: Rows of a step.
        digest: Hash of all ids and labels.
    """

    model: str
    warmup: tuple[Encoded, ...]
    timed: tuple[Encoded, ...]
    held_out: tuple[Encoded, ...]
    batch: int
    digest: str

    @property
    def tokens(self) -> int:
        """Real tokens of the timed rows."""
        return sum(len(row) for row in self.timed)

    def by_length(self) -> list[list[Encoded]]:
        """The timed rows in batches of like length, the batches in a random order that is the same for all.

        This is grouping at its best: transformers' own groups within 50 batches, and not at all in runs as short as
        these.
        """
        import torch

        ordered = sorted(self.timed, key=len)
        cut = [ordered[at : at + self.batch] for at in range(0, len(ordered), self.batch)]
        return [cut[at] for at in torch.randperm(len(cut), generator=torch.Generator().manual_seed(0)).tolist()]

    def at_random(self) -> list[list[Encoded]]:
        """The timed rows in batches as they come: the rows stand in a random order already."""
        return [list(self.timed[at : at + self.batch]) for at in range(0, len(self.timed), self.batch)]

    def facts(self) -> dict[str, Any]:
        """What the rows are, for the record."""
        lengths = [len(row) for row in self.timed]
        return {
            "rows": len(lengths),
            "mean_tokens": sum(lengths) / len(lengths),
            "longest": max(lengths),
            "shared_tokens": shared([row.ids for row in self.timed]),
            "supervised_tokens": sum(label != IGNORED for row in self.timed for label in row.labels),
        }


def load(args: dict[str, Any]) -> Workload:
    """The rows that a measurement's arguments name: `data`, `warmup`, `rows`, `held_out`, `batch`."""
    kept = json.loads(_kept(args["data"]).read_text(encoding="utf-8"))
    train, held_out = ([Encoded(tuple(ids), tuple(labels)) for ids, labels in kept[part]] for part in ("train", "test"))
    first, count = args["warmup"], args["rows"]
    assert first + count <= len(train), f"rows={count}: {len(train)} rows were encoded"
    timed, judged = train[first : first + count], held_out[: args["held_out"]]
    used = json.dumps([[row.ids, row.labels] for row in (*train[:first], *timed, *judged)])
    digest = hashlib.sha256(used.encode()).hexdigest()[:16]
    return Workload(kept["model"], tuple(train[:first]), tuple(timed), tuple(judged), args["batch"], digest)


def prompts(rows: Sequence[Encoded]) -> list[tuple[int, ...]]:
    """What stands before each row's answer."""
    return [row.ids[: next(at for at, label in enumerate(row.labels) if label != IGNORED)] for row in rows]


def shared(sequences: Sequence[tuple[int, ...]]) -> int:
    """Tokens that all sequences begin with."""
    lowest, highest = min(sequences), max(sequences)
    pairs = zip(lowest, highest, strict=False)
    return next((at for at, (one, other) in enumerate(pairs) if one != other), min(len(lowest), len(highest)))


def encode(data: str) -> dict[str, Any]:
    """Train and test rows of `sms` or `gsm8k`, by Rung's tasks, prompts and objective."""
    from rung.models.load import load_tokenizer
    from rung.models.locate import locate
    from rung.objectives.causal_lm import CausalLM

    folder = locate(MODEL)
    tokenizer = load_tokenizer(folder)
    train, test = _sms(tokenizer) if data == "sms" else _gsm8k()
    parts = {}
    for part, examples in (("train", train), ("test", test)):
        rows = [CausalLM().encode(example, tokenizer, MAX_LENGTH).sequences[0] for example in examples]
        parts[part] = [[row.input_ids, row.labels] for row in rows]
    return {"model": str(folder), **parts}


def _sms(tokenizer: Any) -> tuple[list[Any], list[Any]]:
    from rung.run import RunConfig
    from rung.run.prepare import prepare_data
    from rung.tasks.fitting import fit

    config = RunConfig.model_validate(
        {
            "data": {"train": str(ROOT / "examples/data/sms_spam.tsv")},
            "task": {"type": "classification", "instruction": INSTRUCTION},
            "model": MODEL,
            "method": {"type": "lora"},
        }
    )
    data, task = prepare_data(config)
    records = data.splits.train[: TRAIN + HELD_OUT]
    examples = [fit(task, record, task.prompt, tokenizer, MAX_LENGTH // 2).example for record in records]
    return examples[:TRAIN], examples[TRAIN:]


def _gsm8k() -> tuple[list[Any], list[Any]]:
    from rung.types import Example, Message

    def read(part: str, count: int) -> list[Example]:
        shipped = ROOT / "examples" / "data" / f"gsm8k_{part}.jsonl"
        path = shipped if shipped.is_file() else Path(os.environ.get("RUNG_DATA", ".")) / "gsm8k" / f"{part}.jsonl"
        with path.open(encoding="utf-8") as lines:
            records = [json.loads(line) for _, line in zip(range(count), lines, strict=False)]
        return [
            Example(str(at), messages=(Message("user", one["question"]),), answer=one["answer"])
            for at, one in enumerate(records)
        ]

    return read("train", TRAIN), read("test", HELD_OUT)


def _kept(data: str) -> Path:
    """Where the rows of a benchmark are; they are encoded anew when what encodes them has changed."""
    product = ROOT / "src" / "rung"
    sources = [Path(__file__), product / "models/tokenizer.py", product / "objectives/causal_lm.py"]
    sources += sorted(product.glob("tasks/*.py"))
    content = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    path = KEPT / f"{data}-{content}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "benchmarks.rows", data, str(path)], check=True, timeout=120)
    return path


def main() -> None:
    """Encode rows into a file."""
    draft = Path(sys.argv[2] + ".draft")
    draft.write_text(json.dumps(encode(sys.argv[1])), encoding="utf-8")
    draft.replace(sys.argv[2])


if __name__ == "__main__":
    main()
