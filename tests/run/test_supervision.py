"""Rows from which nothing would be learned are refused before the first step, and shown."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text
from transformers import AutoTokenizer

from rung.cli.console import print_error
from rung.errors import TrainingError
from rung.objectives.causal_lm import CausalLM
from rung.run.supervision import lengths_said, marked, require_supervision
from rung.types import IGNORED, Example, Message, Row, Tokens


@pytest.fixture(scope="module")
def tokenizer(tiny_models: dict[str, Path]):
    return AutoTokenizer.from_pretrained(tiny_models["llama"])


@pytest.fixture(scope="module")
def rows(tokenizer) -> list[Row]:
    examples = [
        Example(f"row-{at}", messages=(Message("user", f"a film {at}"),), answer=answer)
        for at, answer in enumerate(("good", "bad", "good", "bad"))
    ]
    return [CausalLM().encode(example, tokenizer, 64) for example in examples]


def bare(row: Row) -> Row:
    (one,) = row.sequences
    return replace(row, sequences=(replace(one, labels=(IGNORED,) * len(one)),), truncated=5)


def test_the_answer_and_the_end_of_its_turn_are_marked(tokenizer, rows: list[Row]) -> None:
    text = marked(rows[0].sequences[0], tokenizer)
    assert text.endswith("<|im_start|>assistant\\n⟦good<|im_end|>⟧")
    assert text.count("⟦") == 1


def test_the_middle_of_a_long_row_is_left_out(tokenizer, rows: list[Row]) -> None:
    one = rows[0].sequences[0]
    long = replace(one, input_ids=one.input_ids * 9, labels=(one.labels or ()) * 9)
    assert f" [{9 * len(one) - 48} tokens] " in marked(long, tokenizer)


def test_rows_that_teach_something_pass(tokenizer, rows: list[Row]) -> None:
    require_supervision(CausalLM(), rows, tokenizer)


def test_a_row_that_teaches_nothing_is_refused_and_three_are_shown(
    tokenizer, rows: list[Row], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(TrainingError) as caught:
        require_supervision(CausalLM(), [rows[0], bare(rows[1]), *rows[2:]], tokenizer, {"row-1": "rows.csv:3"})
    lines = caught.value.what.splitlines()
    assert lines[:2] == [
        "1 of 4 training rows have nothing to learn from: row-1",
        "  Supervised tokens stand in ⟦ ⟧:",
    ]
    assert len(lines) == 5
    length = len(rows[1].sequences[0])
    assert lines[2].startswith(f"  rows.csv:3: {length} tokens, 0 supervised, 5 cut off: <|im_start|>")
    assert "⟦" not in lines[2]
    assert lines[3].endswith("⟦good<|im_end|>⟧")
    assert caught.value.exit_code == 4
    print_error(str(caught.value))
    assert "⟦good<|im_end|>⟧" in capsys.readouterr().err


def test_on_a_terminal_what_is_learned_is_green(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "terminal").open("w", encoding="utf-8") as file:
        made = Console(file=file, force_terminal=True, color_system="standard", highlight=False, soft_wrap=True)
        monkeypatch.setattr("rung.cli.console.Console", lambda **_: made)
        print_error("read this, then ⟦answer⟧")
    plain = (tmp_path / "terminal").read_text(encoding="utf-8")
    assert "read this, then \x1b[32m⟦answer⟧\x1b[0m" in plain
    assert Text.from_ansi(plain).plain.rstrip() == "error: read this, then ⟦answer⟧"


def test_why_a_conversation_is_several_sequences_is_said_of_each_kind_of_model() -> None:
    one, two = Tokens((1, 2), (IGNORED, 2)), Tokens((0,), (2,), source_ids=(1,))
    (decoder,), (two_sided,) = (lengths_said([Row("a", (each, each))], {}, 9) for each in (one, two))
    assert decoder.startswith("1 of 1 training rows are learned in 2 sequences: the chat template does not")
    assert "chat template" not in two_sided
    assert two_sided.endswith("sequences: each turn of an encoder-decoder is read anew with what stands before it.")
