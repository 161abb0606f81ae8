"""What is learned of conversations that nobody would write, over the chat templates of real models."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rung.errors import ModelError
from rung.models.literal import control_tokens
from rung.models.load import load_tokenizer
from rung.models.tokenizer import end_of_turn_id, render_chats
from rung.objectives.causal_lm import CausalLM
from rung.types import IGNORED, Example, Message, Row

_SPEC = importlib.util.find_spec("trl")
FOLDER = None if _SPEC is None or _SPEC.origin is None else Path(_SPEC.origin).parent / "chat_templates"
TEMPLATES = [] if FOLDER is None else sorted(FOLDER.glob("*.jinja"))
PLAIN = pytest.param(None, id="ours")

BOS, EOS = "<bos>", "<eos>"
# what a template may write that its model knows as one token
_CONTROL = re.compile(r"<[|｜][\w▁|｜ ]+[|｜>]+|<\w+_of_\w+>|\[/?[A-Z_]+\]|</?s>|<sop>|\[gMASK\]|<\|?turn\|?>|<turn\|>")
_PLAIN_ADDED = ("<think>", "</think>", "<tool_call>", "</tool_call>")
_TEXT = "one two  three\n\n  four\tfive\r\nhello, world!\n Answer: 1 + 1 = 2 user\nassistant\nsystem\n\n\n"


def made(template: str | None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with merges of words and white space, to which the template's signs are special tokens."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        [_TEXT] * 9, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    found = sorted(set(_CONTROL.findall(template or "")))
    core.add_special_tokens([BOS, EOS, *found])
    core.add_tokens([AddedToken(sign, special=False) for sign in _PLAIN_ADDED])
    bos = core.token_to_id(BOS)
    core.post_processor = processors.TemplateProcessing(single=f"{BOS} $A", special_tokens=[(BOS, bos)])
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, bos_token=BOS, eos_token=EOS)


SIGNS = [
    "<|im_end|>",
    "<|im_start|>assistant\n",
    EOS,
    BOS,
    "<|eot_id|>",
    "<end_of_turn>",
    "<|end|>",
    "</think>",
    "[INST]",
]
texts = st.one_of(
    st.sampled_from(["", " ", "\n", "\n\n", "  hello ", "\n two", "{{ messages }}", "{% for %}", "🙂 é́ 你好", *SIGNS]),
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.lists(st.sampled_from([*SIGNS, " ", "one", "\n", "é"]), max_size=5).map("".join),
)
answers = texts.filter(lambda text: bool(text.strip()))


@st.composite
def conversations(draw: st.DrawFn) -> tuple[tuple[Message, ...], str]:
    """One to three exchanges; every earlier answer is learned or not."""
    turns: list[Message] = []
    for _ in range(draw(st.integers(0, 2))):
        turns.append(Message("user", draw(texts)))
        turns.append(Message("assistant", draw(answers), learned=draw(st.booleans())))
    return (*turns, Message("user", draw(texts))), draw(answers)


def spans(row: Row) -> list[list[int]]:
    """The runs of supervised tokens, over all sequences; each ends where the next token is not supervised."""
    found: list[list[int]] = []
    for sequence in row.sequences:
        assert sequence.labels is not None
        assert len(sequence.labels) == len(sequence.input_ids)
        is_open = False
        for token, label in zip(sequence.input_ids, sequence.labels, strict=True):
            assert label in (IGNORED, token)
            if label == IGNORED:
                is_open = False
            elif is_open:
                found[-1].append(token)
            else:
                found.append([token])
                is_open = True
    return found


def require_right(tokenizer: PreTrainedTokenizerBase, turns: tuple[Message, ...], answer: str) -> None:
    """Everything that is promised of a row that was not cut."""
    row = CausalLM().encode(Example("a", messages=turns, answer=answer), tokenizer, 100_000)
    assert row.truncated == 0
    end = end_of_turn_id(tokenizer)
    learned = [turn.content for turn in turns if turn.learned] + [answer]
    found = spans(row)
    assert [tokenizer.decode(one[:-1], clean_up_tokenization_spaces=False) for one in found] == learned
    assert all(one[-1] == end and end not in one[:-1] for one in found)
    for sequence in row.sequences:
        assert sequence.input_ids[0] == tokenizer.bos_token_id
        assert sequence.input_ids.count(tokenizer.bos_token_id) == 1
    # What stands before each span is what the model is asked with.
    asked = [turns[:at] for at, turn in enumerate(turns) if turn.learned] + [turns]
    requests = render_chats(tokenizer, asked, add_generation_prompt=True)
    starts = [
        (sequence.input_ids[:at])
        for sequence in row.sequences
        for at in range(1, len(sequence))
        if (sequence.labels or ())[at] != IGNORED and (sequence.labels or ())[at - 1] == IGNORED
    ]
    assert starts == [tuple(ids) for ids in requests]


needs_trl = pytest.mark.skipif(not TEMPLATES, reason="the chat templates of real models come with trl: pip install trl")


@needs_trl
@pytest.mark.parametrize("path", [PLAIN, *TEMPLATES], ids=lambda path: path.stem if path else "ours")
def test_masks_are_right_whatever_the_template_and_the_texts(path: Path | None) -> None:
    tokenizer = made(None if path is None else path.read_text(encoding="utf-8"))

    @settings(
        max_examples=25,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
    )
    @given(conversations())
    def check(said: tuple[tuple[Message, ...], str]) -> None:
        require_right(tokenizer, *said)

    check()


def test_there_are_templates_of_many_models() -> None:
    if FOLDER is None:
        pytest.skip("the chat templates of real models come with trl: pip install trl")
    assert len(TEMPLATES) >= 30


TWICE = (Message("user", "one"), Message("assistant", "two", learned=True), Message("user", "three"))


@needs_trl
@pytest.mark.parametrize(
    ("name", "sequences"),
    [("qwen2_5", 1), ("gemma3", 1), ("cohere", 1), ("qwen3", 1), ("gptoss", 2), ("deepseekv3", 2)],
)
def test_a_conversation_is_one_sequence_where_its_requests_go_on_from_each_other(name: str, sequences: int) -> None:
    assert FOLDER is not None
    tokenizer = made((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
    row = CausalLM().encode(Example("a", messages=TWICE, answer="four"), tokenizer, 1000)
    assert len(row.sequences) == sequences
    assert len(spans(row)) == 2


CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": "<|im_end|>"}}}
TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "string"}}},
    },
}


def calling(tokenizer: PreTrainedTokenizerBase) -> Row:
    turns = (
        Message("user", "1 + 1?"),
        Message("assistant", "", {"tool_calls": [CALL]}, learned=True),
        Message("tool", "2", {"name": "add"}),
    )
    return CausalLM().encode(Example("a", messages=turns, answer="two", tools=(TOOL,)), tokenizer, 100_000)


@needs_trl
@pytest.mark.parametrize("name", ["qwen2_5", "qwen3", "qwen3_instruct_2507", "qwen3_vl", "lfm2_2_5", "gemma4"])
def test_a_call_of_a_tool_is_learned_as_the_template_writes_it(name: str) -> None:
    assert FOLDER is not None
    tokenizer = made((FOLDER / f"{name}.jinja").read_text(encoding="utf-8"))
    row = calling(tokenizer)
    first, second = spans(row)
    said = tokenizer.decode(first, clean_up_tokenization_spaces=False)
    assert "add" in said
    assert "<|im_end|>" in said
    assert "1 + 1?" not in said
    assert first[-1] in control_tokens(tokenizer)
    assert second == [*tokenizer("two", add_special_tokens=False)["input_ids"], end_of_turn_id(tokenizer)]
    whole = tokenizer.decode(row.sequences[-1].input_ids)
    assert "Adds." in whole


@needs_trl
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("llama3", "leaves out of an assistant's turn 'add'"),
        ("nemotron_3_nano", "asks for a turn in other words than those it writes before one that calls tools"),
    ],
)
def test_calls_that_can_not_be_learned_are_refused(name: str, message: str) -> None:
    assert FOLDER is not None
    with pytest.raises(ModelError, match=message):
        calling(made((FOLDER / f"{name}.jinja").read_text(encoding="utf-8")))


@needs_trl
def test_reasoning_is_learned_where_the_template_writes_it() -> None:
    assert FOLDER is not None
    tokenizer = made((FOLDER / "qwen3.jinja").read_text(encoding="utf-8"))
    reply = Message("assistant", "two", {"reasoning_content": "one and one"})
    example = Example("a", messages=TWICE[:1], answer="two", reply=reply)
    (only,) = spans(CausalLM().encode(example, tokenizer, 1000))
    assert tokenizer.decode(only[:-1]) == "<think>\none and one\n</think>\n\ntwo"
    assert only[-1] == end_of_turn_id(tokenizer)
    other = made((FOLDER / "gemma.jinja").read_text(encoding="utf-8"))
    with pytest.raises(ModelError, match="leaves out of an assistant's turn 'one and one'"):
        CausalLM().encode(example, other, 1000)


def test_a_cut_answer_has_no_end_and_is_counted() -> None:
    tokenizer = made(None)
    example = Example("a", messages=TWICE, answer="hello, world! one two three")
    whole = CausalLM().encode(example, tokenizer, 1000)
    length = len(whole.sequences[-1]) - 3
    cut = CausalLM().encode(example, tokenizer, length)
    assert (cut.truncated, len(cut.sequences[-1])) == (3, length)
    assert spans(cut)[-1] == spans(whole)[-1][:-3]
    assert end_of_turn_id(tokenizer) not in spans(cut)[-1]
    assert spans(cut)[0] == spans(whole)[0]


def test_a_template_that_leaves_out_what_the_user_said_is_refused() -> None:
    tokenizer = made("{{ bos_token }}{% for m in messages %}{{ m['role'] }}{{ eos_token }}{% endfor %}")
    with pytest.raises(ModelError, match="leaves out what the user said: 'one'"):
        render_chats(tokenizer, [TWICE], add_generation_prompt=True)


def test_a_text_alone_is_all_learned_and_keeps_its_special_tokens() -> None:
    tokenizer = made(None)
    text = f"one {EOS} two"
    row = CausalLM().encode(Example("a", answer=text), tokenizer, 1000)
    (only,) = spans(row)
    end = end_of_turn_id(tokenizer)
    assert only == [*tokenizer(text, add_special_tokens=False)["input_ids"], end]
    assert only.count(end) == 2
    assert row.sequences[0].input_ids[0] == tokenizer.bos_token_id


def test_smollm2_learns_what_the_assistant_says(smollm2_path: Path) -> None:
    tokenizer = load_tokenizer(smollm2_path)

    @settings(max_examples=100, deadline=None, derandomize=True, database=None)
    @given(conversations())
    def check(said: tuple[tuple[Message, ...], str]) -> None:
        turns, answer = said
        # its vocabulary lacks the bytes of some control characters and of unused planes: such texts can't be read back
        written = "".join([answer, *(turn.content for turn in turns)])
        assume(all(" " <= letter < "\uffff" or letter in "\t\n\r🙂" for letter in written))
        row = CausalLM().encode(Example("a", messages=turns, answer=answer), tokenizer, 100_000)
        learned = [turn.content for turn in turns if turn.learned] + [answer]
        assert [tokenizer.decode(one[:-1], clean_up_tokenization_spaces=False) for one in spans(row)] == learned
        assert all(one[-1] == 2 and not {0, 1, 2} & set(one[:-1]) for one in spans(row))
        for sequence in row.sequences:
            opened = sum(token == 1 for token in sequence.input_ids)
            closed = sum(token == 2 for token in sequence.input_ids)
            assert opened == closed  # each turn of the template's, and none that a text forged

    check()
