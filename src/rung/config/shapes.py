"""What a settings class asks for, read off its annotations: sections, unions told apart by `type`, lists, mappings."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeGuard, Union, cast, get_args, get_origin

from pydantic import BaseModel

from rung.config.base import Config

TAG = "type"
"""The key that tells the members of a union of sections apart."""

Section = type[BaseModel]


def members(annotation: Any) -> tuple[Any, ...]:
    """The alternatives of an annotation without None; one when it is not a union."""
    if get_origin(annotation) is Annotated:
        return members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return tuple(member for member in get_args(annotation) if member is not type(None))
    return (annotation,)


def is_section(annotation: Any) -> TypeGuard[Section]:
    """Whether an annotation is a settings class."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def leaves(annotation: Any) -> Iterator[Any]:
    """All alternatives of an annotation, through nested unions."""
    found = members(annotation)
    if found == (annotation,):
        yield annotation
        return
    for member in found:
        yield from leaves(member)


def tags(section: Section) -> tuple[str, ...]:
    """The values of `type` that choose this section; none when it has no `type: Literal[...]`."""
    field = section.model_fields.get(TAG)
    if field is None or get_origin(field.annotation) is not Literal:
        return ()
    return tuple(str(value) for value in get_args(field.annotation))


def tagged(annotation: Any) -> dict[str, Section]:
    """Tag to section, for all sections of an annotation that are chosen by `type`."""
    return {tag: leaf for leaf in leaves(annotation) if is_section(leaf) for tag in tags(leaf)}


def chosen(annotation: Any, values: Mapping[str, Any]) -> Section | None:
    """The section that `values` are meant for: by its `type`, or the only one there is, or the usual one."""
    by_tag = tagged(annotation)
    tag = values.get(TAG)
    if isinstance(tag, str) and tag in by_tag:
        return by_tag[tag]
    sections = [leaf for leaf in leaves(annotation) if is_section(leaf)]
    if len(sections) > 1 and tag is None:
        sections = [section for section in sections if is_usual(section)]
    return sections[0] if len(sections) == 1 else None


def is_usual(section: Section) -> bool:
    """Whether a union means this section where `type` is left out."""
    return issubclass(section, Config) and section.usual


def item(annotation: Any) -> Any:
    """What a list of this annotation holds; None when it is no list."""
    for leaf in leaves(annotation):
        origin = get_origin(leaf)
        if isinstance(origin, type) and issubclass(origin, Sequence | set | frozenset):
            return (*get_args(leaf), None)[0]
    return None


def entry(annotation: Any) -> Any:
    """What a mapping of this annotation holds under its keys; None when it is no mapping."""
    for leaf in leaves(annotation):
        origin = get_origin(leaf)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return get_args(leaf)[1]
    return None


def branch(annotation: Any, label: str | int) -> Any:
    """The alternative that pydantic calls `label` in an error's location; None when it can't be told."""
    found = members(annotation)
    for member in found:
        if is_section(member) and (label in tags(member) or label == member.__name__):
            return member
        if label == getattr(member, "__name__", None) and get_origin(member) is None:
            return member
    for member in found:
        origin = get_origin(member)
        if isinstance(origin, type) and str(label).startswith(f"{origin.__name__}["):
            return member
        if len(members(member)) > 1 and str(label).startswith(("tagged-union", "union", "function")):
            return member
    return None


def takes(annotation: Any, value: Any) -> bool:
    """Whether an annotation is of the value's kind: a mapping, a list, or a single value."""
    if isinstance(value, Mapping):
        return any(is_section(leaf) for leaf in leaves(annotation)) or entry(annotation) is not None
    if isinstance(value, list | tuple):
        return item(annotation) is not None
    return any(_is_scalar(leaf) for leaf in leaves(annotation))


def _is_scalar(leaf: Any) -> bool:
    if is_section(leaf):
        return False
    origin = get_origin(leaf)
    return origin is Literal or not (isinstance(origin, type) and issubclass(origin, Sequence | Mapping | set))


def child(annotation: Any, key: str | int) -> Any:
    """The annotation of a field, a list's item or a mapping's entry; None when unknown."""
    if isinstance(key, int):
        return item(annotation)
    if is_section(annotation):
        field = cast("Section", annotation).model_fields.get(key)
        return None if field is None else field.annotation
    return entry(annotation)
