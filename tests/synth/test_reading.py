"""What is read from a model's answers, and what is rejected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.config.validation import build
from rung.data.lexical import is_abusive, is_refusal, looks_english, repeated_share
from rung.errors import ConfigError, DataError
from rung.synth import documents, instances, propose
from rung.synth.asking import Answer
from rung.synth.filters import REASONS, Contamination, from_prompt, supported, wrong_instruction, wrong_output
from rung.synth.outcome import Outcome
from rung.synth.seeds import read_seeds
from rung.synth.settings import Filters, SynthConfig
from rung.synth.similar import Pool

FILTERS = Filters()
PARTS = ("Name", "the", "oldest", "river", "of", "each", "country", "and", "say", "why")
TASK = st.lists(st.sampled_from(PARTS), min_size=4, max_size=9)
GOOD = "Name the longest river of each country."


def answer(text: str, finished: bool = True) -> Answer:
    return Answer(text, finished, 0, 0)


@pytest.mark.parametrize(
    "marked",
    [
        "{}. {}", "{}) {}", "  {}. {}", "**{}.** {}", "**{}. {}**", "- {}. {}", "Task {}: {}", "({}) {}", "{}: {}",
        "{}.{}", "# {}. {}", '{}. "{}"', "{}. Task: {}", "{}. 1. {}",
    ],
)  # fmt: skip
def test_numbered_lists_are_read_however_they_are_marked(marked: str) -> None:
    tasks = ["Name three rivers.", "Say what 2.5 times 4 is.", "Write a letter to (1) a friend."]
    text = "Here you go:\n\n" + "\n".join(marked.format(n, task) for n, task in enumerate(tasks, start=9))
    assert propose.listed(text) == tasks


@settings(deadline=None)
@given(
    st.lists(TASK.map(" ".join), max_size=8), st.sampled_from(["\n", "\n\n", "  \n \n"]), st.text("ab \n", max_size=9)
)
def test_a_list_is_read_as_it_was_written(tasks: list[str], between: str, before: str) -> None:
    text = f"{before}\n" + between.join(f"{n}. {task}" for n, task in enumerate(tasks, start=9))
    assert propose.listed(text) == tasks


@settings(deadline=None)
@given(st.text(max_size=300))
def test_no_answer_is_unreadable(text: str) -> None:
    propose.proposed(answer(text), 8, 8, "chat")
    instances.instance(answer(text), True, "chat")
    documents.pair(answer(text), "chat")
    wrong_instruction(text, FILTERS)
    wrong_output(text, text, text, FILTERS)


def test_items_go_over_lines_but_not_over_paragraphs() -> None:
    assert propose.listed("9. Name a\n   river.\n\nI hope this helps!\n10. Name a lake.") == [
        "Name a river.", "Name a lake."
    ]  # fmt: skip


def test_the_item_that_the_limit_cut_is_not_whole() -> None:
    text = " Name a river.\n10. Name a la"
    assert propose.proposed(answer(text, False), 8, 8, "continuation") == [
        ("Name a river.", True),
        ("Name a la", False),
    ]
    assert propose.proposed(answer(text), 8, 1, "continuation") == [("Name a river.", True)]


@pytest.mark.parametrize(
    ("text", "output_first", "style", "wanted"),
    [
        (" none\nOutput: The Nile.", False, "continuation", ("", "The Nile.")),
        (" Egypt\nOutput: The\nNile.", False, "continuation", ("Egypt", "The\nNile.")),
        (" positive\nInput: I like it.", True, "continuation", ("I like it.", "positive")),
        ("**Input:** N/A\n**Output:** The Nile.\n\nTask: another\nInput: x", False, "chat", ("", "The Nile.")),
        ("Sure!\ninput: <noinput>\noutput: The Nile.", False, "chat", ("", "The Nile.")),
        (" Egypt\nOutput: Nile\nOutput: Nile\nOutput: Nile", False, "continuation", ("Egypt", "Nile")),
        (" Egypt is a land.", False, "continuation", None),
        (" Egypt\nOutput:   ", False, "continuation", None),
        ("The Nile.", False, "chat", None),
    ],
)
def test_instances_are_read(text: str, output_first: bool, style: Any, wanted: tuple[str, str] | None) -> None:
    assert instances.instance(answer(text), output_first, style) == wanted


@pytest.mark.parametrize(
    ("instruction", "reason"),
    [
        (GOOD, None), ("Name it.", "too_short"), (" ", "empty"), ("word " * 151, "too_long"),
        ("- Name the rivers now", "form"),
        ("Name rivers. Input: Egypt", "form"), ("Nenne die längsten Flüsse aller Länder", "language"),
        ("Назови самую длинную реку", "language"), ("Draw the longest river of it", "unsuited"),
        ("Write a program that names rivers", "program"), ("Tell the fucking idiot to leave", "toxic"),
    ],
)  # fmt: skip
def test_instructions_are_rejected_for_a_reason(instruction: str, reason: str | None) -> None:
    assert wrong_instruction(instruction, FILTERS) == reason
    assert reason is None or reason in REASONS


@pytest.mark.parametrize(
    ("context", "output", "reason"),
    [
        ("Egypt", "The Nile.", None), ("", "42", None), ("", " ... ", "no_output"), ("", "None.", "no_output"),
        ("Egypt", "egypt", "copied"), ("", GOOD, "copied"), ("", "x " * 301, "output_too_long"),
        ("", "it is the river " * 9, "repetitive"), ("", "I'm sorry, but I cannot help with that.", "refusal"),
        ("", "Der längste Fluss der Erde heisst wohl Nil oder Amazonas", "language"),
        ("you are an idiot", "That is rude.", "toxic"),
    ],
)  # fmt: skip
def test_outputs_are_rejected_for_a_reason(context: str, output: str, reason: str | None) -> None:
    assert wrong_output(GOOD, context, output, FILTERS) == reason


def test_filters_can_be_left_out() -> None:
    lax = Filters(language="any", refusals=False, toxic=False, most_repeated=1.0, unsuited=(), least_words=1)
    assert wrong_instruction("Zeichne!", lax) is None
    assert wrong_output(GOOD, "", "I'm sorry, but I can't, you are an idiot. " * 4, lax) is None


@pytest.mark.parametrize(
    ("text", "refuses"),
    [
        ("I'm sorry, but I can't help with that request.", True),
        ("As an AI language model, I have no opinions.", True),
        ("I am unable to open the link.", True), ("I cannot provide medical advice.", True),
        ("I’m sorry, but I don’t have access to it.", True),
        ("I'm sorry for your loss.", False), ("He said he can't help it.", False),
        ("The robot said: as long as it rains, I cannot swim.", False), ("", False),
    ],
)  # fmt: skip
def test_refusals_are_told_by_how_they_begin(text: str, refuses: bool) -> None:
    assert is_refusal(text) is refuses


def test_words_inside_words_are_no_abuse() -> None:
    assert not is_abusive("Scunthorpe, a cocktail, to class a bitcoin, raccoon, retarding an engine, Dick Whittington")
    assert is_abusive("YOU ARE SUCH A STUPID man")


def test_english_is_told_by_script_and_function_words() -> None:
    assert looks_english("3.14")
    assert looks_english("El Niño")  # too short to say
    assert not looks_english("这是一个很长的中文句子")
    assert not looks_english("el perro come mucha carne cada noche")


@settings(deadline=None)
@given(st.lists(st.sampled_from("abcdefgh"), min_size=4, max_size=30))
def test_a_text_said_twice_repeats_itself(words: list[str]) -> None:
    once, twice = " ".join(words), " ".join(words * 2)
    assert 0 <= repeated_share(once) <= repeated_share(twice) < 1
    assert repeated_share(" ".join(words * 9)) > 0.7


@settings(deadline=None)
@given(st.lists(TASK.map(" ".join), min_size=1, max_size=12), TASK.map(" ".join), st.floats(0.2, 1.0))
def test_the_pool_finds_what_a_look_at_all_finds(texts: list[str], text: str, threshold: float) -> None:
    from rung.metrics.overlap import rouge

    pool = Pool(threshold)
    for one in texts:
        pool.add(one)
    scores = rouge("rougeL", texts, [text] * len(texts))
    found = pool.like(text)
    assert (found is None) == (max(scores) < threshold)
    assert found is None or scores[texts.index(found)] == max(scores)


def test_test_rows_are_seen_equal_nearly_and_in_part() -> None:
    long = "the committee agreed on friday to lower the fee for children who borrow more than nine books"
    apart = Contamination(["Name the longest river of each country.", long])
    rows = [
        ("name the longest river of  each country.", "", "x"),
        ("Name the longest river of each country", "", "x"),
        ("Say more.", f"So {long}, they said.", "x"),
        ("Name the highest mountain of a land.", "The committee agreed on Friday.", "Nile"),
        ("Say more.", "", f"So {long}, they said."),
    ]
    assert apart.held(rows) == {0, 1, 2, 4}
    assert Contamination([]).held(rows) == set()


def test_the_docs_name_every_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "synth.md").read_text(encoding="utf-8")
    assert [reason for reason in REASONS if f"`{reason}`" not in page] == []


@pytest.mark.parametrize(
    ("said", "holds"),
    [
        ("After the flood of 1954.", True), ("1954", True), ("1955", False), ("After the war of 1954", True),
        ("It was rebuilt by two brothers from Norway", False), ("yes", False),
    ],
)  # fmt: skip
def test_an_answer_must_stand_in_its_passage(said: str, holds: bool) -> None:
    assert supported(said, "It was rebuilt after the flood of 1954.", 0.5) is holds


@settings(deadline=None)
@given(st.lists(st.sampled_from(["One is here now. ", "Two of them left?\n\n", "word " * 30]), max_size=30))
def test_passages_hold_all_words_that_are_enough(parts: list[str]) -> None:
    text = "".join(parts)
    found = documents.pieces(text, 40)
    assert all(25 <= len(piece.split()) <= 40 for piece in found)
    assert len(" ".join(found).split()) <= len(text.split())


def test_each_proposal_is_in_one_place() -> None:
    outcome = Outcome(1, FILTERS, Contamination([]), Pool(0.7))
    texts = ("Sun and moon", "Sea and lake", "...", "Sun and moon")
    things = ("of the sky that shine", "that hold water", "to say", "of the sky that shine!")
    for thing, text in zip(things, texts, strict=True):
        one = outcome.propose(f"Name two things {thing}.", {})
        one.output = text
        outcome.settle([one])
    outcome.check()
    assert len(outcome.accepted) == 1
    assert outcome.surplus == 1
    assert outcome.reasons == {"no_output": 1, "near_duplicate": 1}
    outcome.proposals += 1
    with pytest.raises(AssertionError):
        outcome.check()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "are both missing"), ({"seed_file": "a", "documents": ["b"]}, "are both set"),
        ({"seed_file": "a", "budget": {"money": 1}}, "needs prices"), ({"seed_file": "a", "wantd": 3}, "wanted"),
        ({"seed_file": "a", "filters": {"similarity": 2}}, "similarity"),
    ],
)  # fmt: skip
def test_wrong_settings_are_refused_in_words(body: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(SynthConfig, body)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"instruction": "a", "instances": []}\n', "seeds.jsonl:1: instances holds no instance"),
        ('{"instruction": "", "output": "b"}\n', "seeds.jsonl:1: a seed task without instruction"),
        ('{"instruction": "a", "output": "b"}\n', "1 seed tasks"),
        ('{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n', "can't be seeds"),
    ],
)
def test_wrong_seeds_are_refused_in_words(text: str, message: str, tmp_path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read_seeds(str(path))


def test_seeds_may_be_rows_of_questions_and_answers(tmp_path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text("question,answer\nWho?,He.\nWhere?,There.\n", encoding="utf-8")
    seeds, _ = read_seeds(str(path))
    assert [(one.instruction, one.input, one.output, one.is_classification) for one in seeds] == [
        ("Who?", "", "He.", None), ("Where?", "", "There.", None)
    ]  # fmt: skip


SHOWN = [("", "Mix flour and water, then wait."), ("12 and 30", "Yes")]


@pytest.mark.parametrize(
    ("given", "output", "copied"),
    [
        ("", "mix flour and water, then  wait", True),
        ("Mix flour and water, then wait.", "It is bread.", False),
        ("12 and 30", "yes.", True),
        ("12 and 31", "Yes", False),
        ("12 and 30", "No", False),
        ("", "Yes", False),
        ("", "Mix flour and water, then wait for the bread.", False),
    ],
)
def test_a_copy_of_what_the_prompt_showed_is_told_from_a_label_that_comes_again(
    given: str, output: str, copied: bool
) -> None:
    assert from_prompt(given, output, SHOWN) is copied
