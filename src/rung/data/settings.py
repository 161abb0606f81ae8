"""Settings of a run's data: which files, how they are split, how many rows are used."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from rung.config.base import Config
from rung.data.mixture.settings import MixtureConfig
from rung.data.parsed import Format

Cause = Literal["empty", "refusal", "toxic", "contaminated", "near_duplicate", "length_outlier"]
"""What can be wrong with a train row; see `rung.data.clean`."""


class CleanConfig(Config):
    """What is wrong with train rows, and which of them are dropped; all is reported."""

    drop: tuple[Cause, ...] = ()
    """Causes for which train rows are removed, each counted in the ledger; test rows never are."""

    outlier_deviations: float = Field(default=5.0, gt=0)
    """Robust standard deviations of the logarithm of the length beyond which a row is a `length_outlier`."""


class DataConfig(Config):
    """The `data:` section."""

    train: str | None = None
    """A file, a folder written by `datasets.save_to_disk`, or a hub id (`owner/name`, or `owner/name#split`)."""

    mixture: MixtureConfig | None = None
    """Several data sets turned into one of instructions, in place of `train`."""

    validation: str | None = None
    """Rows to select on; taken as they are. None: cut from `train`."""

    test: str | None = None
    """Rows to report on; taken as they are. None: cut from `train`."""

    format: Format | None = None
    """The files' format. None: told from the file name and the content."""

    split: Literal["hash", "stratified"] = "hash"
    """`hash`: by the text's hash, so that no row changes sides when rows are added. `stratified`: equal class shares
    in each split, but rows change sides when rows are added."""

    group: str | None = None
    """A column whose equal values stay on one side of the split (a customer, a document)."""

    test_size: float = Field(default=0.2, ge=0, lt=1)
    """Share of `train` that becomes the test split when no `test` is given."""

    validation_size: float = Field(default=0.1, ge=0, lt=1)
    """Share of `train` that becomes the validation split when no `validation` is given."""

    max_train_rows: int | None = Field(default=None, ge=1)
    """Use at most this many train rows: the first in the order of the rows' hashes."""

    max_validation_rows: int | None = Field(default=None, ge=1)
    """Use at most this many validation rows."""

    max_test_rows: int | None = Field(default=None, ge=1)
    """Use at most this many test rows."""

    rows_per_label: int | None = Field(default=None, ge=1)
    """Use at most this many train rows of each label: for experiments with few labels."""

    near_duplicates: bool = True
    """Look for near duplicates across splits."""

    clean: CleanConfig = CleanConfig()
    """What is done about train rows that are empty, toxic, near duplicates, or hold test text."""

    seed: int = Field(default=0, ge=0)
    """Which rows the row limits keep. It never moves a row from one split to another."""

    @model_validator(mode="after")
    def _shares_leave_train_rows(self) -> Self:
        if self.test_size + self.validation_size >= 1:
            raise ValueError(
                f"test_size={self.test_size} and validation_size={self.validation_size} leave no rows to train on: "
                "their sum must be below 1"
            )
        return self

    @model_validator(mode="after")
    def _is_one_of_both(self) -> Self:
        if self.train is None and self.mixture is None:
            raise ValueError("train: required, and missing (or a mixture in its place)")
        if self.mixture is None:
            return self
        if self.train is not None:
            raise ValueError(f"train={self.train} and a mixture are both set: set one of them")
        of_sources = {"validation": self.validation, "test": self.test, "format": self.format, "group": self.group}
        if given := next((name for name, value in of_sources.items() if value is not None), None):
            raise ValueError(f"{given}={of_sources[given]} is for one file: leave it out, each source has its own")
        return self

    @model_validator(mode="after")
    def _files_differ(self) -> Self:
        files = {"train": self.train, "validation": self.validation, "test": self.test}
        given = {name: path for name, path in files.items() if path is not None}
        for name, path in given.items():
            twin = next(other for other, same in given.items() if same == path)
            if twin != name:
                raise ValueError(f"{name}={path} is the same file as {twin}: leave {name} out to cut it from train")
        return self

    def cut(self) -> tuple[str, ...]:
        """The splits that are cut from `train`, `test` first."""
        wanted = {"test": (self.test, self.test_size), "validation": (self.validation, self.validation_size)}
        return tuple(name for name, (path, size) in wanted.items() if path is None and size > 0)

    def files(self) -> dict[str, str]:
        """What each file that is read is for, to its path."""
        if self.mixture is not None:
            return self.mixture.files()
        named = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: path for name, path in named.items() if path is not None}

    def settings(self) -> dict[str, Any]:
        """All that is set but where files lie."""
        found = self.model_dump(mode="json", exclude={"train", "validation", "test", "mixture"})
        return found if self.mixture is None else {**found, "mixture": self.mixture.settings()}
