"""One data set of a mixture: its rows read, split by what they say, and each of them accounted for."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rung.data.columns import Columns, require_column
from rung.data.content import normalise
from rung.data.digests import Digests, ordered
from rung.data.ledger import BUCKETS, Ledger
from rung.data.mixture.roles import find_roles
from rung.data.mixture.settings import MixtureConfig, SourceConfig
from rung.data.mixture.showing import Shower, shower_of
from rung.data.mixture.template_file import TemplateConfig, TemplateFile, load_templates
from rung.data.readers import Table, read
from rung.data.settings import DataConfig
from rung.data.split import Overlap, Splits, split
from rung.data.views import Joined, Mapped, Picked
from rung.errors import DataError
from rung.types import Record

PLACES = tuple(BUCKETS)
"""Where a row may be, by number."""

INPUT, ANSWER, ROW = "input", "answer", "row"
"""Fields of what a row says."""
_GROUP = "group"

COLUMNS = Columns(INPUT, None, ANSWER, open=True)
"""What a row says, as columns."""


@dataclass(slots=True)
class Source:
    """A data set under way.

    Attributes:
        config: Its settings.
        kind: The type of its templates.
        cluster: Its task cluster.
        is_held_out: Whether that cluster is in test alone.
        file: Its templates.
        unseen: Those of them that are in test alone.
        shower: Shows its rows.
        tables: Its files.
        records: The rows of all its files, one after the other.
        where: `[rows]` index in `PLACES`.
        overlaps: What its splits had in common.
    """

    config: SourceConfig
    kind: str
    cluster: str
    is_held_out: bool
    file: TemplateFile
    unseen: frozenset[str]
    shower: Shower
    tables: tuple[Table, ...]
    records: Sequence[Record]
    where: NDArray[np.int8]
    overlaps: Sequence[Overlap] = ()

    @property
    def template_hash(self) -> str:
        """SHA-256 of the file of its templates."""
        return hashlib.sha256(Path(self.config.template_path).read_bytes()).hexdigest()

    def of(self, *places: str) -> NDArray[np.int64]:
        """The rows in these places, in file order."""
        return np.flatnonzero(np.isin(self.where, [PLACES.index(place) for place in places]))

    def put(self, rows: NDArray[np.int64], place: str) -> None:
        """Move rows to a place."""
        self.where[rows] = PLACES.index(place)

    def ranked(self, rows: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
        """Rows in the order of their hashes, in which limits take them."""
        numbers = Digests(f"{seed}:{self.config.name}/{self.records[row].id}" for row in rows.tolist()).numbers()
        return rows[ordered(numbers)[0]]

    def keep(self, place: str, most: int, seed: int, otherwise: str) -> None:
        """Leave at most so many rows in a place."""
        self.put(self.ranked(self.of(place), seed)[most:], otherwise)

    def read_text(self, row: int) -> str:
        """What is read of a row, normalised: what it is compared by."""
        return normalise(self.shower.whole(self.records[row])[0])

    def seen(self, straight: bool) -> list[TemplateConfig]:
        """The templates that train may show; `straight`: those among them that ask for the answer."""
        free = [one for one in self.file.templates if one.name not in self.unseen]
        return [one for one in free if not (straight and one.inverted)]

    def require_train(self) -> None:
        """Refuse a source that is to be trained on and has no train row left.

        Raises:
            DataError: It has none; says where its rows went.
        """
        if self.is_held_out or len(self.of("train")):
            return
        counts = ", ".join(f"{len(self.of(place))} {words}" for place, words in BUCKETS.items() if len(self.of(place)))
        raise DataError(
            f"source {self.config.name}: none of its rows is left to train on ({counts})",
            "Set its columns, give more rows, or hold its cluster out.",
        )

    def enter(self, ledger: Ledger) -> None:
        """Write down where each row of each file went; a file that two sources read stands there for each."""
        start = 0
        for table in self.tables:
            path = f"{table.path} ({self.config.name})"
            where = self.where[start : start + len(table.records)]
            ledger.open(path, len(where), table.ledger.rows(table.path) - len(where))
            for number in np.unique(where).tolist():
                ledger.place_all(path, np.flatnonzero(where == number), PLACES[number])
            start += len(table.records)


def read_source(data: DataConfig, mixture: MixtureConfig, config: SourceConfig, unseen: frozenset[str]) -> Source:
    """Read a data set and split it by what its rows say, before any template is laid over them.

    Args:
        data: The data settings, whose shares and look for near duplicates apply.
        mixture: The mixture.
        config: The data set.
        unseen: Templates that are in test alone.

    Raises:
        DataError: A file or column is missing, or a file is malformed.
        ConfigError: Its templates or settings don't fit it.
    """
    file = load_templates(config.template_path)
    names = [name for name in (config.train, config.test) if name is not None]
    tables = tuple(read(name, config.format) for name in names)
    roles = find_roles(tables[0], file, config.columns, config.values)
    if config.group is not None:
        require_column(tables[0], "group", config.group)
    for table in tables[1:]:
        for role, column in roles.columns.items():
            require_column(table, f"columns.{role}", column)
    records = Joined([table.records for table in tables])
    cluster = config.cluster or file.cluster
    source = Source(
        config=config,
        kind=kind_of(config),
        cluster=cluster,
        is_held_out=cluster in mixture.held_out_clusters,
        file=file,
        unseen=unseen,
        shower=shower_of(roles, records, config.choices, f"source {config.name}"),
        tables=tables,
        records=records,
        where=np.full(len(records), -1, dtype=np.int8),
    )
    _divide(source, data, mixture.seed)
    source.require_train()
    return source


def said(source: Source) -> Sequence[Record]:
    """What each row of a source says, before templates: its `INPUT` and `ANSWER`, its place under `ROW`."""

    def made(row: int) -> Record:
        record = source.records[row]
        read_text, answer = source.shower.whole(record)
        fields: dict[str, Any] = {INPUT: read_text, ANSWER: answer, ROW: row}
        if source.config.group is not None:
            fields[_GROUP] = record.fields.get(source.config.group)
        return Record(record.id, fields, record.source)

    return Mapped(range(len(source.records)), made)


def kind_of(config: SourceConfig) -> str:
    """The type of a source's templates: the library's, or the name of the user's own file."""
    if config.type is not None:
        return config.type
    return config.template_path.replace("\\", "/").rpartition("/")[2].partition(".")[0]


