from __future__ import annotations

import pytest
from pydantic import TypeAdapter

from rung.ladder.names import rung_names
from rung.methods.union import AnyMethod

SMOL, MINILM = "smollm2-135m-instruct", "minilm-l6"


def names(*pairs: tuple[str | None, object]) -> list[str]:
    adapter = TypeAdapter(AnyMethod)
    methods = [adapter.validate_python({"type": one} if isinstance(one, str) else one) for _, one in pairs]
    return rung_names([(model, method) for (model, _), method in zip(pairs, methods, strict=True)])


def test_a_method_alone_is_named_by_its_type_and_the_models_first_word() -> None:
    lora = {"type": "lora", "r": 8}
    assert names((None, "tfidf"), (SMOL, lora), (MINILM, lora)) == ["tfidf", "lora-smollm2", "lora-minilm"]


def test_models_that_begin_alike_keep_their_whole_names() -> None:
    assert names(("a/bert-tiny", "full"), ("b/bert-base", "full")) == ["full-bert-tiny", "full-bert-base"]


@pytest.mark.parametrize(
    ("methods", "wanted"),
    [
        (
            [{"type": "adapter", "style": style} for style in ("houlsby", "pfeiffer", "parallel")],
            ["adapter-houlsby-minilm", "adapter-pfeiffer-minilm", "adapter-parallel-minilm"],
        ),
        (["lora", {"type": "lora", "use_dora": True}], ["lora-minilm", "lora-dora-minilm"]),
        ([{"type": "lora", "r": 4}, {"type": "lora", "r": 64}], ["lora-r-4-minilm", "lora-r-64-minilm"]),
        (
            [{"type": "lora", "r": 16, "use_dora": True}, {"type": "lora", "r": 16, "use_dora": False}],
            ["lora-dora-minilm", "lora-minilm"],
        ),
        (
            [{"type": "peft", "config": {"peft_type": kind, "r": 4}} for kind in ("LOHA", "LOKR")],
            ["peft-LOHA-minilm", "peft-LOKR-minilm"],
        ),
        (["lora", "lora"], ["lora-minilm", "lora-minilm-2"]),
    ],
)
def test_one_method_several_times_is_named_by_the_settings_that_differ(
    methods: list[object], wanted: list[str]
) -> None:
    assert names(*((MINILM, method) for method in methods)) == wanted


def test_names_do_not_depend_on_the_order_of_the_entries() -> None:
    pairs = [(MINILM, {"type": "lora", "r": rank}) for rank in (4, 8, 16)]
    assert sorted(names(*pairs)) == sorted(names(*reversed(pairs)))


def test_a_name_is_a_folder_whatever_the_settings_hold() -> None:
    modules = {"type": "lora", "target_modules": ["../../q", "v proj"]}
    assert names((MINILM, modules), (MINILM, "lora")) == ["lora-target_modules-..-..-q-v-minilm", "lora-minilm"]
