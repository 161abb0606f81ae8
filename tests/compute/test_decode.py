"""Greedy continuation: many rows at once write what each writes alone, and what transformers' own search writes."""

from __future__ import annotations

from collections.abc import Sequence
from types import ModuleType

import pytest
import torch

from rung.compute import decode
from rung.compute.decode import Continuation, continued
from rung.compute.keys import RowKeys
from rung.compute.states import NOTHING
from rung.methods.prefix import PrefixTuning
from rung.methods.soft_prompt import SoftPrompt
from rung.models.families import Family
from rung.types import Tokens

NEW = 12


def prompts(count: int = 7, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(5, 61, (3 + 2 * row,), generator=generator).tolist() for row in range(count)]


def search(family: Family, rows: Sequence[Sequence[int]], stop: int, limit: int = NEW) -> list[Continuation]:
    """Greedy search with nothing kept: the whole text anew for each token."""
    found = []
    for row in rows:
        ids, one = list(row), Continuation()
        while len(ids) < len(row) + limit:
            token = int(family.module(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if token == stop:
                one.stopped = True
                break
            ids.append(token)
        one.ids = ids[len(row) :]
        found.append(one)
    return found


def frequent(family: Family, rows: Sequence[Sequence[int]]) -> int:
    """The token that most rows write, some early, some late."""
    written = [one.ids for one in search(family, rows, stop=-1)]
    return max(range(61), key=lambda token: sum(token in ids for ids in written))


@pytest.mark.parametrize(
    "name", ["llama", "gpt2", "qwen2", "qwen3", "mistral", "mistral_short_window", "gemma", "gemma2", "phi"]
)
def test_together_as_alone(name: str, tiny: ModuleType) -> None:
    family, rows = tiny.build(name), prompts()
    for stop in (frequent(family, rows), -1):
        expected = search(family, rows, stop)
        with torch.inference_mode():
            assert continued(family, rows, stop, NEW, NOTHING) == expected
            assert [continued(family, [row], stop, NEW, NOTHING)[0] for row in rows] == expected
        assert any(one.stopped for one in expected) == (stop >= 0)


def test_together_as_alone_in_fp32(tiny: ModuleType) -> None:
    family, rows = tiny.build("llama", torch.float32), prompts()
    stop = frequent(family, rows)
    with torch.inference_mode():
        together = continued(family, rows, stop, NEW, NOTHING)
        assert together == [continued(family, [row], stop, NEW, NOTHING)[0] for row in rows]


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3", "mistral", "phi"])
def test_what_prompts_begin_with_is_read_once(name: str, tiny: ModuleType) -> None:
    family, beginning = tiny.build(name), prompts(9)[-1]
    rows = [beginning + row for row in prompts()] + [beginning]
    read: list[int] = []
    seen = family.layers()[0].register_forward_pre_hook(
        lambda _, given: read.append(given[0].shape[0] * given[0].shape[1])
    )
    with torch.inference_mode():
        found = continued(family, rows, -1, NEW, NOTHING)
    seen.remove()
    assert found == search(family, rows, -1)
    assert read[0] == len(beginning) + sum(map(len, prompts()))
    assert read[1:] == [len(rows)] * (NEW - 1)


def test_new_keys_are_written_in_place() -> None:
    keys, values = torch.randn(2, 3, 5, 4), torch.randn(2, 3, 5, 4)
    kept = RowKeys(keys, values, 2)
    new = [torch.randn(2, 3, 1, 4) for _ in range(4)]
    places = set()
    for at in (0, 2):
        found = kept.update(new[at], new[at + 1])
        places.add((found[0].data_ptr(), found[1].data_ptr()))
    assert len(places) == 1
    assert torch.equal(found[0], torch.cat([keys, new[0], new[2]], dim=2))
    assert torch.equal(found[1], torch.cat([values, new[1], new[3]], dim=2))
    kept.batch_select_indices(torch.tensor([1]))
    assert kept.keys is not None
    assert torch.equal(kept.keys, found[0][1:])
    assert kept.get_seq_length() == 7


@pytest.mark.parametrize("room", [1, 40, 60])
def test_batches_of_any_size_write_the_same(room: int, tiny: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    family, rows = tiny.build("llama"), prompts()
    stop = frequent(family, rows)
    with torch.inference_mode():
        whole = continued(family, rows, stop, NEW, NOTHING)
        monkeypatch.setattr(decode, "CACHED_TOKENS", room)
        assert continued(family, rows, stop, NEW, NOTHING) == whole


def test_the_limit_counts_the_ending_token(tiny: ModuleType) -> None:
    family, row = tiny.build("llama"), prompts(1)
    with torch.inference_mode():
        first, second = continued(family, row, -1, 2, NOTHING)[0].ids
        assert continued(family, row, first, 1, NOTHING) == [Continuation([], True)]
        if second != first:
            assert continued(family, row, second, 2, NOTHING) == [Continuation([first], True)]
            assert continued(family, row, second, 1, NOTHING) == [Continuation([first], False)]


@pytest.mark.parametrize(
    ("name", "method"),
    [
        *((name, SoftPrompt(num_virtual_tokens=5)) for name in ("llama", "gpt2", "qwen3", "mistral_short_window")),
        *((name, PrefixTuning(num_virtual_tokens=5)) for name in ("llama", "gpt2", "qwen3", "gemma")),
    ],
)
def test_virtual_tokens_and_learned_keys_stand_before_what_is_written(
    name: str, method: SoftPrompt | PrefixTuning, tiny: ModuleType
) -> None:
    family, rows = tiny.build(name), prompts()
    adapted = method.attach(family, None, 3)
    expected = []
    with torch.inference_mode():
        for row in rows:
            ids = list(row)
            for _ in range(NEW):
                hidden = adapted.states([Tokens(tuple(ids))], [[len(ids) - 1]])
                ids.append(int((hidden @ family.output.weight.T).argmax()))
            expected.append(Continuation(ids[len(row) :]))
        found = continued(family, rows, -1, NEW, adapted.additions)
    assert found == expected
    assert found != search(family, rows, -1)
