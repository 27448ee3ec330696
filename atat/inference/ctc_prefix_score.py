"""CTC prefix scores of every continuation of every hypothesis at once, for beam search.

The probability that CTC gives to all label sequences that begin with a prefix: Graves 2008,
"Supervised sequence labelling with recurrent neural networks", section 7.4; Watanabe et al. 2017,
"Hybrid CTC/attention architecture for end-to-end speech recognition", algorithm 2. There the
recursion over frames runs for every candidate. Here the scores of all candidates are one matrix
product, and the recursion runs only for the hypotheses that the beam kept, as a prefix scan.
"""

# B utterances, K hypotheses each, T frames, V vocabulary; S = T + 1: entry s is "after s frames".
# All scores are natural logarithms, float32. Within this module IMPOSSIBLE stands for -inf, whose
# differences would be NaN; any real score is far above it.

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

IMPOSSIBLE = np.float32(-1e30)
HARDLY_POSSIBLE = IMPOSSIBLE / 2  # what has been added to IMPOSSIBLE stays below


@dataclass(frozen=True)
class CtcState:
    """Forward variables of each hypothesis as a prefix (Graves 2008, section 7.4).

    Attributes:
        nonblank_BKS: log-probability of all paths over s frames that collapse to the prefix and end
            in its last label.
        blank_BKS: the same for paths that end in blank.
        paths_BKS: of both together.
        last_BK: last label of the prefix; blank when it has none yet.
        prefix_BK: log-probability of all label sequences that begin with the prefix.
    """

    nonblank_BKS: np.ndarray
    blank_BKS: np.ndarray
    paths_BKS: np.ndarray
    last_BK: np.ndarray
    prefix_BK: np.ndarray


class CtcPrefixScorer:
    """Prefix scores over fixed CTC outputs.

    Args:
        log_probs_BTV: CTC's log-softmax outputs, float.
        mask_BT: bool, True where a frame is real.
        blank: index of CTC's blank.
        eos: index of the end of a sequence, scored as "nothing follows".
        silent: ids that CTC does not emit (tags): they leave the prefix as it is.
    """

    def __init__(
        self,
        log_probs_BTV: np.ndarray,
        mask_BT: np.ndarray,
        *,
        blank: int = 0,
        eos: int,
        silent: Iterable[int] = (),
    ) -> None:
        log_probs_BTV = np.maximum(log_probs_BTV, IMPOSSIBLE, dtype=np.float32)
        # A padded frame is blank for sure: it changes no probability.
        log_probs_BTV[~mask_BT] = IMPOSSIBLE
        log_probs_BTV[~mask_BT, blank] = 0.0
        self.log_probs_BTV = log_probs_BTV
        self.probs_BTV = np.exp(log_probs_BTV)
        self.blank, self.eos = blank, eos
        self.is_silent_V = np.zeros(log_probs_BTV.shape[-1], bool)
        self.is_silent_V[list(silent)] = True

    def start(self, num_hyps: int) -> CtcState:
        """The state of `num_hyps` empty prefixes for each utterance."""
        blanks_BT = self.log_probs_BTV[..., self.blank].cumsum(-1)
        blank_B1S = np.pad(blanks_BT, ((0, 0), (1, 0)))[:, None]
        blank_BKS = blank_B1S.repeat(num_hyps, 1)
        last_BK = np.full(blank_BKS.shape[:2], self.blank)
        zero_BK = np.zeros(last_BK.shape, np.float32)
        nonblank_BKS = np.full_like(blank_BKS, IMPOSSIBLE)
        return CtcState(nonblank_BKS, blank_BKS, blank_BKS, last_BK, zero_BK)

    def score(self, state: CtcState) -> np.ndarray:
        """Score of each hypothesis after each next token.

        Returns:
            prefix_BKV: log-probability of all label sequences that begin with hypothesis + token;
            for `eos` of the hypothesis alone; for a silent token the hypothesis' own score; -inf
            where it is impossible. A token less likely than e^-87 times the prefix's best frame
            counts as impossible.
        """
        paths_BKT = state.paths_BKS[..., :-1]
        peak_BK1 = paths_BKT.max(-1, keepdims=True)
        with np.errstate(divide="ignore"):  # log(0)
            prefix_BKV = np.log(np.exp(paths_BKT - peak_BK1) @ self.probs_BTV)
        prefix_BKV += peak_BK1
        # A label repeated at once must have a blank between.
        repeat_BK = _logsumexp(state.blank_BKS[..., :-1] + self._label(state.last_BK))
        batch, num_hyps = state.last_BK.shape
        prefix_BKV[np.arange(batch)[:, None], np.arange(num_hyps), state.last_BK] = repeat_BK
        prefix_BKV[..., self.eos] = state.paths_BKS[..., -1]
        prefix_BKV[..., self.is_silent_V] = state.prefix_BK[..., None]
        prefix_BKV[prefix_BKV < HARDLY_POSSIBLE] = -np.inf
        return prefix_BKV

    def advance(self, state: CtcState, parent_BK: np.ndarray, token_BK: np.ndarray) -> CtcState:
        """State after hypothesis `parent_BK[b, k]` has been continued by `token_BK[b, k]`."""
        rows_B1 = np.arange(len(parent_BK))[:, None]
        nonblank_BKS = state.nonblank_BKS[rows_B1, parent_BK]
        blank_BKS = state.blank_BKS[rows_B1, parent_BK]
        paths_BKS = state.paths_BKS[rows_B1, parent_BK]
        last_BK = state.last_BK[rows_B1, parent_BK]
        prefix_BK = state.prefix_BK[rows_B1, parent_BK]
        repeats_BK1 = (token_BK == last_BK)[..., None]
        enter_BKT = np.where(repeats_BK1, blank_BKS, paths_BKS)[..., :-1]
        label_BKT = self._label(token_BK)
        new_nonblank_BKS = _scan(enter_BKT, label_BKT)
        blank_B1T = self.log_probs_BTV[:, None, :, self.blank]
        new_blank_BKS = _scan(new_nonblank_BKS[..., :-1], blank_B1T)
        silent_BK = self.is_silent_V[token_BK]
        silent_BK1 = silent_BK[..., None]
        return CtcState(
            np.where(silent_BK1, nonblank_BKS, new_nonblank_BKS),
            np.where(silent_BK1, blank_BKS, new_blank_BKS),
            np.where(silent_BK1, paths_BKS, _logaddexp(new_nonblank_BKS, new_blank_BKS)),
            np.where(silent_BK, last_BK, token_BK),
            np.where(silent_BK, prefix_BK, _logsumexp(enter_BKT + label_BKT)),
        )

    def select_utterances(self, index_B: np.ndarray, state: CtcState) -> CtcState:
        """Keep these utterances only, here and in the state."""
        self.log_probs_BTV = self.log_probs_BTV[index_B]
        self.probs_BTV = self.probs_BTV[index_B]
        return CtcState(
            state.nonblank_BKS[index_B],
            state.blank_BKS[index_B],
            state.paths_BKS[index_B],
            state.last_BK[index_B],
            state.prefix_BK[index_B],
        )

    def _label(self, token_BK: np.ndarray) -> np.ndarray:
        """Log-probability of each hypothesis' token at each frame, (B, K, T)."""
        rows_B1 = np.arange(len(token_BK))[:, None]
        return self.log_probs_BTV[rows_B1, :, token_BK]


