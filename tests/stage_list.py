"""The list of stages as utils/recipe.sh writes it."""

import os


def record(*words: object) -> bytes:
    """A record of the list."""
    return b"".join(os.fsencode(f"{word}\0") for word in (len(words), *words))
