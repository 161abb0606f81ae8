"""A mixture in sentences: what each data set gives, in which wordings, and what is held out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rung.data.mixture.instructions import Instructions
from rung.data.mixture.settings import MixtureConfig
from rung.data.mixture.source import Source


def told(mixture: MixtureConfig, sources: Sequence[Source], shown: Mapping[str, Instructions]) -> tuple[str, ...]:
    """Sentences for the user: first the whole, then one for each source.

    Args:
        mixture: The settings.
        sources: The data sets, their rows placed.
        shown: The rows of each split.
    """
    cap = "" if mixture.cap is None else f", each with at most {mixture.cap:,} train rows"
    times = f" with {mixture.templates_per_row} templates" if mixture.templates_per_row > 1 else ""
    rows = ", ".join(f"{name} {len(one):,}" for name, one in shown.items())
    found = [f"Mixture of {len(sources)} sources{cap}; every train row is shown{times or ' once'}: {rows} rows."]
    for table in (table for source in sources for table in source.tables):
        found += table.notes
    return (*dict.fromkeys(found), *(_source(mixture, at, source, shown) for at, source in enumerate(sources)))


def _source(mixture: MixtureConfig, at: int, source: Source, shown: Mapping[str, Instructions]) -> str:
    counts = {name: int((one.shown[:, 0] == at).sum()) for name, one in shown.items()}
    head = f"{source.config.name} ({source.kind}, cluster {source.cluster})"
    reason = source.shower.roles.reason
    columns = f" Columns: {reason}." if reason else ""
    if source.is_held_out:
        return f"{head}: held out with its cluster: {counts['test']:,} test rows, none to train on.{columns}"
    share = counts["train"] / max(1, len(shown["train"]))
    used = source.seen(straight=not mixture.inverted)
    inverted = sum(one.inverted for one in used)
    templates = f"{len(used)} templates ({inverted} of them inverted)"
    unseen = f", {len(source.unseen)} more in test alone ({', '.join(sorted(source.unseen))})" if source.unseen else ""
    return (
        f"{head}: {counts['train']:,} train rows ({share:.0%}), {counts['validation']:,} validation, "
        f"{counts['test']:,} test; {templates}{unseen}.{columns}"
    )
