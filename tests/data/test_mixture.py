"""Mixtures: shares and caps, one side for each row, nothing held out in train, every row accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rung.config.validation import build
from rung.data.load import load_generation
from rung.data.loaded import LoadedData
from rung.data.mixture.template_file import library_path, load_templates
from rung.data.settings import DataConfig
from rung.data.write import write_jsonl
from rung.tasks.generation import GenerationConfig

Body = dict[str, Any]
Texts = Callable[[int, int], list[str]]


def load(mixture: Body, **data: Any) -> LoadedData:
    return load_generation(build(DataConfig, {"mixture": mixture, **data}), {})


def shares(data: LoadedData, split: str = "train") -> dict[str, int]:
    return dict(Counter(record.fields["source"] for record in data.splits.named()[split]))


def test_a_source_weighs_its_rows_but_no_more_than_the_cap(body: Body) -> None:
    whole, capped = load(body), load({**body, "cap": 70})
    assert shares(capped) == {name: min(count, 70) for name, count in shares(whole).items()}
    assert shares(capped) == {"reviews": 70, "quiz": 70, "pairs": 62}
    # what the cap leaves is a subset, and validation keeps the same shares
    assert {one.source for one in capped.splits.train} <= {one.source for one in whole.splits.train}
    before, after = shares(whole, "validation"), shares(capped, "validation")
    rows = shares(whole)
    assert after == {name: -(-before[name] * min(rows[name], 70) // rows[name]) for name in before}
    assert shares(capped, "test") == shares(whole, "test")


def test_every_row_of_every_file_is_in_one_bucket(body: Body, write_rows: Callable[..., str]) -> None:
    odd = [{"text": f"row {at}", "label": "x" if at else "y"} for at in range(40)]
    odd += [{"text": " ", "label": "x"}, {"text": "no label", "label": None}, {"text": "row 3", "label": "x"}]
    path = write_rows(odd, "odd.jsonl")
    body["sources"].append({"name": "odd", "train": path, "type": "topic", "max_rows": 41})
    body["sources"].append({"name": "again", "train": path, "type": "topic"})
    data = load(
        {**body, "cap": 20, "test_rows": 5, "held_out_clusters": ["closed_book_qa"]},
        near_duplicates=False,
        test_size=0.3,
    )
    ledger = data.ledger.as_dict()
    for counts in ledger.values():
        assert counts["rows"] == sum(count for bucket, count in counts.items() if bucket != "rows")
    quiz, _ = (body["sources"][1][part] for part in ("train", "test"))
    assert ledger[f"{quiz} (quiz)"] == {"rows": 120, "held_out": 120}
    assert ledger[f"{body['sources'][1]['test']} (quiz)"] == {"rows": 30, "test": 5, "over_limit": 25}
    assert ledger[f"{path} (again)"]["empty_text"] == ledger[f"{path} (again)"]["missing_label"] == 1
    assert ledger[f"{path} (odd)"]["rows"] == 43
    assert ledger[f"{path} (odd)"]["over_limit"] >= 2
    assert sum(counts.get("train", 0) for counts in ledger.values()) == len(data.splits.train)
    assert data.report.set_aside["over_cap"] == sum(counts.get("over_cap", 0) for counts in ledger.values())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    templates=st.integers(1, 4),
    held_out=st.integers(0, 3),
    clusters=st.sets(st.sampled_from(["sentiment", "closed_book_qa", "nli"]), max_size=2),
    cap=st.none() | st.integers(1, 200),
    inverted=st.booleans(),
    seed=st.integers(0, 5),
)
def test_a_row_is_on_one_side_and_nothing_held_out_is_trained_on(
    body: Body, templates: int, held_out: int, clusters: set[str], cap: int | None, inverted: bool, seed: int
) -> None:
    mixture = {
        **body, "templates_per_row": templates, "held_out_templates": held_out, "held_out_clusters": sorted(clusters),
        "cap": cap, "inverted": inverted, "seed": seed,
    }  # fmt: skip
    data = load(mixture)
    rows = {name: list(records) for name, records in data.splits.named().items()}
    places = {name: {one.source for one in records} for name, records in rows.items()}
    assert not places["train"] & places["test"]
    assert not places["train"] & places["validation"]
    assert not places["validation"] & places["test"]
    learned = [one.fields for one in rows["train"] + rows["validation"]]
    assert {one["held_out"] for one in learned} == {"no"}
    assert not {one["cluster"] for one in learned} & clusters
    tested = [one.fields for one in rows["test"]]
    used = {(one["type"], one["template"]) for one in learned}
    for one in tested:
        assert (one["held_out"] == "cluster") == (one["cluster"] in clusters)
        if one["held_out"] == "template":
            assert (one["type"], one["template"]) not in used
    if held_out:
        assert {one["held_out"] for one in tested if one["cluster"] not in clusters} == {"no", "template"}
    upside_down = {
        (kind, one.name)
        for kind in ("sentiment", "qa_closed_book", "nli")
        for one in load_templates(str(library_path(kind))).templates
        if one.inverted
    }
    asked = [(one["type"], one["template"]) for one in [*tested, *(row.fields for row in rows["validation"])]]
    assert not upside_down & set(asked)
    assert inverted or not upside_down & used
    each = Counter(one.source for one in rows["train"])
    assert set(each.values()) == {templates}
    assert len({one.id for records in rows.values() for one in records}) == sum(map(len, rows.values()))


def test_the_same_settings_give_the_same_rows_and_a_seed_other_templates(body: Body) -> None:
    first, again, other = load(body), load(body), load({**body, "seed": 1})
    assert list(first.splits.train) == list(again.splits.train)
    assert [one.source for one in first.splits.train] == [one.source for one in other.splits.train]
    assert [one.fields["template"] for one in first.splits.train] != [
        one.fields["template"] for one in other.splits.train
    ]


def test_rows_that_are_added_move_no_other_row(body: Body, write_rows: Callable[..., str], texts: Texts) -> None:
    def placed(data: LoadedData) -> dict[str, tuple[str, str]]:
        return {one.id: (name, one.fields["prompt"]) for name, rows in data.splits.named().items() for one in rows}

    before = placed(load({**body, "held_out_templates": 2}))
    more = [{"text": text, "label": "good"} for text in texts(60, 9)]
    reviews = Path(body["sources"][0]["train"])
    reviews.write_text(reviews.read_text() + Path(write_rows(more, "more.jsonl")).read_text())
    after = placed(load({**body, "held_out_templates": 2}))
    assert len(after) == len(before) + 60
    assert {id: after[id] for id in before} == before


def test_what_is_tested_in_another_source_is_not_trained_on(
    body: Body, write_rows: Callable[..., str], texts: Texts
) -> None:
    shared = [{"text": text, "label": "sport"} for text in texts(300, 1)[:40]]
    near = [{"text": f"{text} indeed", "label": "news"} for text in texts(300, 1)[40:60]]
    body["sources"].append({"name": "topics", "train": write_rows(shared + near, "topics.jsonl"), "type": "topic"})
    data = load({**body, "held_out_clusters": ["topic"]})
    tested = {one.source for one in data.splits.test if one.fields["source"] == "topics"}
    assert len(tested) == 60
    counts = data.ledger.as_dict()[f"{body['sources'][0]['train']} (reviews)"]
    alone = load(body).ledger.as_dict()[f"{body['sources'][0]['train']} (reviews)"]
    lost = alone["train"] + alone["validation"] - counts["train"] - counts["validation"]
    assert counts["duplicate"] + counts["near_duplicate"] - alone.get("near_duplicate", 0) == lost
    assert 0 < counts["duplicate"] <= 40
    assert 0 < counts["near_duplicate"] <= 20
    assert any(said.startswith("Exact duplicates of test rows in train: ") for said in data.report.sentences())


def test_row_limits_are_of_the_whole_mixture(body: Body) -> None:
    data = load({**body, "templates_per_row": 3}, max_train_rows=100, max_validation_rows=10, max_test_rows=20)
    assert data.report.rows == {"train": 99, "validation": 10, "test": 20}
    assert set(shares(data)) == {"reviews", "quiz", "pairs"}


def test_a_group_stays_on_one_side(write_rows: Callable[..., str], texts: Texts) -> None:
    rows = [
        {"context": f"passage {at // 5} about {text}", "question": f"{at}?", "answer": "x", "title": f"t{at // 5}"}
        for at, text in enumerate(texts(200, 6))
    ]
    source = {"name": "qa", "train": write_rows(rows), "type": "qa_extractive", "group": "title"}
    data = load({"sources": [source]}, near_duplicates=False, validation_size=0.2)
    sides: dict[int, set[str]] = {}
    for name, records in data.splits.named().items():
        for one in records:
            sides.setdefault((int(one.source.rpartition(":")[2]) - 1) // 5, set()).add(name)
    assert all(len(found) == 1 for found in sides.values())
    assert len(sides) == 40


def test_a_written_split_reads_back_as_the_mixture(body: Body, tmp_path: Path) -> None:
    data = load(body)
    paths = {}
    for name, records in data.splits.named().items():
        paths[name] = str(tmp_path / f"{name}.jsonl")
        write_jsonl(paths[name], records)
    task = GenerationConfig(prompt="prompt", completion="completion")
    again = task.load(build(DataConfig, {**paths, "near_duplicates": False}))
    assert list(again.splits.test) == list(data.splits.test)
    assert again.splits.test[0].source.startswith(str(tmp_path / "reviews.jsonl:"))


def test_the_mixture_is_told(body: Body) -> None:
    data = load(
        {**body, "cap": 100, "held_out_templates": {"nli": ["follows"]}, "held_out_clusters": ["closed_book_qa"]}
    )
    first, *rest = data.columns.reasons
    rows = data.report.rows
    assert first == (
        "Mixture of 3 sources, each with at most 100 train rows; every train row is shown once: "
        f"train {rows['train']}, validation {rows['validation']}, test {rows['test']} rows."
    )
    assert rest[0].startswith("reviews (sentiment, cluster sentiment): 100 train rows (62%), ")
    assert "10 templates (2 of them inverted)" in rest[0]
    assert rest[1].startswith("quiz (qa_closed_book, cluster closed_book_qa): held out with its cluster: 30 test rows")
    assert "9 templates (2 of them inverted), 1 more in test alone (follows)." in rest[2]
    assert rest[2].endswith("Columns: premise=premise, hypothesis=hypothesis, label=label (by their names).")
