"""Disfluencies of rendered speech: pronunciation variants, pauses, fillers.

Synthesisers read a sentence out fluently and always alike. What they are given to say is spelled
and punctuated anew here; semantics and the words of the transcript stay as they were.
"""

import random

from atat.config.schema import DataConfig

FILLERS = ("uh", "um", "er")


def said(text: str, settings: DataConfig, rng: random.Random) -> str:
    """A sentence with disfluencies, as a synthesiser shall read it.

    Args:
        text: words, with a space between.
        settings: `pronunciations`, `pauses` and `fillers` are used; people hesitate before the
            first word as they do between words.
        rng: draws as often for every sentence of as many words, whatever the settings.

    >>> said("a mocha please", DataConfig(pronunciations={"mocha": ["mocka"]}), random.Random(5))
    'a mocka please'
    >>> said("a mocha please", DataConfig(pauses=0.5, fillers=0.5), random.Random(5))
    'a, mocha, er, please'
    """
    out = ""
    for word in text.split():
        which, chance, filler = rng.random(), rng.random(), rng.random()
        spellings = [word, *settings.pronunciations.get(word, [])]
        # A comma is a pause to every synthesiser.
        if chance < settings.fillers:
            out += f"{', ' if out else ''}{FILLERS[int(filler * len(FILLERS))]},"
        elif out and chance < settings.fillers + settings.pauses:
            out += ","
        out += " " if out else ""
        out += spellings[int(which * len(spellings))]
    return out
