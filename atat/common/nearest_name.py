"""The name that was meant, of those that there are."""

import difflib
from collections.abc import Iterable


def nearest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Which of the names is like this one in all but case and a few letters, if one is.

    Args:
        name: as it was given.
        names: those that there are.
        cutoff: least likeness, 0 to 1, as `difflib.get_close_matches` takes it.

    >>> nearest("nbst", ["beam", "nbest"]), nearest("pv.percnt", ["pv.Percent"])
    ('nbest', 'pv.Percent')
    >>> nearest("colour", ["beam", "nbest"])
    """
    lower = {one.lower(): one for one in names}
    near = difflib.get_close_matches(name.lower(), lower, n=1, cutoff=cutoff)
    return lower[near[0]] if near else None
