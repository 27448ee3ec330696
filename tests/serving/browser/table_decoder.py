"""A decoder that reads its scores from a table, in Python and in JavaScript."""

# B utterances, K hypotheses, L positions, V vocabulary

import numpy as np


class TableDecoder:
    """Log-probabilities by position and last token; the state is the position."""

    def __init__(self, log_probs_LVV):
        self.log_probs_LVV = log_probs_LVV

    def start(self, memory_BTD, mask_BT, num_hyps):
        return Position(0)

    def step(self, token_BK, state):
        return self.log_probs_LVV[state.number % len(self.log_probs_LVV), token_BK], Position(
            state.number + 1
        )


class Position:
    def __init__(self, number):
        self.number = number

    def select(self, parent_BK):
        return self

    def select_utterances(self, index_B):
        return self


# The same of `as_json(log_probs_LVV)`.
TABLE_DECODER = """
const tableDecoder = (logProbs) => {
  const steps = logProbs.map((rows) => rows.map(floats));
  return {
    start: () => 0,
    select: (parents, position) => position,
    async step(tokens, position) {
      const rows = tokens.flatMap((token) => [...steps[position % steps.length][token]]);
      return { logProbs: Float32Array.from(rows), state: position + 1 };
    },
  };
};
"""


def as_json(array):
    """Lists in which None stands for -infinity; None of None."""
    if array is None:
        return None
    return np.where(np.isneginf(array), None, array.astype(object)).tolist()
