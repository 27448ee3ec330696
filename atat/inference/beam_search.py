"""Batched beam search over the shared decoder, with constrained decoding and CTC prefix scores.

A pure function of encoder states and settings. All hypotheses of all utterances take one step at a
time together. An end of sequence competes with the continuations: one that is among the best `beam`
is kept apart, and the best `beam` others go on. An utterance is done when none that goes on can
beat the worst of its n best.
"""

# B utterances, K hypotheses each, T memory frames, D width, V vocabulary, L positions of output,
# M = 2 K candidates, N best finished hypotheses. An unused place among them has the score -inf.

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Protocol, Self, TypeVar

import torch
from torch import Tensor

from atat.inference.constraints import Acceptor
from atat.inference.ctc_prefix_score import CtcPrefixScorer

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
    """

    tokens: tuple[int, ...]
    score: float


class CachedState(Protocol):
    """What a decoder keeps of all hypotheses between two steps (keys and values)."""

    def select(self, parent_BK: Tensor) -> Self:
        """Continue hypothesis `parent_BK[b, k]` (int64) as hypothesis k of utterance b."""

    def select_utterances(self, index_B: Tensor) -> Self:
        """Keep these utterances only, in this order; int64."""


State = TypeVar("State", bound=CachedState)


class AutoregressiveDecoder(Protocol[State]):
    """What `search` needs of a decoder, as `atat.models.decoder.Decoder` has it."""

    def start(self, memory_BTD: Tensor, mask_BT: Tensor, num_hyps: int) -> State:
        """The state before the first token, of `num_hyps` empty hypotheses for each utterance.

        Args:
            memory_BTD: encoder states, float.
            mask_BT: bool, True where a frame is real; at least one is in each row.
            num_hyps: K of the first step.
        """

    def step(self, token_BK: Tensor, state: State) -> tuple[Tensor, State]:
        """Feed one token to each hypothesis.

        Args:
            token_BK: int64.
            state: as `start`, `step` or one of its selections gave it.

        Returns:
            Log-probabilities of the next token, float (B, K, V), and the state after this one.
        """


@torch.inference_mode()
def search(
    decoder: AutoregressiveDecoder[State],
    memory_BTD: Tensor,
    memory_mask_BT: Tensor,
    first_token_B: Tensor,
    *,
    eos: int,
    beam: int = 4,
    nbest: int = 1,
    max_length: int = 80,
    banned: Iterable[int] = (),
    acceptor: Acceptor | None = None,
    ctc_log_probs_BTV: Tensor | None = None,
    ctc_mask_BT: Tensor | None = None,
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
    batch, device = len(memory_BTD), memory_BTD.device
    if batch == 0:
        return []
    # An utterance without any frame: attend to one frame of nothing, never to the padding.
    empty_B = ~memory_mask_BT.any(-1)
    memory_BTD = memory_BTD.masked_fill(empty_B[:, None, None], 0.0)
    attended_BT = memory_mask_BT.clone()
    attended_BT[:, 0] |= empty_B

    banned_ids = torch.tensor(sorted(set(banned) - {eos}), dtype=torch.long, device=device)
    # At first there is one hypothesis, the empty one; the first step makes `beam` of it.
    state = decoder.start(memory_BTD, attended_BT, 1)
    ctc = ctc_state = accept_BK = None
    if ctc_weight > 0:
        ctc = CtcPrefixScorer(
            ctc_log_probs_BTV,
            memory_mask_BT if ctc_mask_BT is None else ctc_mask_BT,
            blank=blank,
            eos=eos,
            silent=ctc_silent_tokens,
        )
        ctc_state = ctc.start(1)
    if acceptor is not None:
        accept_BK = torch.full((batch, 1), acceptor.start, device=device)
    token_BK = first_token_B[:, None]
    tokens_BKL = torch.full((batch, 1, max_length), eos, device=device)
    decoder_BK = torch.zeros(batch, 1, device=device)
    utterance_B = torch.arange(batch, device=device)  # which utterance each row is
    finished = _Finished(batch, nbest, max_length, device)

    for length in range(max_length + 1):
        log_probs_BKV, state = decoder.step(token_BK, state)
        decoder_BKV = decoder_BK[..., None] + log_probs_BKV.float()
        score_BKV = decoder_BKV
        if ctc is not None:
            ctc_BKV = ctc.score(ctc_state).clamp_min(CTC_FLOOR)
            score_BKV = (1 - ctc_weight) * decoder_BKV + ctc_weight * ctc_BKV
            # 0 * -inf is NaN at weight 1
            score_BKV = score_BKV.masked_fill_(decoder_BKV.isneginf(), -torch.inf)
        if length_bonus:
            score_BKV = score_BKV + length_bonus * (length + 1)
            score_BKV[..., eos] -= length_bonus
        if length == max_length:
            vocabulary_V = torch.arange(score_BKV.shape[-1], device=device)
            banned_ids = vocabulary_V[vocabulary_V != eos]
        score_BKV = score_BKV.index_fill(-1, banned_ids, -torch.inf)
        if acceptor is not None:
            allowed_BKV = acceptor.allowed(accept_BK.flatten(), max_length - length)
            score_BKV.masked_fill_(~allowed_BKV.view_as(score_BKV), -torch.inf)

        # Each hypothesis ends in one way, so that of twice as many at least `beam` go on.
        num_hyps, size = score_BKV.shape[1:]
        best_BM, index_BM = score_BKV.flatten(1).topk(min(2 * beam, num_hyps * size))
        if best_BM.isnan().any():
            raise ValueError("the decoder gave NaN: its weights or its input hold NaN")
        ends_BM = index_BM % size == eos
        ended_BK = best_BM.masked_fill(~ends_BM, -torch.inf)[:, :beam]
        if not ended_BK.isneginf().all():
            history_BKL = _rows(tokens_BKL, index_BM[:, :beam] // size)
            finished.add(utterance_B, ended_BK, history_BKL, length)
        score_BM, order_BM = best_BM.masked_fill(ends_BM, -torch.inf).sort(
            dim=1, descending=True, stable=True
        )
        score_BK, index_BK = score_BM[:, :beam], index_BM.gather(1, order_BM[:, :beam])

        # Every further token and the end can only lower a score, except for the bonus.
        bonus_ahead = max(length_bonus, 0.0) * (max_length - length - 1)
        done_B = score_BK.amax(1) + bonus_ahead <= finished.worst(utterance_B)
        if length == max_length or done_B.all():
            break

        runs_BK = ~(score_BK.isneginf() | done_B[:, None])
        parent_BK, token_BK = index_BK // size, index_BK % size
        tokens_BKL = _rows(tokens_BKL, parent_BK)
        tokens_BKL[..., length] = token_BK
        decoder_BK = decoder_BKV.flatten(1).gather(1, index_BK).masked_fill(~runs_BK, -torch.inf)
        if parent_BK.shape[1] > 1:
            state = state.select(parent_BK)
        if ctc is not None:
            ctc_state = ctc.advance(ctc_state, parent_BK, token_BK)
        if acceptor is not None:
            accept_BK = accept_BK.gather(1, parent_BK)
            accept_BK[runs_BK] = acceptor.advance(accept_BK[runs_BK], token_BK[runs_BK])

        # Copying the caches pays when it saves a quarter of the work that is left.
        if 4 * int(done_B.sum()) >= len(done_B):
            keep_B = (~done_B).nonzero().squeeze(1)
            utterance_B, token_BK = utterance_B[keep_B], token_BK[keep_B]
            tokens_BKL, decoder_BK = tokens_BKL[keep_B], decoder_BK[keep_B]
            state = state.select_utterances(keep_B)
            if ctc is not None:
                ctc_state = ctc.select_utterances(keep_B, ctc_state)
            if acceptor is not None:
                accept_BK = accept_BK[keep_B]
    return finished.hypotheses()


def _rows(x_BKL: Tensor, index_BJ: Tensor) -> Tensor:
    """Rows of each utterance, (B, J, L)."""
    return x_BKL.gather(1, index_BJ[..., None].expand(-1, -1, x_BKL.shape[-1]))


class _Finished:
    """The n best hypotheses of each utterance that have ended."""

    def __init__(self, batch: int, nbest: int, max_length: int, device: torch.device):
        self.score_BN = torch.full((batch, nbest), -torch.inf, device=device)
        self.length_BN = torch.zeros((batch, nbest), dtype=torch.long, device=device)
        self.tokens_BNL = torch.zeros((batch, nbest, max_length), dtype=torch.long, device=device)

    def worst(self, utterance_B: Tensor) -> Tensor:
        """The score that a hypothesis must beat to be one of the n best."""
        return self.score_BN[utterance_B, -1]

    def add(self, utterance_B: Tensor, score_BK: Tensor, tokens_BKL: Tensor, length: int) -> None:
        """Merge hypotheses of `length` tokens in; on equal scores the earlier one stays ahead."""
        num_best = self.score_BN.shape[1]
        score = torch.cat((self.score_BN[utterance_B], score_BK), 1)
        score, order = score.sort(dim=1, descending=True, stable=True)
        score, order = score[:, :num_best], order[:, :num_best]
        lengths = torch.cat(
            (self.length_BN[utterance_B], torch.full_like(score_BK, length, dtype=torch.long)), 1
        )
        tokens = torch.cat((self.tokens_BNL[utterance_B], tokens_BKL), 1)
        self.score_BN[utterance_B] = score
        self.length_BN[utterance_B] = lengths.gather(1, order)
        self.tokens_BNL[utterance_B] = _rows(tokens, order)

    def hypotheses(self) -> list[list[Hypothesis]]:
        scores, lengths, tokens = (
            x.tolist() for x in (self.score_BN, self.length_BN, self.tokens_BNL)
        )
        return [
            [
                Hypothesis(tuple(t[:length]), score)
                for score, length, t in zip(*rows, strict=True)
                if score > -torch.inf
            ]
            for rows in zip(scores, lengths, tokens, strict=True)
        ]


def check_options(beam: int, nbest: int, max_length: int, ctc_weight: float) -> None:
    """Raise ValueError for the first that is out of range; all as `search` takes them.

    Args:
        beam, nbest: 1 to MAX_BEAM.
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
