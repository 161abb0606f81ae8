"""Text to token ids: one way, used alike in training, evaluation, serving and export."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from rung.errors import ModelError
from rung.models.literal import shielded, tokenised
from rung.types import Message

PLAIN_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] }}\n"
    "{% elif message['role'] == 'user' %}Input: {{ message['content'] }}\nAnswer:"
    "{% else %} {{ message['content'] }}{{ eos_token }}\n{% endif %}"
    "{% endfor %}"
)
"""How a model without a chat template is asked: the instruction, then `Input: ...`, then `Answer:` on a line of its
own. An answer ends with the end-of-sequence token, so that the model can learn (or is known) to stop."""

_MARK = "rungendofturn"
# what a template can raise: jinja's own errors (its sandbox's too), and those of the expressions in it
_TEMPLATE_ERRORS = (TemplateError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a conversation is written: with the opening of an answer or not, about which tools, in which template."""

    add_generation_prompt: bool
    tools: Sequence[Any]
    template: str


def template_of(tokenizer: PreTrainedTokenizerBase, own: bool = True) -> str:
    """The template that `render_chat` uses: the tokenizer's own if it is wanted and there, else `PLAIN_TEMPLATE`."""
    template = tokenizer.chat_template if own else None
    if isinstance(template, dict):
        template = template.get("default")
    return template or PLAIN_TEMPLATE


def template_source(tokenizer: PreTrainedTokenizerBase, own: bool = True) -> dict[str, str]:
    """Whose template it is, `model` or `rung`, and its hash, as `run.json` has them."""
    template = template_of(tokenizer, own)
    from_whom = "rung" if template == PLAIN_TEMPLATE else "model"
    return {"from": from_whom, "sha256": hashlib.sha256(template.encode("utf-8")).hexdigest()}


def render_chat(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], add_generation_prompt: bool
) -> list[int]:
    """Token ids of a conversation.

    The template writes every special token itself. Only where it writes no beginning-of-sequence token, and the
    tokenizer puts one before plain text, is one put there: so there is exactly one, or none.

    Args:
        tokenizer: The model's tokenizer.
        messages: The turns.
        add_generation_prompt: Whether to end with the opening of the assistant's turn.

    Returns:
        `[T]` ids.

    Raises:
        ModelError: The model's template refuses these messages.
    """
    return render_chats(tokenizer, [messages], add_generation_prompt)[0]


def render_chats(
    tokenizer: PreTrainedTokenizerBase,
    chats: Sequence[Sequence[Message]],
    add_generation_prompt: bool,
    own_template: bool = True,
    *,
    tools: Sequence[Sequence[Any]] = (),
) -> list[list[int]]:
    """Token ids of conversations, each as `render_chat` gives them, tokenised together.

    A special token's name in what somebody said is read as the text it is. One of no turns is the beginning of a text.

    Args:
        tokenizer: The model's tokenizer.
        chats: The turns of each.
        add_generation_prompt: Whether to end with the opening of the assistant's turn.
        own_template: Whether the model's own chat template is used; False = `PLAIN_TEMPLATE`.
        tools: The tools of each, for the template; none at all where left out.
    """
    if not chats:
        return []
    described = tools or [()] * len(chats)
    stand_ins, plain = shielded(tokenizer, chats)
    texts = [
        render_text(tokenizer, messages, add_generation_prompt, tools=own, own_template=own_template)
        if messages
        else ""
        for messages, own in zip(plain, described, strict=True)
    ]
    found = tokenised(tokenizer, texts, stand_ins)
    first = _leading_bos(tokenizer)
    whole = [ids if first is None or ids[:1] == [first] else [first, *ids] for ids in found]
    return [ids or [_start(tokenizer, own_template)] for ids in whole]


def _start(tokenizer: PreTrainedTokenizerBase, own_template: bool) -> int:
    """What stands before a text of which nothing has been said."""
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    return end_of_turn_id(tokenizer, own_template) if start is None else cast("int", start)


def render_text(
    tokenizer: PreTrainedTokenizerBase,
    messages: Sequence[Message],
    add_generation_prompt: bool = True,
    *,
    tools: Sequence[Any] = (),
    own_template: bool = True,
) -> str:
    """The text of a conversation, as it is before it becomes tokens.

    Args:
        tokenizer: The model's tokenizer.
        messages: The turns.
        add_generation_prompt: Whether to end with the opening of the assistant's turn.
        tools: Descriptions of the tools, for the template.
        own_template: Whether the model's own chat template is used; False = `PLAIN_TEMPLATE`.

    Raises:
        ModelError: The model's template refuses these messages, or leaves out what the user said.
    """
    return _render(tokenizer, messages, _Asked(add_generation_prompt, tools, template_of(tokenizer, own_template)))


