"""How much of the right text a written one has: ROUGE, chrF and BLEU, as sums over rows.

The libraries count; what is kept of a row are its counts, so that a metric of the whole test set can be resampled.
Scales are 0 to 1 throughout.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import regex

from rung.metrics.metric import Floats

_WORDS = regex.compile(r"[^\W_]+")
_ORDER = 6
_BETA = 2


class _Words:
    """Words of any script: runs of letters and digits in lower case; ROUGE's own are those of English alone."""

    def tokenize(self, text: str) -> list[str]:
        return _WORDS.findall(text.lower())


def rouge(kind: str, truth: Sequence[str], written: Sequence[str]) -> list[float]:
    """F-measure of each row.

    Method: Lin 2004, https://aclanthology.org/W04-1013, by the library rouge-score, without stemming.

    Args:
        kind: `rouge1` or `rouge2` (words and pairs of words in common), `rougeL` (longest common subsequence).
        truth: The right texts.
        written: The written ones, in the same order.
    """
    from rouge_score.rouge_scorer import RougeScorer  # loads nltk: only where it is asked for

    scorer = RougeScorer([kind], tokenizer=_Words())
    return [float(scorer.score(*pair)[kind].fmeasure) for pair in zip(truth, written, strict=True)]


def bleu_counts(truth: Sequence[str], written: Sequence[str]) -> Floats:
    """`[N, 10]` of each row: words written, words of the right text, n-grams in common, n-grams written (n = 1 to 4).

    Words are those of sacrebleu's tokenizer `13a`.
    """
    from sacrebleu.metrics.bleu import BLEU

    counter = BLEU(effective_order=True)
    found = (counter.sentence_score(text, [right]) for right, text in zip(truth, written, strict=True))
    return np.asarray([[one.sys_len, one.ref_len, *one.counts, *one.totals] for one in found], dtype=np.float64)


def bleu(sums: Floats) -> Floats:
    """BLEU of `[B, 10]` summed counts.

    Method: Papineni et al. 2002, https://aclanthology.org/P02-1040, by the library sacrebleu with its defaults.
    """
    from sacrebleu.metrics.bleu import BLEU

    found = [
        BLEU.compute_bleu(row[2:6], row[6:], int(row[0]), int(row[1]), smooth_method="exp")
        for row in sums.round().astype(np.int64).tolist()
    ]
    return np.asarray([one.score / 100 for one in found])


def chrf_counts(truth: Sequence[str], written: Sequence[str]) -> Floats:
    """`[N, 18]` of each row: for n = 1 to 6 the n-grams of characters written, right, and in common."""
    from sacrebleu.metrics.helpers import extract_all_char_ngrams

    rows: list[list[int]] = []
    for pair in zip(written, truth, strict=True):
        counts: list[int] = []
        for ours, right in zip(*(extract_all_char_ngrams(text, _ORDER, False) for text in pair), strict=True):
            counts += [ours.total() if right else 0, right.total(), (ours & right).total()]
        rows.append(counts)
    return np.asarray(rows, dtype=np.float64)


def chrf(sums: Floats) -> Floats:
    """The chrF of `[B, 18]` summed counts: recall counts twice as much as precision.

    Method: Popović 2015, https://aclanthology.org/W15-3049, as sacrebleu's default averages it.
    """
    written, right, common = (sums[:, part::3] for part in range(3))
    known = (written > 0) & (right > 0)
    orders = np.maximum(known.sum(axis=1), 1)
    precision = (np.where(known, common, 0) / np.maximum(written, 1)).sum(axis=1) / orders
    recall = (np.where(known, common, 0) / np.maximum(right, 1)).sum(axis=1) / orders
    weighted = _BETA**2 * precision + recall
    return np.where(weighted > 0, (1 + _BETA**2) * precision * recall / np.where(weighted > 0, weighted, 1), 0.0)
