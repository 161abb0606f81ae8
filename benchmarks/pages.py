"""Pages of the docs of which a part is generated."""

from __future__ import annotations

from pathlib import Path


def fill(page: Path, marks: tuple[str, str], text: str) -> None:
    """Replace what stands between a page's two marks.

    Args:
        page: The page.
        marks: The lines before and behind the generated part; they stay.
        text: The new part, with the end of its last line.
    """
    begin, end = marks
    before, _, rest = page.read_text(encoding="utf-8").partition(begin)
    _, _, after = rest.partition(end)
    page.write_text(f"{before}{begin}\n\n{text}\n{end}{after}", encoding="utf-8")