def _divide(source: Source, data: DataConfig, seed: int) -> None:
    """Put every row of a source in a split or aside."""
    first = len(source.tables[0].records)
    every = np.arange(len(source.records))
    if source.config.max_rows is not None:
        source.put(source.ranked(every[:first], seed)[source.config.max_rows :], "over_limit")
    train, test = every[:first], every[first:]
    usual = DataConfig(train="train", test_size=data.test_size, validation_size=data.validation_size)
    if not source.is_held_out:
        given = {"train": train, **({"test": test} if len(source.tables) > 1 else {})}
        own = {"test": "test" if "test" in given else None, "group": source.config.group and _GROUP}
        config = usual.model_copy(update={**own, "near_duplicates": data.near_duplicates})
    else:
        if len(test):
            source.put(train[source.where[train] == -1], "held_out")
        given = {"test": test if len(test) else train}
        config = usual.model_copy(update={"near_duplicates": False})
    scratch, tables = Ledger(), {}
    for name, rows in given.items():
        rows = rows[source.where[rows] == -1]
        tables[name] = Table(name, (INPUT, ANSWER, _GROUP), Picked(said(source), rows), "", scratch)
        scratch.open(name, len(rows))
    _place(source, split(config, COLUMNS, tables, scratch, cleans=False))


def _place(source: Source, splits: Splits) -> None:
    for name, records in splits.named().items():
        rows = np.fromiter((record.fields[ROW] for record in records), dtype=np.int64)
        source.put(rows, name)
    for one in splits.set_aside:
        source.where[one.record.fields[ROW]] = PLACES.index(one.bucket)
    source.overlaps = splits.overlaps
