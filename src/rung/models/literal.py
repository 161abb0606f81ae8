"""Special tokens' names in what people write: read as text, so that nobody's words can end a turn or begin one.

Each such name gives way to a sign of its own before the chat template sees it, and its letters' tokens come back in
the sign's place after. Where no text holds one, nothing is done: the tokens are the tokenizer's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedTokenizerBase

from rung.types import Message

_PRIVATE = range(0xE000, 0xF900)
"""Characters that Unicode gives no meaning."""


def control_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    """Special tokens by id: those that no text should be read as."""
    found = {number: token.content for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    return found | dict(zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True))


def shielded(
    tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[Message]]
) -> tuple[dict[str, str], Sequence[Sequence[Message]]]:
    """Conversations in which signs stand for special tokens' names.

    Returns:
        Sign to the name it stands for, empty where there was none; and the conversations.
    """
    names = sorted(set(control_tokens(tokenizer).values()), key=lambda name: (-len(name), name))
    said = [text for chat in chats for one in chat for text in _texts((one.content, one.more))]
    held = [name for name in names if name and any(name in text for text in said)]
    if not held:
        return {}, chats
    used = set("".join(said))
    free = (chr(code) for code in _PRIVATE if chr(code) not in used)
    signs = dict(zip(held, free, strict=False))
    return {sign: name for name, sign in signs.items()}, [[_replaced(one, signs) for one in chat] for chat in chats]


def tokenised(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], stand_ins: Mapping[str, str]
) -> list[list[int]]:
    """Token ids of texts, their signs as the letters of what they stand for."""
    whole = [text for text in texts if not any(sign in text for sign in stand_ins)]
    ids = iter(_ids(tokenizer, whole, False))
    return [
        _pieced(tokenizer, text, stand_ins) if any(sign in text for sign in stand_ins) else next(ids) for text in texts
    ]


def literal_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of texts, no special token among them."""
    return _ids(tokenizer, texts, True)


def _pieced(tokenizer: PreTrainedTokenizerBase, text: str, stand_ins: Mapping[str, str]) -> list[int]:
    found: list[int] = []
    start = 0
    for at, letter in enumerate(text):
        if letter in stand_ins:
            found += _ids(tokenizer, [text[start:at]], False)[0]
            found += _ids(tokenizer, [stand_ins[letter]], True)[0]
            start = at + 1
    return found + _ids(tokenizer, [text[start:]], False)[0]


def _ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], is_literal: bool) -> list[list[int]]:
    if not texts:
        return []
    found = tokenizer(
        list(texts),
        add_special_tokens=False,
        return_attention_mask=False,
        split_special_tokens=is_literal,
        verbose=False,
    )
    return [list(ids) for ids in found["input_ids"]]


def _texts(value: Any) -> list[str]:
    """Every text within a value."""
    if isinstance(value, str):
        return [value]
    inner = (
        (*value, *value.values()) if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    )
    return [text for one in inner for text in _texts(one)]


def _replaced(turn: Message, signs: Mapping[str, str]) -> Message:
    return replace(turn, content=_signed(turn.content, signs), more=_signed(turn.more, signs))


def _signed(value: Any, signs: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for name, sign in signs.items():
            value = value.replace(name, sign)
        return value
    if isinstance(value, Mapping):
        return {_signed(key, signs): _signed(inner, signs) for key, inner in value.items()}
    return [_signed(inner, signs) for inner in value] if isinstance(value, list | tuple) else value
