"""How likely answers are: what they have in common is computed once, however many answers and rows there are.

Three things are shared. The beginning of all prompts (instruction, shots) goes through the model once, and every
batch reads its keys and values. What rows, and the answers of a row, begin with goes through once a batch (see
`rung.compute.plan`). And answers that differ first in their last token, as labels of one token do, are read off one
state: a state meets the output layer once, and its normaliser is computed once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from rung.compute.head import CHUNK, logits, plain_logprobs
from rung.compute.keys import flat_keys
from rung.compute.plan import plan_causal
from rung.compute.states import NOTHING, Additions, states
from rung.compute.trie import MIN_SHARED
from rung.models.families import Family
from rung.types import Tokens

TOKEN_BUDGET = 4096
"""Tokens of a forward pass, shared beginnings counted once; at least one question."""
KEY_BUDGET = 1 << 17
"""Tokens that the questions of a forward pass may read in all: shared keys and values are spread over the questions."""
MIN_RUN = 16
"""Questions that share so many tokens beyond what all share are asked together, whatever their lengths."""

Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True, order=True)
class Question:
    """A prompt and the answers it is scored with, as token ids; neither the prompt nor an answer is empty.

    `adapter` names the adapter it runs through (see `rung.methods.mixed`), empty = none of the named. Questions of
    different adapters share nothing.
    """

    prompt: Ids
    answers: tuple[Ids, ...]
    adapter: str = ""

    def beginnings(self) -> dict[Ids, None]:
        """What the answers begin with, each once and the empty one first: a state for each predicts what comes next."""
        return dict.fromkeys(answer[:end] for answer in self.answers for end in range(len(answer)))


def scores(family: Family, questions: Sequence[Question], additions: Additions = NOTHING) -> list[NDArray[np.float64]]:
    """The log-probability of every answer after its prompt, summed over the answer's tokens.

    Equal questions are asked once, and batches are made of the set of questions: the order makes no difference.

    Args:
        family: A decoder, or an encoder-decoder: there the prompt is what the encoder reads.
        questions: What to ask; their answers may differ.
        additions: Virtual tokens, prefixes, sharing.

    Returns:
        Per question `[answers]`, in the order asked.
    """
    batches, beginning = arrange(family, questions, additions)
    if beginning:
        additions = after(family, beginning, additions, questions[0].adapter)
    found: dict[Question, NDArray[np.float64]] = {}
    for batch in batches:
        asked = _ask(family, batch, len(beginning))
        hidden = states(family, asked.sequences, asked.positions, additions)
        logs = _read(family, hidden, asked.owners, asked.labels).numpy()
        sums = np.zeros(asked.answers)
        np.add.at(sums, asked.places, logs)
        found.update(zip(batch, np.split(sums, np.cumsum([len(one.answers) for one in batch])[:-1]), strict=True))
    return [found[question] for question in questions]


def plain_scores(
    family: Family, questions: Sequence[Question], additions: Additions = NOTHING
) -> list[NDArray[np.float64]]:
    """The plain path of `scores`: every answer alone after its whole prompt, every label with logits of its own."""
    found = []
    for question in questions:
        sums = []
        for answer in question.answers:
            sequence, first = _sequence(family, question, answer)
            hidden = states(family, [sequence], [range(first, first + len(answer))], replace(additions, share=False))
            labels = torch.tensor(answer, device=hidden.device)
            settings = (family.output_bias, family.softcap, family.logit_scale)
            logs = plain_logprobs(family.transform(hidden), _output(family).weight, labels, *settings)
            sums.append(float(logs.double().sum()))
        found.append(np.asarray(sums))
    return found


def after(family: Family, beginning: Ids, additions: Additions = NOTHING, adapter: str = "") -> Additions:
    """Computes the keys and values of a beginning once; whatever is asked next stands after it.

    Args:
        family: A decoder that runs flat.
        beginning: `[p]` token ids.
        additions: What stands before the beginning.
        adapter: The adapter it runs through, and all that stands after it; empty = none of the named.

    Returns:
        The additions under which the sequences' remainders are what whole sequences are under the given ones.
    """
    plan = plan_causal([additions.virtual + beginning], [adapter or None])
    prefixes = dict(enumerate(flat_keys(family, plan, additions)[1]))
    for number, learned in additions.prefixes.items():
        key, value = prefixes[number]
        prefixes[number] = (torch.cat([learned[0], key], dim=1), torch.cat([learned[1], value], dim=1))
    return Additions(prefixes=prefixes, share=additions.share)


def arrange(
    family: Family, questions: Iterable[Question], additions: Additions = NOTHING
) -> tuple[list[list[Question]], Ids]:
    """How questions are asked: in which forward passes, and after which beginning computed before them.

    Questions that begin alike stand side by side, the others in order of length. A function of the set of questions.
    Where they run through different adapters there is no beginning of all of them.

    Args:
        family: A decoder.
        questions: In any order, with repeats.
        additions: What stands before every sequence.

    Returns:
        Batches of distinct questions, and the beginning of all of them (empty when one pass does it all, or the
        model runs padded).
    """
    ordered = sorted(set(questions), key=lambda one: (one.adapter, one))
    if not ordered:
        return [], ()
    longest = max(len(one.prompt) + max(map(len, one.answers)) for one in ordered) - 1
    longest += len(additions.virtual) + additions.learned
    flat = additions.share and family.runs_flat(longest)
    first, last = ordered[0].prompt, ordered[-1].prompt
    alike = flat and ordered[0].adapter == ordered[-1].adapter
    shared = min(_common(first, last), min(len(one.prompt) for one in ordered) - 1) if alike else 0
    shared = shared if shared >= MIN_SHARED else 0
    batches: list[list[Question]] = []
    tokens = keys = 0
    for run in _runs(ordered, shared) if flat else [sorted(ordered, key=lambda one: (len(one.prompt), one))]:
        known = shared
        for one in run:
            own = len(one.prompt) - known + len(one.beginnings()) - 1 if flat else _padded(family, one)
            if not batches or tokens + own > TOKEN_BUDGET or keys + len(one.prompt) > KEY_BUDGET:
                batches.append([])
                tokens = keys = 0
            batches[-1].append(one)
            tokens, keys = tokens + own, keys + len(one.prompt)
    return batches, first[:shared] if len(batches) > 1 else ()


def _runs(ordered: list[Question], shared: int) -> list[list[Question]]:
    """Sorted questions cut where neighbours stop beginning alike; short runs first."""
    runs = [ordered[:1]]
    for before, one in pairwise(ordered):
        if before.adapter == one.adapter and _common(before.prompt, one.prompt) >= shared + MIN_RUN:
            runs[-1].append(one)
        else:
            runs.append([one])
    return sorted(runs, key=lambda run: (max(len(one.prompt) for one in run), run[0]))


def _common(one: Ids, other: Ids) -> int:
    """Tokens that both begin with."""
    length = min(len(one), len(other))
    return next((at for at in range(length) if one[at] != other[at]), length)


def _padded(family: Family, question: Question) -> int:
    """Tokens of a question off the flat layout; an encoder reads its prompt once, each answer a copy of its states.

    A copy costs memory and no layers: eight are counted as one that is computed.
    """
    said = sum(map(len, question.answers))
    if family.kind == "encoder_decoder":
        return said + len(question.prompt) * (8 + len(question.answers)) // 8
    return said + (len(question.prompt) - 1) * len(question.answers)


@dataclass(slots=True)
class _Asked:
    """Questions as sequences, each state asked for once.

    Attributes:
        sequences: As `states` takes them.
        positions: Per sequence.
        owners: Per answer token the state it is read from.
        labels: Per answer token its id.
        places: Per answer token the answer it belongs to, counted over all questions.
        answers: Answers of all questions.
    """

    sequences: list[Tokens] = field(default_factory=list)
    positions: list[list[int]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    answers: int = 0


def _sequence(family: Family, question: Question, read: Ids, known: int = 0) -> tuple[Tokens, int]:
    """What is read of an answer, after its prompt; and the position whose state predicts the answer's first token."""
    adapter, prompt = question.adapter or None, question.prompt[known:]
    if family.kind == "encoder_decoder":
        return Tokens((family.decoder_start, *read), source_ids=prompt, adapter=adapter), 0
    return Tokens(prompt + read, adapter=adapter), len(prompt) - 1


