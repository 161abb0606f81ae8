"""Settings of a mixture: which data sets, shown with which templates, how much of each, and what is held out."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from rung.config.base import Config
from rung.data.mixture.template_file import library_path, texts
from rung.data.parsed import Format


class SourceConfig(Config):
    """One data set of a mixture."""

    name: str = Field(pattern=r"^[\w.-]+$")
    """What it is called in tables and in the column `source`."""

    train: str
    """Its rows: a file, a folder or a hub id, as in `data.train`."""

    test: str | None = None
    """Its test rows; None: cut from `train`."""

    type: str | None = None
    """Its templates: a type of the library (`rung data template list`)."""

    templates: str | None = None
    """Its templates: a file of your own (`rung data template TYPE DATA --write FILE`), in place of a type."""

    columns: dict[str, str] = Field(default_factory=dict)
    """Role to column; roles left out are found by the usual names."""

    values: dict[str, str] = Field(default_factory=dict)
    """Role to a text that is the same in every row, such as a language."""

    choices: dict[str, str] = Field(default_factory=dict)
    """Label to the words it is shown in. Left out: the label itself, with blanks for `_` and `-`."""

    cluster: str | None = None
    """The task cluster it belongs to; None: its templates'."""

    group: str | None = None
    """A column whose equal values stay on one side of the split (a passage with several questions)."""

    max_rows: int | None = Field(default=None, ge=1)
    """Use at most this many rows of `train`: the first in the order of the rows' hashes."""

    format: Format | None = None
    """The files' format. None: told from the file name and the content."""

    @field_validator("values", "choices", mode="before")
    @classmethod
    def _worded(cls, given: object) -> object:
        return texts(given)

    @model_validator(mode="after")
    def _has_templates(self) -> Self:
        if (self.type is None) == (self.templates is None):
            raise ValueError(
                f"source {self.name} needs one of type (of the library) and templates (a file of your own)"
            )
        return self

    @property
    def template_path(self) -> str:
        """The file of its templates.

        Raises:
            ConfigError: There is no such type.
        """
        if self.templates is not None:
            return self.templates
        assert self.type is not None
        return str(library_path(self.type))


class MixtureConfig(Config):
    """Several data sets turned into one of instructions (Wei et al. 2021, arXiv 2109.01652)."""

    sources: tuple[SourceConfig, ...]
    """The data sets."""

    cap: int | None = Field(default=None, ge=1)
    """Most train rows of a source: it weighs min(rows, cap) (Raffel et al. 2020, section 3.5.2). None: its rows."""

    templates_per_row: int = Field(default=1, ge=1)
    """How many templates a train row is shown with; at most as many as there are."""

    inverted: bool = True
    """Whether templates that ask for the input given the answer are used, in train alone."""

    held_out_templates: int | dict[str, tuple[str, ...]] = 0
    """Templates that are shown in test alone: so many of each type, or their names by type."""

    held_out_clusters: tuple[str, ...] = ()
    """Clusters whose sources are in test alone."""

    test_rows: int | None = Field(default=None, ge=1)
    """Most test rows of a source."""

    seed: int = Field(default=0, ge=0)
    """Which template a row gets, which templates are held out, and which rows the limits keep."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if not self.sources:
            raise ValueError("sources is empty: name at least one data set")
        names = [source.name for source in self.sources]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two sources are called {twice}: give each a name of its own")
        return self

    @field_validator("held_out_templates")
    @classmethod
    def _counts(cls, given: int | dict[str, tuple[str, ...]]) -> int | dict[str, tuple[str, ...]]:
        if isinstance(given, int) and given < 0:
            raise ValueError("must be 0 or more, or names by type")
        return given

    def files(self) -> dict[str, str]:
        """What each file that is read is for, to its path."""
        found: dict[str, str] = {}
        for source in self.sources:
            found[f"{source.name}.train"] = source.train
            if source.test is not None:
                found[f"{source.name}.test"] = source.test
            found[f"{source.name}.templates"] = source.template_path
        return found

    def settings(self) -> dict[str, Any]:
        """All that is set but where files lie."""
        return self.model_dump(mode="json", exclude={"sources": {"__all__": {"train", "test", "templates"}}})
