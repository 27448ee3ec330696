"""Which words a pronunciation dictionary has: of others, a synthesiser guesses the sound."""

import gzip
import importlib.resources
import json
from collections.abc import Iterable
from functools import cache


def not_in_dictionary(words: Iterable[str]) -> list[str]:
    """The words that are neither in hibari's American dictionary nor forms of words in it, sorted.

    Empty where hibari is not installed.

    >>> not_in_dictionary(["turn", "kitchens", "o'clock", "i'd", "zorbulate", "b"])
    ['zorbulate']
    """
    known = _dictionary()
    if not known:
        return []
    return sorted(word for word in set(words) if not all(map(_is_known, _pieces(word))))


def _pieces(word: str) -> list[str]:
    return [word] if word in _dictionary() else [part for part in word.split("-") if part]


def _is_known(word: str) -> bool:
    stems = [word, word.removesuffix("'s"), word.removesuffix("s"), word.removesuffix("es")]
    stems += [word.removesuffix("ing"), word.removesuffix("ed"), word.removesuffix("d")]
    stems += [word.removesuffix("ing") + "e"]
    return len(word) == 1 or any(stem in _dictionary() for stem in stems)


@cache
def _dictionary() -> frozenset[str]:
    try:
        assets = importlib.resources.files("hibari") / "assets"
    except ModuleNotFoundError:
        return frozenset()
    words: set[str] = set()
    for name in ("lexicon_us_gold.json.gz", "lexicon_us_silver.json.gz"):
        file = assets / name
        if file.is_file():
            words.update(map(str.lower, json.loads(gzip.decompress(file.read_bytes()))))
    return frozenset(words)
