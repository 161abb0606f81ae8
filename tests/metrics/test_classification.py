from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as oracle

from rung.errors import DataError
from rung.metrics.classification import (
    METRICS,
    NO_ANSWER,
    class_counts,
    classification_metrics,
    expected_calibration_error,
    label_indices,
)

LABELS = ("billing", "delivery", "refund", "other", "never used")


@st.composite
def answered(draw: st.DrawFn) -> tuple[list[str], list[str | None]]:
    rows = draw(st.integers(1, 40))
    truth = draw(st.lists(st.sampled_from(LABELS[:4]), min_size=rows, max_size=rows))
    predicted = draw(st.lists(st.sampled_from((*LABELS[:4], None)), min_size=rows, max_size=rows))
    return truth, predicted


@settings(deadline=None, max_examples=150)
@given(answered())
def test_scores_equal_scikit_learn_with_a_missing_answer_as_a_label_of_its_own(
    rows: tuple[list[str], list[str | None]],
) -> None:
    truth, predicted = rows
    scores = classification_metrics(LABELS, truth, predicted)
    named = [label if label is not None else "<none>" for label in predicted]
    present = sorted((set(truth) | set(named)) - {"<none>"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn warns of single labels and of labels without rows
        per_class = oracle.precision_recall_fscore_support(truth, named, labels=LABELS, zero_division=0)
        f1 = oracle.f1_score(truth, named, labels=present, average="macro", zero_division=0)
        mcc = oracle.matthews_corrcoef(truth, named)
    assert scores.accuracy == pytest.approx(oracle.accuracy_score(truth, named))
    assert scores.macro_f1 == pytest.approx(f1)
    assert scores.mcc == pytest.approx(mcc)
    ours = [(row.precision, row.recall, row.f1, row.support) for row in scores.per_class]
    np.testing.assert_allclose(ours, np.array(per_class).T)
    assert [row.label for row in scores.per_class] == list(LABELS)
    full = oracle.confusion_matrix(truth, named, labels=[*LABELS, "<none>"])
    np.testing.assert_array_equal(scores.confusion, full[:5, :5])
    assert scores.unanswered == predicted.count(None) == len(truth) - scores.confusion.sum()


def test_brier_score_equals_scikit_learn() -> None:
    generator = np.random.default_rng(0)
    probabilities = generator.dirichlet([1.0] * 4, size=200)
    truth = generator.integers(4, size=200)
    names = [LABELS[t] for t in truth]
    scores = classification_metrics(LABELS[:4], names, names, probabilities)
    expected = oracle.brier_score_loss(truth, probabilities, labels=range(4), scale_by_half=False)
    assert scores.brier == pytest.approx(expected)


def test_calibration_error_of_a_case_worked_by_hand() -> None:
    # Confidences 0.9, 0.9 (one right) share the bin (13/15, 14/15]; 0.6 (right) is alone in (8/15, 9/15].
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    expected = (2 * abs(0.5 - 0.9) + abs(1 - 0.6)) / 3
    assert expected_calibration_error(np.array([0, 1, 1]), probabilities) == pytest.approx(expected)


def test_calibration_error_of_a_sure_and_right_classifier_is_zero() -> None:
    assert expected_calibration_error(np.array([0, 1]), np.eye(2)) == 0.0


def test_probabilities_are_optional() -> None:
    scores = classification_metrics(("a", "b"), ["a"], ["b"])
    assert (scores.expected_calibration_error, scores.brier) == (None, None)


def test_many_weightings_at_once_equal_repeated_rows() -> None:
    generator = np.random.default_rng(1)
    truth, predicted = generator.integers(3, size=30), generator.integers(NO_ANSWER, 3, size=30)
    weights = generator.integers(0, 4, size=(5, 2, 30))
    together = class_counts(truth, predicted, 3, weights)
    for metric in METRICS.values():
        values = metric(together)
        assert values.shape == (5, 2)
        for index in np.ndindex(5, 2):
            rows = np.repeat(np.arange(30), weights[index])
            assert values[index] == metric(class_counts(truth[rows], predicted[rows], 3))


def test_an_unknown_answer_is_refused_with_the_nearest_label() -> None:
    with pytest.raises(DataError) as raised:
        label_indices(("spam", "ham"), ["ham", "spma"])
    assert raised.value.what == "unknown label 'spma'. Did you mean 'spam'? Allowed: spam, ham."


@pytest.mark.parametrize("predicted", [[], ["a", "b"]])
def test_lengths_must_agree(predicted: list[str]) -> None:
    with pytest.raises(DataError, match=rf"truth has 1 rows and predicted has {len(predicted)}"):
        classification_metrics(("a", "b"), ["a"], predicted)


def test_a_test_row_without_a_label_is_refused() -> None:
    with pytest.raises(DataError, match="a test row has no label"):
        classification_metrics(("a", "b"), ["a", None], ["a", "b"])  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("row", [[0.5, float("nan")], [2.0, -1.0], [3.0, 4.0]])
def test_raw_scores_are_not_probabilities(row: list[float]) -> None:
    with pytest.raises(DataError, match=r"probabilities of row 1 are \["):
        classification_metrics(("a", "b"), ["a", "b"], ["a", "b"], np.array([[0.5, 0.5], row]))


def test_probabilities_need_a_column_per_label() -> None:
    with pytest.raises(DataError, match=r"probabilities have shape \(1, 3\)"):
        classification_metrics(("a", "b"), ["a"], ["a"], np.ones((1, 3)) / 3)
