"""From data sets to one mixture of instructions: split, kept apart, capped, and shown with templates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from rung.data.checks import check
from rung.data.columns import Columns
from rung.data.digests import Digests, ordered
from rung.data.ledger import BUCKETS, Ledger
from rung.data.loaded import LoadedData
from rung.data.mixture.cleaning import clean_sources
from rung.data.mixture.instructions import COMPLETION, PROMPT, Instructions, shown_rows
from rung.data.mixture.settings import MixtureConfig
from rung.data.mixture.showing import in_order
from rung.data.mixture.source import PLACES, Source, kind_of, read_source
from rung.data.mixture.telling import told
from rung.data.mixture.template_file import load_templates
from rung.data.near import near_matches
from rung.data.settings import DataConfig
from rung.data.split import SPLITS, Overlap, SetAside, Splits
from rung.data.views import Joined, Mapped
from rung.errors import ConfigError, DataError, unknown


def load_mixture(config: DataConfig) -> LoadedData:
    """Read, split and mix data sets into rows of `prompt` and `completion`.

    A row's side is settled by what it says, before templates, so no row is on two sides. Train rows that say the same
    as a test row, or nearly, are removed, also where the two are from different data sets.

    Args:
        config: The data settings, with a mixture.

    Raises:
        DataError: A file or column is missing, a file is malformed, or a split gets no rows.
        ConfigError: Templates, clusters or labels don't fit.
    """
    mixture = config.mixture
    assert mixture is not None
    unseen = held_out_templates(mixture)
    sources = [read_source(config, mixture, one, unseen[kind_of(one)]) for one in mixture.sources]
    _require_clusters(mixture, sources)
    shared = _part(sources, config.near_duplicates)
    cleaning = clean_sources(config, sources)
    _limit(config, mixture, sources)
    ledger = Ledger()
    for source in sources:
        source.enter(ledger)
    ledger.check()
    shown = {name: Instructions(sources, shown_rows(mixture, sources, name)) for name in SPLITS}
    for name in config.cut():
        if not len(shown[name]):
            raise DataError(
                f"data.{name}: no row of any source fell to this split", f"Give more rows, or a larger {name}_size."
            )
    notes = ("Each source is split by the hash of what its rows say, before templates: no row is on two sides.",)
    splits = Splits(
        train=shown["train"],
        validation=shown["validation"],
        test=shown["test"],
        overlaps=Joined([*(source.overlaps for source in sources), shared]),
        set_aside=Joined([_set_aside(source) for source in sources]),
        notes=notes,
        cleaning=cleaning,
    )
    columns = Columns(PROMPT, None, COMPLETION, told(mixture, sources, shown), open=True)
    hashes = {table.path: table.sha256 for source in sources for table in source.tables}
    hashes |= {source.config.template_path: source.template_hash for source in sources}
    return LoadedData(splits, columns, (), ledger, check(splits, columns), hashes)


def held_out_templates(mixture: MixtureConfig) -> dict[str, frozenset[str]]:
    """Type to the names of its templates that are in test alone.

    Raises:
        ConfigError: There is no such type or template, or none is left to train with.
    """
    paths: dict[str, str] = {}
    for source in mixture.sources:
        path = paths.setdefault(kind_of(source), source.template_path)
        if path != source.template_path:
            said = f"source {source.name}: {source.template_path} is called {kind_of(source)}, and so is {path}"
            raise ConfigError(said, "Give your own file another name: it is the type of its rows.")
    files = {kind: load_templates(path) for kind, path in paths.items()}
    asked = mixture.held_out_templates
    if isinstance(asked, Mapping) and (strange := next((kind for kind in asked if kind not in files), None)):
        raise ConfigError(
            f"held_out_templates.{strange}: {unknown('type', strange, files)}", "Name types of the sources."
        )
    found: dict[str, frozenset[str]] = {}
    for kind, file in files.items():
        straight = [one for one in file.templates if not one.inverted]
        names = [one.name for one in straight]
        if isinstance(asked, Mapping):
            chosen = asked.get(kind, ())
            if strange := next((name for name in chosen if name not in names), None):
                said = unknown("template", strange, names)
                raise ConfigError(f"held_out_templates.{kind}: {said}", "Inverted ones are in train alone.")
        else:
            chosen = [one.name for one in in_order(straight, mixture.seed, kind)[:asked]]
        if len(set(chosen)) >= len(names):
            raise ConfigError(
                f"held_out_templates: all {len(names)} templates of {kind} that ask for the answer would be held out",
                "Leave at least one to train with.",
            )
        found[kind] = frozenset(chosen)
    return found


def _require_clusters(mixture: MixtureConfig, sources: Sequence[Source]) -> None:
    clusters = list(dict.fromkeys(source.cluster for source in sources))
    for name in mixture.held_out_clusters:
        if name not in clusters:
            raise ConfigError(
                f"held_out_clusters: {unknown('cluster', name, clusters)}", "Name clusters of the sources."
            )
    if all(source.is_held_out for source in sources):
        raise ConfigError("held_out_clusters: every source is held out", "Leave one to train on.")


def _part(sources: Sequence[Source], near: bool) -> list[Overlap]:
    """Remove train and validation rows that say the same, or nearly, as a test row of another source."""
    if len(sources) == 1:
        return []
    test, rest = _places(sources, "test"), _places(sources, "train", "validation")
    by_text: dict[tuple[int, ...], list[int]] = {}
    for number, digest in enumerate(Digests(_texts(sources, test)).numbers().tolist()):
        by_text.setdefault(tuple(digest), []).append(number)
    found: list[Overlap] = []
    is_left = np.ones(len(rest), dtype=bool)
    for number, digest in enumerate(Digests(_texts(sources, rest)).numbers().tolist()):
        others = [other for other in by_text.get(tuple(digest), ()) if test[other, 0] != rest[number, 0]]
        if others:
            is_left[number] = False
            found.append(_removed(sources, "exact", rest[number], test[others[0]]))
    if near:
        left = rest[is_left]
        for number, other in near_matches(_texts(sources, left), _texts(sources, test)).items():
            if left[number, 0] != test[other, 0]:
                found.append(_removed(sources, "near", left[number], test[other]))
    return found


def _places(sources: Sequence[Source], *splits: str) -> NDArray[np.int64]:
    """`[rows, 2]` index of the source and of its row, of all rows in these splits."""
    rows = [source.of(*splits) for source in sources]
    owner = np.repeat(np.arange(len(sources)), [len(one) for one in rows])
    return np.stack([owner, np.concatenate(rows)], axis=1)


def _texts(sources: Sequence[Source], places: NDArray[np.int64]) -> Sequence[str]:
    def text(place: int) -> str:
        at, row = places[place].tolist()
        return sources[at].read_text(row)

    return Mapped(range(len(places)), text)


def _removed(sources: Sequence[Source], kind: str, place: NDArray[np.int64], other: NDArray[np.int64]) -> Overlap:
    source, row = sources[int(place[0])], int(place[1])
    name, twin = PLACES[source.where[row]], sources[int(other[0])].records[int(other[1])]
    source.put(np.array([row]), "duplicate" if kind == "exact" else "near_duplicate")
    return Overlap(kind, source.records[row], name, twin, "test", removed=True)


def _limit(config: DataConfig, mixture: MixtureConfig, sources: Sequence[Source]) -> None:
    """Cap each source, thin its validation rows as much, and keep to the row limits of the whole."""
    for source in sources:
        rows = len(source.of("train"))
        if mixture.cap is not None and rows > mixture.cap:
            # Validation keeps the shares that train has.
            kept = math.ceil(len(source.of("validation")) * mixture.cap / rows)
            source.keep("train", mixture.cap, mixture.seed, "over_cap")
            source.keep("validation", kept, mixture.seed, "over_cap")
        if mixture.test_rows is not None:
            source.keep("test", mixture.test_rows, mixture.seed, "over_limit")
    each = {"train": mixture.templates_per_row, "validation": 1, "test": 1}
    most = {"train": config.max_train_rows, "validation": config.max_validation_rows, "test": config.max_test_rows}
    for name, limit in most.items():
        if limit is not None:
            _keep_of_all(sources, name, max(1, limit // each[name]), config.seed)


def _keep_of_all(sources: Sequence[Source], split: str, most: int, seed: int) -> None:
    """Leave so many rows in a split, of all sources together, each with the share it has."""
    places = _places(sources, split)
    names = ((sources[at].config.name, sources[at].records[row].id) for at, row in places.tolist())
    order = ordered(Digests(f"{seed}:{name}/{id}" for name, id in names).numbers())[0][most:]
    for at, source in enumerate(sources):
        source.put(places[order[places[order, 0] == at], 1], "over_limit")


def _set_aside(source: Source) -> Sequence[SetAside]:
    rows = source.of(*(place for place in BUCKETS if place not in SPLITS))

    def made(row: int) -> SetAside:
        return SetAside(source.records[row], PLACES[source.where[row]], "train")

    return Mapped(rows.tolist(), made)
