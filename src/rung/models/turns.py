"""An assistant's turn as token ids: what is learned of a conversation, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from rung.errors import ModelError
from rung.models.literal import control_tokens, literal_ids, shielded, tokenised
from rung.models.tokenizer import end_of_turn_id, render_text
from rung.types import Message


def replies_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Each text's token ids with the end of a turn: one special token, the last."""
    if not texts:
        return []
    end = end_of_turn_id(tokenizer)
    return [[*ids, end] for ids in literal_ids(tokenizer, texts)]


def documents_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[list[int]]:
    """Each text's token ids with the end of a turn; special tokens that it names are those."""
    if not texts:
        return []
    end = end_of_turn_id(tokenizer)
    return [[*ids, end] for ids in tokenised(tokenizer, texts, {})]


def call_ids(
    tokenizer: PreTrainedTokenizerBase, before: Sequence[Message], turn: Message, tools: Sequence[Any]
) -> list[int]:
    """Token ids of a turn that calls tools, as the chat template writes it behind its own request for the turn.

    Args:
        tokenizer: The model's tokenizer.
        before: The turns before it.
        turn: The turn.
        tools: Descriptions of the tools.

    Raises:
        ModelError: The template leaves the calls out, or asks for a turn otherwise than it writes one.
    """
    stand_ins, (plain,) = shielded(tokenizer, [[*before, turn]])
    request = render_text(tokenizer, plain[:-1], True, tools)
    whole = render_text(tokenizer, plain, False, tools)
    if not whole.startswith(request):
        raise ModelError(
            "the model's chat template asks for a turn in other words than those it writes before one that calls "
            f"tools: {request[-40:]!r}",
            "Set task.train_on=last, or leave the turns that call tools out of the rows.",
        )
    written = whole[len(request) :]
    for call in turn.more.get("tool_calls", ()):
        name = call.get("function", call).get("name", "")
        if name not in written:
            raise ModelError(
                f"the model's chat template leaves out that the assistant calls {name!r}",
                "Take a model whose template knows tools, or leave these rows out.",
            )
    return _to_its_end(tokenizer, tokenised(tokenizer, [written], stand_ins)[0])


def _to_its_end(tokenizer: PreTrainedTokenizerBase, ids: list[int]) -> list[int]:
    """A turn up to the token that ends it: the usual one, else the last special one, else the usual one is added."""
    end = end_of_turn_id(tokenizer)
    special = control_tokens(tokenizer)
    last = [at for at, token in enumerate(ids) if token == end] or [at for at, t in enumerate(ids) if t in special]
    return ids[: last[-1] + 1] if last else [*ids, end]
