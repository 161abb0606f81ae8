"""Kills a run at random moments, then lets it end: `killed_run.py CONFIG.json SEED KILLS`."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from pathlib import Path

from rung.run import RunConfig, execute


def main() -> None:
    config = RunConfig.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    chance, kills = random.Random(int(sys.argv[2])), int(sys.argv[3])
    history = Path(config.output_dir) / "history.jsonl"
    killed = 0
    while killed < kills:
        child = os.fork()
        if child == 0:
            execute(config, {})
            os._exit(0)
        time.sleep(chance.uniform(0.2, 1.2))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            break
        killed += 1
        print("killed", len(history.read_bytes().splitlines()) if history.exists() else 0, flush=True)
    execute(config, {})


main()
