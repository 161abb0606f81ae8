"""A GGUF file becomes a safetensors folder, once.

The weights are stored as float32. A Q4_1 weight is d * q + m with 16-bit d and m and 4-bit q; in SmolLM2-135M that
sum needs more digits than bfloat16 has (largest error 1.4e-2 on a weight) and than float16 has (2.0e-3), while
float32 holds what the GGUF file says to the last bit. It costs disk once, and every later cast starts from the truth.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch
from gguf import GGUFReader
from tokenizers import Tokenizer, pre_tokenizers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from rung.errors import ModelError
from rung.models.quiet import quiet_transformers


def convert_gguf(gguf: Path, folder: Path) -> None:
    """De-quantise a GGUF decoder into config.json, model.safetensors and tokenizer files.

    Args:
        gguf: The GGUF file.
        folder: An existing folder to write to.

    Raises:
        ModelError: The file is damaged, or its architecture is not one that transformers reads.
    """
    # the GGUF reader draws a bar that no setting turns off
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        try:
            model = AutoModelForCausalLM.from_pretrained(
                gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True, trust_remote_code=False
            )
            tokenizer = AutoTokenizer.from_pretrained(
                gguf.parent, gguf_file=gguf.name, local_files_only=True, trust_remote_code=False
            )
        except (ValueError, KeyError, NotImplementedError, RuntimeError, IndexError) as error:
            raise ModelError(
                f"{gguf.name} can't be converted: {error}.", "Name a safetensors model instead."
            ) from error
        max_length = int(model.config.max_position_embeddings)
        _restore_digits(tokenizer, gguf)
        tokenizer.model_max_length = max_length
        with _failed_writes():
            _plain(model).save_pretrained(folder)
            tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _failed_writes() -> Iterator[None]:
    """Give back a failed write as the `OSError` it was: safetensors and tokenizers only say `(os error 28)`."""
    try:
        yield
    except Exception as error:
        found = re.search(r"\(os error (\d+)\)", str(error))
        if found is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1]))) from error


def _plain(model: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that knows nothing of GGUF: transformers refuses to save one that does."""
    settings = model.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    plain = type(model)(type(model.config).from_dict(settings))
    plain.load_state_dict(model.state_dict(), strict=True)
    plain.generation_config = GenerationConfig(
        bos_token_id=model.config.bos_token_id,
        eos_token_id=model.config.eos_token_id,
        pad_token_id=model.config.pad_token_id,
    )
    return plain


def _restore_digits(tokenizer: PreTrainedTokenizerBase, gguf: Path) -> None:
    """Split digits one by one, as SmolLM2's tokenizer was trained to.

    The GGUF file says so in one word (`tokenizer.ggml.pre = smollm`) which transformers does not read; without it
    the blanks before a number are cut otherwise, and the model sees tokens it never saw in training.
    """
    field = GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        backend = cast("Tokenizer", tokenizer.backend_tokenizer)
        backend.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
