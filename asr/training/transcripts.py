"""Transcripts in the alphabet that Rill is trained on: a to z, apostrophe, space."""

from __future__ import annotations

import re
import unicodedata

APOSTROPHES = "\N{RIGHT SINGLE QUOTATION MARK}\N{LEFT SINGLE QUOTATION MARK}" + (
    "\N{MODIFIER LETTER APOSTROPHE}\N{PRIME}\N{ACUTE ACCENT}\N{GRAVE ACCENT}"
)
SPOKEN = frozenset("&%@#*/\\[]")
"""Punctuation by Unicode's category that is read aloud, or marks what is not speech."""
LATIN = {
    "\N{LATIN SMALL LETTER AE}": "ae",
    "\N{LATIN SMALL LIGATURE OE}": "oe",
    "\N{LATIN SMALL LETTER SHARP S}": "ss",
    "\N{LATIN SMALL LETTER O WITH STROKE}": "o",
    "\N{LATIN SMALL LETTER D WITH STROKE}": "d",
    "\N{LATIN SMALL LETTER L WITH STROKE}": "l",
    "\N{LATIN SMALL LETTER DOTLESS I}": "i",
    "\N{LATIN SMALL LETTER ETH}": "d",
    "\N{LATIN SMALL LETTER THORN}": "th",
}
"""Letters that Unicode does not take apart into a letter and an accent."""

_TABLE = str.maketrans({**LATIN, **dict.fromkeys(APOSTROPHES, "'")})
_QUOTED = re.compile(r"(?<![a-z])'([^']+)'(?![a-z])")
_BARE_APOSTROPHE = re.compile(r"(?<![a-z])'(?![a-z])")


def normalise(text: str) -> str:
    """A transcript in lower case, without accents and punctuation.

    Punctuation stands between words and becomes a space; "well-known" is two words, and so is
    "U.S.". Single quotation marks around words go, apostrophes stay.

    Returns:
        the text; what is outside the alphabet (digits, signs, other scripts) is still in it.
    """
    folded = unicodedata.normalize("NFD", text.lower().translate(_TABLE))
    kept = "".join(_folded(character) for character in folded)
    kept = _BARE_APOSTROPHE.sub(" ", _QUOTED.sub(r" \1 ", kept))
    return " ".join(kept.split())


def _folded(character: str) -> str:
    category = unicodedata.category(character)
    if category in {"Mn", "Cf"}:  # accents; soft hyphens, marks of direction
        return ""
    silent = category.startswith("P") and character not in SPOKEN
    return " " if silent and character != "'" else character


def outside(text: str) -> str:
    """The characters of a text that are outside the alphabet, each once, in order."""
    return "".join(sorted(set(re.findall(r"[^a-z' ]", text))))
