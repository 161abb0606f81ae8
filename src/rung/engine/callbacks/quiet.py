"""Shows nothing."""

from __future__ import annotations

from rung.engine.loop import Progress


class Quiet:
    """A hook that does nothing."""

    def after_step(self, progress: Progress) -> None:
        """Nothing."""


def quiet(total: int) -> Quiet:
    """A hook for a training of `total` steps that nobody watches."""
    return Quiet()
