"""What an encoder-decoder reads and writes as token ids: plain text on both sides, with the tokenizer's special tokens.

These models know no chats. An instruction and a text are read as they stand; solved examples and earlier turns have
their answers under `Answer:`, and so has what is asked for after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from transformers import PreTrainedTokenizerBase

from rung.errors import ModelError
from rung.types import Message

_CUE = "\nAnswer:"


def source_text(messages: Sequence[Message]) -> str:
    """A request as plain text.

    Args:
        messages: The turns up to the answer.
    """
    parts: list[str] = []
    for one in messages:
        if one.role == "assistant":
            parts.append(f"{_CUE} {one.content}\n\n")
        else:
            parts.append(one.content + ("\n\n" if one.role == "system" else ""))
    answered = any(one.role == "assistant" for one in messages)
    return "".join(parts) + (_CUE if answered else "")


def sources_ids(tokenizer: PreTrainedTokenizerBase, chats: Sequence[Sequence[Message]]) -> list[list[int]]:
    """Token ids of what the encoder reads; a special token's name in what somebody said is read as the text it is.

    Args:
        tokenizer: The model's tokenizer, which puts its own special tokens around each (`</s>`, or `<s>` and `</s>`).
        chats: The turns of each request.
    """
    if not chats:
        return []
    texts = [source_text(chat) for chat in chats]
    found = tokenizer(texts, split_special_tokens=True, return_attention_mask=False, verbose=False)
    return [list(ids) for ids in found["input_ids"]]


def targets_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of answers as the decoder is to write them, the token that ends them last.

    Args:
        tokenizer: The model's tokenizer, asked for them as targets (translators' begin with their language).
        texts: The answers.
    """
    if not texts:
        return []
    end = end_id(tokenizer)
    found = tokenizer(text_target=list(texts), split_special_tokens=True, return_attention_mask=False, verbose=False)
    return [[*ids, *([] if ids[-1:] == [end] else [end])] for ids in found["input_ids"]]


def end_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """The id that ends an answer.

    Raises:
        ModelError: The tokenizer has none.
    """
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no token that ends an answer.", "Set eos_token in tokenizer_config.json.")
    return cast("int", tokenizer.eos_token_id)
