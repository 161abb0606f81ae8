"""Tensors as the bytes of a safetensors file, one piece at a time (https://github.com/huggingface/safetensors).

The library's own writer takes a path or gives one buffer; in pieces the bytes can be hashed while they are written,
and a full disk is an `OSError` with its number.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

_PIECE = 8 * 2**20
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def safetensors_pieces(
    tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> tuple[int, Iterator[bytes | memoryview]]:
    """The file's size and its bytes in order.

    The bytes depend on names, values and metadata alone, not on the mapping's order. One tensor at a time is copied
    to the host.

    Args:
        tensors: By name; any device and layout, of a float, integer or bool type.
        metadata: Strings kept in the header.
    """
    # Wider types first keeps every tensor aligned, as the format asks of writers.
    names = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    end = 0
    for name in names:
        tensor = tensors[name]
        start, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    head = len(text).to_bytes(8, "little") + text
    return len(head) + end, _pieces(head, [tensors[name] for name in names])


def _pieces(head: bytes, tensors: list[Tensor]) -> Iterator[bytes | memoryview]:
    yield head
    for tensor in tensors:
        flat = tensor.detach().to("cpu").contiguous().reshape(-1).view(torch.uint8)
        for piece in flat.split(_PIECE):
            yield piece.numpy().data
