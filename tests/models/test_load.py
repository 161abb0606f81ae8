from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertForMaskedLM, BertModel, LlamaForCausalLM

from rung.errors import ModelError
from rung.models.load import inspect, load
from rung.models.locate import catalogue_rows, locate
from rung.models.tokenizer import end_of_turn_id, render_chat
from rung.types import Message


@pytest.fixture
def copied(bert_tiny_path: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bert_tiny_path, tmp_path / "bert"))


def edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load(str(path), torch.float32, "cpu")
    return caught.value.what


def test_bert_tiny_keeps_its_masked_language_model_head(bert_tiny_path: Path) -> None:
    loaded = load("bert-tiny", torch.float32, "cpu")
    assert type(loaded.module) is BertForMaskedLM
    assert not loaded.module.training
    assert loaded.path == bert_tiny_path
    assert loaded.facts.has_mlm_head
    assert sum(weight.numel() for weight in loaded.module.parameters()) == 4_416_698
    saved = load_file(bert_tiny_path / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    assert torch.equal(loaded.module.bert.embeddings.word_embeddings.weight, saved)
    assert loaded.module.cls.predictions.decoder.weight is loaded.module.bert.embeddings.word_embeddings.weight


def test_minilm_keeps_its_pooler(minilm_path: Path) -> None:
    loaded = load("minilm-l6", torch.float32, "cpu")
    assert type(loaded.module) is BertModel
    saved = load_file(minilm_path / "model.safetensors")["pooler.dense.weight"]
    assert torch.equal(loaded.module.pooler.dense.weight, saved)


def test_minilm_tells_like_from_unlike(minilm_path: Path) -> None:
    loaded = load(str(minilm_path), torch.float32, "cpu")

    def vector(text: str) -> torch.Tensor:
        with torch.no_grad():
            states = loaded.module(**loaded.tokenizer(text, return_tensors="pt")).last_hidden_state
        return torch.nn.functional.normalize(states[0].mean(0), dim=0)

    cat, kitten, stocks = map(vector, ("A cat sits outside.", "A kitten is outdoors.", "Stocks fell on Monday."))
    assert cat @ kitten > 0.6 > 0.2 > cat @ stocks


def test_smollm2_answers(smollm2_path: Path) -> None:
    loaded = load("smollm2-135m-instruct", torch.float32, "cpu")
    assert type(loaded.module) is LlamaForCausalLM
    assert loaded.module.lm_head.weight is loaded.module.model.embed_tokens.weight
    assert sum(weight.numel() for weight in loaded.module.parameters()) == 134_515_008
    ids = render_chat(loaded.tokenizer, [Message("user", "What is the capital of France?")], True)
    answer = loaded.module.generate(
        torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=12,
        do_sample=False,
    )[0, len(ids) :].tolist()
    assert loaded.tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."
    assert answer[-1] == end_of_turn_id(loaded.tokenizer)


def test_smollm2_weights_are_the_four_bit_ones_exactly(smollm2_path: Path) -> None:
    weights = load_file(smollm2_path / "model.safetensors")
    assert "lm_head.weight" not in weights
    assert {weight.dtype for weight in weights.values()} == {torch.float32}
    # a Q4_1 block holds 32 neighbours that take at most 16 values
    blocks = weights["model.layers.3.mlp.down_proj.weight"].reshape(-1, 32)[:2000].sort(dim=1).values
    assert int(((blocks[:, 1:] != blocks[:, :-1]).sum(dim=1) + 1).max()) == 16


def test_weights_live_in_memory_of_their_own(copied: Path) -> None:
    loaded = load(str(copied), torch.float32, "cpu")
    before = loaded.module.bert.embeddings.word_embeddings.weight.clone()
    with (copied / "model.safetensors").open("r+b") as file:
        file.seek(10_000)
        file.write(bytes(1_000_000))
    assert torch.equal(loaded.module.bert.embeddings.word_embeddings.weight, before)
    assert {weight.data_ptr() % 64 for weight in loaded.module.parameters()} == {0}


def test_the_precision_is_the_one_asked_for(bert_tiny_path: Path) -> None:
    loaded = load(str(bert_tiny_path), torch.bfloat16, "cpu")
    assert {weight.dtype for weight in loaded.module.parameters()} == {torch.bfloat16}


def test_an_endpoint_has_facts_but_no_weights() -> None:
    assert inspect("openai:gpt@http://localhost:1/v1").kind == "endpoint"
    with pytest.raises(ModelError, match="is an endpoint: it can be prompted, it has no folder"):
        load("openai:gpt@http://localhost:1/v1", torch.float32, "cpu")


def test_a_run_without_a_whole_model_says_so(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(ModelError, match="is a run that saved no whole model"):
        locate(str(tmp_path))


def test_a_hub_model_out_of_reach_names_the_alternatives() -> None:
    with pytest.raises(ModelError) as caught:
        locate("no-such-org-here/no-such-model")
    assert (
        caught.value.what
        == "model=no-such-org-here/no-such-model: the hub can't be reached, and it is not cached here."
    )
    assert "catalogue name (smollm2-135m-instruct, minilm-l6, bert-tiny)" in caught.value.todo


def test_the_catalogue_as_a_table(bert_tiny_path: Path) -> None:
    row = {row["name"]: row for row in catalogue_rows()}["bert-tiny"]
    assert (row["cached"], row["path"], row["kind"]) == (True, str(bert_tiny_path), "encoder")


def test_missing_and_foreign_weights_are_refused(copied: Path) -> None:
    file = copied / "model.safetensors"
    weights = load_file(file)
    taken = weights.pop("bert.embeddings.token_type_embeddings.weight")
    save_file(weights, file, {"format": "pt"})
    assert refusal(copied) == f"{copied}: weights are missing: bert.embeddings.token_type_embeddings.weight."
    save_file(
        weights | {"bert.embeddings.token_type_embeddings.weight": taken, "extra.weight": taken.clone()},
        file,
        {"format": "pt"},
    )
    assert refusal(copied) == f"{copied}: the model has no place for these weights: extra.weight."


def test_the_head_of_another_task_is_left_out_and_said(copied: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = copied / "model.safetensors"
    save_file(load_file(file) | {"classifier.weight": torch.zeros(2, 128)}, file, {"format": "pt"})
    load(str(copied), torch.float32, "cpu")
    assert f"{copied}: heads of another task are not used: classifier.weight" in caplog.text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 64}, "can't be loaded"),
        ({"model_type": "bertt"}, "unknown model_type 'bertt'. Did you mean 'bert'?"),
        ({"hidden_act": "no-such"}, "can't be loaded"),
        ({"num_hidden_layers": 3}, "weights are missing: bert.encoder.layer.2."),
    ],
)
def test_a_configuration_that_does_not_fit_is_refused(copied: Path, changes: dict[str, object], message: str) -> None:
    edit(copied / "config.json", **changes)
    assert message in refusal(copied)


def test_a_missing_or_broken_tokenizer_is_refused(copied: Path) -> None:
    (copied / "tokenizer.json").write_text("{")
    assert refusal(copied).startswith(f"{copied}: its tokenizer can't be loaded: ")


@pytest.mark.hostile
def test_a_poisoned_folder_runs_nothing_and_connects_nowhere(copied: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (copied / "evil.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    (copied / "custom_generate").mkdir()
    (copied / "custom_generate" / "generate.py").write_text((copied / "evil.py").read_text())
    edit(
        copied / "config.json",
        auto_map={"AutoConfig": "evil.C", "AutoModel": "evil.M", "AutoModelForMaskedLM": "evil.M"},
        _attn_implementation_internal="evil/kernel",
        attn_implementation="evil/kernel",
        use_kernels=True,
    )
    edit(copied / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.T", "evil.T"]})
    (copied / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch x'\ntR.")
    watching, seen = True, []

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event in ("socket.connect", "subprocess.Popen", "os.system", "pickle.find_class"):
            seen.append((event, arguments))

    sys.addaudithook(hook)
    loaded = load(str(copied), torch.float32, "cpu")
    watching = False
    assert type(loaded.module) is BertForMaskedLM
    assert seen == []
    assert not canary.exists()
