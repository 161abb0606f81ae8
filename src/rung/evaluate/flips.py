"""Which token of an instruction to change, guessed to first order from the gradient (HotFlip, arXiv 1712.06751)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rung.compute.head import logprobs
from rung.compute.states import Additions, states
from rung.evaluate.generating import Writer
from rung.evaluate.predictor import LocalPredictor
from rung.models.families import Family
from rung.models.tokenizer import render_text
from rung.tasks.fitting import fit
from rung.types import Example, Prompt, Record, Tokens

_OTHERS = 3
"""Wrong answers that the right one is held against."""
_PER_TOKEN = 64
"""Guesses looked at for each token of the instruction."""


class TokenFlips:
    """Guesses for a local decoder.

    Args:
        predictor: Its predictor.
        model: The adapted model.
    """

    def __init__(self, predictor: LocalPredictor, model: Writer) -> None:
        self.predictor = predictor
        self.family: Family = model.family

    def flips(self, records: Sequence[Record], prompt: Prompt, count: int) -> list[str]:
        """Up to `count` instructions, one token changed in each: every token's most promising change, then its second.

        A change is kept where the new text is read as the very tokens that were meant.

        Args:
            records: Labelled rows whose right answers are to become likelier.
            prompt: The prompt.
            count: How many.
        """
        span: list[int] = []
        total: torch.Tensor | None = None
        for record in records:
            example = fit(self.predictor.task, record, prompt, self.predictor.tokenizer, self.predictor.max_length - 1)
            place = self._place(example.example, prompt)
            ids = list(example.ids)
            own = [] if place is None else ids[place.start : place.stop]
            if place is None or (span and own != span):
                continue
            span = own
            found = self._gradient(ids, self._answers(record, prompt), place)
            total = found if total is None else total + found
        return [] if total is None else self._best(span, total, prompt.instruction, count)

    def _place(self, example: Example, prompt: Prompt) -> range | None:
        """Where the instruction's tokens are in a rendered prompt; None where its text is not kept as it is."""
        tokenizer = self.predictor.tokenizer
        text = render_text(tokenizer, example.messages, tools=example.tools, own_template=prompt.chat_template)
        start = text.find(prompt.instruction)
        if start < 0:
            return None
        end = start + len(prompt.instruction)
        offsets = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        inside = [
            at for at, (first, last) in enumerate(offsets["offset_mapping"]) if start <= first and last <= end > first
        ]
        return range(inside[0], inside[-1] + 1) if inside else None

    def _answers(self, record: Record, prompt: Prompt) -> list[tuple[int, ...]]:
        """Token ids of the right answer, then of some wrong ones."""
        example = self.predictor.task.render(record, prompt)
        assert example.answer is not None, "a training row has an answer"
        others = [choice for choice in example.choices if choice != example.answer][:_OTHERS]
        return [tuple(self.predictor.answer(text, prompt.chat_template)) for text in (example.answer, *others)]

    def _gradient(self, ids: list[int], answers: list[tuple[int, ...]], place: range) -> torch.Tensor:
        """`[P, H]` gradient of the right answer's log-share among the answers, at the instruction's embeddings."""
        logs, gradients = zip(*(self._one(ids, answer, place) for answer in answers), strict=True)
        shares = torch.softmax(torch.stack(logs), dim=0) if len(answers) > 1 else torch.zeros(1)
        weights = -shares
        weights[0] += 1
        return sum((weight * gradient for weight, gradient in zip(weights, gradients, strict=True)), torch.tensor(0.0))

    def _one(self, ids: list[int], answer: tuple[int, ...], place: range) -> tuple[torch.Tensor, torch.Tensor]:
        """An answer's log-probability, and its gradient."""
        family, leaves = self.family, []

        def embed(tokens: torch.Tensor) -> torch.Tensor:
            leaves.append(family.embedding(tokens).detach().requires_grad_(True))
            return leaves[-1]

        sequence = Tokens((*ids, *answer[:-1]))
        positions = range(len(ids) - 1, len(ids) + len(answer) - 1)
        with torch.enable_grad():
            hidden = family.transform(states(family, [sequence], [positions], Additions(embed=embed, share=False)))
            output = family.output
            assert isinstance(output, torch.nn.Linear)
            labels = torch.tensor(answer, device=hidden.device)
            found = logprobs(hidden, output.weight, labels, family.output_bias, family.softcap, family.logit_scale)
            total = found.float().sum()
            (gradient,) = torch.autograd.grad(total, leaves[-1])
        return total.detach().cpu(), gradient.flatten(0, -2)[place.start : place.stop].float().cpu()

    def _best(self, span: list[int], gradient: torch.Tensor, instruction: str, count: int) -> list[str]:
        table = self.family.embedding.weight.detach().float().cpu()
        gains = gradient @ table.T
        gains -= gains.gather(1, torch.tensor(span).unsqueeze(1))
        best, tokens = gains.topk(min(_PER_TOKEN, gains.shape[1]), dim=1)
        # Each place's best change first, then each one's second: a single place would else take all.
        flat = [
            (rank, -gain, at, token)
            for at, (row, ids) in enumerate(zip(best.tolist(), tokens.tolist(), strict=True))
            for rank, (gain, token) in enumerate(zip(row, ids, strict=True))
            if gain > 0
        ]
        found: dict[str, None] = {}
        for _, _, at, token in sorted(flat):
            text = self._changed(span, at, token)
            if text and text != instruction:
                found.setdefault(text)
            if len(found) == count:
                break
        return list(found)

    def _changed(self, span: list[int], at: int, token: int) -> str:
        """The instruction with one token changed; "" where the text would be read as other tokens."""
        tokenizer = self.predictor.tokenizer
        if token in tokenizer.all_special_ids or token in tokenizer.added_tokens_decoder:
            return ""
        ids = [*span[:at], token, *span[at + 1 :]]
        text = str(tokenizer.decode(ids, clean_up_tokenization_spaces=False))
        again = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        return text if again == ids and text.strip() == text and text.isprintable() else ""
