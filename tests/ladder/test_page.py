from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from rung.ladder.page import render
from rung.ladder.report import report_on
from rung.ladder.store import read_ladder

VOID = {"meta", "br", "img", "input", "link"}
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "\x1b[31mred\x1b[0m",
    "=cmd('calc')!A0",
    "{{ 7 * 7 }}{% include 'page.css' %}",
    "</style><style>*{display:none}</style>",
)


class Parsed(HTMLParser):
    """What a browser would build: elements, attributes, and the text outside of styles."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.text = ""
        self.ids: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data


def page_of(folder: Path) -> str:
    ladder = read_ladder(folder)
    return render(ladder, report_on(ladder))


@pytest.fixture(scope="module")
def page(finished: Path) -> str:
    return page_of(finished)


@pytest.fixture(scope="module")
def parsed(page: str) -> Parsed:
    return Parsed(page)


@pytest.fixture(scope="module")
def hostile(made: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Parsed]:
    """A page whose every free text is an attack, and the page of the same ladder with harmless ones."""
    names = [rung.name for rung in made.RUNGS]
    rungs = tuple(
        replace(rung, name=f"{name} {HOSTILE[at % len(HOSTILE)]}", model=rung.model and HOSTILE[1], reason=HOSTILE[0])
        for at, (name, rung) in enumerate(zip(names, made.RUNGS, strict=True))
    )
    folder = made.LadderFolder(
        rungs=rungs,
        labels=HOSTILE[:3],
        rows=90,
        text="{words} " + "".join(part.replace("{", "{{").replace("}", "}}") for part in HOSTILE),
        sentences=HOSTILE,
        config={"task": {"text": "text", HOSTILE[0]: HOSTILE}, HOSTILE[1]: [{"a": HOSTILE[3]}]},
        learning_curve=made.growth(HOSTILE[0], 0.9),
    ).write(tmp_path_factory.mktemp("hostile"))
    page = page_of(folder)
    return page, Parsed(page)


def test_the_answer_comes_first(page: str) -> None:
    body = page[page.index("<body>") :]
    assert body.index("minilm-l6 full</span> is the lowest sufficient rung.") < body.index("<table")


def test_every_section_is_there(page: str) -> None:
    headings = re.findall(r"<h2[^>]*>([^<]*)</h2>", page)
    assert headings == [
        "All rungs",
        "Which rungs are enough",
        "Quality against cost",
        "More labels, or a higher rung?",
        "How training went",
        "Where rungs disagree most",
        "What is mistaken for what",
        "Prompted rungs, calibrated and not",
        "Cost ledger",
        "Data",
        "Settings and machines",
    ]


def test_the_html_is_well_formed_and_ids_are_unique(parsed: Parsed) -> None:
    assert parsed.open == []
    assert [name for name, times in Counter(parsed.ids).items() if times > 1] == []
    targets = {target for _, name, value in parsed.attributes if name == "aria-labelledby" for target in value.split()}
    assert targets <= set(parsed.ids)


def test_nothing_can_run_or_be_fetched(parsed: Parsed) -> None:
    assert not {"script", "link", "img", "iframe", "object", "form", "a", "base"} & set(parsed.elements)
    names = {name for _, name, _ in parsed.attributes}
    assert not [name for name in names if name.startswith("on") or name in {"src", "href", "xlink:href", "srcset"}]
    policy = [value for tag, name, value in parsed.attributes if tag == "meta" and name == "content"]
    assert "default-src 'none'; style-src 'unsafe-inline'" in policy


def test_style_fetches_nothing(page: str) -> None:
    style = page[page.index("<style>") : page.index("</style>")]
    assert not re.search(r"url\(|@import|@font-face", style)


def test_pictures_are_named_and_tables_have_scopes(page: str) -> None:
    pictures = re.findall(r"<svg (?![^>]*aria-hidden)[^>]*>(.{0,9})", page)
    assert len(pictures) == 6 + 8  # three charts in two sizes, two curves of four trained rungs
    assert set(pictures) == {"<title id"}
    assert not re.search(r"<th(?![^>]*scope=)[ >]", page)


def test_each_rung_is_a_row(parsed: Parsed, made: ModuleType) -> None:
    for rung in made.RUNGS:
        assert rung.name in parsed.text
    assert "failed: out of memory: the system ended the process at 3.9 GB" in parsed.text


def test_disagreements_show_text_truth_and_answers(page: str) -> None:
    section = page[page.index('id="divided"') : page.index('id="confusion"')]
    assert section.count("<blockquote>") == 10
    assert "messages.csv:" in section
    assert section.count('class="right"') == 10
    assert section.count('class="wrong"') >= 10


def test_many_labels_become_a_list_of_confused_pairs(made: ModuleType, tmp_path: Path) -> None:
    labels = tuple(f"intent-{number:02d}" for number in range(20))
    page = page_of(made.LadderFolder(rungs=made.RUNGS[:2], labels=labels, rows=200).write(tmp_path))
    assert "tfidf: most confused pairs of 20 labels" in page
    assert 'class="confusion"' not in page
    pairs = page[page.index("tfidf: most confused") :].partition("</tbody>")[0]
    assert pairs.count('<th scope="row">') == 15


def test_a_ladder_of_one_rung_has_no_comparison(made: ModuleType, tmp_path: Path) -> None:
    page = page_of(made.LadderFolder(rungs=made.RUNGS[1:2], rows=60).write(tmp_path))
    assert "Which rungs are enough" not in page
    assert "tfidf</span> is the lowest sufficient rung." in page


@pytest.mark.hostile
def test_hostile_text_adds_no_element_and_no_handler(hostile: tuple[str, Parsed]) -> None:
    _, parsed = hostile
    assert parsed.open == []
    assert not {"script", "img", "link", "iframe"} & set(parsed.elements)
    assert parsed.elements["style"] == 1
    assert not [name for _, name, _ in parsed.attributes if name.startswith("on")]
    assert not [value for _, name, value in parsed.attributes if name == "class" and "<" in value]


@pytest.mark.hostile
def test_hostile_text_is_shown_as_it_is(hostile: tuple[str, Parsed]) -> None:
    page, parsed = hostile
    for attack in (HOSTILE[0], HOSTILE[1], HOSTILE[3], HOSTILE[4], HOSTILE[5]):
        assert attack in parsed.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x1b" not in page
    assert "49" not in re.findall(r"<li>([^<]*)</li>", page)


@pytest.mark.hostile
def test_a_lone_surrogate_does_not_stop_the_page(made: ModuleType, tmp_path: Path) -> None:
    rungs = (replace(made.RUNGS[1], name="tfidf \ud800"),)
    page = page_of(made.LadderFolder(rungs=rungs, rows=60, text="{words} \udfff").write(tmp_path))
    page.encode("utf-8")
    assert "tfidf \ufffd" in page


def test_the_same_ladder_makes_the_same_page(finished: Path, page: str) -> None:
    assert page_of(finished) == page


def test_every_size_class_of_the_page_is_styled(page: str) -> None:
    style: Any = page[page.index("<style>") : page.index("</style>")]
    used = {name for value in re.findall(r'class="([^"]*)"', page) for name in value.split()}
    styled = set(re.findall(r"\.([a-z][a-z0-9]*)", style))
    assert used - styled <= {"tick", "s0", "dash0", "other", "name"}


def test_what_endpoints_charged_stands_in_the_ledger_where_there_were_prices(finished: Path, tmp_path: Path) -> None:
    assert "money / request" not in render(read_ladder(finished), report_on(read_ladder(finished)))
    folder = tmp_path / "priced"
    shutil.copytree(finished, folder)
    path = next(folder.glob("runs/*few_shot*/cost.json"))
    body = json.loads(path.read_text(encoding="utf-8"))
    body["endpoint"] = {"money": 1.25, "money_per_row": 0.000625, "answered": 2000}
    path.write_text(json.dumps(body), encoding="utf-8")
    ladder = read_ladder(folder)
    report = report_on(ladder)
    page = Parsed(render(ladder, report)).text
    assert "money / request" in page and "0.000625" in page and "1.25" in page
    told = [rung["cost"]["endpoint"] for rung in report["rungs"] if rung["cost"]]
    assert [one for one in told if one] == [{"money": 1.25, "money_per_row": 0.000625}]
