"""Batched beam search over the shared decoder, with constrained decoding and CTC prefix scores.

A pure function of encoder states and settings, in NumPy: what the decoder computes with, torch or
onnxruntime, is its own affair, and a step of a small beam is too little work for torch. All
hypotheses of all utterances take one step at a time together. An end of sequence competes with the
continuations: one that is among the best `beam` is kept apart, and the best `beam` others go on. An
utterance is done when none that goes on can beat the worst of its n best.
"""

# B utterances, K hypotheses each, T memory frames, D width, V vocabulary, L positions of output,
# M = 2 K candidates, N best finished hypotheses. An unused place among them has the score -inf.

import math
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Protocol, Self, TypeVar

import numpy as np

from atat.inference.constraints import Acceptor
from atat.inference.ctc_prefix_score import CtcPrefixScorer, CtcState

# Floor of CTC prefix scores. CTC has no path for more labels than frames, and a fast speaker after
# 8x subsampling comes close; such an output shall be unlikely, not impossible.
CTC_FLOOR = -1000.0
MAX_BEAM, MAX_LENGTH = 1000, 1000  # what a request may cost


@dataclass(frozen=True)
class Hypothesis:
    """One finished output.

    Attributes:
        tokens: without the task token before and the end of sequence after.
        score: log-probability of tokens and end: (1 - w) decoder + w CTC, plus the length bonus.
        transcript: what was written before the semantics and a separator (`transcripts.taken_off`),
            of which the score is too; None: nothing.
    """

    tokens: tuple[int, ...]
    score: float
    transcript: tuple[int, ...] | None = None

    @property
    def num_scored(self) -> int:
        """Tokens that the score is of, the end among them."""
        before = 0 if self.transcript is None else len(self.transcript) + 1
        return before + len(self.tokens) + 1


class CachedState(Protocol):
    """What a decoder keeps of all hypotheses between two steps (keys and values)."""

    def select(self, parent_BK: np.ndarray) -> Self:
        """Continue hypothesis `parent_BK[b, k]` (int64) as hypothesis k of utterance b."""

    def select_utterances(self, index_B: np.ndarray) -> Self:
        """Keep these utterances only, in this order; int64."""


State = TypeVar("State", bound=CachedState)


class AutoregressiveDecoder(Protocol[State]):
    """What `search` needs of a decoder, as `atat.models.decoder.Decoder` has it."""

    def start(self, memory_BTD: np.ndarray, mask_BT: np.ndarray, num_hyps: int) -> State:
        """The state before the first token, of `num_hyps` empty hypotheses for each utterance.

        Args:
            memory_BTD: encoder states, float.
            mask_BT: bool, True where a frame is real; at least one is in each row.
            num_hyps: K of the first step.
        """

    def step(self, token_BK: np.ndarray, state: State) -> tuple[np.ndarray, State]:
        """Feed one token to each hypothesis.

        Args:
            token_BK: int64.
            state: as `start`, `step` or one of its selections gave it.

        Returns:
            Log-probabilities of the next token, float (B, K, V), and the state after this one.
        """


