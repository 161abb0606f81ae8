"""Writing with a local model: what is supervised, what is written, how likely it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from rung.data.readers import read
from rung.evaluate.generating import GeneratingPredictor, Written
from rung.evaluate.intervals import sums_interval
from rung.methods.few_shot import FewShot
from rung.metrics.metric import scores
from rung.run.prepare import adapt
from rung.run.start import open_model
from rung.tasks.generation import Generation, GenerationConfig
from rung.types import IGNORED, Record

GSM8K = Path(__file__).parents[2] / "examples" / "data" / "gsm8k_test.jsonl"
RECORDS = [
    Record(str(at), {"q": " ".join(["joy", "dull", "plot"][at % 3 :] * (at + 1)), "a": f"answer {at}"}, f"a.csv:{at}")
    for at in range(7)
]


def task(**settings: int | str) -> Generation:
    return GenerationConfig.model_validate({"max_new_tokens": 10, **settings}).resolve("q", None, "a", (), ("q", "a"))


def predictor(folder: Path, asked: Generation, dtype: str = "float32", max_length: int = 128) -> GeneratingPredictor:
    opened = open_model(str(folder), {"dtype": dtype, "device": "cpu"})
    return GeneratingPredictor(adapt(None, opened, asked, None, 0), opened.loaded.tokenizer, asked, None, max_length)


@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_rows_written_together_are_as_written_alone(model: str, tiny_models: dict[str, Path]) -> None:
    writer = predictor(tiny_models[model], task(), "float32")
    together = writer.predict(RECORDS)
    assert together == [writer.predict([record])[0] for record in RECORDS]
    assert [one.id for one in together] == [record.id for record in RECORDS]
    assert all(isinstance(one, Written) for one in together)
    assert len({one.label for one in together}) > 1


def test_what_a_limit_cut_is_marked(tiny_models: dict[str, Path]) -> None:
    writer = predictor(tiny_models["llama"], task(max_new_tokens=1))
    for one in writer.predict(RECORDS):
        assert isinstance(one, Written)
        assert one.finished == (one.label == "")


def test_likelihoods_are_the_loss_of_the_completion_and_its_end(tiny_models: dict[str, Path]) -> None:
    writer = predictor(tiny_models["llama"], task(), "float64")
    found = writer.likelihoods(RECORDS)
    module = open_model(str(tiny_models["llama"]), {"dtype": "float64", "device": "cpu"}).loaded.module
    for record, total, count in zip(RECORDS, found.sums, found.counts, strict=True):
        prompt = writer.request_ids(record, writer.task.prompt)
        answer = [*writer.tokenizer.encode(record.fields["a"], add_special_tokens=False), writer.tokenizer.eos_token_id]
        with torch.inference_mode():
            logs = module(input_ids=torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
        assert count == len(answer)
        assert -logs.gather(1, torch.tensor(answer).unsqueeze(1)).sum().item() == pytest.approx(total, rel=1e-6)
    assert found.loss == pytest.approx(found.sums.sum() / found.counts.sum())


def test_long_prompts_and_long_answers_are_cut_and_counted(tiny_models: dict[str, Path]) -> None:
    writer = predictor(tiny_models["llama"], task(), max_length=64)
    long = [
        Record("prompt", {"q": "joy " * 300, "a": "yes"}, "a.csv:2"),
        Record("answer", {"q": "joy", "a": "dull " * 300}, "a.csv:3"),
        Record("short", {"q": "joy", "a": "dull"}, "a.csv:4"),
    ]
    rows = writer.rows(long, writer.task.prompt)
    assert [row.truncated > 0 for row in rows] == [True, True, False]
    assert all(len(row.sequences[0]) <= 64 for row in rows)
    end = writer.tokenizer.eos_token_id
    assert [row.sequences[0].input_ids[-1] == end for row in rows] == [True, False, True]
    assert len(writer.request_ids(long[0], writer.task.prompt)) <= 54
    assert writer.likelihoods(long).cut == 2


def test_golden_rows_are_short_and_replay_to_their_score(tiny_models: dict[str, Path]) -> None:
    writer = predictor(tiny_models["llama"], task(max_new_tokens=100))
    golden = writer.golden(RECORDS)
    longest = max(len(writer.tokenizer.encode(str(one.label), add_special_tokens=False)) for one in golden)
    assert longest <= 2 * 32
    again = writer.replayed(RECORDS, [str(one.label) for one in golden])
    assert [one.scores for one in again] == [one.scores for one in golden]
    assert all(one.scores is not None and one.scores[0] < 0 for one in golden)


def test_shots_show_whole_answers(tiny_models: dict[str, Path]) -> None:
    writer = predictor(tiny_models["llama"], task(instruction="Say it."), max_length=2000)
    prompt = FewShot(num_shots=3).fit(writer, writer.task, RECORDS, 1)
    assert prompt.calibration is None
    assert {shot.answer for shot in prompt.shots} < {record.fields["a"] for record in RECORDS}
    example = writer.task.render(RECORDS[0], prompt)
    assert [message.role for message in example.messages] == ["user", "assistant"] * 3 + ["user"]
    assert [message.content.startswith("Say it.\n\n") for message in example.messages] == [True] + [False] * 6


def test_supervised_tokens_are_the_completion_and_its_end_of_turn(
    smollm2_path: Path, tiny_models: dict[str, Path]
) -> None:
    asked = GenerationConfig(max_new_tokens=256).resolve("question", None, "answer", (), ("question", "answer"))
    writer = predictor(tiny_models["llama"], asked, max_length=1024)
    writer.tokenizer = AutoTokenizer.from_pretrained(smollm2_path)
    records = read(str(GSM8K), None).records
    for record, row in zip(records, writer.rows(records, asked.prompt), strict=True):
        tokens = row.sequences[0]
        assert tokens.labels is not None
        kept = [label for label in tokens.labels if label != IGNORED]
        assert writer.tokenizer.decode(kept) == record.fields["answer"] + "<|im_end|>"
        assert tokens.input_ids[len(tokens) - len(kept) :] == tuple(kept)
        assert row.truncated == 0
        read_before = writer.tokenizer.decode(tokens.input_ids[: len(tokens) - len(kept)])
        assert read_before.endswith(f"user\n{record.fields['question']}<|im_end|>\n<|im_start|>assistant\n")


def test_an_interval_holds_its_ratio_and_ignores_the_order_of_rows() -> None:
    chance = np.random.default_rng(0)
    sums, counts = chance.gamma(4, 10, 200), chance.integers(1, 40, 200).astype(float)
    rows = np.stack([sums, counts], axis=1)
    low, high = sums_interval(rows)
    assert low < sums.sum() / counts.sum() < high
    assert sums_interval(rows[::-1]) == (low, high)
    means = sums_interval(scores(sums))
    spread = 1.96 * sums.std() / np.sqrt(200)
    assert means == pytest.approx((sums.mean() - spread, sums.mean() + spread), rel=0.02)
    assert sums_interval(scores(np.ones(5))) == (1.0, 1.0)


def test_the_template_shows_what_it_names() -> None:
    asked = GenerationConfig(template="{{ q }}!").resolve("q", None, "a", (), ("q", "a"))
    assert asked.render(RECORDS[0], asked.prompt).messages[-1].content == RECORDS[0].fields["q"] + "!"
    pair = GenerationConfig().resolve("q", "more", "a", (), ("q", "more", "a"))
    with_more = replace(RECORDS[0], fields={"q": "Why?", "more": "Because.", "a": "b"})
    without = replace(RECORDS[0], fields={"q": "Why?", "more": None, "a": "b"})
    assert pair.render(with_more, pair.prompt).messages[-1].content == "Why?\n\nBecause."
    assert pair.render(without, pair.prompt).messages[-1].content == "Why?"
