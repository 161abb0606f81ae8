"""How many more test rows would tell rungs apart."""

from __future__ import annotations

import math

from scipy.special import ndtri

from rung.evaluate.statistics import LEVEL

_POWER = 0.8
_MOST_ROWS = 10_000_000


def rows_to_decide(
    difference: float, standard_error: float, rows: int, margin: float, quantile: float | None = None, luck: float = 0.0
) -> int | None:
    """About how many more test rows would tell whether a rung is within the margin of the reference.

    If the observed difference is the true one and the standard error, but for the seeds' part, falls as
    `1 / sqrt(rows)`, that many give an 80 % chance of a bound on one side of `-margin`: two digits, rounded up.

    Args:
        difference: Rung minus reference, on the test rows.
        standard_error: Its standard error there.
        rows: `N`.
        margin: How much worse still counts as sufficient.
        quantile: Standard errors between the difference and its bound; None = one comparison at 95 %.
        luck: The part of the standard error that is due to the seeds.

    Returns:
        The number, 0 when the rows suffice, or None when ten millions would not decide it.
    """
    reach = float((ndtri(LEVEL) if quantile is None else quantile) + ndtri(_POWER))
    room = (difference + margin) ** 2 - (reach * luck) ** 2
    spread = reach**2 * max(standard_error**2 - luck**2, 0.0)
    if room <= 0 or room * _MOST_ROWS <= spread * rows:
        return None
    return two_digits_up(max(math.ceil(rows * spread / room) - rows, 0))


def two_digits_up(number: int) -> int:
    """The number rounded up to two significant digits: 1234 is about 1300."""
    unit = 10 ** max(len(str(number)) - 2, 0)
    return -(-number // unit) * unit
