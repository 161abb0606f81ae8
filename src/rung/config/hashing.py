"""The identity of a configuration: equal settings have equal hashes, whatever file or order they came in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical_json(values: Mapping[str, Any]) -> str:
    """One text for equal settings: sorted keys, no spaces, no escapes, finite numbers only.

    Raises:
        ValueError: A number is not finite.
        TypeError: A value is not plain JSON.
    """
    return json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def config_hash(values: Mapping[str, Any]) -> str:
    """SHA-256 (hex) of the settings' canonical JSON."""
    return hashlib.sha256(canonical_json(values).encode()).hexdigest()
