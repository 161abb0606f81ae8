"""One vector per text, whatever lies beside it in the batch."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from rung.compute.pooling import pooled
from rung.compute.states import states


@pytest.mark.parametrize("name", ["bert", "llama", "deberta_v2"])
@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_equals_the_plain_states(tiny: ModuleType, name: str, pooling: str) -> None:
    family = tiny.build(name)
    rows = tiny.sequences((4, 1, 9), shared=3)
    read = {"mean": lambda one: one.mean(0), "cls": lambda one: one[0], "last": lambda one: one[-1]}[pooling]
    expected = torch.stack([read(one) for one in tiny.plain_states(family, rows)])
    found = pooled(lambda *asked: states(family, *asked), rows, pooling)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_low_precision_states_are_averaged_in_fp32(tiny: ModuleType) -> None:
    family = tiny.build("bert", torch.bfloat16)
    rows = tiny.sequences((4, 2), shared=1)
    assert pooled(lambda *asked: states(family, *asked), rows, "mean").dtype == torch.float32
