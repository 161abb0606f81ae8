"""From a reference to a model in memory: located, inspected, loaded.

Nothing in a model folder is run: weights are safetensors, config.json is stripped of what could fetch code, remote
code is off, and the library is told to stay offline.
"""

from __future__ import annotations

import inspect as signatures
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import (
    CONFIG_MAPPING,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from rung.errors import ModelError, unknown
from rung.models.facts import ModelFacts, folder_facts, read_config, tensor_names
from rung.models.locate import locate
from rung.models.quantize import quantization_config, require_quantization
from rung.models.quiet import quiet_transformers
from rung.models.references import EndpointReference, parse

__all__ = ["Loaded", "inspect", "load", "locate"]

_log = logging.getLogger(__name__)

# weights that old checkpoints carry and models no longer keep
_OBSOLETE = re.compile(r".*(position_ids|rotary_emb\.inv_freq|\.attn\.(masked_)?bias)")
# heads of other tasks: not used, and said so
_OTHER_HEADS = re.compile(r"(classifier|pre_classifier|qa_outputs|score|cls\.seq_relationship)\b.*|(\w+\.)?pooler\..*")


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model in memory, in evaluation mode.

    Attributes:
        reference: As the user wrote it.
        path: Its folder.
        module: The transformers model.
        tokenizer: Its tokenizer.
        facts: What `inspect` says of it.
    """

    reference: str
    path: Path
    module: nn.Module
    tokenizer: PreTrainedTokenizerBase
    facts: ModelFacts


def inspect(reference: str) -> ModelFacts:
    """Facts of a model, from config.json and the weight files' headers; fetches it first when needed.

    Args:
        reference: What the user wrote as `model`.

    Raises:
        ModelError: It can't be found, fetched or used.
    """
    parsed = parse(reference)
    if isinstance(parsed, EndpointReference):
        return ModelFacts("endpoint", "endpoint", 0, 0, 0, 0, False, (), None, "")
    return folder_facts(locate(reference))


def load(reference: str, dtype: torch.dtype, device: str, quantization: str = "none") -> Loaded:
    """Load a model and its tokenizer.

    Args:
        reference: What the user wrote as `model`.
        dtype: Precision of the weights.
        device: Where they go, as `resolve_device` names it.
        quantization: `none`, `int8` or `nf4`: how the blocks' linear maps are stored.

    Returns:
        The model in evaluation mode, every weight in memory of its own.

    Raises:
        ModelError: It can't be found, fetched, verified or loaded, or it is an endpoint.
        ConfigError: The quantisation can't be had here.
    """
    require_quantization(quantization, device)
    path = locate(reference)
    facts = folder_facts(path)
    config = _config(path, facts.model_type)
    how: dict[str, Any] = {"dtype": dtype}
    if quantization != "none":
        # Weights are quantised on the device that they are for, and can't be moved afterwards.
        how |= {"quantization_config": quantization_config(quantization, dtype), "device_map": {"": device}}
    with quiet_transformers():
        module = _module(path, facts, config, how)
        tokenizer = load_tokenizer(path, config)
    _own_memory(module)
    return Loaded(reference, path, (module.to(device) if quantization == "none" else module).eval(), tokenizer, facts)


def load_tokenizer(path: Path, config: PretrainedConfig | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model folder.

    Args:
        path: The model folder.
        config: Its configuration when already read.

    Raises:
        ModelError: Its files are missing or damaged, or it needs code of its own.
    """
    config = config or _config(path, folder_facts(path).model_type)
    try:
        with quiet_transformers():
            return AutoTokenizer.from_pretrained(path, config=config, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise ModelError(
            f"{path}: its tokenizer can't be loaded: {_first_line(error)}", "Check tokenizer.json."
        ) from error


def _config(path: Path, model_type: str) -> PretrainedConfig:
    settings = read_config(path)
    if model_type not in CONFIG_MAPPING:
        raise ModelError(
            f"{path / 'config.json'}: {unknown_type(model_type)}", "Name a model whose architecture is known."
        )
    try:
        return CONFIG_MAPPING[model_type].from_dict(settings)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelError(f"{path / 'config.json'}: {_first_line(error)}", "Fetch the model again.") from error


def unknown_type(model_type: str) -> str:
    """The sentence for an architecture that the installed transformers lacks."""
    sentence = unknown("model_type", model_type, CONFIG_MAPPING.keys())
    return sentence.partition(" Allowed:")[0]  # several hundred names would bury the nearest one


def _module(path: Path, facts: ModelFacts, config: PretrainedConfig, how: dict[str, Any]) -> nn.Module:
    names = tensor_names(path)
    auto: Any = {
        "decoder": AutoModelForCausalLM,
        "encoder_decoder": AutoModelForSeq2SeqLM,
        "encoder": AutoModelForMaskedLM if facts.has_mlm_head else AutoModel,
    }[facts.kind]
    extra = dict(how)
    if auto is AutoModel and "add_pooling_layer" in _init_parameters(config):
        extra["add_pooling_layer"] = any("pooler." in name for name in names)
    try:
        module, report = auto.from_pretrained(
            path,
            config=config,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            **extra,
        )
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"{path} can't be loaded: {_first_line(error)}", "Fetch the model again.") from error
    _check_report(path, report)
    return module


def _init_parameters(config: PretrainedConfig) -> Iterable[str]:
    model_class = AutoModel._model_mapping[type(config)]  # the only way to ask before building it
    return signatures.signature(model_class.__init__).parameters


def _check_report(path: Path, report: dict[str, Any]) -> None:
    missing = sorted(report["missing_keys"])
    unexpected = sorted(key for key in report["unexpected_keys"] if not _OBSOLETE.fullmatch(key))
    unused = [key for key in unexpected if _OTHER_HEADS.fullmatch(key)]
    foreign = [key for key in unexpected if not _OTHER_HEADS.fullmatch(key)]
    if missing:
        raise ModelError(f"{path}: weights are missing: {_some(missing)}.", "Fetch the model again.")
    if foreign:
        raise ModelError(
            f"{path}: the model has no place for these weights: {_some(foreign)}.",
            "Check 'architectures' and 'model_type' in its config.json.",
        )
    if unused:
        _log.warning("%s: heads of another task are not used: %s", path, _some(unused))


def _own_memory(module: nn.Module) -> None:
    """Copy every weight into fresh memory.

    A mapped file's tensors begin where the file puts them; kernels choose their path by alignment, and another path
    rounds otherwise. Fresh memory is aligned alike in every run, and the file may change or vanish afterwards.
    """
    for tensor in (*module.parameters(), *module.buffers()):  # tied weights are one Parameter: they stay tied
        if not tensor.is_floating_point():
            continue  # what was quantised was written anew
        tensor.data = torch.empty_like(tensor, memory_format=torch.contiguous_format).copy_(tensor.data)


def _some(keys: list[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
