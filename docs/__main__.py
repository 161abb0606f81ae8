"""`python -m docs`: write the pages that are made from code. `tests/docs` fails where one is stale."""

from __future__ import annotations

from pathlib import Path

from docs import interop, refusals

PAGES = {"interop.md": interop.page, "refusals.md": refusals.page}


def main() -> None:
    """Write them all."""
    for name, page in PAGES.items():
        (Path(__file__).parent / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
