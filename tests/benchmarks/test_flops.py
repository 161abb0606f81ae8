from __future__ import annotations

from benchmarks.flops import Shape, row_positions, training_flops, trie_positions
from benchmarks.rows import IGNORED, Encoded, shared


def row(*ids: int, supervised: int = 1) -> Encoded:
    return Encoded(ids, (IGNORED,) * (len(ids) - supervised) + ids[-supervised:])


def test_distinct_positions_are_those_of_the_trie_without_last_tokens() -> None:
    rows = [row(1, 2, 3, 9), row(1, 2, 4, 5, 9), row(7, 9), row(1, 2, 3, 9)]
    assert sorted(trie_positions(rows)) == [0, 0, 1, 2, 2, 3]
    assert sorted(row_positions(rows)) == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_a_row_alone_has_no_shared_token() -> None:
    assert trie_positions([row(1, 2, 3)]) == row_positions([row(1, 2, 3)]) == [0, 1]


def test_lora_arithmetic_by_hand() -> None:
    shape = Shape(body=100, head=50, attention=10, lora=6)
    counted = training_flops(shape, [[row(1, 2, 3), row(1, 4, 5)]])
    # tokens: rows 4 at positions 0, 1, 0, 1; distinct 3 at 0, 1, 1; two scored positions
    per_token, per_read, head = 4 * 100 + 6 * 6, 3 * 4 * 10, 4 * 50 * 2
    assert counted == {
        "distinct": per_token * 3 + per_read * (1 + 2 + 2) + head,
        "rows": per_token * 4 + per_read * (1 + 2 + 1 + 2) + head,
    }


def test_full_fine_tuning_pays_for_the_gradient_of_the_weights() -> None:
    counted = training_flops(Shape(body=100, head=50, attention=0, full=True), [[row(1, 2, 3, supervised=2)]])
    assert counted["rows"] == 6 * 100 * 2 + 6 * 50 * 2


def test_what_all_rows_begin_with() -> None:
    assert shared([(1, 2, 3), (1, 2, 4), (1, 2)]) == 2
    assert shared([(5, 2), (6, 2)]) == 0
