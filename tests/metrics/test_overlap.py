"""ROUGE, chrF and BLEU: the libraries' own scores, from sums over rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from rung.metrics.overlap import bleu, bleu_counts, chrf, chrf_counts, rouge

WORDS = ["the", "cat", "sat", "on", "it's", "42", "3.5", ".", ",", "Mat", "hund", "é", "мир", "我们", "a_b"]
TEXTS = st.lists(st.sampled_from(WORDS), max_size=9).map(" ".join)
PAIRS = st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=8)
ASCII = st.text(st.sampled_from("abcXYZ019 .,_'-\n"), max_size=40)


@given(pairs=PAIRS)
@settings(max_examples=60, deadline=None)
def test_corpus_scores_are_those_of_sacrebleu(pairs: list[tuple[str, str]]) -> None:
    truth, written = (list(texts) for texts in zip(*pairs, strict=True))
    for counts, value, library in ((bleu_counts, bleu, BLEU()), (chrf_counts, chrf, CHRF())):
        ours = value(counts(truth, written).sum(axis=0, keepdims=True))[0]
        assert 100 * ours == pytest.approx(library.corpus_score(written, [truth]).score, abs=1e-9)


@given(right=ASCII, text=ASCII)
@settings(max_examples=60, deadline=None)
def test_rouge_of_english_is_that_of_the_library(right: str, text: str) -> None:
    kinds = ["rouge1", "rouge2", "rougeL"]
    library = RougeScorer(kinds).score(right, text)
    for kind in kinds:
        assert rouge(kind, [right], [text]) == [library[kind].fmeasure]


def test_rouge_reads_words_of_any_script() -> None:
    assert rouge("rouge1", ["привет мир", "Été chaud"], ["мир", "été"]) == [pytest.approx(2 / 3)] * 2


@pytest.mark.parametrize(("counts", "value"), [(bleu_counts, bleu), (chrf_counts, chrf)])
def test_weighted_sums_are_those_of_repeated_rows(counts, value) -> None:
    truth = ["the cat sat on the mat", "a dog ran", "nobody knows"]
    written = ["the cat sat on a mat", "the dog ran away", ""]
    weights = np.array([[2.0, 0, 1], [1, 1, 1]])
    repeated = [[0, 0, 2], [0, 1, 2]]
    found = value(weights @ counts(truth, written))
    for one, rows in zip(found, repeated, strict=True):
        again = counts([truth[row] for row in rows], [written[row] for row in rows])
        assert one == pytest.approx(value(again.sum(axis=0, keepdims=True))[0])


def test_the_same_text_scores_one_and_nothing_scores_zero() -> None:
    texts = ["the cat sat on the mat"]
    for counts, value in ((bleu_counts, bleu), (chrf_counts, chrf)):
        assert value(counts(texts, texts)) == pytest.approx([1.0])
        assert value(counts(texts, [""])) == pytest.approx([0.0])
        assert value(counts([""], [""])) == pytest.approx([0.0])
