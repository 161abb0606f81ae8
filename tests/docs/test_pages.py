"""The pages of `docs/` that are made from code are what the code says today."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs.__main__ import PAGES

FOLDER = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == PAGES[name](), f"docs/{name} is stale: run `make docs`"
