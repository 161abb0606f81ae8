from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
import torch
from gguf import GGUFReader, GGUFWriter, dequantize, quantize

from rung.errors import ModelError
from rung.models.convert import convert_gguf
from rung.models.load import load
from rung.models.tokenizer import end_of_turn_id

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
HIDDEN, INNER, HEADS = 32, 64, 2


def write_gguf(path: Path) -> Path:
    """A one-layer Llama with Q4_1 matrices and SmolLM2's kind of tokenizer."""
    letters = sorted(set("abcdefghij0123456789Ġ"))
    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *letters, "ĠĠ", "ab"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
    writer.add_token_merges(["Ġ Ġ", "a b"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    writer.add_chat_template(TEMPLATE)
    random = np.random.default_rng(7)

    def matrix(name: str, rows: int, columns: int) -> None:
        values = random.standard_normal((rows, columns)).astype(np.float32)
        kind = gguf.GGMLQuantizationType.Q4_1
        writer.add_tensor(name, quantize(values, kind), raw_dtype=kind)

    matrix("token_embd.weight", len(tokens), HIDDEN)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        matrix(f"blk.0.{name}.weight", HIDDEN, HIDDEN)
    matrix("blk.0.ffn_gate.weight", INNER, HIDDEN)
    matrix("blk.0.ffn_up.weight", INNER, HIDDEN)
    matrix("blk.0.ffn_down.weight", HIDDEN, INNER)
    for name in ("blk.0.attn_norm.weight", "blk.0.ffn_norm.weight", "output_norm.weight"):
        writer.add_tensor(name, np.ones(HIDDEN, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf")


def test_every_weight_is_what_the_file_says_to_the_last_bit(source: Path, tmp_path: Path) -> None:
    convert_gguf(source, tmp_path)
    loaded = load(str(tmp_path), torch.float32, "cpu")
    weights = loaded.module.state_dict()
    stored = {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(source).tensors}
    for theirs, ours in {
        "token_embd.weight": "model.embed_tokens.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
        "output_norm.weight": "model.norm.weight",
    }.items():
        assert np.array_equal(weights[ours].numpy(), stored[theirs]), ours
    assert loaded.module.lm_head.weight is loaded.module.model.embed_tokens.weight
    assert not (weights["model.embed_tokens.weight"] == weights["model.embed_tokens.weight"].half().float()).all()


def test_the_folder_knows_its_tokens_and_nothing_of_gguf(source: Path, tmp_path: Path) -> None:
    convert_gguf(source, tmp_path)
    loaded = load(str(tmp_path), torch.float32, "cpu")
    assert "gguf" not in (tmp_path / "config.json").read_text()
    assert loaded.tokenizer.chat_template == TEMPLATE
    assert (loaded.tokenizer.bos_token_id, loaded.tokenizer.eos_token_id, end_of_turn_id(loaded.tokenizer)) == (1, 2, 2)
    assert loaded.tokenizer.tokenize("<|im_start|>ab  12") == ["<|im_start|>", "ab", "ĠĠ", "1", "2"]
    assert loaded.tokenizer.model_max_length == loaded.facts.max_length == 64


@pytest.mark.hostile
def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelError, match=r"x\.gguf can't be converted"):
        convert_gguf(tmp_path / "x.gguf", tmp_path)


@pytest.mark.hostile
def test_a_full_disk_shows_as_the_error_it_is(source: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom rung.models.convert import convert_gguf\n"
        "try:\n    convert_gguf(Path(sys.argv[1]), Path(sys.argv[2]))\n"
        "except OSError as error:\n    print(error.strerror)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, str(source), str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)),
    )
    assert ended.stdout == "File too large\n"
