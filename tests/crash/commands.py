"""Real `rung train` runs, small enough to be run thousands of times: their command, and what they must give."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_models
from rung.cli.app import main
from rung.engine import fsio

GOOD = ["joy", "warm", "played", "well", "start", "film", "prize", "dinner"]
BAD = ["dull", "worst", "poor", "no", "jokes", "evening", "years", "plot"]
REST = [f"word{number}" for number in range(60)]
ROWS = 56

KINDS = {
    # Dropout on in both: the adapter's own, and the encoder's inside its layers.
    "decoder, LoRA": {
        "model": "llama",
        "method": {"type": "lora", "r": 2, "lora_dropout": 0.2, "target_modules": ["q_proj"]},
        "training": {"num_train_epochs": 3, "save_steps": 3, "save_total_limit": 2},
    },
    "encoder, full": {
        "model": "bert",
        "method": "full",
        "training": {"num_train_epochs": 2, "save_steps": 3, "save_total_limit": 1},
    },
}

MEASURED = {"seconds", "created", "peak_memory_bytes", "forecast", "outcome"}
"""What `run.json`, `cost.json` and the history say of time and memory."""


@dataclass(frozen=True)
class Bench:
    """Rows and models, in one folder; each run gets a folder of its own below it."""

    folder: Path

    @classmethod
    def build(cls, folder: Path) -> Bench:
        tiny_models.build(folder / "models")
        chance = random.Random(0)
        lines = ["text,label"]
        for number in range(ROWS):
            label, words = (("good", GOOD), ("bad", BAD))[number % 2]
            lines.append(f"{' '.join(chance.sample(words, 3) + chance.sample(REST, 3))},{label}")
        (folder / "rows.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return cls(folder)

    def run(self, name: str, kind: str) -> Run:
        """A run that has not begun: its settings are written, its folder is not."""
        how = KINDS[kind]
        home = self.folder / name
        home.mkdir(parents=True)
        settings = {
            "data": {"train": str(self.folder / "rows.csv"), "test_size": 0.25, "near_duplicates": False},
            "task": {"type": "classification", "text": "text", "label": "label"},
            "model": str(self.folder / "models" / str(how["model"])),
            "method": how["method"],
            "training": {"per_device_train_batch_size": 8, **how["training"]},
            "num_threads": 1,
            "max_length": 128,
            "output_dir": str(home / "out"),
        }
        (home / "run.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        return Run(home)


@dataclass(frozen=True)
class Run:
    """One run: `run.yaml`, the folder `out` it writes, what it `said`, and the optimizer it ended with."""

    home: Path

    @property
    def out(self) -> Path:
        return self.home / "out"

    @property
    def said(self) -> str:
        return (self.home / "said").read_text(encoding="utf-8")

    def command(self, *words: str) -> int:
        """`rung train run.yaml`, in this process; gives the exit code."""
        return main(["train", str(self.home / "run.yaml"), *words])

    def fork(self, before: Callable[[], None] = lambda: None, *words: str) -> int:
        """Start the command in a child process, which does `before` first; gives its process id."""
        child = os.fork()
        if child:
            return child
        try:
            said = os.open(self.home / "said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(said, 1)
            os.dup2(said, 2)
            keep_optimizer(self)
            before()
            code = self.command(*words)
            sys.stderr.flush()
            os._exit(code)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(99)

    def end(self, before: Callable[[], None] = lambda: None, *words: str) -> int:
        """The command in a child process, to its end: its exit code, or minus the signal that ended it."""
        return os.waitstatus_to_exitcode(os.waitpid(self.fork(before, *words), 0)[1])

    def result(self) -> dict[str, str]:
        """What must be the same to the byte: the hash of each file, times left out, and of the optimizer's state."""
        paths = [path for path in self.out.rglob("*") if path.is_file()]
        files = {path.relative_to(self.out).as_posix(): timeless_content(path) for path in paths}
        files["optimizer"] = (self.home / "optimizer").read_bytes()
        return {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}

    def differs(self, wanted: dict[str, str]) -> str:
        """How this finished run differs from the one wanted; empty when it does not."""
        found = self.result()
        return ", ".join(sorted(name for name in wanted | found if wanted.get(name) != found.get(name)))


def keep_optimizer(run: Run) -> None:
    """Note the newest checkpoint's weights and moments when the command, being done, removes its checkpoints."""
    checkpoints = run.out / "checkpoints"

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "shutil.rmtree" and str(arguments[0]) == str(checkpoints):
            steps = sorted(checkpoints.glob("step-*"), key=lambda path: int(path.name.removeprefix("step-")))
            # A run killed while it removes them has noted them already; the rest of them is not what it ended with.
            if steps and not (run.home / "optimizer").exists():
                hashes = {path.name: fsio.sha256_file(path) for path in sorted(steps[-1].glob("*.safetensors"))}
                (run.home / "optimizer").write_text(json.dumps({"step": steps[-1].name, **hashes}))

    sys.addaudithook(watch)


def timeless_content(path: Path) -> bytes:
    """A file's bytes, with times and memory left out of the files that record them."""
    if path.name in {"run.json", "cost.json"}:
        body = json.dumps(_timeless(json.loads(path.read_bytes())))
        # Where a run's folder lies is not what it holds.
        return body.replace(str(path.parent), "").encode()
    if path.name == "history.jsonl":
        return json.dumps([_timeless(json.loads(line)) for line in path.read_bytes().splitlines()]).encode()
    return path.read_bytes()


def _timeless(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: _timeless(inner)
            for key, inner in value.items()
            if key not in MEASURED and not key.endswith(("_seconds", "seconds_per_request", "seconds_per_step"))
        }
    return value
