"""What a model folder says of itself, read without its weights: config.json and the headers of its safetensors.

Refusals belong here: they come in milliseconds, before a byte of weights is read, and without torch.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rung.errors import ModelError
from rung.models.cache import cache_root

Kind = Literal["decoder", "encoder", "encoder_decoder", "endpoint"]

SHARD = re.compile(r"[\w.-]+\.safetensors")
_MAX_HEADER = 100_000_000
_BYTES = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 8),
    **dict.fromkeys(("F32", "I32", "U32"), 4),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 2),
    **dict.fromkeys(("I8", "U8", "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 1),
}
_ENCODERS = {
    "albert", "bert", "camembert", "deberta", "deberta-v2", "distilbert", "electra", "ernie", "eurobert", "mpnet",
    "modernbert", "nomic_bert", "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl",
}  # fmt: skip
_MLM_HEADS = (
    "cls.predictions.", "lm_head.", "vocab_transform.", "lm_predictions.", "generator_predictions.", "predictions.",
    "head.", "decoder.",
)  # fmt: skip
_MAX_LENGTH_KEYS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length")
# keys through which a config can make the library run or fetch foreign code, or read another file than it names
_POISON = re.compile(
    r"auto_map|custom_pipelines|.*_internal|_?attn_implementation.*|_?experts_implementation.*|.*kernel_config.*"
    r"|use_kernels|trust_remote_code|transformers_weights|_name_or_path|_commit_hash"
)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """A model before it is loaded.

    Attributes:
        kind: What it is for.
        model_type: transformers' name of the architecture; `endpoint` for endpoints.
        hidden_size: Width of the hidden states (0 for endpoints, as for every number below).
        num_layers: Layers; of the encoder, for an encoder-decoder.
        vocab_size: Rows of the input embedding.
        max_length: Longest sequence in tokens.
        has_mlm_head: An encoder whose weights hold its masked-language-model head.
        architectures: Class names from config.json.
        path: The model folder; None for endpoints.
        base_hash: sha256 over the weight files: the identity of the pretrained weights; empty for endpoints.
    """

    kind: Kind
    model_type: str
    hidden_size: int
    num_layers: int
    vocab_size: int
    max_length: int
    has_mlm_head: bool
    architectures: tuple[str, ...]
    path: Path | None
    base_hash: str


def folder_facts(path: Path) -> ModelFacts:
    """Facts of a model folder.

    Args:
        path: A folder with config.json and safetensors.

    Raises:
        ModelError: A file is missing or damaged, or the model is of a kind that can't be used.
    """
    config = read_config(path)
    names = tensor_names(path)
    kind = _kind(path, config)
    return ModelFacts(
        kind=kind,
        model_type=config["model_type"],
        hidden_size=_number(path, config, "hidden_size", "n_embd", "d_model", "dim"),
        num_layers=_number(path, config, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers"),
        vocab_size=_number(path, config, "vocab_size"),
        max_length=_max_length(config),
        has_mlm_head=kind == "encoder" and _has_mlm_head(config, names),
        architectures=tuple(config.get("architectures") or ()),
        path=path,
        base_hash=_base_hash(path),
    )


def read_config(path: Path) -> dict[str, Any]:
    """config.json without the keys that could make a library run or fetch foreign code.

    Args:
        path: The model folder.

    Raises:
        ModelError: There is no config.json, it is damaged, the model needs remote code, or its weights are quantised.
    """
    if (path / "adapter_config.json").is_file():
        raise ModelError(f"{path} holds an adapter, not a whole model.", "Name the model it was trained on.")
    config = _read_json(path / "config.json")
    if config.get("auto_map") and not config.get("model_type"):
        raise ModelError(f"{path}: the model needs code of its own (auto_map), which is never run.", _OTHER)
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{path / 'config.json'}: 'model_type' is missing.", _OTHER)
    if config.get("quantization_config"):
        raise ModelError(f"{path}: the weights are quantised (quantization_config).", "Name the unquantised model.")
    return _without_poison(config)


_OTHER = "Name a model whose architecture transformers has."


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a model folder, in the order of their names.

    Raises:
        ModelError: There are none, one is missing, or the index names a file outside the folder.
    """
    index = path / "model.safetensors.index.json"
    if index.exists():
        weight_map = _read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise ModelError(f"{index}: 'weight_map' is missing or empty.", "Fetch the model again.")
        names = sorted({str(name) for name in weight_map.values()})
    else:
        names = ["model.safetensors"]
        if not (path / names[0]).exists():
            other = sorted(file.name for pattern in ("*.bin", "*.pt", "*.gguf") for file in path.glob(pattern))
            hint = f" It has {', '.join(other)}, which is not read (safetensors only)." if other else ""
            raise ModelError(f"{path}: model.safetensors is missing.{hint}", "Name a folder with safetensors weights.")
    for name in names:
        if not SHARD.fullmatch(name):
            raise ModelError(f"{index}: {name!r} is not a plain safetensors file name.", "Do not trust this model.")
        _regular(path / name)
    return [path / name for name in names]


