"""Whether an acceptor accepts a sequence."""

import numpy as np

from atat.inference.constraints import DEAD


def accepts(accept, tokenizer, tokens, end=None):
    """Follows `advance`, checking that `allowed` says the same; `end` may stand for the end."""
    state = np.array([accept.start])
    for token in tokens:
        is_allowed = bool(accept.allowed(state)[0, token])
        state = accept.advance(state, np.array([token]))
        assert (state.item() == DEAD) == (not is_allowed)
    return bool(accept.allowed(state)[0, tokenizer.eos if end is None else end])
