"""Rung: every way of adapting a pretrained language model, on your data, and which is the lowest sufficient."""

from __future__ import annotations

__version__ = "0.1.0"
