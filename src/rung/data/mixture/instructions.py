"""The rows of a mixture as a run reads them: each made from its data set's row when it is asked for."""

from __future__ import annotations

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from rung.data.mixture.settings import MixtureConfig
from rung.data.mixture.showing import in_order, takes_held_out
from rung.data.mixture.source import Source
from rung.data.mixture.template_file import TemplateConfig
from rung.data.views import View
from rung.types import Record

PROMPT, COMPLETION = "prompt", "completion"
"""The columns of what is asked and of what is to be written."""


class Instructions(View[Record]):
    """Rows with `prompt`, `completion`, `source`, `template`, `cluster`, `type` and `held_out`; 12 bytes for each.

    `held_out` is `no`, `template` or `cluster`: what of the row was never trained on.

    Args:
        sources: The data sets.
        shown: `[rows, 3]` index of the source, of its row, and of the template in its file.
    """

    def __init__(self, sources: Sequence[Source], shown: NDArray[np.int32]) -> None:
        self.sources = sources
        self.shown = shown

    def __len__(self) -> int:
        return len(self.shown)

    def item(self, index: int) -> Record:
        """The row, under its template."""
        at, row, number = (int(one) for one in self.shown[index])
        source = self.sources[at]
        record, template = source.records[row], source.file.templates[number]
        prompt, completion = source.shower.show(record, template)
        unseen = "template" if template.name in source.unseen else "no"
        fields = {
            PROMPT: prompt,
            COMPLETION: completion,
            "source": source.config.name,
            "template": template.name,
            "cluster": source.cluster,
            "type": source.kind,
            "held_out": "cluster" if source.is_held_out else unseen,
        }
        return Record(f"{source.config.name}/{record.id}/{template.name}", fields, record.source)


def shown_rows(mixture: MixtureConfig, sources: Sequence[Source], split: str) -> NDArray[np.int32]:
    """Which row of which source is shown with which template in a split: `[rows, 3]` indices."""
    found = array("i")
    for at, source in enumerate(sources):
        numbers = {template.name: number for number, template in enumerate(source.file.templates)}
        free = source.seen(straight=split != "train" or not mixture.inverted)
        straight = [one for one in source.file.templates if not one.inverted]
        unseen = [one for one in straight if one.name in source.unseen]
        for row in source.of(split).tolist():
            id = source.records[row].id
            chosen: list[TemplateConfig] = free
            if split == "test" and source.is_held_out:
                chosen = straight
            elif split == "test" and unseen and takes_held_out(mixture.seed, id):
                chosen = unseen
            most = mixture.templates_per_row if split == "train" else 1
            for one in in_order(chosen, mixture.seed, id)[:most]:
                found.extend((at, row, numbers[one.name]))
    return np.array(found, dtype=np.int32).reshape(-1, 3)
