"""Rung's side of label scoring: the same ids through its own scoring."""

from __future__ import annotations

import time
from typing import Any

import torch

from benchmarks.arc import MODEL, digest, findings, split_ids, texts
from benchmarks.flops import row_positions, trie_positions
from benchmarks.machine import peak_bytes
from benchmarks.rows import Encoded
from rung.compute.scoring import Question, scores
from rung.models.families import Family, weight_of
from rung.run import RunConfig
from rung.run.prepare import execution, settle_machine
from rung.run.start import facts_of, open_model


def score(args: dict[str, Any]) -> dict[str, Any]:
    """Score the choices of some items: see README.md for what comes back.

    Args:
        args: `items`, `dtype`.
    """
    settings = {"data": {"train": "rows.csv"}, "model": MODEL, "method": {"type": "zero_shot"}}
    config = RunConfig.model_validate({**settings, "precision": args["dtype"]})
    choices = execution(config, facts_of(MODEL))
    settle_machine(choices)
    began = time.perf_counter()
    opened = open_model(MODEL, choices)
    loading = time.perf_counter() - began
    questions, pairs = [], []
    for context, continuations in texts(args["items"]):
        split = [split_ids(opened.loaded.tokenizer, context, continuation) for continuation in continuations]
        assert all(first == split[0][0] for first, _ in split), "the choices of an item stand after different ids"
        questions.append(Question(split[0][0], tuple(continuation for _, continuation in split)))
        pairs += split
    with torch.inference_mode():
        began = time.perf_counter()
        scores(opened.family, questions[:1])
        first = time.perf_counter() - began
        began = time.perf_counter()
        found = scores(opened.family, questions)
        seconds = time.perf_counter() - began
    return {
        "rows": args["items"],
        "tokens": sum(len(context) + len(continuation) for context, continuation in pairs),
        "seconds": seconds,
        "apart": {"load": loading, "first_step": first},
        "peak_bytes": peak_bytes(),
        "flops": _flops(opened.family, questions),
        **findings([one.tolist() for one in found]),
        "settings": {"choices": choices},
        "rows_digest": digest(pairs),
    }


def _flops(family: Family, questions: list[Question]) -> dict[str, float]:
    """Useful arithmetic of a forward pass: each distinct token once, or each token of each choice."""
    body = sum(weight_of(linear).numel() for linear in family.linears().values())
    config = family.module.config
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    read = 4.0 * config.num_hidden_layers * config.num_attention_heads * width
    rows = [Encoded(one.prompt + answer, ()) for one in questions for answer in one.answers]
    states = {
        "distinct": sum(len(one.beginnings()) for one in questions),
        "rows": sum(len(answer) for one in questions for answer in one.answers),
    }
    places = {"distinct": trie_positions(rows), "rows": row_positions(rows)}
    return {
        kind: 2.0 * body * len(places[kind])
        + read * sum(at + 1 for at in places[kind])
        + 2.0 * family.embedding.weight.numel() * states[kind]
        for kind in places
    }
