"""Runs a config in a process of its own: `asking.py CONFIG.json`."""

import json
import sys
from pathlib import Path

from rung.run import RunConfig, execute

given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
execute(RunConfig.model_validate(given), given)
