from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rung.data.near import jaccard, near_matches, shingles

LONG = "the quick brown fox jumps over the lazy dog and runs away into the dark forest at night"


def test_a_changed_word_is_near_and_another_text_is_not():
    others = ["something else entirely, of the same length as the other text but about nothing", LONG]
    assert near_matches([LONG.replace("night", "dawn"), "hello"], others) == {0: 1}


def test_short_texts_match_only_when_equal():
    assert near_matches(["no", "yes"], ["yes", "on"]) == {1: 0}


@given(st.text(max_size=60), st.text(max_size=60))
def test_shingles_are_the_sets_of_runs_of_five(first: str, second: str):
    def runs(text: str) -> set[str]:
        padded = text.ljust(5, "\0")
        return {padded[i : i + 5] for i in range(len(padded) - 4)}

    true = len(runs(first) & runs(second)) / len(runs(first) | runs(second))
    assert jaccard(shingles(first), shingles(second)) == true


@given(st.lists(st.sampled_from("abcdefgh"), min_size=40, max_size=80).map("".join), st.integers(0, 5))
def test_matches_are_true_ones_and_equal_texts_always_match(text: str, at: int):
    changed = text[:at] + "zz" + text[at:]
    assert near_matches([text], [text]) == {0: 0}
    for query, other in near_matches([changed], ["unlike", text]).items():
        assert jaccard(shingles(changed), shingles(["unlike", text][other])) >= 0.8
        assert query == 0


def test_most_pairs_above_the_threshold_are_found():
    texts = [f"{LONG} {number} {LONG[::-1]} {number * 7919}" for number in range(200)]
    changed = [text.replace("lazy", "idle") for text in texts]
    assert len(near_matches(changed, texts)) == 200
