"""Outputs of two parts: what is said, then its semantics (`model.transcript_first`)."""

# N hypotheses, V vocabulary

import numpy as np

from atat.data.tokenizer import Tokenizer
from atat.inference.beam_search import Hypothesis
from atat.inference.constraints import ANY_ROOM, DEAD, Acceptor, word_ids


def taken_off(found: list[Hypothesis], separator: int) -> list[Hypothesis]:
    """Hypotheses whose words before the separator are their transcript; of those that are then
    alike, the best. One without it is all transcript, and has no semantics.

    Args:
        found: best first.
        separator: id of the token between both parts.

    >>> taken_off([Hypothesis((7, 5, 1, 7), -1.0), Hypothesis((8, 5, 1, 7), -2.0)], 5)
    [Hypothesis(tokens=(1, 7), score=-1.0, transcript=(7,))]
    """
    parted = []
    for h in found:
        end = h.tokens.index(separator) if separator in h.tokens else len(h.tokens)
        parted.append(Hypothesis(h.tokens[end + 1 :], h.score, h.tokens[:end]))
    return distinct(parted)


def distinct(found: list[Hypothesis]) -> list[Hypothesis]:
    """The first of those that are alike but for their transcripts."""
    kept: dict[tuple[int, ...], Hypothesis] = {}
    for h in found:
        kept.setdefault(h.tokens, h)
    return list(kept.values())


class AfterTranscript:
    """Accepts any words, a separator, then what another acceptor does
    (`model.transcript_first`)."""

    start = -2  # no state of the other

    def __init__(self, semantics: Acceptor, tokenizer: Tokenizer, separator: int) -> None:
        """
        Args:
            semantics: the other.
            tokenizer: has the words.
            separator: id of the token between both.
        """
        self._semantics, self._separator = semantics, separator
        self._is_word_V = np.zeros(len(tokenizer), bool)
        self._is_word_V[word_ids(tokenizer)] = True

    def allowed(self, state_N: np.ndarray, room: int = ANY_ROOM) -> np.ndarray:
        """As `Acceptor.allowed`."""
        before_N = state_N == self.start
        inner_N = np.where(before_N, self._semantics.start, state_N)
        allowed_NV = self._semantics.allowed(inner_N, room)
        if before_N.any():
            begin_N = np.array([self._semantics.start])

            # A word more, if the separator and the semantics still fit behind it.
            fits = [
                room >= taken and bool(self._semantics.allowed(begin_N, room - taken).any())
                for taken in (1, 2)
            ]
            allowed_NV[before_N] = self._is_word_V & fits[1]
            allowed_NV[before_N, self._separator] = fits[0]
        return allowed_NV

    def advance(self, state_N: np.ndarray, token_N: np.ndarray) -> np.ndarray:
        """As `Acceptor.advance`."""
        before_N = state_N == self.start
        inner_N = np.where(before_N, self._semantics.start, state_N)
        next_N = self._semantics.advance(inner_N, token_N)
        begins_N = np.where(token_N == self._separator, self._semantics.start, DEAD)
        begins_N = np.where(self._is_word_V[token_N], self.start, begins_N)
        return np.where(before_N, begins_N, next_N)


class EndedBy:
    """Accepts what another acceptor does, with another token for the end of sequence."""

    def __init__(self, words: Acceptor, eos: int, end: int) -> None:
        """
        Args:
            words: the other.
            eos: id of its end.
            end: id of the token instead.
        """
        self._words, self._eos, self._end, self.start = words, eos, end, words.start

    def allowed(self, state_N: np.ndarray, room: int = ANY_ROOM) -> np.ndarray:
        """As `Acceptor.allowed`."""
        allowed_NV = self._words.allowed(state_N, room)
        allowed_NV[:, self._end] = allowed_NV[:, self._eos]
        allowed_NV[:, self._eos] = False
        return allowed_NV

    def advance(self, state_N: np.ndarray, token_N: np.ndarray) -> np.ndarray:
        """As `Acceptor.advance`."""
        return self._words.advance(state_N, token_N)
