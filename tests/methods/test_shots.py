"""Which examples a prompt shows, in which order, and how many: on tiny random models."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from safetensors.numpy import save_file

from rung.compute.embedding import embedding, text_encoder
from rung.errors import ArtifactError, ConfigError
from rung.evaluate.predictor import LocalPredictor
from rung.methods.bench import Bench, Limits, SpentError, nested
from rung.methods.few_shot import FewShot
from rung.methods.shots.selection import diverse
from rung.methods.tuning import Memory, Tuning
from rung.methods.zero_shot import ZeroShot
from rung.models.tokenizer import PLAIN_TEMPLATE
from rung.run.judging import MetricJudge
from rung.run.prepare import adapt
from rung.run.record import read_prompt, write_prompt
from rung.run.start import open_model
from rung.tasks.classification import ClassificationConfig
from rung.tasks.prompts import message_templates, text_template
from rung.types import Record, Shot

TASK = ClassificationConfig().resolve("text", None, "label", ("bad", "good"), ("text", "label"))
WORDS = ("joy", "warm", "dull", "poor", "film", "plot", "heart", "prize")
TEXTS = [f"{one} {other}" for one in WORDS for other in WORDS if one != other]
ROWS = [
    Record(str(at), {"text": text, "label": ("good", "bad")[at % 2]}, f"a.csv:{at + 2}")
    for at, text in enumerate(TEXTS)
]
TRAIN, VALIDATION = ROWS[:40], ROWS[40:]


@pytest.fixture(scope="module")
def predictor(tiny_models: dict[str, Path]) -> LocalPredictor:
    opened = open_model(str(tiny_models["llama"]), {"dtype": "float32", "device": "cpu"})
    return LocalPredictor(adapt(None, opened, TASK, None, 0), opened.loaded.tokenizer, TASK, None, 256)


@pytest.fixture(scope="module")
def bert(tiny_models: dict[str, Path]) -> str:
    return str(tiny_models["bert"])


def tuning() -> Tuning:
    return Tuning(VALIDATION, MetricJudge(TASK), Memory())


def test_an_embedding_is_of_length_one_and_alone_what_it_is_among_others(bert: str) -> None:
    together = text_encoder(bert).embed(TEXTS[:5])
    assert np.linalg.norm(together, axis=1) == pytest.approx(np.ones(5), abs=1e-5)
    assert embedding(bert, TEXTS[3]) == pytest.approx(together[3], abs=1e-5)


def test_a_decoder_can_not_tell_likeness(tiny_models: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match=r"method\.encoder=.*llama is of kind decoder, and likeness is told by an"):
        text_encoder(str(tiny_models["llama"]))


def test_nearest_shots_are_the_nearest_with_the_nearest_last_and_never_the_request_itself(
    predictor: LocalPredictor, bert: str
) -> None:
    prompt = FewShot(num_shots=3, selection="nearest", encoder=bert, calibration=False).fit(predictor, TASK, TRAIN, 0)
    assert prompt.pool is not None
    for record in (VALIDATION[0], TRAIN[7]):
        asked = embedding(bert, record.fields["text"])
        others = [row.fields["text"] for row in TRAIN if row.fields["text"] != record.fields["text"]]
        likeness = {text: float(asked @ embedding(bert, text)) for text in others}
        wanted = sorted(likeness, key=lambda text: -likeness[text])[:3][::-1]
        shown = [shot.fields["text"] for shot in TASK.prompt_for(record, prompt).shots]
        assert [likeness[text] for text in shown] == pytest.approx([likeness[text] for text in wanted], abs=1e-5)
    turns = TASK.render(VALIDATION[0], prompt).messages
    assert [turn.role for turn in turns] == ["user", "assistant"] * 3 + ["user"]
    assert turns[-1].content == VALIDATION[0].fields["text"]


def test_a_cut_text_keeps_the_shots_of_the_whole_text(predictor: LocalPredictor, bert: str) -> None:
    prompt = FewShot(num_shots=1, selection="nearest", encoder=bert, calibration=False).fit(predictor, TASK, TRAIN, 0)
    long = Record("long", {"text": "dull poor " + "joy warm " * 200, "label": None}, "x")
    shown = TASK.prompt_for(long, prompt).shots[0]
    ids = predictor.request_ids(long, prompt)
    assert len(ids) <= 256
    assert str(shown.fields["text"]) in predictor.tokenizer.decode(ids)


def test_a_pool_is_read_back_as_it_was_written(predictor: LocalPredictor, bert: str, tmp_path: Path) -> None:
    prompt = FewShot(num_shots=2, selection="nearest", encoder=bert).fit(predictor, TASK, TRAIN, 0)
    write_prompt(tmp_path, prompt)
    again = read_prompt(tmp_path / "prompt.json")
    assert again == prompt
    assert predictor.predict(VALIDATION, again) == predictor.predict(VALIDATION, prompt)
    assert prompt.pool is not None
    moved = replace(prompt.pool, embeddings=prompt.pool.embeddings + 1)
    assert replace(prompt, pool=moved) != prompt
    save_file({"embeddings": prompt.pool.embeddings[:3]}, tmp_path / "prompt_pool.safetensors")
    with pytest.raises(ArtifactError, match=r"does not fit prompt\.json: their numbers of examples differ"):
        read_prompt(tmp_path / "prompt.json")
    (tmp_path / "prompt_pool.safetensors").unlink()
    with pytest.raises(ArtifactError, match=r"prompt_pool\.safetensors can't be read"):
        read_prompt(tmp_path / "prompt.json")


def test_a_pool_of_another_encoder_is_refused(predictor: LocalPredictor, bert: str) -> None:
    prompt = FewShot(num_shots=2, selection="nearest", encoder=bert, calibration=False).fit(predictor, TASK, TRAIN, 0)
    assert prompt.pool is not None
    other = replace(prompt, pool=replace(prompt.pool, encoder_hash="0" * 64))
    with pytest.raises(ArtifactError, match="were embedded by other weights of"):
        predictor.predict(VALIDATION[:1], other)


def test_a_pool_shows_only_what_any_request_has_room_for(predictor: LocalPredictor, bert: str) -> None:
    long = [Record("l", {"text": "joy " * 90, "label": "good"}, "x"), *TRAIN]
    method = FewShot(num_shots=2, selection="nearest", encoder=bert, calibration=False)
    prompt = method.fit(predictor, TASK, long, 0)
    assert prompt.pool is not None
    assert len(prompt.pool.shots) == len(TRAIN)
    with pytest.raises(
        ConfigError, match=r"method.num_shots=30: only 0 of 41 training rows are short enough"
    ) as caught:
        FewShot(num_shots=30, selection="nearest", encoder=bert).fit(predictor, TASK, long, 0)
    fit = int(caught.value.todo.split()[0])
    FewShot(num_shots=fit, selection="nearest", encoder=bert, calibration=False).fit(predictor, TASK, long, 0)


def test_diverse_rows_stand_for_all_and_leave_the_copies_out(bert: str) -> None:
    copies = [Record(f"c{at}", {"text": "joy warm", "label": "good"}, "x") for at in range(20)]
    others = {"plot dull": "bad", "prize heart": "good", "film poor": "bad"}
    rows = [*copies, *(Record(text, {"text": text, "label": label}, "x") for text, label in others.items())]
    chosen = diverse(TASK, rows, 4, 0, bert)
    assert len({record.fields["text"] for record in chosen}) == 4
    assert chosen[0].fields["text"] == "joy warm", "what most rows are like comes first"
    assert diverse(TASK, rows, 2, 0, bert) == chosen[:2], "fewer shots are the first of more"


def test_diverse_rows_are_of_as_many_labels_as_can_be(bert: str) -> None:
    rows = [*ROWS[::2], *ROWS[1:6:2]]  # 28 good ones and three bad ones
    chosen = diverse(TASK, rows, 8, 0, bert)
    labels = [record.fields["label"] for record in chosen]
    assert [sorted(labels[at : at + 2]) for at in range(0, 6, 2)] == [["bad", "good"]] * 3
    assert labels[6:] == ["good", "good"], "a label that has no more rows gives way"
    assert len({record.id for record in chosen}) == 8
    alike = [Record(row.id, {**row.fields, "label": "good"}, row.source) for row in rows]
    first = diverse(TASK, alike, 1, 0, bert)[0]
    assert first.id == chosen[0].id, "the first is the one that most rows are like, whatever its label"


def test_the_order_by_similarity_depends_on_the_request_and_the_shots_do_not(
    predictor: LocalPredictor, bert: str
) -> None:
    method = FewShot(num_shots=3, order="similarity", encoder=bert, calibration=False)
    prompt = method.fit(predictor, TASK, TRAIN, 0)
    plain = FewShot(num_shots=3, calibration=False).fit(predictor, TASK, TRAIN, 0)
    orders = [TASK.prompt_for(record, prompt).shots for record in VALIDATION]
    assert all(sorted(map(repr, order)) == sorted(map(repr, plain.shots)) for order in orders)
    assert len(set(map(repr, orders))) > 1


def test_the_number_of_shots_is_the_best_on_validation_and_the_curve_is_kept(predictor: LocalPredictor) -> None:
    found = tuning()
    prompt = FewShot(num_shots=(4, 1, 2)).fit(predictor, TASK, TRAIN, 0, found)
    curve = found.found["curve"]
    assert [point["num_shots"] for point in curve] == [1, 2, 4]
    assert sorted(point["tokens"] for point in curve) == [point["tokens"] for point in curve]
    assert all(point["low"] <= point["score"] <= point["high"] for point in curve)
    best = max(curve, key=lambda point: point["score"])
    assert len(prompt.shots) == best["num_shots"] == found.found["shots"]
    single = FewShot(num_shots=best["num_shots"]).fit(predictor, TASK, TRAIN, 0)
    assert prompt.shots == single.shots
    assert prompt.calibration == pytest.approx(single.calibration)
    judge, answers = MetricJudge(TASK), [one.label for one in predictor.predict(VALIDATION, single)]
    assert judge.interval(VALIDATION, answers)[0] == pytest.approx(best["score"])


def test_the_best_of_several_orders_is_taken(predictor: LocalPredictor) -> None:
    found = tuning()
    prompt = FewShot(num_shots=4, order="validation", num_orders=5).fit(predictor, TASK, TRAIN, 0, found)
    orders = found.found["orders"]
    assert orders[0]["order"] == [0, 1, 2, 3]
    assert len({tuple(one["order"]) for one in orders}) == len(orders)
    best = max(orders, key=lambda one: one["score"])
    fixed = FewShot(num_shots=4, calibration=False).fit(predictor, TASK, TRAIN, 0)
    assert prompt.shots == tuple(fixed.shots[at] for at in best["order"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"selection": "nearest", "order": "validation"}, "every request has shots of its own"),
        ({"num_shots": [2, 2]}, "none of them twice"),
        ({"num_shots": []}, "name one number or more"),
        ({"num_shots": [0]}, "greater than or equal to 1"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FewShot.model_validate({"type": "few_shot", **settings})


def test_plain_text_in_place_of_the_chat_template(predictor: LocalPredictor) -> None:
    prompt = ZeroShot(chat_template=False, calibration=False).fit(predictor, TASK, TRAIN, 0)
    ids = predictor.request_ids(VALIDATION[0], prompt)
    text = predictor.tokenizer.decode(ids)
    assert text == f"Input: {TASK.prompt.instruction}\n\n{VALIDATION[0].fields['text']}\nAnswer:"
    assert "Input: " in PLAIN_TEMPLATE
    assert predictor.tokenizer.decode(predictor.answer("good", False)) == " good<|im_end|>"
    chat = predictor.predict(VALIDATION, TASK.prompt)
    assert [one.scores for one in predictor.predict(VALIDATION, prompt)] != [one.scores for one in chat]


def test_evaluations_are_done_once_counted_and_limited(predictor: LocalPredictor) -> None:
    kept, rows, other = tuning(), len(VALIDATION), replace(TASK.prompt, instruction="other")
    bench = Bench(predictor, TASK, kept, 0, 40, Limits(evaluations=rows + 4))
    first = bench.answers(TASK.prompt, rows)
    assert bench.answers(TASK.prompt, rows) == first
    assert bench.spent.evaluations == rows
    assert bench.spent.tokens == sum(predictor.count_tokens(record, TASK.prompt) for record in bench.records)
    with pytest.raises(SpentError):
        bench.answers(other, 5)
    second = bench.answers(other, 4)
    assert bench.spent.evaluations == rows + 4
    with pytest.raises(SpentError):
        bench.calibrated(other)
    nobody = LocalPredictor(None, None, TASK, None, 256)  # pyright: ignore[reportArgumentType]
    again = Bench(nobody, TASK, kept, 0, 40)
    assert (again.answers(TASK.prompt, rows), again.answers(other, 4)) == (first, second), "all is in the journal"
    assert again.spent == bench.spent


def test_every_beginning_of_the_rows_has_the_label_shares_of_the_whole() -> None:
    rows = [Record(str(at), {"text": "x", "label": "good" if at < 20 else "bad"}, "x") for at in range(100)]
    order = nested(TASK, rows, 3)
    assert sorted(record.id for record in order) == sorted(record.id for record in rows)
    for size in (10, 25, 50, 100):
        assert sum(TASK.truth(record) == "good" for record in order[:size]) == pytest.approx(size / 5, abs=1)
    assert nested(TASK, rows, 4) != order


def test_a_prompt_is_written_for_other_programs(predictor: LocalPredictor) -> None:
    prompt = replace(TASK.prompt, instruction="Sort {{ it }}", shots=(Shot({"text": "a {% joy"}, "good"),))
    turns = message_templates(TASK, prompt)
    assert json.loads(json.dumps(turns)) == [
        {"role": "user", "content": "Sort {{ '{{' }} it }}\n\na {{ '{%' }} joy"},
        {"role": "assistant", "content": "good"},
        {"role": "user", "content": "{{ this['text'] }}"},
    ]
    assert text_template(TASK, prompt) == (
        "Sort {{ '{{' }} it }}\n\na {{ '{%' }} joy\nAnswer: good\n\n{{ this['text'] }}\nAnswer:\n"
    )
