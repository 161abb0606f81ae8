from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from rung.methods.control import ControlMethod, FittedControl
from rung.methods.majority import Majority
from rung.methods.tfidf import Tfidf
from rung.run.record import write_control


def corpus(labels: int, rows: int) -> tuple[list[str], list[int]]:
    """Texts whose label shows in one word; label numbers in turn."""
    chance = random.Random(labels)
    targets = [number % labels for number in range(rows)]
    return [f"topic{label} " + " ".join(f"w{chance.randrange(200)}" for _ in range(5)) for label in targets], targets


def restored(method: ControlMethod, fitted: FittedControl, folder: Path) -> FittedControl:
    write_control(folder, fitted)
    settings = json.loads((folder / "control.json").read_text(encoding="utf-8"))
    return method.restore(settings, load_file(folder / "model.safetensors"))


@pytest.mark.parametrize("labels", [2, 3, 77])
@pytest.mark.parametrize("method", [Majority(), Tfidf()], ids=["majority", "tfidf"])
def test_saved_controls_answer_the_same(method: ControlMethod, labels: int, tmp_path: Path) -> None:
    texts, targets = corpus(labels, labels * 4)
    fitted = method.fit(texts, targets, labels, 0)
    asked = [*texts[:10], "", "words never seen 漢字 🙂"]
    shares = fitted.probabilities(asked)
    assert shares.shape == (len(asked), labels)
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.isfinite(shares).all()
    assert np.array_equal(restored(method, fitted, tmp_path).probabilities(asked), shares)


@pytest.mark.parametrize("labels", [2, 77])
def test_tfidf_learns_words(labels: int) -> None:
    texts, targets = corpus(labels, labels * 4)
    unseen, right = corpus(labels, labels * 2)
    found = Tfidf().fit(texts, targets, labels, 0).probabilities(unseen).argmax(axis=1)
    assert (found == right).mean() > 0.95


def test_tfidf_is_deterministic_and_calibrated_on_held_out_rows() -> None:
    texts, targets = corpus(3, 60)
    first, second = (Tfidf().fit(texts, targets, 3, 5) for _ in range(2))
    assert np.array_equal(first.probabilities(texts), second.probabilities(texts))
    assert first.temperature != 1.0


def test_classes_with_one_row_leave_the_temperature_alone() -> None:
    texts, targets = corpus(2, 20)
    fitted = Tfidf().fit([*texts, "lonely"], [*targets, 2], 3, 0)
    assert fitted.temperature == 1.0
    assert fitted.probabilities(["lonely"]).argmax() == 2


@pytest.mark.parametrize("missing", [0, 2])
@pytest.mark.parametrize("present", [2, 3])
def test_a_label_without_training_rows_is_never_answered(present: int, missing: int) -> None:
    texts, targets = corpus(present, 24)
    numbers = [target + (target >= missing) for target in targets]
    shares = Tfidf().fit(texts, numbers, present + 1, 0).probabilities([*texts, "", "never seen"])
    assert missing not in shares.argmax(axis=1)
    assert not Majority().fit(texts, numbers, present + 1, 0).probabilities(["x"])[0, missing]


def test_texts_without_any_word_are_told_apart_by_their_signs() -> None:
    fitted = Tfidf().fit(["!!!", "???", "!!", "??"] * 3, [0, 1, 0, 1] * 3, 2, 0)
    assert fitted.probabilities(["!!!!", "????"]).argmax(axis=1).tolist() == [0, 1]


def test_majority_gives_the_shares() -> None:
    fitted = Majority().fit(["a", "b", "c", "d"], [1, 1, 1, 0], 3, 0)
    assert fitted.probabilities(["x", "y"]).tolist() == [[0.25, 0.75, 0.0]] * 2
    assert torch.from_numpy(fitted.arrays()["shares"]).dtype == torch.float64
