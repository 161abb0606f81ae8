"""The parts of a model's repeated blocks that methods name: attention's output, keys, values, the feed-forward output.

Found by where a linear map stands and by its shape, as each architecture has its own names: the last map of an
attention that gives states of the model's width is its output; the last one outside attention is the feed-forward's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from rung.errors import IncompatibleError
from rung.models.families import LINEAR, Family, shape_of

_ATTENTION = ("attn", "attention")
"""Every architecture calls its attention by a name with one of these in it."""
_KEYS = ("k", "key", "k_proj", "key_proj", "k_lin")
_VALUES = ("v", "value", "v_proj", "value_proj", "v_lin")
_JOINED = ("c_attn", "qkv_proj", "Wqkv", "query_key_value", "qkv")
"""Maps that give queries, keys and values at once, in equal parts or by their numbers of heads."""


@dataclass(frozen=True, slots=True)
class Block:
    """Paths of the maps of one repeated block.

    Attributes:
        attention: The outputs of its attentions (an encoder-decoder's decoder has two).
        feed_forward: The output of its feed-forward part.
        reader: The first map of its feed-forward part, which reads the same states as the whole part.
        keys: Maps that give keys.
        values: Maps that give values.
        joined: Maps that give queries, keys and values at once.
    """

    attention: tuple[str, ...]
    feed_forward: str
    reader: str
    keys: tuple[str, ...]
    values: tuple[str, ...]
    joined: tuple[str, ...]


def blocks(family: Family) -> list[Block]:
    """The repeated blocks of a model, bottom first; an encoder-decoder's encoder before its decoder.

    Raises:
        IncompatibleError: A block has no attention or no feed-forward part that can be told.
    """
    paths = {part: path for path, part in family.module.named_modules()}
    return [_block(family, paths[layer], layer) for layer in family.all_layers()]


def _block(family: Family, path: str, layer: nn.Module) -> Block:
    linears = {_outermost(name): part for name, part in layer.named_modules() if isinstance(part, LINEAR)}
    # What an earlier method put around a map has maps of its own.
    linears = {name: part for name, part in linears.items() if not any(name.startswith(one + ".") for one in linears)}
    inside = {name: part for name, part in linears.items() if _is_attention(name)}
    outside = {name: part for name, part in linears.items() if name not in inside}
    width = family.module.config.hidden_size
    ends = [name for name, part in outside.items() if shape_of(part)[0] == width]
    attentions = [_last(names, inside, width) for names in _by_module(inside).values()]
    if not ends or not all(attentions) or not attentions:
        raise IncompatibleError(
            f"the blocks of {family.module.config.model_type} have no attention and feed-forward part that can be told",
            "Use lora or full with this model.",
        )

    def named(wanted: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{path}.{name}" for name in inside if name.rsplit(".", 1)[-1] in wanted)

    return Block(
        attention=tuple(f"{path}.{name}" for name in attentions),
        feed_forward=f"{path}.{ends[-1]}",
        reader=f"{path}.{next(iter(outside))}",
        keys=named(_KEYS),
        values=named(_VALUES),
        joined=named(_JOINED),
    )


def _outermost(name: str) -> str:
    """Where a map stands, with all that earlier methods put around it."""
    while name.endswith(".base"):
        name = name.removesuffix(".base")
    return name


def _is_attention(name: str) -> bool:
    return any(word in part.lower() for part in name.split(".")[:-1] for word in _ATTENTION)


def _by_module(inside: Mapping[str, nn.Module]) -> dict[str, list[str]]:
    """Names of maps by the attention they stand in: the part of the name up to the first that is called so."""
    found: dict[str, list[str]] = {}
    for name in inside:
        parts = name.split(".")
        end = next(at for at, part in enumerate(parts) if any(word in part.lower() for word in _ATTENTION))
        found.setdefault(".".join(parts[: end + 1]), []).append(name)
    return found


def _last(names: list[str], inside: Mapping[str, nn.Module], width: int) -> str:
    """The last map that gives states of the model's width; some classes make their output before the others."""
    ends = [name for name in names if shape_of(inside[name])[0] == width]
    return ends[-1] if ends else ""
