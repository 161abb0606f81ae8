from __future__ import annotations

from benchmarks.remarks import remarks


def side(scores: list[list[float]], accuracy: float) -> dict[str, object]:
    chosen = [max(range(len(one)), key=one.__getitem__) for one in scores]
    return {"status": "ok", "scores": scores, "choices": chosen, "accuracy": accuracy}


def test_items_chosen_differently_are_named_with_their_margins() -> None:
    ours, theirs = side([[-1.0, -2.0], [-3.0, -3.25]], 0.5), side([[-1.0, -2.0], [-3.5, -3.25]], 1.0)
    assert remarks([{"ours": ours, "lm-eval": theirs}]) == [
        "Accuracy: ours 0.500, lm-eval 1.000.",
        "",
        "The same choice as lm-eval on 1 of 2 items; log-probabilities of a choice differ by at most 0.5. "
        "Chosen differently: item 1 (margins 0.25 and 0.25).",
        "",
    ]


def test_a_bench_of_speed_alone_needs_no_remark() -> None:
    assert remarks([{"ours": {"status": "ok"}, "peer": {"status": "ok"}}]) == []


def test_a_failed_side_is_not_compared() -> None:
    ours = side([[-1.0, -2.0]], 1.0)
    assert remarks([{"ours": {"status": "failed"}, "peer": ours}]) == []
    assert remarks([{"ours": ours, "peer": {"status": "timeout"}}]) == ["Accuracy: ours 1.000.", ""]


def test_other_items_are_not_compared() -> None:
    ours, theirs = side([[-1.0, -2.0]], 1.0), side([[-1.0, -2.0], [-3.5, -3.25]], 0.5)
    rounds = [{"ours": {**ours, "rows_digest": "a"}, "lm-eval": {**theirs, "rows_digest": "b"}}]
    assert remarks(rounds) == ["Accuracy: ours 1.000, lm-eval 0.500.", ""]
