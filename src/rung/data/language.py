"""Which language a text is in, by the library py3langid where it is installed: 97 languages, no network.

Lui and Baldwin 2012, "langid.py: An Off-the-shelf Language Identification Tool", https://aclanthology.org/P12-3005/:
naive Bayes over runs of bytes.
"""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from typing import Any

from rung.errors import ConfigError, unknown

_JUDGED_LETTERS = 24
"""Letters from which a text's language is told: names and short answers look like any."""


def require_language(setting: str, code: str) -> None:
    """Refuse a language that can't be told here.

    Args:
        setting: The setting's name.
        code: Its value, an ISO 639-1 code.

    Raises:
        ConfigError: The library is missing, or doesn't know the code.
    """
    if find_spec("py3langid") is None:
        raise ConfigError(
            f"{setting}={code} needs the library py3langid, which is not installed",
            f"pip install 'rung[languages]', or set {setting}=any. English (en) needs no library.",
        )
    known = sorted(_identifier().labels)
    if code not in known:
        raise ConfigError(f"{setting}: {unknown('language', code, known)}", f"{setting}=any takes every language.")


def is_written_in(text: str, code: str) -> bool:
    """Whether a text's likeliest language is this one; short texts pass.

    Args:
        text: The text.
        code: An ISO 639-1 code that `require_language` has let pass.
    """
    letters = sum(sign.isalpha() for sign in text)
    return letters < _JUDGED_LETTERS or _identifier().classify(text)[0] == code


@cache
def _identifier() -> Any:
    # An optional extra: imported where it is asked for.
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # pyright: ignore[reportMissingImports]

    return LanguageIdentifier.from_model_file(MODEL_FILE)
