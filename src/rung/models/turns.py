"""An assistant's turn as token ids: what is learned of a conversation, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from rung.errors import ModelError
from rung.models.literal import control_tokens, literal_ids, shielded, tokenised
from rung.models.tokenizer import end_of_turn_id, render_text
from rung.types import Message


def replies_ids(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], own_template: bool = True) -> list[list[int]]:
    """Each text's token ids with the end of a turn: one special token, the last.

    Args:
        tokenizer: The model's tokenizer.
        texts: What is said in each turn.
        own_template: Whether the model's own chat template is used; in plain text a blank stands before an answer.
    """
    if not texts:
        return []
    end = end_of_turn_id(tokenizer, own_template)
    said = texts if own_template else [f" {text}" for text in texts]
    return [[*ids, end] for ids in literal_ids(tokenizer, said)]


def documents_ids(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[str], own_template: bool = True
) -> list[list[int]]:
    """Each text's token ids with the end of a turn; special tokens that it names are those."""
    if not texts:
        return []
    end = end_of_turn_id(tokenizer, own_template)
    return [[*ids, end] for ids in tokenised(tokenizer, texts, {})]


def written_ids(
    tokenizer: PreTrainedTokenizerBase,
    before: Sequence[Message],
    turn: Message,
    tools: Sequence[Any],
    own_template: bool = True,
) -> list[int]:
    """Token ids of a turn of more than a text (calls of tools, reasoning), as the template writes it when asked for it.

    Args:
        tokenizer: The model's tokenizer.
        before: The turns before it.
        turn: The turn.
        tools: Descriptions of the tools.
        own_template: Whether the model's own chat template is used; False = `PLAIN_TEMPLATE`.

    Raises:
        ModelError: The template leaves something of it out, or asks for a turn otherwise than it writes one.
    """
    stand_ins, (plain,) = shielded(tokenizer, [[*before, turn]])
    request = render_text(tokenizer, plain[:-1], tools=tools, own_template=own_template)
    whole = render_text(tokenizer, plain, False, tools=tools, own_template=own_template)
    if not whole.startswith(request):
        raise ModelError(
            "the model's chat template asks for a turn in other words than those it writes before one that calls "
            f"tools or reasons: {request[-40:]!r}",
            "Set task.train_on=last, or leave such turns out of the rows.",
        )
    written = whole[len(request) :]
    calls = [call.get("function", call).get("name", "") for call in plain[-1].more.get("tool_calls", ())]
    for part in (*calls, str(plain[-1].more.get("reasoning_content", "")).strip()):
        if part not in written:
            raise ModelError(
                f"the model's chat template leaves out of an assistant's turn {part[:60]!r}",
                "Take a model whose template knows tools and reasoning, or leave these rows out.",
            )
    return _to_its_end(tokenizer, tokenised(tokenizer, [written], stand_ins)[0], own_template)


def _to_its_end(tokenizer: PreTrainedTokenizerBase, ids: list[int], own_template: bool) -> list[int]:
    """A turn up to the token that ends it: the usual one, else the last special one, else the usual one is added."""
    end = end_of_turn_id(tokenizer, own_template)
    special = control_tokens(tokenizer)
    last = [at for at, token in enumerate(ids) if token == end] or [at for at, t in enumerate(ids) if t in special]
    return ids[: last[-1] + 1] if last else [*ids, end]
