"""Random generators by name: one seed, and a generator of its own for every consumer."""

import numpy as np

from atat.common.files import sha256


def rng(seed: int, *names: object) -> np.random.Generator:
    """A generator of its own for every consumer, so that a new one does not shift the others."""
    return np.random.default_rng(int(sha256(str(seed), *map(str, names))[:16], 16))