def _ask(family: Family, questions: Sequence[Question], known: int) -> _Asked:
    """The sequences without their first `known` tokens. An answer's last token is predicted, never read."""
    asked = _Asked()
    state = 0
    for question in questions:
        seen: dict[Ids, int] = {}
        for answer in question.answers:
            fresh = [end for end in range(len(answer)) if answer[:end] not in seen]
            for end in fresh:
                seen[answer[:end]] = state
                state += 1
            if fresh:
                sequence, first = _sequence(family, question, answer[:-1], known)
                asked.sequences.append(sequence)
                asked.positions.append([first + end for end in fresh])
            asked.owners += [seen[answer[:end]] for end in range(len(answer))]
            asked.labels += answer
            asked.places += [asked.answers] * len(answer)
            asked.answers += 1
    return asked


def _read(family: Family, hidden: torch.Tensor, owners: Sequence[int], labels: Sequence[int]) -> torch.Tensor:
    """`[P]` log-probability of `labels[p]` in state `hidden[owners[p]]`, in fp64 on the host; logits come in chunks."""
    owner, label = torch.tensor(owners), torch.tensor(labels)
    found = torch.empty(len(owner), dtype=torch.float64)
    for at in range(0, len(hidden), CHUNK):
        part = logits(
            family.transform(hidden[at : at + CHUNK]),
            _output(family).weight,
            family.output_bias,
            family.softcap,
            family.logit_scale,
        )
        mine = ((owner >= at) & (owner < at + CHUNK)).nonzero().squeeze(1)
        rows, columns = (owner[mine] - at).to(hidden.device), label[mine].to(hidden.device)
        # Widened on the host: not every device has fp64.
        found[mine] = (part[rows, columns] - part.logsumexp(dim=1)[rows]).cpu().double()
    return found


def _output(family: Family) -> nn.Linear:
    output = family.output
    assert isinstance(output, nn.Linear), "this model has no output layer over the vocabulary"
    return output
