"""Mistakes in the sentences that a text encoder reads in training: such as CTC makes of speech."""

# L tokens

import numpy as np

# Of the tokens that are hit: so many have another in their place, so many another behind them; the
# rest is left out. CTC mistakes pieces of words for others more often than it adds or misses them.
REPLACED, FOLLOWED = 0.6, 0.2


def noisy(
    token_L: np.ndarray, share: float, pieces: range, draw: np.random.Generator
) -> np.ndarray:
    """A sentence with mistakes, at least one token long.

    Args:
        token_L: int64, its pieces of words.
        share: of the tokens that are hit, 0 to 1.
        pieces: ids of the pieces of words, one of which stands where another is heard.
        draw: what decides.
    """
    hit_L = draw.random(len(token_L)) < share
    kind_L = draw.random(len(token_L))
    other_L = draw.integers(pieces.start, pieces.stop, len(token_L))
    replaced_L = hit_L & (kind_L < REPLACED)
    followed_L = hit_L & ~replaced_L & (kind_L < REPLACED + FOLLOWED)
    left_out_L = hit_L & ~replaced_L & ~followed_L
    pair_L2 = np.stack([np.where(replaced_L, other_L, token_L), other_L], axis=1)
    kept = pair_L2[np.stack([~left_out_L, followed_L], axis=1)]
    return kept if len(kept) else token_L
