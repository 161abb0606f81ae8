"""Questions and answers from the user's own text, each held against the passage it was made of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rung.data.content import as_text, digest
from rung.data.lexical import WORD
from rung.data.readers import read
from rung.engine.fsio import sha256_file
from rung.errors import DataError
from rung.synth.asking import Answer, Ask
from rung.synth.settings import Style

_LEAST_WORDS = 25
"""Words of a passage at least: of less, little can be asked."""
_PLAIN = {".txt", ".md", ".rst", ""}
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_FIELD = re.compile(r"^[ \t*_#]*(question|answer)[*_]*[ \t]*:[*_]*", re.IGNORECASE | re.MULTILINE)

_SHOT = (
    "The town library opened in 1911 and was rebuilt after the flood of 1954. It lends about nine thousand books a "
    "month, and children borrow without a fee.",
    "When was the library rebuilt?",
    "After the flood of 1954.",
)


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: where it stands, and its text."""

    source: str
    text: str

    @property
    def id(self) -> str:
        """A short name of its text."""
        return digest(self.text)[:16]


def read_passages(paths: Sequence[str], most_words: int) -> tuple[list[Passage], list[str]]:
    """The passages of some documents, each once, and the SHA-256 of each file.

    Args:
        paths: Text files (`.txt`, `.md`), cut at paragraphs and sentences; or files of rows, whose longest text counts.
        most_words: Words of a passage at most.

    Raises:
        DataError: A file can't be read, or none holds a passage.
    """
    found: dict[str, Passage] = {}
    hashes: list[str] = []
    for path in paths:
        texts, sha256 = _texts(path)
        hashes.append(sha256)
        for source, text in texts:
            for piece in pieces(text, most_words):
                found.setdefault(piece, Passage(source, piece))
    if not found:
        raise DataError(
            f"documents: no passage of {_LEAST_WORDS} words in {', '.join(paths)}", "Name files with running text."
        )
    return list(found.values()), hashes


def pieces(text: str, most_words: int) -> list[str]:
    """Passages of a text: whole paragraphs, or sentences of them, as many together as fit; too short ones left out."""
    units = [
        " ".join(sentence.split())
        for paragraph in re.split(r"\n\s*\n", text)
        for sentence in _SENTENCE.split(paragraph.strip())
    ]
    found: list[list[str]] = [[]]
    for unit in units:
        for words in _cut(unit.split(), most_words):
            if len(found[-1]) + len(words) > most_words:
                found.append([])
            found[-1] += words
    return [" ".join(words) for words in found if len(words) >= _LEAST_WORDS]


def ask(passage: Passage, style: Style, drawing: tuple[int, float, int]) -> Ask:
    """The request for a question that a passage answers, and the answer."""
    head = "Write a question that the passage answers, then the answer, in words of the passage."
    if style == "continuation":
        shot = "Passage: {}\nQuestion: {}\nAnswer: {}".format(*_SHOT)
        text = f"{head}\n\n{shot}\n\nPassage: {passage.text}\nQuestion:"
        return Ask(text, *drawing, stops=("\n\n", "\nPassage:"), about=passage.source)
    text = f"{head} Write them on two lines, `Question: ...` and `Answer: ...`.\n\nPassage: {passage.text}"
    return Ask(text, *drawing, about=passage.source)


def pair(answer: Answer, style: Style) -> tuple[str, str] | None:
    """The question and the answer; None where one is missing."""
    text = f"Question:{answer.text}" if style == "continuation" else answer.text
    marks = list(_FIELD.finditer(text))
    ends = [*(mark.start() for mark in marks), len(text)][1:]
    found: dict[str, str] = {}
    for mark, end in zip(marks, ends, strict=True):
        found.setdefault(mark[1].lower(), " ".join(text[mark.end() : end].split()).strip("*_ "))
    question, said = found.get("question", ""), found.get("answer", "")
    return (question, said) if question and WORD.search(said) else None


def _texts(path: str) -> tuple[list[tuple[str, str]], str]:
    file = Path(path)
    if file.suffix.lower() in _PLAIN and file.is_file():
        try:
            return [(path, file.read_text(encoding="utf-8"))], sha256_file(file)
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{path} can't be read as UTF-8 text: {error}", "Save it as UTF-8.") from error
    table = read(path)
    longest = [(row.source, max(map(as_text, row.fields.values()), key=len, default="")) for row in table.records]
    return longest, table.sha256


def _cut(words: list[str], most: int) -> list[list[str]]:
    return [words[at : at + most] for at in range(0, len(words), most)]
