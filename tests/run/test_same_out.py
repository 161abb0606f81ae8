"""Same in, same out: a run's texts, written again in a new process by the libraries that others use.

Nothing of Rung's is imported there: the folder is opened with transformers (and PEFT), rows are rendered by the saved
chat template, and the plain `generate` writes. Token ids and texts must be those of the run.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rung.artifact import load
from rung.cli.app import main
from rung.config.validation import build
from rung.run import RunConfig, execute

LIMIT = 8
ELSEWHERE = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

folder, base, kind, rows = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
tokenizer = AutoTokenizer.from_pretrained(folder if kind == "full" else base)
tokenizer.chat_template = open(folder + "/chat_template.jinja", encoding="utf-8").read()
if kind == "full":
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
else:
    from peft import PeftModel
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), folder)
model.eval()
end = tokenizer.convert_tokens_to_ids("<|im_end|>")
found = []
for turns in rows:
    ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    out = model.generate(
        torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=LIMIT, do_sample=False, eos_token_id=end, pad_token_id=end,
    )[0, len(ids):].tolist()
    ended = end in out
    text = tokenizer.decode(out[: out.index(end)] if ended else out, skip_special_tokens=True)
    found.append({"ids": ids, "text": text, "finish_reason": "stop" if ended else "length"})
print(json.dumps(found))
""".replace("LIMIT", str(LIMIT))


def chats() -> list[dict[str, Any]]:
    """Questions whose answer is a word of theirs: learned within a few passes, its end included."""
    chance = random.Random(0)
    rows = []
    for _ in range(80):
        said: list[dict[str, str]] = []
        for _ in range(chance.randint(1, 2)):
            word = chance.choice(["joy", "warm"])
            said += [{"role": "user", "content": f"{word}?"}, {"role": "assistant", "content": word}]
        rows.append({"messages": said})
    return rows


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_the_folder_answers_alike_elsewhere(
    kind: str, tiny_models: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in chats()), encoding="utf-8")
    base = tiny_models["llama"]
    method: dict[str, Any] = (
        {"type": "full"} if kind == "full" else {"type": "lora", "r": 8, "target_modules": "all-linear"}
    )
    folder = execute(
        build(
            RunConfig,
            {
                "data": {"train": str(path), "test_size": 0.2, "near_duplicates": False},
                "task": {"type": "generation", "max_new_tokens": LIMIT},
                "method": method,
                "training": {"num_train_epochs": 30, "per_device_train_batch_size": 8, "learning_rate": 0.01},
                "model": str(base),
                "precision": "float32",
                "num_threads": 1,
                "max_length": 160,
                "output_dir": str(tmp_path / "out"),
            },
        ),
        {},
    )
    golden = [json.loads(line) for line in (folder / "golden.jsonl").read_text(encoding="utf-8").splitlines()]
    written = [json.loads(line) for line in (folder / "predictions.jsonl").read_text(encoding="utf-8").splitlines()]
    asked = [row["fields"]["messages"][:-1] for row in golden]
    words = [str(folder), str(base), kind, json.dumps(asked)]
    out = subprocess.run([sys.executable, "-c", ELSEWHERE, *words], check=True, capture_output=True, text=True)
    elsewhere = json.loads(out.stdout)
    assert [one["ids"] for one in elsewhere] == [row["input_ids"] for row in golden], "token ids differ"
    by_id = {row["id"]: row for row in written}
    ours = [by_id[row["id"]] for row in golden]
    assert [one["text"] for one in elsewhere] == [row["prediction"] for row in ours]
    assert [one["finish_reason"] for one in elsewhere] == [row["finish_reason"] for row in ours]
    assert {row["finish_reason"] for row in written} == {"stop"}, "it was not learned where an answer ends"

    assert load(folder).verify(all=True) == []
    asking = tmp_path / "asked.jsonl"
    asking.write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in asked), encoding="utf-8")
    assert main(["predict", str(folder), str(asking), "--format", "jsonl"]) == 0
    predicted = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["prediction"] for row in predicted] == [row["prediction"] for row in ours]
    assert {row["finish_reason"] for row in predicted} == {"stop"}
