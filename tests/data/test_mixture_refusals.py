"""What a mixture and its sources may not say, and what is said then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rung.config.validation import build
from rung.data.load import load_generation
from rung.data.loaded import LoadedData
from rung.data.mixture.template_file import library_path
from rung.data.settings import DataConfig
from rung.errors import ConfigError, DataError
from rung.tasks.classification import ClassificationConfig

Body = dict[str, Any]


def load(mixture: Body, **data: Any) -> LoadedData:
    return load_generation(build(DataConfig, {"mixture": mixture, **data}), {})


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"held_out_clusters": ["nlii"]}, "held_out_clusters: unknown cluster 'nlii'. Did you mean 'nli'?"),
        ({"held_out_clusters": ["nli", "sentiment", "closed_book_qa"]}, "every source is held out"),
        ({"held_out_templates": 8}, "held_out_templates: all 8 templates of sentiment that ask for the answer"),
        ({"held_out_templates": {"nli": ["folows"]}}, "unknown template 'folows'. Did you mean 'follows'?"),
        ({"held_out_templates": {"nl": []}}, "held_out_templates.nl: unknown type 'nl'. Did you mean 'nli'?"),
        ({"held_out_templates": {"nli": ["write_premise"]}}, "Inverted ones are in train alone"),
        ({"held_out_templates": -1}, "must be 0 or more"),
        ({"sources": []}, "sources is empty"),
        ({"capp": 3}, "unknown key. Did you mean cap?"),
    ],
)
def test_what_a_mixture_may_not_say(body: Body, changed: Body, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({**body, **changed})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"type": "sentimnt"}, "Did you mean 'sentiment'?"),
        ({"type": None}, "source reviews needs one of type (of the library) and templates"),
        ({"columns": {"txt": "text"}}, "columns.txt: unknown role 'txt'. Did you mean 'text'?"),
        ({"columns": {"text": "tex"}}, "columns.text=tex: no such column in"),
        ({"choices": {"good": "yes"}}, "source reviews: choices has no words for 'bad'"),
        ({"choices": {"good": "yes", "bad": "yes"}}, "labels 'good' and 'bad' are both shown as 'yes'"),
        ({"name": "quiz"}, "two sources are called quiz"),
        ({"type": "nli"}, "no column has a usual name of the role premise"),
        ({"columns": {"label": "text", "text": "label"}}, "label has more than 200 different values"),
        (
            {"type": "qa_closed_book", "columns": {"answer": "label"}, "choices": {"a": "b"}},
            "choices are words for labels",
        ),
        ({"train": "absent.csv"}, "absent.csv: no such file"),
        ({"tpe": "nli"}, "unknown key. Did you mean type?"),
    ],
)
def test_what_a_source_may_not_say(body: Body, changed: Body, said: str) -> None:
    body["sources"][0] = {**body["sources"][0], **changed}
    with pytest.raises((ConfigError, DataError)) as caught:
        load(body)
    assert said in str(caught.value)


def test_own_templates_have_a_name_of_their_own(body: Body, tmp_path: Path) -> None:
    own = tmp_path / "nli.yaml"
    own.write_text(library_path("nli").read_text(encoding="utf-8"), encoding="utf-8")
    body["sources"].append({**body["sources"][2], "name": "more", "type": None, "templates": str(own)})
    with pytest.raises(ConfigError, match=r"source more: .*nli\.yaml is called nli, and so is"):
        load(body)
    # an edited file is read anew
    own = own.rename(tmp_path / "mine.yaml")
    body["sources"][3]["templates"] = str(own)
    assert "mine" in {one.fields["type"] for one in load(body).splits.train}
    own.write_text(own.read_text(encoding="utf-8").replace("name: follows", "name: entails"), encoding="utf-8")
    assert "entails" in {one.fields["template"] for one in load(body).splits.train}


def test_a_mixture_stands_in_place_of_files(body: Body) -> None:
    with pytest.raises(ConfigError, match="train=a and a mixture are both set"):
        load(body, train="a")
    with pytest.raises(ConfigError, match="test=b is for one file"):
        load(body, test="b")
    config = build(DataConfig, {"mixture": body})
    with pytest.raises(ConfigError, match=r"Set task\.type=generation"):
        ClassificationConfig().load(config)
    with pytest.raises(ConfigError, match=r"task\.prompt=question: the rows of a mixture have a prompt"):
        load_generation(config, {"prompt": "question"})
