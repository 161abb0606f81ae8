"""Zero-shot, few-shot and calibration on a tiny random decoder."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from rung.errors import ConfigError
from rung.evaluate.predictor import LocalPredictor
from rung.methods.calibration import FILLERS
from rung.methods.few_shot import FewShot
from rung.methods.zero_shot import ZeroShot
from rung.run.prepare import adapt
from rung.run.record import read_prompt, write_prompt
from rung.run.start import open_model
from rung.tasks.classification import ClassificationConfig
from rung.types import Record

TASK = ClassificationConfig().resolve("text", None, "label", ("bad", "good", "so_so"), ("text", "label"))
TRAIN = [
    Record(str(at), {"text": f"w{at}", "label": ("good", "bad", "good", "so_so")[at % 4], "stars": at}, f"a.csv:{at}")
    for at in range(40)
]


@pytest.fixture(scope="module")
def predictor(tiny_models: dict[str, Path]) -> LocalPredictor:
    opened = open_model(str(tiny_models["llama"]), {"dtype": "float32", "device": "cpu"})
    return LocalPredictor(adapt(None, opened, TASK, None, 0), opened.loaded.tokenizer, TASK, None, 256)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_shots_are_balanced_and_seeded(count: int, predictor: LocalPredictor) -> None:
    method = FewShot(num_shots=count, calibration=False)
    wide = LocalPredictor(predictor.model, predictor.tokenizer, TASK, None, 4000)
    prompt = method.fit(wide, TASK, TRAIN, 3)
    answers = Counter(shot.answer for shot in prompt.shots)
    assert sum(answers.values()) == count
    assert max(answers.values()) - min(answers[label] for label in ("bad", "good", "so so")) <= 1
    assert all(shot.answer == TASK.prompt.verbalizer[str(shot.fields["label"])] for shot in prompt.shots)
    assert len({shot.fields["text"] for shot in prompt.shots}) == count
    assert method.fit(wide, TASK, TRAIN, 3) == prompt
    assert any(method.fit(wide, TASK, TRAIN, seed) != prompt for seed in range(4, 8))


def test_a_small_class_gives_what_it_has(predictor: LocalPredictor) -> None:
    few = [*[record for record in TRAIN if record.fields["label"] != "so_so"][:9], TRAIN[3]]
    wide = LocalPredictor(predictor.model, predictor.tokenizer, TASK, None, 4000)
    prompt = FewShot(num_shots=7, calibration=False).fit(wide, TASK, few, 0)
    assert Counter(shot.answer for shot in prompt.shots) == {"good": 3, "bad": 3, "so so": 1}


def test_more_shots_than_rows_are_refused(predictor: LocalPredictor) -> None:
    with pytest.raises(ConfigError) as caught:
        FewShot(num_shots=41).fit(predictor, TASK, TRAIN, 0)
    assert caught.value.what == "method.num_shots=41 and only 40 labelled training rows"


def test_shots_that_do_not_fit_say_how_many_do(predictor: LocalPredictor) -> None:
    with pytest.raises(ConfigError) as caught:
        FewShot(num_shots=9).fit(predictor, TASK, TRAIN, 0)
    assert "method.num_shots=9: the prompt takes " in caught.value.what
    assert caught.value.what.endswith(" tokens, and 128 of the model's 256 are for the shots")
    fit = int(caught.value.todo.split()[0])
    assert caught.value.todo == f"{fit} of these shots fit: set num_shots={fit}."
    FewShot(num_shots=fit, calibration=False).fit(predictor, TASK, TRAIN, 0)
    with pytest.raises(ConfigError, match=r"Not one of them fits: take zero_shot\."):
        FewShot(num_shots=2).fit(LocalPredictor(predictor.model, predictor.tokenizer, TASK, None, 80), TASK, TRAIN, 0)


def test_calibration_is_the_log_of_the_mean_share_over_content_free_texts(predictor: LocalPredictor) -> None:
    plain = ZeroShot(calibration=False).fit(predictor, TASK, TRAIN, 0)
    assert plain == TASK.prompt
    prompt = ZeroShot().fit(predictor, TASK, TRAIN, 0)
    empty = [Record(filler, {"text": filler, "label": None}, "x") for filler in FILLERS]
    shares = [one.probabilities for one in predictor.predict(empty, plain)]
    assert prompt.calibration == pytest.approx(np.log(np.mean(shares, axis=0)).tolist())
    before, after = predictor.predict(TRAIN[:5], plain), predictor.predict(TRAIN[:5], prompt)
    for one, other in zip(before, after, strict=True):
        assert one.scores == other.scores
        assert one.probabilities is not None
        weighed = np.asarray(one.probabilities) / np.exp(prompt.calibration)
        assert other.probabilities == pytest.approx((weighed / weighed.sum()).tolist())


def test_a_prompt_is_read_back_as_it_was_written(predictor: LocalPredictor, tmp_path: Path) -> None:
    prompt = FewShot(num_shots=2).fit(predictor, TASK, TRAIN, 1)
    write_prompt(tmp_path, prompt)
    assert read_prompt(tmp_path / "prompt.json") == prompt
    assert set(json.loads((tmp_path / "prompt.json").read_text())) == {
        "instruction", "template", "verbalizer", "shots", "calibration",
    }  # fmt: skip