def end_of_turn_id(tokenizer: PreTrainedTokenizerBase, own_template: bool = True) -> int:
    """The id that ends an assistant's turn: what the template really writes there, else end-of-sequence.

    It is found by rendering, not by name: many chat models end a turn with another token than `eos_token`, and a
    model trained to stop at the wrong one never stops.

    Raises:
        ModelError: The tokenizer has neither.
    """
    turns = (Message("user", "hello"), Message("assistant", _MARK))
    after = render_text(tokenizer, turns, False, own_template=own_template).rpartition(_MARK)[2]
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for token in tokenizer(after, add_special_tokens=False, verbose=False)["input_ids"]:
        if token in special:
            return token
    if tokenizer.eos_token_id is None:
        raise ModelError("the tokenizer has no token that ends an answer.", "Set eos_token in tokenizer_config.json.")
    return cast("int", tokenizer.eos_token_id)


def encode_text(
    tokenizer: PreTrainedTokenizerBase, text: str, pair: str | None, max_length: int
) -> tuple[list[int], list[int] | None, int]:
    """Token ids of one text, or of a pair, with the model's special tokens around them.

    Args:
        tokenizer: The model's tokenizer.
        text: The text.
        pair: The second text, or None.
        max_length: Most ids to return; the longer text is cut first, the special tokens stay.

    Returns:
        `[T]` ids, `[T]` segment ids (None where the model has none), and the number of tokens cut off.
    """
    return encode_texts(tokenizer, [(text, pair)], max_length)[0]


def encode_texts(
    tokenizer: PreTrainedTokenizerBase, texts: Sequence[tuple[str, str | None]], max_length: int
) -> list[tuple[list[int], list[int] | None, int]]:
    """Texts, or pairs, each as `encode_text` gives it, tokenised together: all have a second text, or none has."""
    if not texts:
        return []
    segments = "token_type_ids" in tokenizer.model_input_names
    first = [text for text, _ in texts]
    second = None if texts[0][1] is None else [str(pair) for _, pair in texts]
    whole = tokenizer(first, second, return_token_type_ids=segments, return_attention_mask=False, verbose=False)
    found = []
    for at, (text, pair) in enumerate(texts):
        ids, types = whole["input_ids"][at], whole["token_type_ids"][at] if segments else None
        num_truncated = max(0, len(ids) - max_length)
        if num_truncated:
            limits = {"truncation": "longest_first", "max_length": max_length}
            cut = tokenizer(text, pair, return_token_type_ids=segments, verbose=False, **limits)
            ids, types = cut["input_ids"], cut["token_type_ids"] if segments else None
        found.append((list(ids), None if types is None else list(types), num_truncated))
    return found


def _render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], asked: _Asked) -> str:
    try:
        return _seen(tokenizer, messages, asked)
    except _TEMPLATE_ERRORS as error:
        if not (len(messages) > 1 and messages[0].role == "system" and messages[1].role == "user"):
            raise _refusal(error) from error
    # some templates know no system turn: its text then opens the user's first turn
    system, user, *rest = messages
    merged = [Message("user", f"{system.content}\n\n{user.content}"), *rest]
    try:
        return _seen(tokenizer, merged, asked)
    except _TEMPLATE_ERRORS as error:
        raise _refusal(error) from error


def _seen(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], asked: _Asked) -> str:
    """The text, which holds what the user said: templates of models that see images want it in parts."""
    try:
        text = _apply(tokenizer, messages, asked)
    except _TEMPLATE_ERRORS as error:
        try:
            text = _apply(tokenizer, messages, asked, in_parts=True)
        except _TEMPLATE_ERRORS:
            raise error from None
    if not _leaves_out(text, messages):
        return text
    text = _apply(tokenizer, messages, asked, in_parts=True)
    if missing := _leaves_out(text, messages):
        raise ModelError(
            f"the model's chat template leaves out what the user said: {missing[:60]!r}", "Use another template."
        )
    return text


def _leaves_out(text: str, messages: Sequence[Message]) -> str:
    """The first text of the user's that is not in it; "" when all are."""
    said = (one.content.strip() for one in messages if one.role == "user")
    return next((content for content in said if content not in text), "")


def _refusal(error: Exception) -> ModelError:
    return ModelError(f"the model's chat template refuses these messages: {error}.", "Check their roles and order.")


def _apply(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], asked: _Asked, in_parts: bool = False
) -> str:
    turns = [
        {
            "role": message.role,
            "content": [{"type": "text", "text": message.content}] if in_parts else message.content,
            **message.more,
        }
        for message in messages
    ]
    text = tokenizer.apply_chat_template(
        turns,
        tools=list(asked.tools) or None,
        chat_template=asked.template,
        tokenize=False,
        add_generation_prompt=asked.add_generation_prompt,
    )
    return cast("str", text)


def _leading_bos(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The beginning-of-sequence id if the tokenizer puts it before plain text, else None."""
    alone = tokenizer("", add_special_tokens=True, verbose=False)["input_ids"]
    bos = cast("int | None", tokenizer.bos_token_id)
    return bos if bos is not None and alone[:1] == [bos] else None
