"""Checks settings against their class and words every problem: what is wrong, where, what is allowed, what is near."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from rung.config.aliases import ALIASES, canonical_name
from rung.config.canonical import canonicalise
from rung.config.document import Document, KeyPath, dotted
from rung.config.shapes import TAG, Section, branch, child, is_section, item, leaves, members, tagged, tags, takes
from rung.errors import ConfigError, nearest

Model = TypeVar("Model", bound=BaseModel)

_MOST_PROBLEMS = 20
_MISSING = object()
_SECRET_WORDS = ("key", "token", "secret", "password")


def build(model_class: type[Model], data: Mapping[str, Any], source: str = "") -> Model:
    """The typed settings for `data`.

    Args:
        model_class: The settings class.
        data: Plain settings; a `Document` also tells the file and line of each.
        source: Where plain settings came from, for errors.

    Raises:
        ConfigError: One error that lists every problem.
    """
    given = data if isinstance(data, Document) else Document(data, source)
    document = canonicalise(model_class, given)
    try:
        return model_class.model_validate(dict(document))
    except ValidationError as error:
        details = error.errors(include_url=False)
    problems = _merged(_fitting([_located(model_class, detail, document) for detail in details]))
    lines = [_worded(problem, model_class, document) for problem in problems]
    rest = len(lines) - _MOST_PROBLEMS
    if rest > 0:
        lines = [*lines[:_MOST_PROBLEMS], f"and {rest} more problem(s)."]
    raise ConfigError("\n".join(lines))


@dataclass(frozen=True, slots=True)
class _Problem:
    """One objection of pydantic's, in terms of the settings.

    Attributes:
        path: Where in the settings.
        holder: The section or mapping that holds the setting; None when it can't be told.
        annotation: What the setting may be; None when it can't be told.
        value: What was given, or `_MISSING`.
        alternatives: The unions passed on the way: where, and whether the alternative is of the value's kind.
        detail: Pydantic's own words.
    """

    path: KeyPath
    holder: Any
    annotation: Any
    value: Any
    alternatives: tuple[tuple[KeyPath, bool], ...]
    detail: ErrorDetails


def _located(model_class: Section, detail: ErrorDetails, document: Document) -> _Problem:
    """Follow an error's location, which mixes keys with the names of union alternatives."""
    path: KeyPath = ()
    holder: Any = None
    annotation: Any = model_class
    value: Any = document
    alternatives: list[tuple[KeyPath, bool]] = []
    for part in detail["loc"]:
        if len(members(annotation)) > 1:
            annotation = branch(annotation, part)
            alternatives.append((path, annotation is not None and takes(annotation, value)))
        elif part != "[key]":
            holder, annotation = members(annotation)[0], child(members(annotation)[0], part)
            path, value = (*path, part), _held(value, part)
    return _Problem(path, holder, annotation, value, tuple(alternatives), detail)


def _held(container: Any, key: str | int) -> Any:
    try:
        return container[key]
    except (KeyError, IndexError, TypeError):
        return _MISSING


def _fitting(problems: list[_Problem]) -> list[_Problem]:
    """Without the objections of alternatives that could never take such a value, where another one could."""
    fitted = {path for problem in problems for path, fits in problem.alternatives if fits}
    return [p for p in problems if not any(path in fitted and not fits for path, fits in p.alternatives)]


def _merged(problems: list[_Problem]) -> list[_Problem]:
    """One problem per setting: several alternatives that all object to a value are one mistake."""
    first: dict[KeyPath, _Problem] = {}
    for problem in problems:
        held = first.setdefault(problem.path, problem)
        if held is not problem and problem.detail["msg"] not in held.detail["msg"]:
            more = problem.detail["msg"].removeprefix("Input should be ")
            first[problem.path] = _Problem(
                held.path,
                held.holder,
                held.annotation,
                held.value,
                held.alternatives,
                {**held.detail, "msg": f"{held.detail['msg']} or {more}"},
            )
    return list(first.values())