def search(
    decoder: AutoregressiveDecoder[State],
    memory_BTD: np.ndarray,
    memory_mask_BT: np.ndarray,
    first_token_B: np.ndarray,
    *,
    eos: int,
    given_BP: np.ndarray | None = None,
    beam: int = 4,
    nbest: int = 1,
    max_length: int = 80,
    banned: Iterable[int] = (),
    acceptor: Acceptor | None = None,
    ctc_log_probs_BTV: np.ndarray | None = None,
    ctc_mask_BT: np.ndarray | None = None,
    ctc_weight: float = 0.0,
    ctc_silent_tokens: Iterable[int] = (),
    blank: int = 0,
    length_bonus: float = 0.0,
) -> list[list[Hypothesis]]:
    """The n best hypotheses of each utterance, best first.

    With CTC the score is that of joint decoding: Watanabe et al. 2017, "Hybrid CTC/attention
    architecture for end-to-end speech recognition".

    Args:
        decoder: gives log-probabilities of next tokens.
        memory_BTD: encoder states, float.
        memory_mask_BT: bool, True where a frame is real.
        first_token_B: int64, the task token of each utterance.
        eos: id of the end of sequence.
        given_BP: int64, what stands behind the task token already; hypotheses do not have it.
        beam: K, 1 to MAX_BEAM; 1 is greedy search.
        nbest: how many finished hypotheses to keep, 1 to MAX_BEAM.
        max_length: most tokens in a hypothesis, 1 to MAX_LENGTH; after so many only the end may
            follow, so that every hypothesis is finished.
        banned: ids that no hypothesis has (blank, padding, task tokens).
        acceptor: of constrained decoding: every hypothesis is a sequence that it accepts.
        ctc_log_probs_BTV: CTC's log-softmax outputs, float, over the same vocabulary.
        ctc_mask_BT: bool, which of its frames are real, where they are not those of the memory.
        ctc_weight: w, share of the CTC prefix score, 0 (decoder only) to 1 (CTC only).
        ctc_silent_tokens: ids that CTC does not emit (tags); at weight 1 they cost nothing.
        blank: id of CTC's blank.
        length_bonus: added to the score for every token, in nats.

    Returns:
        For each utterance up to `nbest` hypotheses; none at all only when the acceptor accepts
        nothing of `max_length` tokens or fewer.

    Raises:
        ValueError: settings out of range, or a decoder that gives NaN.
    """
    check_options(beam, nbest, max_length, ctc_weight)
    if ctc_weight > 0 and ctc_log_probs_BTV is None:
        raise ValueError(
            f"ctc_weight: got {ctc_weight}, expected 0: there are no CTC scores (text input, or a "
            "model trained with model.ctc_weight 0)"
        )
    if memory_BTD.shape[1] == 0 and len(memory_BTD):
        raise ValueError("got an encoder output of no frames, expected at least one")
    batch = len(memory_BTD)
    if batch == 0:
        return []
    ctc = None
    if ctc_weight > 0 and ctc_log_probs_BTV is not None:
        ctc = CtcPrefixScorer(
            ctc_log_probs_BTV,
            memory_mask_BT if ctc_mask_BT is None else ctc_mask_BT,
            blank=blank,
            eos=eos,
            silent=ctc_silent_tokens,
        )
    banned_ids = sorted(set(banned) - {eos})
    scorer = _Scorer(decoder, eos, max_length, banned_ids, acceptor, ctc, ctc_weight, length_bonus)
    first_BP = first_token_B[:, None]
    if given_BP is not None:
        first_BP = np.concatenate([first_BP, given_BP], axis=1)
    hyps = scorer.start(memory_BTD, memory_mask_BT, first_BP)
    finished = _Finished(batch, nbest, max_length)

    for length in range(max_length + 1):
        state, decoder_BKV, score_BKV = scorer.score(hyps, length)
        # Each hypothesis ends in one way, so that of twice as many at least `beam` go on.
        size = score_BKV.shape[2]
        best_BM, index_BM = _best(score_BKV.reshape(len(score_BKV), -1), 2 * beam)
        if np.isnan(best_BM).any():
            raise ValueError("the decoder gave NaN: its weights or its input hold NaN")
        ends_BM = index_BM % size == eos
        ended_BK = np.where(ends_BM, best_BM, -np.inf)[:, :beam]
        if not np.isneginf(ended_BK).all():
            history_BKL = _rows(hyps.tokens_BKL, index_BM[:, :beam] // size)
            finished.add(hyps.utterance_B, ended_BK, history_BKL, length)
        # Those that go on first, in their order.
        order_BM = np.where(ends_BM, -np.inf, best_BM)
        order_BK = (-order_BM).argsort(1, kind="stable")[:, :beam]
        score_BK, index_BK = _rows(order_BM, order_BK), _rows(index_BM, order_BK)

        # Every further token and the end can only lower a score, except for the bonus.
        bonus_ahead = max(length_bonus, 0.0) * (max_length - length - 1)
        done_B = score_BK[:, 0] + bonus_ahead <= finished.worst(hyps.utterance_B)
        if length == max_length or done_B.all():
            break
        runs_BK = ~(np.isneginf(score_BK) | done_B[:, None])
        decoder_BK = _rows(decoder_BKV.reshape(len(decoder_BKV), -1), index_BK)
        decoder_BK[~runs_BK] = -np.inf
        parent_BK, token_BK = np.divmod(index_BK, size)
        hyps = scorer.extend(hyps, state, parent_BK, token_BK, decoder_BK, runs_BK, length)
        # Copying the caches pays when it saves a quarter of the work that is left.
        if 4 * done_B.sum() >= len(done_B):
            hyps = scorer.keep(hyps, np.flatnonzero(~done_B))
    return finished.hypotheses()


@dataclass(frozen=True)
class _Hypotheses:
    """Those that go on: K (at first one, the empty one) of each utterance that is not done.

    Attributes:
        utterance_B: which utterance each row is.
        token_BK: their last tokens; tokens_BKL: all of them.
        decoder_BK: their log-probabilities by the decoder alone.
        state, ctc, accept_BK: of the decoder, the CTC prefix scorer and the acceptor.
    """

    utterance_B: np.ndarray
    token_BK: np.ndarray
    tokens_BKL: np.ndarray
    decoder_BK: np.ndarray
    state: CachedState
    ctc: CtcState | None
    accept_BK: np.ndarray | None


@dataclass(frozen=True)
class _Scorer:
    """What a hypothesis is worth by decoder, CTC and acceptor; arguments as of `search`."""

    decoder: AutoregressiveDecoder[Any]
    eos: int
    max_length: int
    banned_ids: list[int]
    acceptor: Acceptor | None
    ctc: CtcPrefixScorer | None
    ctc_weight: float
    length_bonus: float

    def start(
        self, memory_BTD: np.ndarray, memory_mask_BT: np.ndarray, first_BP: np.ndarray
    ) -> _Hypotheses:
        """One empty hypothesis for each utterance, behind the tokens `first_BP`; the first step
        makes `beam` of it."""
        batch = len(memory_BTD)
        # An utterance without any frame: attend to one frame of nothing, never to the padding.
        empty_B = np.logical_not(memory_mask_BT.any(-1))
        if empty_B.any():
            memory_mask_BT = memory_mask_BT.copy()
            memory_mask_BT[:, 0] |= empty_B
            memory_BTD = np.where(empty_B[:, None, None], memory_BTD.dtype.type(0), memory_BTD)
        accept_BK = None
        if self.acceptor is not None:
            accept_BK = np.full((batch, 1), self.acceptor.start)
        state = self.decoder.start(memory_BTD, memory_mask_BT, 1)
        for place in range(first_BP.shape[1] - 1):
            _, state = self.decoder.step(first_BP[:, place : place + 1], state)
        return _Hypotheses(
            np.arange(batch),
            first_BP[:, -1:],
            np.full((batch, 1, self.max_length), self.eos),
            np.zeros((batch, 1), np.float32),
            state,
            None if self.ctc is None else self.ctc.start(1),
            accept_BK,
        )

    def score(self, hyps: _Hypotheses, length: int) -> tuple[CachedState, np.ndarray, np.ndarray]:
        """The decoder's state after their last tokens, and scores of all that can follow, float
        (B, K, V): by the decoder, and joint.

        Args:
            hyps: of `length` tokens each.
            length: 0 at first; after `max_length` only the end may follow.
        """
        log_probs_BKV, state = self.decoder.step(hyps.token_BK, hyps.state)
        decoder_BKV = hyps.decoder_BK[..., None] + log_probs_BKV
        score_BKV = decoder_BKV.copy()
        if self.ctc is not None and hyps.ctc is not None:
            ctc_BKV = np.maximum(self.ctc.score(hyps.ctc), CTC_FLOOR)
            score_BKV = self.ctc_weight * ctc_BKV
            if self.ctc_weight < 1:  # 0 * -inf is NaN
                score_BKV += (1 - self.ctc_weight) * decoder_BKV
            score_BKV[np.isneginf(decoder_BKV)] = -np.inf
        if self.length_bonus:
            score_BKV += self.length_bonus * (length + 1)
            score_BKV[..., self.eos] -= self.length_bonus
        if length == self.max_length:
            score_BKV[..., np.arange(score_BKV.shape[-1]) != self.eos] = -np.inf
        score_BKV[..., self.banned_ids] = -np.inf
        if self.acceptor is not None and hyps.accept_BK is not None:
            allowed_NV = self.acceptor.allowed(hyps.accept_BK.ravel(), self.max_length - length)
            score_BKV[~allowed_NV.reshape(score_BKV.shape)] = -np.inf
        return state, decoder_BKV, score_BKV

    def extend(
        self,
        hyps: _Hypotheses,
        state: CachedState,
        parent_BK: np.ndarray,
        token_BK: np.ndarray,
        decoder_BK: np.ndarray,
        runs_BK: np.ndarray,
        length: int,
    ) -> _Hypotheses:
        """Hypotheses with one token more.

        Args:
            hyps: of `length` tokens each.
            state: as `score` gave it.
            parent_BK: which of them each continues.
            token_BK: with what.
            decoder_BK: their log-probabilities then.
            runs_BK: bool, False where there is none.
            length: where the new token stands.
        """
        tokens_BKL = _rows(hyps.tokens_BKL, parent_BK)
        tokens_BKL[..., length] = token_BK
        ctc = hyps.ctc
        if self.ctc is not None and ctc is not None:
            ctc = self.ctc.advance(ctc, parent_BK, token_BK)
        accept_BK = hyps.accept_BK
        if self.acceptor is not None and accept_BK is not None:
            accept_BK = _rows(accept_BK, parent_BK)
            accept_BK[runs_BK] = self.acceptor.advance(accept_BK[runs_BK], token_BK[runs_BK])
        return _Hypotheses(
            hyps.utterance_B,
            token_BK,
            tokens_BKL,
            decoder_BK,
            state.select(parent_BK) if parent_BK.shape[1] > 1 else state,
            ctc,
            accept_BK,
        )

    def keep(self, hyps: _Hypotheses, keep_B: np.ndarray) -> _Hypotheses:
        """Those of some rows only, int64."""
        ctc = hyps.ctc
        if self.ctc is not None and ctc is not None:
            ctc = self.ctc.select_utterances(keep_B, ctc)
        return _Hypotheses(
            hyps.utterance_B[keep_B],
            hyps.token_BK[keep_B],
            hyps.tokens_BKL[keep_B],
            hyps.decoder_BK[keep_B],
            hyps.state.select_utterances(keep_B),
            ctc,
            None if hyps.accept_BK is None else hyps.accept_BK[keep_B],
        )


def _rows(x_BKL: np.ndarray, index_BJ: np.ndarray) -> np.ndarray:
    """Rows of each utterance, (B, J, ...)."""
    return x_BKL[np.arange(len(x_BKL))[:, None], index_BJ]


def _best(score_BN: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray]:
    """The `num` (or all) highest of each utterance, best first, and where they stand; NaN is
    highest."""
    if num < score_BN.shape[1]:
        index_BM = np.argpartition(score_BN, -num, axis=1)[:, -num:]
        index_BM.sort(axis=1)  # on equal scores the first is ahead, however they were found
        best_BM = _rows(score_BN, index_BM)
    else:
        best_BM, index_BM = score_BN, np.broadcast_to(np.arange(score_BN.shape[1]), score_BN.shape)
    order_BM = (-best_BM).argsort(axis=1, kind="stable")
    return _rows(best_BM, order_BM), _rows(index_BM, order_BM)


class _Finished:
    """The n best hypotheses of each utterance that have ended."""

    def __init__(self, batch: int, nbest: int, max_length: int) -> None:
        self.score_BN = np.full((batch, nbest), -np.inf, np.float32)
        self.length_BN = np.zeros((batch, nbest), np.int64)
        self.tokens_BNL = np.zeros((batch, nbest, max_length), np.int64)

    def worst(self, utterance_B: np.ndarray) -> np.ndarray:
        """The score that a hypothesis must beat to be one of the n best."""
        return self.score_BN[utterance_B, -1]

    def add(
        self, utterance_B: np.ndarray, score_BK: np.ndarray, tokens_BKL: np.ndarray, length: int
    ) -> None:
        """Merge hypotheses of `length` tokens in; on equal scores the earlier one stays ahead."""
        num_best = self.score_BN.shape[1]
        score = np.concatenate((self.score_BN[utterance_B], score_BK), 1)
        order = (-score).argsort(1, kind="stable")[:, :num_best]
        lengths = np.concatenate((self.length_BN[utterance_B], np.full(score_BK.shape, length)), 1)
        tokens = np.concatenate((self.tokens_BNL[utterance_B], tokens_BKL), 1)
        self.score_BN[utterance_B] = _rows(score, order)
        self.length_BN[utterance_B] = _rows(lengths, order)
        self.tokens_BNL[utterance_B] = _rows(tokens, order)

    def hypotheses(self) -> list[list[Hypothesis]]:
        arrays = (self.score_BN, self.length_BN, self.tokens_BNL)
        return [
            [
                Hypothesis(tuple(t[:length]), score)
                for score, length, t in zip(scores, lengths, tokens, strict=True)
                if score > -math.inf
            ]
            for scores, lengths, tokens in zip(*(x.tolist() for x in arrays), strict=True)
        ]


def check_options(beam: int, nbest: int, max_length: int, ctc_weight: float) -> None:
    """Raise ValueError for the first that is out of range; all as `search` takes them.

    Args:
        beam: 1 to MAX_BEAM.
        nbest: 1 to MAX_BEAM.
        max_length: 1 to MAX_LENGTH.
        ctc_weight: 0 to 1.
    """
    for name, value, most in (
        ("beam", beam, MAX_BEAM),
        ("nbest", nbest, MAX_BEAM),
        ("max_length", max_length, MAX_LENGTH),
    ):
        if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= value <= most:
            raise ValueError(f"{name}: got {value!r}, expected a whole number from 1 to {most}")
    if not isinstance(ctc_weight, Real):
        raise ValueError(f"ctc_weight: got {ctc_weight!r}, expected a number from 0 to 1")
    if not 0.0 <= ctc_weight <= 1.0:
        raise ValueError(f"ctc_weight: got {ctc_weight}, expected 0 to 1")
