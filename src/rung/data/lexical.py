"""What can be told of a text by its words alone: refusals, abuse, English, going round in circles.

These are lists and counts, not judgements. The lists are short and of English words: they miss what is spelled
otherwise or said politely, and they find words that are only quoted. What they find is worth reading, no more.
"""

from __future__ import annotations

import re
import unicodedata

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
"""A word: letters and digits, apostrophes inside."""

_OPENING = 200  # Characters in which a refusal stands: further on, the same words belong to an answer.
_REFUSAL = re.compile(
    r"\b(?:"
    r"as an? (?:ai|artificial intelligence|(?:large )?language model|assistant)\b"
    r"|i(?:'m| am) (?:just |only )?an? (?:ai|artificial intelligence|language model)\b"
    r"|(?:i(?:'m| am) (?:very |so |really )?sorry|my apologies|i apologi[sz]e)\b.{0,30}\b(?:but|i)\b.{0,20}"
    r"\b(?:can(?:'t|not| not)|(?:un|not )able|won't|don't)"
    r"|i (?:can(?:'t|not| not)|am (?:unable|not able) to|won't|will not) (?:help|assist|answer|provide|fulfil|comply|"
    r"create|generate|write|do|give|complete|process|access|see|view|open|browse)"
    r"|i(?:'m| am) (?:unable|not able) to\b"
    r"|i (?:don't|do not) have (?:access|the ability|enough information|personal)"
    r")"
)
_ABUSE = re.compile(
    r"\b(?:"
    r"(?:mother)?fuck(?:s|ed|er|ers|ing)?|bull ?shit|cunts?|bitch(?:es)?|assholes?|dickheads?|whores?|sluts?"
    r"|niggers?|niggas?|faggots?|kikes?|trann(?:y|ies)|wetbacks?|retards?"
    r"|kill (?:your|him|her|them)sel(?:f|ves)|(?:go|should|hope you) die\b|i(?:'ll| will| am going to) kill you"
    r"|you(?:'re| are) (?:a |an |so |such an? )*(?:worthless|stupid|idiot|moron|scum|trash|pathetic|bastard)"
    r"|(?:all|those|these) (?:\w+ ){1,2}(?:are (?:vermin|subhuman|animals)|should be (?:killed|shot|gassed))"
    r")\b"
)
_FUNCTION_WORD = re.compile(
    r"\b(?:the|an?|of|to|in|is|are|was|were|be|and|or|for|with|that|this|it|as|at|by|on|from|which|what|how|why|who|when"
    r"|where|you|your|i|we|they|he|she|not|do|does|can|will|if|between|into|about|all|any|each|one|their|there|have|has"
    r"|use|using|given|following)\b"
)
_JUDGED_WORDS = 6  # Words from which a text's language is told by its function words.
_RUN = 4


def is_refusal(text: str) -> bool:
    """Whether a text begins as one that declines what was asked."""
    opening = unicodedata.normalize("NFKC", text[:_OPENING]).replace("’", "'").casefold()
    return bool(_REFUSAL.search(opening))


def is_abusive(text: str) -> bool:
    """Whether a text holds a slur, a threat or plain abuse of the list."""
    return bool(_ABUSE.search(unicodedata.normalize("NFKC", text).replace("’", "'").casefold()))


def looks_english(text: str) -> bool:
    """Whether nine letters in ten are Latin and, from six words on, one word is among the commonest of English."""
    letters = [sign for sign in text if sign.isalpha()]
    if not letters:
        return True
    latin = sum(sign.isascii() or "LATIN" in unicodedata.name(sign, "") for sign in letters)
    if latin < 0.9 * len(letters):
        return False
    return len(WORD.findall(text)) < _JUDGED_WORDS or bool(_FUNCTION_WORD.search(text.casefold()))


def repeated_share(text: str) -> float:
    """Share of a text's runs of four words that stood in it before; 0 where it has none."""
    words = [word.casefold() for word in WORD.findall(text)]
    runs = [tuple(words[at : at + _RUN]) for at in range(len(words) - _RUN + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