def _worded(problem: _Problem, root: Section, document: Document) -> str:
    place = document.place(problem.path)
    kind = problem.detail["type"]
    subject = problem.path
    if kind == "union_tag_invalid":
        message = _unknown_tag(problem)
        subject = (*subject, TAG)
    elif kind == "union_tag_not_found":
        message = f"{TAG} is missing. {_allowed(tagged(problem.annotation))}"
    elif kind == "extra_forbidden":
        message = _unknown_key(problem, root)
    elif kind == "missing":
        known = tagged(problem.annotation)
        message = f"required, and missing. {_allowed(known)}" if known else "required, and missing"
    elif kind == "literal_error":
        message = _not_among(problem)
    elif kind in {"model_type", "model_attributes_type", "dict_type"}:
        message = _not_a_section(problem)
    else:
        message = _pydantic_words(problem)
    value = problem.detail["ctx"]["tag"] if kind == "union_tag_invalid" else problem.value  # pyright: ignore[reportTypedDictNotRequiredAccess]
    return ": ".join(filter(None, (place, _assignment(subject, value), message.rstrip(".") + ".")))


def _assignment(path: KeyPath, value: Any) -> str:
    """`path=value`, short and on one line; a section's value and a secret are left out."""
    name = dotted(path)
    if not path or value is _MISSING or isinstance(value, Mapping):
        return name
    if isinstance(value, str) and any(word in str(path[-1]).lower() for word in _SECRET_WORDS):
        return f"{name}=***"
    shown = repr(value)
    return f"{name}={shown if len(shown) <= 60 else shown[:57] + '...'}"


def _unknown_key(problem: _Problem, root: Section) -> str:
    key = str(problem.path[-1])
    if not is_section(problem.holder):
        return "unknown key"
    kind = next(iter(tags(problem.holder)), "")
    fields = [name for name in problem.holder.model_fields if not kind or name != TAG]
    what = f"unknown key of {kind}" if kind else "unknown key"
    elsewhere = _elsewhere(root, key, ())
    if elsewhere is not None:
        return f"{what}. Did you mean {dotted(elsewhere)}? Allowed here: {', '.join(fields)}"
    spellings = {name: name for name in fields}
    spellings |= {alias: name for alias, name in ALIASES.items() if name in fields and alias not in spellings}
    match = nearest(key, spellings)
    guess = f" Did you mean {spellings[match]}?" if match else ""
    return f"{what}.{guess} Allowed: {', '.join(fields) or 'none'}"


def _elsewhere(section: Section, key: str, path: KeyPath) -> KeyPath | None:
    """Where in the settings a key would be known: the section it was forgotten in."""
    for name, field in section.model_fields.items():
        held = item(field.annotation)
        place: KeyPath = (*path, name) if held is None else (*path, name, 0)
        for leaf in leaves(field.annotation if held is None else held):
            if is_section(leaf) and key != TAG and (found := canonical_name(leaf, key)):
                return (*place, found)
    return None


def _unknown_tag(problem: _Problem) -> str:
    context = problem.detail.get("ctx", {})
    known = list(tagged(problem.annotation))
    match = nearest(str(context.get("tag")), known)
    guess = f" Did you mean {match}?" if match else ""
    return f"unknown {TAG}.{guess} {_allowed(known)}"


def _not_among(problem: _Problem) -> str:
    words = problem.detail["msg"].removeprefix("Input should be ")
    options = [word.strip(" '") for word in words.replace(" or ", ",").split(",")]
    match = nearest(problem.value, options) if isinstance(problem.value, str) else None
    guess = f" Did you mean {match}?" if match else ""
    return f"unknown value.{guess} {_allowed(options)}"


def _not_a_section(problem: _Problem) -> str:
    sections = [leaf for leaf in leaves(problem.annotation) if is_section(leaf)]
    if len(sections) != 1:
        return "must be settings, `name: value`"
    required = [name for name, field in sections[0].model_fields.items() if field.is_required()]
    names = required or list(sections[0].model_fields)
    return f"must be a section, `{problem.path[-1]}: {{{names[0]}: ...}}`" if names else "must be a section, `{}`"


def _pydantic_words(problem: _Problem) -> str:
    cause = problem.detail.get("ctx", {}).get("error")
    if cause is not None:
        return str(cause)
    message = problem.detail["msg"].replace("Input should be ", "must be ")
    message = message[:1].lower() + message[1:]
    if problem.detail["type"] == "string_type" and isinstance(problem.value, bool | int | float):
        message += f": quote it, '{str(problem.value).lower()}'"
    return message


def _allowed(names: Iterable[str]) -> str:
    return f"Allowed: {', '.join(names)}"