def tensor_names(path: Path) -> frozenset[str]:
    """Names of all tensors in a model folder, from the headers alone.

    Raises:
        ModelError: A weight file is missing, cut, or its header does not fit it.
    """
    return frozenset(tensor_shapes(path))


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all tensors in a model folder, from the headers alone.

    Raises:
        ModelError: A weight file is missing, cut, or its header does not fit it.
    """
    return {name: tuple(entry["shape"]) for file in weight_files(path) for name, entry in _header(file).items()}


def _header(file: Path) -> dict[str, Any]:
    size = file.stat().st_size
    with file.open("rb") as source:
        start = source.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise ModelError(f"{file} is cut or damaged: its header does not fit.", "Fetch the model again.")
        raw = source.read(length)
    try:
        header = json.loads(raw)
        tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
        for name, entry in tensors.items():
            _check_tensor(file, name, entry, size - 8 - length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{file} is damaged: its header can't be read.", "Fetch the model again.") from error
    return tensors


def _check_tensor(file: Path, name: str, entry: dict[str, Any], data_bytes: int) -> None:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= data_bytes:
        raise ModelError(
            f"{file} is cut: tensor {name!r} ends at byte {end} of {data_bytes}.", "Fetch the model again."
        )
    width = _BYTES.get(entry["dtype"])
    if width is None:
        raise ModelError(f"{file}: tensor {name!r} has dtype {entry['dtype']}, which can't be trained.")
    if end - begin != math.prod(entry["shape"]) * width:
        raise ModelError(f"{file} is damaged: tensor {name!r} does not fill its shape.", "Fetch the model again.")


def _kind(path: Path, config: dict[str, Any]) -> Kind:
    architectures = " ".join(config.get("architectures") or ())
    if config.get("is_encoder_decoder"):
        return "encoder_decoder"
    if re.search(r"ForCausalLM|LMHead", architectures):
        return "decoder"
    if config["model_type"] in _ENCODERS or "ForMaskedLM" in architectures:
        return "encoder"
    if architectures:
        return "decoder"
    raise ModelError(
        f"{path / 'config.json'}: 'architectures' is missing, so its kind can't be told.",
        'Add it, for example "architectures": ["LlamaForCausalLM"].',
    )


def _has_mlm_head(config: dict[str, Any], names: frozenset[str]) -> bool:
    named = any("ForMaskedLM" in name or "ForPreTraining" in name for name in config.get("architectures") or ())
    return named and any(name.startswith(_MLM_HEADS) for name in names)


def _number(path: Path, config: dict[str, Any], *keys: str) -> int:
    found = next((config[key] for key in keys if isinstance(config.get(key), int)), None)
    if found is None or found <= 0:
        raise ModelError(f"{path / 'config.json'}: {keys[0]!r} is missing or not a positive number.", _OTHER)
    return found


def _max_length(config: dict[str, Any]) -> int:
    found = next((config[key] for key in _MAX_LENGTH_KEYS if isinstance(config.get(key), int)), None)
    if found is None:  # relative positions (T5): no limit of its own, its training length is the sensible one
        return 512
    # RoBERTa's family numbers positions from pad_token_id + 1 on, which makes its table two rows too long
    offset = 2 if config["model_type"] in {"roberta", "xlm-roberta", "camembert", "mpnet", "xlm-roberta-xl"} else 0
    return found - offset


def _without_poison(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_poison(inner) for key, inner in value.items() if not _POISON.fullmatch(key)}
    if isinstance(value, list):
        return [_without_poison(inner) for inner in value]
    return value


def _read_json(file: Path) -> dict[str, Any]:
    _regular(file)
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{file} is not JSON: {error}.", "Fetch the model again.") from error
    if not isinstance(value, dict):
        raise ModelError(f"{file} does not hold a JSON object.", "Fetch the model again.")
    return value


def _regular(file: Path) -> None:
    """Refuse a pipe or a device, on which a read would hang; a link to a file is fine (the hub's cache has them)."""
    try:
        mode = file.stat().st_mode
    except FileNotFoundError:
        raise ModelError(f"{file} is missing.", "Fetch the model again, or name another folder.") from None
    if not stat.S_ISREG(mode):
        raise ModelError(f"{file} is not a regular file.", "Do not trust this model.")


def _base_hash(path: Path) -> str:
    """sha256 over the weight files; remembered by path, size and time of change, since it reads every byte."""
    files = weight_files(path)
    state = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps(state).encode()).hexdigest()
    memory = cache_root() / "hashes" / key
    if memory.is_file() and re.fullmatch(r"[0-9a-f]{64}", known := memory.read_text(encoding="ascii")):
        return known
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as source:
            while block := source.read(1 << 22):
                digest.update(block)
    found = digest.hexdigest()
    try:
        memory.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = memory.with_name(f"{key}.{os.getpid()}")
        fresh.write_text(found, encoding="ascii")
        fresh.replace(memory)
    except OSError:  # a read-only or full cache costs the time of hashing again, nothing else
        pass
    return found
