"""Languages other than English: told by a library, where it is installed."""

from __future__ import annotations

import importlib.util

import pytest

from rung.config.validation import build
from rung.data import language
from rung.errors import ConfigError
from rung.synth.filters import wrong_instruction, wrong_output
from rung.synth.grow import grow
from rung.synth.settings import Filters

INSTALLED = importlib.util.find_spec("py3langid") is not None
needs_library = pytest.mark.skipif(not INSTALLED, reason="py3langid is not installed")

GERMAN = "Nenne drei Flüsse, die durch mehr als ein Land fließen."
ENGLISH = "Name three rivers that run through more than one country."


@needs_library
def test_another_language_is_told_from_english() -> None:
    german = Filters(language="de")
    assert wrong_instruction(GERMAN, german) is None
    assert wrong_instruction(ENGLISH, german) == "language"
    assert wrong_output(GERMAN, "", "Rhein, Donau und Elbe fließen durch mehrere Länder.", german) is None
    assert wrong_output(GERMAN, "", "The Rhine and the Danube run through many countries.", german) == "language"
    assert wrong_output(GERMAN, "Rhein", "Nein", german) is None, "short texts look like any language"
    assert wrong_output(GERMAN, ENGLISH, "Rhein", german) == "language"


@needs_library
def test_words_need_not_be_set_apart() -> None:
    chinese = Filters(language="zh", least_words=1)
    assert (
        wrong_instruction("请说出三条流经不止一个国家的河流,并说明它们在哪里入海,以及沿岸的主要城市。", chinese) is None
    )
    assert wrong_instruction(ENGLISH, chinese) == "language"


@needs_library
def test_an_unknown_language_is_refused(configure) -> None:
    with pytest.raises(ConfigError, match=r"filters.language: unknown language 'xx'"):
        grow(configure(filters={"language": "xx"}))


def test_without_the_library_it_says_what_to_install(configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(language, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"filters.language=de needs the library py3langid") as caught:
        grow(configure(filters={"language": "de"}))
    assert "pip install 'rung[languages]'" in caught.value.todo


def test_a_language_is_named_by_its_code() -> None:
    with pytest.raises(ConfigError, match="language=german is no code of two letters"):
        build(Filters, {"language": "german"})


def test_any_language_passes() -> None:
    assert wrong_instruction(GERMAN, Filters(language="any")) is None