def log_likelihood(
    log_probs_BTV: np.ndarray, mask_BT: np.ndarray, labels_B: list[list[int]], blank: int = 0
) -> np.ndarray:
    """CTC's log-probability of whole label sequences, float32 (B,), -inf where frames are too few.

    Args:
        log_probs_BTV: CTC's log-softmax outputs, float.
        mask_BT: bool, True where a frame is real.
        labels_B: ids without blanks, of each utterance.
        blank: id of CTC's blank.
    """
    silent = log_probs_BTV.shape[-1]  # one more id, which fills the shorter ones up
    padded_BTV = np.pad(log_probs_BTV, ((0, 0), (0, 0), (0, 1)), constant_values=-np.inf)
    scorer = CtcPrefixScorer(padded_BTV, mask_BT, blank=blank, eos=silent, silent=[silent])
    state, itself_B1 = scorer.start(1), np.zeros((len(labels_B), 1), np.int64)
    for position in range(max(map(len, labels_B), default=0)):
        token_B = [x[position] if position < len(x) else silent for x in labels_B]
        state = scorer.advance(state, itself_B1, np.array(token_B)[:, None])
    whole_B = state.paths_BKS[:, 0, -1]
    return np.where(whole_B < HARDLY_POSSIBLE, -np.inf, whole_B)


def _scan(enter_BKT: np.ndarray, stay_BKT: np.ndarray) -> np.ndarray:
    """r[s] = logaddexp(r[s - 1], enter[s - 1]) + stay[s - 1], r[0] impossible, for all s at once.

    Two neighbouring spans of frames make one: the stays add up, and what entered in the first stays
    through the second. Spans double in length, so log2(T) rounds do (Hillis and Steele 1986). Only
    sums and no differences: exact in float32.
    """
    batch, num_hyps, num_frames = enter_BKT.shape
    reached_BKS = np.full((batch, num_hyps, num_frames + 1), IMPOSSIBLE)
    reached_BKT = reached_BKS[..., 1:]
    np.add(enter_BKT, stay_BKT, out=reached_BKT)
    stay_BKT = stay_BKT.copy()
    span = 1
    while span < num_frames:
        carried = _logaddexp(
            reached_BKT[..., span:], reached_BKT[..., :-span] + stay_BKT[..., span:]
        )
        reached_BKT[..., span:] = carried
        stay_BKT[..., span:] = stay_BKT[..., span:] + stay_BKT[..., :-span]
        span *= 2
    return np.maximum(reached_BKS, IMPOSSIBLE, out=reached_BKS)


def _logaddexp(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """As NumPy's for finite numbers, but of vectorised parts: many times faster in float32."""
    gap = np.abs(x - y)
    np.negative(gap, out=gap)
    np.exp(gap, out=gap)
    gap += 1
    np.log(gap, out=gap)
    gap += np.maximum(x, y)
    return gap


def _logsumexp(x_BKT: np.ndarray) -> np.ndarray:
    """Over the last axis."""
    peak_BK1 = x_BKT.max(-1, keepdims=True)
    return np.log(np.exp(x_BKT - peak_BK1).sum(-1)) + peak_BK1[..., 0]
