"""What a pronunciation dictionary has: which words, of others a synthesiser guesses the sound, and
how they sound."""

import gzip
import importlib.resources
import json
import re
from collections.abc import Collection, Iterable, Mapping
from functools import cache


def not_in_dictionary(words: Iterable[str]) -> list[str]:
    """The words that are neither in hibari's American dictionary nor forms of words in it, sorted.

    Empty where hibari is not installed.

    >>> not_in_dictionary(["turn", "kitchens", "o'clock", "i'd", "zorbulate", "b"])
    ['zorbulate']
    """
    if not _dictionary():
        return []
    return sorted(word for word in set(words) if not all(map(_is_known, _pieces(word))))


def _pieces(word: str) -> list[str]:
    return [word] if word in _dictionary() else [part for part in word.split("-") if part]


def _is_known(word: str) -> bool:
    stems = [word, word.removesuffix("'s"), word.removesuffix("s"), word.removesuffix("es")]
    stems += [word.removesuffix("ing"), word.removesuffix("ed"), word.removesuffix("d")]
    stems += [word.removesuffix("ing") + "e"]
    return len(word) == 1 or any(stem in _dictionary() for stem in stems)


def sound(words: str, other: Collection[str] = ()) -> str:
    """How words are pronounced, in the dictionary's signs without stress: equal where they sound
    the same. A word that the dictionary has not stands as it is, in brackets.

    Args:
        words: in lower case.
        other: words that are said in another way than the dictionary has.

    >>> sound("two") == sound("too"), sound("i scream") == sound("ice cream"), sound("a zorbulate")
    (True, True, 'A<zorbulate>')
    """
    known = _dictionary()
    return "".join(
        known[word] if word in known and word not in other else f"<{word}>"
        for word in words.split()
    )


@cache
def _dictionary() -> Mapping[str, str]:
    """Word in lower case -> how it sounds; {} where hibari is not installed."""
    try:
        assets = importlib.resources.files("hibari") / "assets"
    except ModuleNotFoundError:
        return {}
    words: dict[str, str] = {}
    for name in ("lexicon_us_gold.json.gz", "lexicon_us_silver.json.gz"):
        file = assets / name
        if file.is_file():
            entries = json.loads(gzip.decompress(file.read_bytes()))
            # What is in lower case first: "polish" is not said like "Polish".
            for word in sorted(entries, key=lambda word: word != word.lower()):
                entry = entries[word]
                usual = entry["DEFAULT"] if isinstance(entry, dict) else entry
                words.setdefault(word.lower(), re.sub("[\u02c8\u02cc]", "", usual))
    return words
