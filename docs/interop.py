"""What PEFT and Rung open of each other: the cases that `tests/methods/test_interop.py` runs, as `docs/interop.md`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from docs.tiny import FAMILIES, table

Cell = Literal["both", "opens", "own", "refused"]

_ENCODERS = ("bert", "roberta", "distilbert", "modernbert", "deberta_v2", "electra", "mpnet")
_OTHER: dict[str, dict[str, Cell]] = {
    "prefix": {
        **dict.fromkeys(("distilbert", "modernbert"), "own"),
        **dict.fromkeys(("t5", "bart"), "opens"),
        **dict.fromkeys(("gemma2", "deberta_v2", "mpnet"), "refused"),
    },
    "soft_prompt": dict.fromkeys(_ENCODERS, "own"),
}
"""Where a method is not exchanged."""

METHODS = ("lora", "dora", "ia3", "prefix", "soft_prompt")
CELLS: dict[tuple[str, str], Cell] = {
    (method, family): _OTHER.get(method, {}).get(family, "both") for method in METHODS for family in FAMILIES
}
"""Method and family to what holds; each is a test."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What PEFT does not do, shown by a test of its own.

    Attributes:
        method: Rung's name of the method.
        family: On which model.
        theirs: What PEFT does.
        ours: What Rung does there.
    """

    method: str
    family: str
    theirs: str
    ours: str


_OWN = "trained, and saved in Rung's own format"
_IGNORES = "takes the prefix and leaves it out: the answers are the base model's"
_BREAKS = "stops: the mask counts the prefix, and the keys don't"
FAILURES = {
    "prefix_ignored_by_distilbert": Failure("prefix", "distilbert", _IGNORES, _OWN),
    "prefix_ignored_by_mpnet": Failure("prefix", "mpnet", _IGNORES, "refused"),
    "prefix_breaks_modernbert": Failure("prefix", "modernbert", _BREAKS, _OWN),
    "prefix_breaks_deberta_v2": Failure("prefix", "deberta_v2", _BREAKS, "refused"),
    "prefix_of_other_layers": Failure(
        "prefix",
        "t5",
        "gives layer i what belongs to layer 2 i, counted around: of an even number of layers half is never read",
        f"each layer has its own; {_OWN}; PEFT's is opened as PEFT reads it",
    ),
    "prompt_before_cls": Failure("soft_prompt", "bert", "puts its tokens before `[CLS]`", f"behind it; {_OWN}"),
    "prompt_as_wide_as_states": Failure(
        "soft_prompt", "electra", "stops: its tokens have the states' width, not the embeddings'", _OWN
    ),
    "prompt_is_tagged": Failure(
        "soft_prompt", "bert", "tags the virtual tokens too, so there are more tags than tokens", f"never read; {_OWN}"
    ),
}
"""By the name of the test's case."""

_SHOWN = {"both": "both ways", "opens": "own format; opens PEFT's", "own": "own format", "refused": "refused"}


def page() -> str:
    """The text of `docs/interop.md`."""
    cells = [(family, *(_SHOWN[CELLS[method, family]] for method in METHODS)) for family in FAMILIES]
    failures = [(one.method, one.family, one.theirs, one.ours) for one in FAILURES.values()]
    return f"""# Adapters that PEFT and Rung open of each other

Tested with PEFT 0.21 on tiny models of each family, in fp32. *Both ways*: PEFT opens what Rung saved, Rung opens what
PEFT saved, and the states of the last layer differ by less than 1e-5 of the largest. *Own format*: PEFT has no such
thing there (see below); the folder says `rung_type`, and PEFT does not open it. *Opens PEFT's*: Rung opens what PEFT
saved there. *Refused*: [the method does not work there](refusals.md).

{table(("family", *(f"`{method}`" for method in METHODS)), cells)}

`dora` is `lora` with `use_dora`. Other options of LoRA (`use_rslora`, PiSSA, names of layers) and the prefix's network
are tested on Llama, GPT-2 and BERT in `tests/methods/test_lora_peft.py` and `test_peft_formats.py`, PEFT's own kinds of
layers (`method: peft`) on Llama. On an encoder with its language-model head PEFT's `all-linear` adapts a map of that
head too; Rung adapts the repeated blocks alone, and refuses such an adapter by the map's name.

What Rung opens is followed to the bit or refused by name: `modules_to_save`, `trainable_token_indices`, `rank_pattern`,
`bias`, starts that change the base weights, and tables of a vocabulary that was resized are refused. No method adds
rows to the vocabulary, and none but `full` trains them, so an adapter of Rung's holds none.

## What PEFT 0.21 does not do

Each row is a test that fails once PEFT does it.

{table(("method", "family", "PEFT", "Rung"), failures)}

Made by `python -m docs` (or `make docs`) from the cases of `tests/methods/test_interop.py`.
"""
