"""Classification with an output layer on the pooled text: the encoder's way (Devlin et al. 2018, arXiv 1810.04805)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch.nn.functional import cross_entropy

from rung.errors import IncompatibleError
from rung.models.tokenizer import encode_texts
from rung.objectives.base import Objective, Trained
from rung.types import Batch, Example, HeadSpec, Loss, Prediction, Row, Term, Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rung.tasks.base import Task


class Classification(Objective):
    """Cross-entropy of a linear layer over the pooled states."""

    type: Literal["classification"] = "classification"
    needs_head: ClassVar[bool] = True
    pooling: Literal["mean", "cls", "last"] = "mean"
    """How a text becomes one vector: the mean of its tokens, the first token, or the last."""

    def check(self, model_kind: str, task: str) -> None:
        """Decoders and encoders can carry an output layer; written answers have no use for one."""
        if model_kind == "encoder_decoder":
            raise IncompatibleError(
                "objective=classification reads a text off one stack of layers, and an encoder-decoder has two",
                "Use objective=seq2seq, which writes the label, or an encoder.",
            )
        if task == "generation":
            raise IncompatibleError(
                "objective=classification answers with a label, and task=generation asks for a text",
                "Use lora or full with objective=causal_lm.",
            )

    def head(self, task: Task) -> HeadSpec:
        """One output per label."""
        return HeadSpec("sequence", len(task.labels), tuple(task.labels), self.pooling)

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        """The text (or pair) with the model's special tokens."""
        return self.encode_all([example], tokenizer, max_length)[0]

    def encode_all(self, examples: Sequence[Example], tokenizer: Any, max_length: int) -> list[Row]:
        """The texts, tokenised together."""
        encoded = encode_texts(tokenizer, [(example.text, example.pair) for example in examples], max_length)
        return [
            Row(
                example.id,
                (Tokens(tuple(ids), token_type_ids=None if types is None else tuple(types)),),
                example.target,
                truncated,
            )
            for example, (ids, types, truncated) in zip(examples, encoded, strict=True)
        ]

    def outputs(self, adapted: Trained, rows: Sequence[Row]) -> Sequence[torch.Tensor]:
        """`[C]` logits per row."""
        return list(adapted.outputs([row.sequences[0] for row in rows], self.pooling))

    def decode(self, row: Row, outputs: torch.Tensor, task: Task) -> Prediction:
        """`[C]` logits to a label."""
        return task.parse_scores(row.id, outputs.double().tolist(), outputs.double().softmax(0).tolist())

    def counts(self, batch: Batch) -> Mapping[str, int]:
        """Rows."""
        return {"classification": len(batch.rows)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        """Cross-entropy per row."""
        logits = adapted.outputs(batch.sequences, self.pooling)
        targets = torch.tensor([row.target for row in batch.rows], device=logits.device)
        losses = cross_entropy(logits, targets, reduction="none")
        return Loss({"classification": Term(losses.sum(), len(losses))}, losses.detach())
