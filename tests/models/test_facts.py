from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rung.errors import ModelError
from rung.models.facts import folder_facts, read_config, tensor_names, weight_files

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "vocab_size": 16,
    "max_position_embeddings": 32,
}


def safetensors_of(shapes: dict[str, list[int]]) -> bytes:
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4 * shape[0]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    raw = json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(offset)


def folder(path: Path, shapes: dict[str, list[int]] | None = None, **config: Any) -> Path:
    settings_ = {key: value for key, value in (CONFIG | config).items() if value is not None}
    (path / "config.json").write_text(json.dumps(settings_))
    (path / "model.safetensors").write_bytes(safetensors_of(shapes or {"w": [4]}))
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        folder_facts(path)
    return caught.value.what


def test_the_facts_of_a_decoder(tmp_path: Path) -> None:
    facts = folder_facts(folder(tmp_path))
    assert (facts.kind, facts.model_type, facts.architectures) == ("decoder", "llama", ("LlamaForCausalLM",))
    assert (facts.hidden_size, facts.num_layers, facts.vocab_size, facts.max_length) == (8, 2, 16, 32)
    assert not facts.has_mlm_head
    assert facts.path == tmp_path


@pytest.mark.parametrize(
    ("config", "kind", "mlm", "max_length"),
    [
        ({"model_type": "bert", "architectures": ["BertForMaskedLM"]}, "encoder", True, 32),
        ({"model_type": "bert", "architectures": ["BertModel"]}, "encoder", False, 32),
        ({"model_type": "bert", "architectures": None}, "encoder", False, 32),
        ({"model_type": "roberta", "architectures": ["RobertaForMaskedLM"]}, "encoder", True, 30),
        ({"model_type": "bert", "architectures": ["BertLMHeadModel"]}, "decoder", False, 32),
        ({"model_type": "qwen3", "architectures": ["Qwen3Model"]}, "decoder", False, 32),
        (
            {"model_type": "t5", "architectures": ["T5ForConditionalGeneration"], "is_encoder_decoder": True},
            "encoder_decoder",
            False,
            32,
        ),
    ],
)
def test_the_kind_is_told_from_the_configuration(
    tmp_path: Path, config: dict[str, Any], kind: str, mlm: bool, max_length: int
) -> None:
    facts = folder_facts(folder(tmp_path, {"cls.predictions.bias": [4], "lm_head.bias": [4]}, **config))
    assert (facts.kind, facts.has_mlm_head, facts.max_length) == (kind, mlm, max_length)


def test_a_masked_language_model_without_its_heads_weights_has_no_head(tmp_path: Path) -> None:
    assert not folder_facts(folder(tmp_path, model_type="bert", architectures=["BertForMaskedLM"])).has_mlm_head


def test_reading_facts_imports_no_torch(tmp_path: Path) -> None:
    folder(tmp_path)
    code = (
        "import sys\nfrom pathlib import Path\nfrom rung.models.facts import folder_facts\n"
        "from rung.models.locate import locate\nfolder_facts(locate(sys.argv[1]))\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=60)


def test_the_hash_is_of_the_weights_and_follows_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RUNG_CACHE", str(tmp_path / "cache"))
    first = folder_facts(folder(tmp_path)).base_hash
    assert first == folder_facts(tmp_path).base_hash
    (tmp_path / "model.safetensors").write_bytes(safetensors_of({"w": [5]}))
    second = folder_facts(tmp_path).base_hash
    assert second != first
    monkeypatch.setenv("RUNG_CACHE", "/proc/none")  # nowhere to remember it: hashed again
    assert folder_facts(tmp_path).base_hash == second


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": None}, "'model_type' is missing."),
        ({"model_type": None, "auto_map": {"AutoModel": "x.Y"}}, "needs code of its own (auto_map)"),
        ({"quantization_config": {"quant_method": "gptq"}}, "the weights are quantised (quantization_config)."),
        ({"vocab_size": None}, "'vocab_size' is missing or not a positive number."),
        ({"hidden_size": -1}, "'hidden_size' is missing or not a positive number."),
        ({"architectures": None}, "'architectures' is missing, so its kind can't be told."),
    ],
)
def test_a_configuration_that_can_not_be_used_is_refused(tmp_path: Path, config: dict[str, Any], message: str) -> None:
    assert message in refusal(folder(tmp_path, **config))


def test_missing_files_are_named(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path / 'config.json'} is missing."
    folder(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    assert refusal(tmp_path) == (
        f"{tmp_path}: model.safetensors is missing. It has pytorch_model.bin, which is not read (safetensors only)."
    )


def test_an_adapter_is_not_taken_for_a_model(tmp_path: Path) -> None:
    folder(tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    assert refusal(tmp_path) == f"{tmp_path} holds an adapter, not a whole model."


@pytest.mark.hostile
def test_what_could_run_or_fetch_code_is_stripped_at_every_depth(tmp_path: Path) -> None:
    poison = {
        "auto_map": {"AutoModel": "evil.Model"},
        "_attn_implementation_internal": "evil/kernel",
        "_attn_implementation": "evil/kernel",
        "attn_implementation": "evil/kernel",
        "_experts_implementation_internal": "evil/kernel",
        "use_kernels": True,
        "transformers_weights": "../../x.safetensors",
        "trust_remote_code": True,
    }
    config = read_config(folder(tmp_path, **poison, text_config={"hidden_size": 8, **poison}, list=[poison]))
    assert config == CONFIG | {"text_config": {"hidden_size": 8}, "list": [{}]}


@pytest.mark.hostile
@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "a/b.safetensors", "x.bin", "..", ""])
def test_a_shard_outside_the_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": name}}))
    with pytest.raises(ModelError, match="is not a plain safetensors file name"):
        weight_files(tmp_path)


@pytest.mark.hostile
def test_a_pipe_and_a_missing_shard_are_refused(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"w": "a.safetensors"}}))
    with pytest.raises(ModelError, match=r"a\.safetensors is missing\."):
        weight_files(tmp_path)
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(ModelError, match=r"a\.safetensors is not a regular file\."):
        weight_files(tmp_path)


@pytest.mark.hostile
@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"weight_map": {}}', '{"weight_map": 3}', "\udcff"])
def test_a_damaged_index_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(text, errors="surrogateescape")
    with pytest.raises(ModelError):
        weight_files(tmp_path)


@pytest.mark.hostile
@pytest.mark.parametrize("keep", [0, 7, 8, 20, -1])
def test_a_cut_weight_file_is_refused(tmp_path: Path, keep: int) -> None:
    folder(tmp_path)
    file = tmp_path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:keep])
    assert " is cut" in refusal(tmp_path)


@pytest.mark.hostile
@settings(max_examples=200, deadline=None)
@given(position=st.integers(0, 60), value=st.integers(0, 255))
def test_a_changed_header_is_read_or_refused_but_never_crashes(
    tmp_path_factory: pytest.TempPathFactory, position: int, value: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.mkdir(exist_ok=True)
    raw = bytearray(safetensors_of({"w": [4]}))
    raw[position] = value
    (path / "model.safetensors").write_bytes(raw)
    try:
        assert len(tensor_names(path)) <= 1
    except ModelError as error:
        assert "model.safetensors" in str(error)
