from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from rung.errors import ModelError
from rung.models.load import load_tokenizer
from rung.models.tokenizer import PLAIN_TEMPLATE, encode_text, end_of_turn_id, render_chat, template_of
from rung.types import Message

SYSTEM = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
WORDS = [
    "<unk>",
    "<s>",
    "</s>",
    "<turn>",
    "<end>",
    "Input",
    ":",
    "Answer",
    "be",
    "brief",
    "one",
    "two",
    "three",
    "hello",
]


def small(bos: bool = False, template: str | None = None, eos: bool = True) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    if bos:
        core.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
        )
    core.add_special_tokens(["<s>", "</s>", "<turn>", "<end>"])
    names = {"bos_token": "<s>", "unk_token": "<unk>"} | ({"eos_token": "</s>"} if eos else {})
    return PreTrainedTokenizerFast(tokenizer_object=core, chat_template=template, **names)


def words(ids: list[int]) -> str:
    return " ".join(WORDS[number] for number in ids)


TURNS = [Message("system", "be brief"), Message("user", "one"), Message("assistant", "two")]


def test_a_model_without_a_template_is_asked_plainly() -> None:
    tokenizer = small()
    assert template_of(tokenizer) == PLAIN_TEMPLATE
    assert words(render_chat(tokenizer, TURNS[:2], True)) == "be brief Input : one Answer :"
    assert words(render_chat(tokenizer, TURNS, False)) == "be brief Input : one Answer : two </s>"
    text = tokenizer.apply_chat_template(
        [{"role": turn.role, "content": turn.content} for turn in TURNS], chat_template=PLAIN_TEMPLATE, tokenize=False
    )
    assert text == "be brief\nInput: one\nAnswer: two</s>\n"


def test_there_is_one_beginning_of_sequence_whether_the_template_writes_it_or_the_tokenizer() -> None:
    writes = "{{ bos_token }} {% for m in messages %}<turn> {{ m['content'] }} <end>{% endfor %}"
    silent = writes.removeprefix("{{ bos_token }} ")
    assert words(render_chat(small(True, writes), TURNS[1:2], False)) == "<s> <turn> one <end>"
    assert words(render_chat(small(True, silent), TURNS[1:2], False)) == "<s> <turn> one <end>"
    assert words(render_chat(small(False, silent), TURNS[1:2], False)) == "<turn> one <end>"


def test_the_end_of_a_turn_is_what_the_template_writes_not_what_is_named_eos() -> None:
    turns = "{% for m in messages %}<turn> {{ m['content'] }} <end>{% endfor %}"
    assert end_of_turn_id(small(template=turns)) == WORDS.index("<end>")
    assert end_of_turn_id(small()) == WORDS.index("</s>")
    assert end_of_turn_id(small(template="{% for m in messages %}{{ m['content'] }} {% endfor %}")) == 2
    with pytest.raises(ModelError, match="no token that ends an answer"):
        end_of_turn_id(small(eos=False))


def test_a_template_without_a_system_turn_gets_its_text_in_the_users() -> None:
    template = (
        "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
        "<turn> {{ m['content'] }} <end>{% endfor %}"
    )
    assert words(render_chat(small(template=template), TURNS[:2], False)) == "<turn> be brief one <end>"


@pytest.mark.hostile
@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('never') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
        "{{ messages.append(1) }}",
        "{% for %}",
        "{% for i in range(10**9) %}x{% endfor %}",
    ],
)
def test_a_hostile_or_broken_template_is_refused(template: str) -> None:
    with pytest.raises(ModelError, match="the model's chat template refuses these messages"):
        render_chat(small(template=template), TURNS[1:2], True)


def test_a_cut_is_counted_and_the_special_tokens_stay() -> None:
    tokenizer = small(True)
    assert encode_text(tokenizer, "one two three", None, 4) == ([1, 10, 11, 12], None, 0)
    assert encode_text(tokenizer, "one two three", None, 3) == ([1, 10, 11], None, 1)


def test_an_encoder_pair_has_segments_and_the_longer_text_is_cut(bert_tiny_path: Path) -> None:
    tokenizer = load_tokenizer(bert_tiny_path)
    ids, segments, cut = encode_text(tokenizer, "one two three four", "five", 7)
    assert tokenizer.convert_ids_to_tokens(ids) == ["[CLS]", "one", "two", "three", "[SEP]", "five", "[SEP]"]
    assert (segments, cut) == ([0, 0, 0, 0, 0, 1, 1], 1)


@pytest.fixture(scope="module")
def smollm2(smollm2_path: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(smollm2_path)


def test_smollm2_speaks_its_own_template(smollm2: PreTrainedTokenizerBase) -> None:
    ids = render_chat(smollm2, [Message("user", "hi")], True)
    assert smollm2.decode(ids) == (
        f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert smollm2.decode(render_chat(smollm2, TURNS, False)) == (
        "<|im_start|>system\nbe brief<|im_end|>\n"
        "<|im_start|>user\none<|im_end|>\n"
        "<|im_start|>assistant\ntwo<|im_end|>\n"
    )


def test_smollm2_ids_of_its_marks(smollm2: PreTrainedTokenizerBase) -> None:
    assert smollm2("<|im_start|>", add_special_tokens=False)["input_ids"] == [1]
    assert (smollm2.bos_token, smollm2.eos_token, smollm2.pad_token) == ("<|im_start|>", "<|im_end|>", "<|im_end|>")
    assert (smollm2.unk_token, smollm2.model_max_length, len(smollm2)) == ("<|endoftext|>", 8192, 49152)
    assert end_of_turn_id(smollm2) == 2


def test_smollm2_splits_digits_one_by_one(smollm2: PreTrainedTokenizerBase) -> None:
    assert smollm2.tokenize("in  1999 x") == ["in", "ĠĠ", "1", "9", "9", "9", "Ġx"]
