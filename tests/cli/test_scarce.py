"""A full disk and too little memory: typed, with the remedy, and nothing earlier is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch
from transformers import BertConfig, BertModel

LIMITED = """
import resource, sys
from rung.cli.app import main
import rung.run, rung.artifact
{limit}
sys.exit(main())
"""
FILE_LIMIT = "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
MEMORY_LIMIT = """
import psutil
most = psutil.Process().memory_info().vms + 60_000_000
resource.setrlimit(resource.RLIMIT_AS, (most, most))
"""


def limited(limit: str, *words: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process that sets itself a limit once everything is imported."""
    command = [sys.executable, "-c", LIMITED.format(limit=limit), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert "Traceback" not in done.stderr, done.stderr
    return done


def test_a_full_disk_is_said_and_loses_nothing(climbed, tmp_path: Path):
    words = ["train", climbed.data, f"model={climbed.models['bert']}", f"output_dir={tmp_path / 'out'}"]
    settings = ["method=lora", "data.near_duplicates=false", "num_threads=1", "training.num_train_epochs=1"]
    done = limited(FILE_LIMIT, *words, *settings)
    assert done.returncode == 3
    said = done.stderr[done.stderr.index("error: ") :]
    assert said.startswith(f"error: can't write {tmp_path / 'out'}")
    assert "the file would pass the size limit of this process or file system (" in said
    assert said.endswith(
        "Nothing saved earlier was touched.\n"
        "  Mend that or set output_dir to another disk, then give the same command again.\n"
    )
    assert not (tmp_path / "out" / "run.json").exists()
    assert limited("", *words, *settings).returncode == 0
    assert json.loads((tmp_path / "out" / "run.json").read_text())["status"] == "finished"


def test_too_little_memory_is_said_with_the_remedy(climbed, tmp_path: Path):
    config = BertConfig(
        vocab_size=420, hidden_size=1024, intermediate_size=4096, num_hidden_layers=4, num_attention_heads=8,
        max_position_embeddings=64,
    )  # fmt: skip
    torch.manual_seed(0)
    BertModel(config).save_pretrained(tmp_path / "wide")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "wide" / name).write_bytes((climbed.models["bert"] / name).read_bytes())
    words = ["train", climbed.data, "method=head_only", f"model={tmp_path / 'wide'}", f"output_dir={tmp_path / 'out'}"]
    done = limited(MEMORY_LIMIT, *words, "data.near_duplicates=false", "num_threads=1")
    assert done.returncode == 5
    assert done.stderr.endswith(
        "error: out of memory: the run needs more than this machine has left\n"
        "  Choose a smaller model, a smaller training.per_device_train_batch_size or a smaller max_length.\n"
    )
