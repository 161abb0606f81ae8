from __future__ import annotations

import pytest

from rung.data.templates import FILTERS, check_template, render
from rung.errors import ConfigError, DataError

COLUMNS = ("text", "words", "this")
ROW = {"text": " So it goes ", "words": ["a", "b"], "this": {"a column": 1}}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ text }}", " So it goes "),
        ("{{ text | trim | upper }}!", "SO IT GOES!"),
        ("{{ this['a column'] }}", "1"),
        ("{% for word in words %}{{ loop.index }}{{ word }} {% endfor %}", "1a 2b "),
        ("{% if text | length > 3 and words is defined %}long{% else %}short{% endif %}", "long"),
        ("{{ 'x' if words[0] == 'a' else 'y' }}{{ text[1:3] ~ words[1] }}", "xSob"),
        ("{% raw %}{{ text }}{% endraw %}", "{{ text }}"),
    ],
)
def test_what_templates_are_for(template, shown):
    check_template(template, COLUMNS)
    assert render(template, ROW) == shown


def test_text_in_a_column_is_no_template():
    assert render("{{ text }}", {"text": "{{ 7 * 7 }}{% for %}"}) == "{{ 7 * 7 }}{% for %}"


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "Call is not allowed here"),
        ("{{ cycler.__init__.__globals__.os.popen('touch x').read() }}", "Call is not allowed here"),
        ("{{ text.__class__ }}", "__class__ is not a part of a column"),
        ("{{ text | attr('__class__') }}", "unknown filter 'attr'."),
        ("{% import 'os' as os %}", "Import is not allowed here"),
        ("{% include '/etc/passwd' %}", "Include is not allowed here"),
        ("{% set text = text ~ text %}", "Assign is not allowed here"),
        ("{% for a in range(10**9) %}x{% endfor %}", "Call is not allowed here"),
        ("{% for a in text %}{% for b in text %}x{% endfor %}{% endfor %}", "a loop inside a loop is not allowed"),
        ("{{ 'x' * 10**12 }}", "Mul is not allowed here"),
        ("{{ 10**10**10 }}", "Pow is not allowed here"),
        ("{{ text | center(1000000000000) }}", "unknown filter 'center'."),
        ("{{ text | uper }}", "unknown filter 'uper'. Did you mean 'upper'?"),
        ("one\n{{ text.upper() }}", "Call is not allowed here"),
    ],
)
def test_what_reaches_code_or_could_grow_is_refused(template, problem):
    with pytest.raises(ConfigError) as refused:
        check_template(template, COLUMNS)
    line = 1 + template.count("\n")
    assert str(refused.value) == (
        f"task.template={template!r} line {line}: {problem}\n"
        f"  A template has {{{{ column }}}}, {{% if %}}, one {{% for %}}, and the filters {', '.join(FILTERS)}."
    )


def test_nothing_computed_by_the_compiler_escapes():
    with pytest.raises(ConfigError, match="nested too deeply"):
        check_template("{{" + "(" * 5000 + "text" + ")" * 5000 + "}}", COLUMNS)
    with pytest.raises(ConfigError, match="has 20,001 characters"):
        check_template("x" * 20_001, COLUMNS)
    with pytest.raises(DataError, match="access to attribute '__class__' of 'str' object is unsafe"):
        render("{{ text['__class__'] }}", ROW)


def test_a_mistake_in_a_template_is_named():
    with pytest.raises(ConfigError, match=r"task\.template names 'txt', which no column has\. Did you mean 'text'\?"):
        check_template("{{ txt }}", COLUMNS)
    with pytest.raises(ConfigError, match="line 2: unexpected '}'"):
        check_template("a\n{{ text }", COLUMNS)
