from __future__ import annotations

from itertools import combinations, product
from xml.etree import ElementTree

import pytest

from rung.ladder import charts
from rung.ladder.charts import Mark
from rung.ladder.svg import Box, Scale, element, place, text_width


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def words(picture: str) -> list[str]:
    return [node.text or "" for node in parsed(picture).iter("text")]


def test_values_are_escaped_in_text_and_attributes() -> None:
    drawn = element("text", "<b>&", class_='"><script>')
    assert drawn == '<text class="&#34;&gt;&lt;script&gt;">&lt;b&gt;&amp;</text>'


def test_scales_map_their_ends_and_the_middle() -> None:
    assert [Scale(0, 10, 100, 200)(value) for value in (0, 5, 10)] == [100, 150, 200]
    assert [Scale(1, 100, 0, 50, log=True)(value) for value in (1, 10, 100)] == pytest.approx([0, 25, 50])


@pytest.mark.parametrize(
    ("scale", "ticks"),
    [
        (Scale(0.12, 0.98, 0, 1), [0.2, 0.4, 0.6, 0.8]),
        (Scale(-0.05, 0.01, 0, 1), [-0.05, -0.04, -0.03, -0.02, -0.01, 0.0, 0.01]),
        (Scale(0.9, 2100, 0, 1, log=True), [1, 10, 100, 1000]),
        (Scale(90, 600, 0, 1, log=True), [100, 200, 500]),
    ],
)
def test_ticks_are_round(scale: Scale, ticks: list[float]) -> None:
    assert scale.ticks(6) == pytest.approx(ticks)


def test_labels_of_points_in_a_heap_do_not_overlap() -> None:
    points = [(300 + 3 * index, 200 + 2 * (index % 3)) for index in range(10)]
    names = [f"model-{index} method" for index in range(10)]
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in points]
    labels = place(points, names, taken, Box(0, 0, 700, 400))
    boxes = [label.box for label in labels if label]
    assert len(boxes) == 10
    assert not any(first.meets(second) for first, second in combinations(boxes, 2))
    assert not any(first.meets(second) for first, second in product(boxes, taken))


def test_a_label_without_room_is_left_out() -> None:
    assert place([(5, 5)], ["a long name"], [], Box(0, 0, 20, 20)) == [None]


def test_wide_characters_take_more_room() -> None:
    assert text_width("日本") > text_width("ab")


MARKS = [
    Mark("tfidf", 0.86, 0.83, 0.89, cost=0.8),
    Mark("lora", 0.96, 0.94, 0.98, cost=400, kind="pick"),
    Mark("full", 0.97, 0.95, 0.99, cost=4000, kind="reference"),
    Mark("majority", 0.17, 0.15, 0.19, cost=0.01),
]


@pytest.mark.parametrize("width", [360, 1000])
def test_quality_against_cost_names_every_rung(width: int) -> None:
    picture = charts.quality_against_cost(MARKS, "key", width, limit=0.95)
    root = parsed(picture)
    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "key-title key-desc"
    assert root.findtext("title") == "Quality against cost"
    assert "lora 0.960 at 6 min 40 s" in (root.findtext("desc") or "")
    assert {"tfidf", "lora", "full", "majority ↓ 0.170"} <= set(words(picture))
    assert len(root.findall("circle")) == 4


def test_cost_ticks_are_round_times() -> None:
    shown = words(charts.quality_against_cost(MARKS, "key", 1000, limit=0.95))
    assert [tick for tick in shown if tick in {"10 ms", "1 s", "1 min", "10 min", "1 h"}] == [
        "10 ms",
        "1 s",
        "1 min",
        "10 min",
        "1 h",
    ]


@pytest.mark.parametrize("width", [360, 1000])
def test_a_difference_far_below_is_an_arrow_with_its_value(width: int) -> None:
    gaps = [Mark("lora", -0.004, -0.012, -0.004), Mark("majority", -0.8, -0.83, -0.8), Mark("full", 0, 0, 0)]
    picture = charts.differences(gaps, "key", width, margin=0.02)
    assert "−80" in words(picture)
    assert "limit −2" in words(picture)
    assert len(parsed(picture).findall("polygon")) == 1
    assert all(0 <= float(node.get("cx", "nan")) <= width for node in parsed(picture).iter("circle"))


def test_equal_values_and_single_points_can_be_drawn() -> None:
    assert "1" in words(charts.steps([(1, 1.0), (2, 1.0)], "key", "loss", "loss by step"))
    flat = {"lora": [(100, Mark("lora", 1.0, 1.0, 1.0))]}
    assert "lora" in words(charts.quality_by_rows(flat, "key", 1000))
    same = [Mark(name, 1.0, 1.0, 1.0, cost=0.0) for name in "ab"]
    assert {"a", "b"} <= set(words(charts.quality_against_cost(same, "key", 1000, limit=0.98)))
