"""One output a token: tags of words, and answers as spans over several windows of a long context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import BertForQuestionAnswering, BertForTokenClassification, PreTrainedTokenizerFast

from rung.compute.output import OutputLayer
from rung.engine.sources import DatasetSource
from rung.evaluate.predictor import LocalPredictor
from rung.methods.adapted import Adapted
from rung.methods.lora import Lora
from rung.objectives.base import Objective, Trained
from rung.tasks.base import Task
from rung.types import Batch, Example, HeadSpec, Loss, Prediction, Prompt, Record, Row, Term, Tokens

CLOSE = {"rtol": 1e-10, "atol": 1e-10}
PIECES = ["ada", "lives", "in", "par", "##is", "and", "bob", "##by", "at", "rome", "##ville"]
PIECES += ["##s", "who", "works", "there", "?", "left", "never"]
LABELS = ("O", "NAME", "PLACE")


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {piece: at for at, piece in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *PIECES])}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]")


class FieldsTask(Task):
    """A task whose records hold their parts as they are."""

    main_metric: ClassVar[str] = "accuracy"
    labels = LABELS
    prompt = Prompt("", "")

    @property
    def reads(self) -> tuple[str, ...]:
        return ("text",)

    def render(self, record: Record, prompt: Prompt) -> Example:
        text = record.fields["text"]
        return Example(record.id, text, record.fields.get("pair"), words=tuple(text.split()), target=self.truth(record))

    def truth(self, record: Record) -> Any:
        return record.fields.get("target")

    def shortened(self, record: Record, characters: int) -> Record:
        return record

    def content_free(self, record: Record, filler: str) -> Record:
        return record

    def parse_scores(self, id: str, scores: Sequence[float], probabilities: Sequence[float]) -> Prediction:
        raise AssertionError("these tasks have no score per label")

    def metrics(self, truth: Sequence[Any], predictions: Sequence[Prediction]) -> Mapping[str, Any]:
        return {"accuracy": sum(t == p.label for t, p in zip(truth, predictions, strict=True)) / len(truth)}


class TokenObjective(Objective):
    """What tagging and spans have in common: the output layer reads every token of every sequence."""

    needs_head: ClassVar[bool] = True

    def check(self, model_kind: str, task: str) -> None: ...

    def outputs(self, adapted: Trained, rows: Sequence[Row]) -> Sequence[torch.Tensor]:
        assert adapted.head is not None
        sequences = [sequence for row in rows for sequence in row.sequences]
        hidden = adapted.states(sequences, [range(len(sequence)) for sequence in sequences])
        return adapted.head(hidden).split([sum(map(len, row.sequences)) for row in rows])


class Tagging(TokenObjective):
    """A tag per word, read off and supervised at its first piece."""

    type: Literal["tagging"] = "tagging"

    def head(self, task: Task) -> HeadSpec:
        return HeadSpec("token", len(task.labels), tuple(task.labels))

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        pieces = [tokenizer(word, add_special_tokens=False)["input_ids"] for word in example.words]
        ids, first = [tokenizer.cls_token_id], []
        for piece in pieces:
            first.append(len(ids))
            ids.extend(piece)
        ids.append(tokenizer.sep_token_id)
        labels = [-100] * len(ids)
        for at, tag in zip(first, example.target or (), strict=False):
            labels[at] = LABELS.index(tag)
        return Row(example.id, (Tokens(tuple(ids), tuple(labels)),), tuple(first))

    def decode(self, row: Row, outputs: torch.Tensor, task: Task) -> Prediction:
        return Prediction(row.id, tuple(task.labels[int(outputs[at].argmax())] for at in row.target))

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"tagging": sum(label != -100 for one in batch.sequences for label in one.labels or ())}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        sums = [
            cross_entropy(output, torch.tensor(row.sequences[0].labels), reduction="sum")
            for row, output in zip(batch.rows, self.outputs(adapted, batch.rows), strict=True)
        ]
        total = torch.stack(sums)
        return Loss({"tagging": Term(total.sum(), self.counts(batch)["tagging"])}, total.detach())


class Spans(TokenObjective):
    """First and last token of the answer; a window without the answer points at its first token."""

    type: Literal["question_answering"] = "question_answering"
    stride: int = 2

    def head(self, task: Task) -> HeadSpec:
        return HeadSpec("token", 2, ("start", "end"))

    def encode(self, example: Example, tokenizer: Any, max_length: int) -> Row:
        question = tokenizer(example.text, add_special_tokens=False)["input_ids"]
        read = tokenizer(example.pair, add_special_tokens=False, return_offsets_mapping=True)
        opening = [tokenizer.cls_token_id, *question, tokenizer.sep_token_id]
        room = max_length - len(opening) - 1
        sequences, windows, start = [], [], 0
        while True:
            end = min(start + room, len(read["input_ids"]))
            ids = (*opening, *read["input_ids"][start:end], tokenizer.sep_token_id)
            types = (0,) * len(opening) + (1,) * (len(ids) - len(opening))
            sequences.append(Tokens(ids, token_type_ids=types))
            offsets = (*[None] * len(opening), *read["offset_mapping"][start:end], None)
            windows.append((offsets, _find(offsets, example.target)))
            if end == len(read["input_ids"]):
                return Row(example.id, tuple(sequences), (example.pair, tuple(windows)))
            start = end - self.stride

    def decode(self, row: Row, outputs: torch.Tensor, task: Task) -> Prediction:
        context, windows = row.target
        best, answer = float("-inf"), ""
        for (offsets, _), logits in zip(windows, outputs.split([len(one) for one in row.sequences]), strict=True):
            inside = [at for at, offset in enumerate(offsets) if offset is not None]
            for begin in inside:
                for end in (at for at in inside if at >= begin):
                    score = float(logits[begin, 0] + logits[end, 1] - logits[0].sum())
                    if score > best:
                        best, answer = score, context[offsets[begin][0] : offsets[end][1]]
        return Prediction(row.id, answer)

    def counts(self, batch: Batch) -> Mapping[str, int]:
        return {"spans": len(batch.sequences)}

    def loss(self, adapted: Trained, batch: Batch) -> Loss:
        sums = []
        for row, outputs in zip(batch.rows, self.outputs(adapted, batch.rows), strict=True):
            parts = outputs.split([len(one) for one in row.sequences])
            sums.append(
                sum(
                    cross_entropy(logits.T, torch.tensor(span), reduction="sum")
                    for (_, span), logits in zip(row.target[1], parts, strict=True)
                )
            )
        total = torch.stack(sums)
        return Loss({"spans": Term(total.sum(), len(batch.sequences), 0.5)}, total.detach())


def _find(offsets: Sequence[tuple[int, int] | None], span: tuple[int, int] | None) -> tuple[int, int]:
    begin = [at for at, one in enumerate(offsets) if span and one and one[0] == span[0]]
    end = [at for at, one in enumerate(offsets) if span and one and one[1] == span[1]]
    return (begin[0], end[0]) if begin and end else (0, 0)


TAGGED = [
    ("ada lives in paris", ("NAME", "O", "O", "PLACE")),
    ("bobby and ada works at romeville", ("NAME", "O", "NAME", "O", "O", "PLACE")),
    ("never in adas", ("O", "O", "NAME")),
]
CONTEXT = "ada lives in paris and bobby works at romeville and never left"
ASKED = [("who works there ?", "bobby"), ("in ?", "paris"), ("at ?", "romeville"), ("ada ?", "never left")]


def records(task: str) -> list[Record]:
    if task == "tagging":
        return [Record(str(at), {"text": text, "target": tags}, "") for at, (text, tags) in enumerate(TAGGED)]
    return [
        Record(
            str(at), {"text": ask, "pair": CONTEXT, "target": (CONTEXT.index(say), CONTEXT.index(say) + len(say))}, ""
        )
        for at, (ask, say) in enumerate(ASKED)
    ]


def adapt(tiny: ModuleType, objective: Objective) -> Adapted:
    spec = objective.head(FieldsTask())
    assert spec is not None
    return Lora(r=8).attach(tiny.build("bert"), OutputLayer(spec, 32, seed=0).double(), seed=1)


@pytest.mark.parametrize("objective", [Tagging(), Spans()], ids=lambda one: one.name)
def test_training_and_predicting(tiny: ModuleType, fit: Any, tokenizer: Any, objective: TokenObjective) -> None:
    adapted = adapt(tiny, objective)
    predictor = LocalPredictor(adapted, tokenizer, FieldsTask(), objective, 14)
    asked = records(objective.name)
    rows = predictor.rows(asked, FieldsTask.prompt)
    assert (max(len(row.sequences) for row in rows) > 1) == (objective.name == "question_answering")
    losses = fit(adapted, objective, DatasetSource(rows, 2, 2, 7, False), 150, 4e-3)
    assert losses[-1] < 0.3 * losses[0]
    bare = [Record(one.id, {**one.fields, "target": None}, "") for one in asked]
    expected = [tags for _, tags in TAGGED] if objective.name == "tagging" else [say for _, say in ASKED]
    assert [one.label for one in predictor.predict(bare)] == expected
    assert [one.label for one in reversed(predictor.predict(bare[::-1]))] == expected


def test_words_are_supervised_at_their_first_piece(tokenizer: Any) -> None:
    row = Tagging().encode(FieldsTask().render(records("tagging")[1], FieldsTask.prompt), tokenizer, 14)
    pieces = tokenizer.convert_ids_to_tokens(row.sequences[0].input_ids)
    assert pieces == ["[CLS]", "bob", "##by", "and", "ada", "works", "at", "rome", "##ville", "[SEP]"]
    assert row.sequences[0].labels == (-100, 1, -100, 0, 1, 0, 0, 2, -100, -100)


def test_tagging_equals_transformers(tiny: ModuleType, tokenizer: Any) -> None:
    adapted = adapt(tiny, Tagging())
    rows = [Tagging().encode(FieldsTask().render(one, FieldsTask.prompt), tokenizer, 14) for one in records("tagging")]
    loss = Tagging().loss(adapted, Batch(tuple(rows))).terms["tagging"]
    config = tiny.build("bert").module.config
    config.num_labels = len(LABELS)
    module = BertForTokenClassification(config).double().eval()
    module.bert.load_state_dict(tiny.build("bert").body.state_dict(), strict=True)
    module.classifier.load_state_dict(adapted.head.classifier.state_dict())
    sequences = [row.sequences[0] for row in rows]
    longest = max(map(len, sequences))
    fill = [longest - len(one) for one in sequences]
    output = module(
        input_ids=torch.tensor([[*one.input_ids, *[0] * n] for one, n in zip(sequences, fill, strict=True)]),
        attention_mask=torch.tensor([[1] * len(one) + [0] * n for one, n in zip(sequences, fill, strict=True)]),
        labels=torch.tensor([[*one.labels, *[-100] * n] for one, n in zip(sequences, fill, strict=True)]),
    )
    torch.testing.assert_close(loss.sum / loss.count, output.loss, **CLOSE)


def test_spans_equal_transformers_window_by_window(tiny: ModuleType, tokenizer: Any) -> None:
    objective = Spans()
    adapted = adapt(tiny, objective)
    asked = records("question_answering")
    rows = [objective.encode(FieldsTask().render(one, FieldsTask.prompt), tokenizer, 14) for one in asked]
    term = objective.loss(adapted, Batch(tuple(rows))).terms["spans"]
    module = BertForQuestionAnswering(tiny.build("bert").module.config).double().eval()
    module.bert.load_state_dict(tiny.build("bert").body.state_dict(), strict=True)
    module.qa_outputs.load_state_dict(adapted.head.classifier.state_dict())
    losses = [
        module(
            input_ids=torch.tensor([sequence.input_ids]),
            token_type_ids=torch.tensor([sequence.token_type_ids]),
            start_positions=torch.tensor([span[0]]),
            end_positions=torch.tensor([span[1]]),
        ).loss
        for row in rows
        for sequence, (_, span) in zip(row.sequences, row.target[1], strict=True)
    ]
    assert len(losses) > len(rows)
    torch.testing.assert_close(term.weight * term.sum / term.count, torch.stack(losses).mean(), **CLOSE)
