"""CTC prefix scores of every continuation of every hypothesis at once, for beam search.

The probability that CTC gives to all label sequences that begin with a prefix: Graves 2008,
"Supervised sequence labelling with recurrent neural networks", section 7.4; Watanabe et al. 2017,
"Hybrid CTC/attention architecture for end-to-end speech recognition", algorithm 2. There the
recursion over frames runs for every candidate. Here the scores of all candidates are one matrix
product, and the recursion runs only for the hypotheses that the beam kept, as a prefix scan.
"""

# B utterances, K hypotheses each, T frames, V vocabulary; S = T + 1: entry s is "after s frames".
# All scores are natural logarithms, float32.

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

# Stands in for -inf where -inf - -inf would give NaN; any real score is far above it.
_LOWEST = -1.0e30


@dataclass(frozen=True)
class CtcState:
    """Forward variables of each hypothesis as a prefix (Graves 2008, section 7.4).

    Attributes:
        nonblank_BKS: log-probability of all paths over s frames that collapse to the prefix and end
            in its last label.
        blank_BKS: the same for paths that end in blank.
        last_BK: last label of the prefix; blank when it has none yet.
        prefix_BK: log-probability of all label sequences that begin with the prefix.
    """

    nonblank_BKS: Tensor
    blank_BKS: Tensor
    last_BK: Tensor
    prefix_BK: Tensor


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
        log_probs_BTV: Tensor,
        mask_BT: Tensor,
        *,
        blank: int = 0,
        eos: int,
        silent: Iterable[int] = (),
    ):
        log_probs_BTV = log_probs_BTV.float().masked_fill(~mask_BT[..., None], -torch.inf)
        # A padded frame is blank for sure: it changes no probability.
        log_probs_BTV[..., blank].masked_fill_(~mask_BT, 0.0)
        self.log_probs_BTV = log_probs_BTV
        self.probs_BTV = log_probs_BTV.exp()
        self.blank, self.eos = blank, eos
        self.is_silent_V = torch.zeros(
            log_probs_BTV.shape[-1], dtype=torch.bool, device=log_probs_BTV.device
        )
        self.is_silent_V[list(silent)] = True

    def start(self, num_hyps: int) -> CtcState:
        """The state of `num_hyps` empty prefixes for each utterance."""
        blanks_BT = self.log_probs_BTV[..., self.blank].cumsum(-1)
        blank_BKS = torch.nn.functional.pad(blanks_BT, (1, 0))[:, None].repeat(1, num_hyps, 1)
        last_BK = torch.full(blank_BKS.shape[:2], self.blank, device=blank_BKS.device)
        nonblank_BKS = torch.full_like(blank_BKS, -torch.inf)
        return CtcState(nonblank_BKS, blank_BKS, last_BK, torch.zeros_like(blank_BKS[..., 0]))

    def score(self, state: CtcState) -> Tensor:
        """Score of each hypothesis after each next token.

        Returns:
            prefix_BKV: log-probability of all label sequences that begin with hypothesis + token;
            for `eos` of the hypothesis alone; for a silent token the hypothesis' own score.
            A token less likely than e^-87 times the prefix's best frame counts as impossible.
        """
        paths_BKS = torch.logaddexp(state.nonblank_BKS, state.blank_BKS)
        paths_BKT = paths_BKS[..., :-1]
        peak_BK1 = paths_BKT.amax(-1, keepdim=True).clamp_min(_LOWEST)
        prefix_BKV = ((paths_BKT - peak_BK1).exp() @ self.probs_BTV).log_() + peak_BK1
        # A label repeated at once must have a blank between.
        repeat_BK1 = torch.logsumexp(
            state.blank_BKS[..., :-1] + self._label(state.last_BK), -1, keepdim=True
        )
        prefix_BKV.scatter_(-1, state.last_BK[..., None], repeat_BK1)
        prefix_BKV[..., self.eos] = paths_BKS[..., -1]
        return torch.where(self.is_silent_V, state.prefix_BK[..., None], prefix_BKV)

    def advance(self, state: CtcState, parent_BK: Tensor, token_BK: Tensor) -> CtcState:
        """State after hypothesis `parent_BK[b, k]` has been continued by `token_BK[b, k]`."""
        nonblank_BKS = _rows(state.nonblank_BKS, parent_BK)
        blank_BKS = _rows(state.blank_BKS, parent_BK)
        last_BK = state.last_BK.gather(1, parent_BK)
        paths_BKT = torch.where(
            (token_BK == last_BK)[..., None],
            blank_BKS[..., :-1],
            torch.logaddexp(nonblank_BKS, blank_BKS)[..., :-1],
        )
        label_BKT = self._label(token_BK)
        new_nonblank_BKS = _scan(paths_BKT, label_BKT)
        new_prefix_BK = torch.logsumexp(paths_BKT + label_BKT, -1)
        blank_B1T = self.log_probs_BTV[..., self.blank][:, None]
        new_blank_BKS = _scan(new_nonblank_BKS[..., :-1], blank_B1T.expand_as(paths_BKT))
        silent_BK = self.is_silent_V[token_BK]
        silent_BK1 = silent_BK[..., None]
        return CtcState(
            torch.where(silent_BK1, nonblank_BKS, new_nonblank_BKS),
            torch.where(silent_BK1, blank_BKS, new_blank_BKS),
            torch.where(silent_BK, last_BK, token_BK),
            torch.where(silent_BK, state.prefix_BK.gather(1, parent_BK), new_prefix_BK),
        )

    def select_utterances(self, index_B: Tensor, state: CtcState) -> CtcState:
        """Keep these utterances only, here and in the state."""
        self.log_probs_BTV = self.log_probs_BTV[index_B]
        self.probs_BTV = self.probs_BTV[index_B]
        return CtcState(
            state.nonblank_BKS[index_B],
            state.blank_BKS[index_B],
            state.last_BK[index_B],
            state.prefix_BK[index_B],
        )

    def _label(self, token_BK: Tensor) -> Tensor:
        """Log-probability of each hypothesis' token at each frame, (B, K, T)."""
        num_frames = self.log_probs_BTV.shape[1]
        index_BTK = token_BK[:, None].expand(-1, num_frames, -1)
        return self.log_probs_BTV.gather(2, index_BTK).transpose(1, 2)


def _scan(enter_BKT: Tensor, stay_BKT: Tensor) -> Tensor:
    """r[s] = logaddexp(r[s - 1], enter[s - 1]) + stay[s - 1] with r[0] = -inf, for all s at once.

    Two neighbouring spans of frames make one: the stays add up, and what entered in the first stays
    through the second. Spans double in length, so log2(T) rounds do (Hillis and Steele 1986). Only
    sums and no differences: exact in float32 and safe with -inf.
    """
    reached, stay = enter_BKT + stay_BKT, stay_BKT
    span = 1
    while span < reached.shape[-1]:
        carried = torch.logaddexp(reached[..., span:], reached[..., :-span] + stay[..., span:])
        reached = torch.cat((reached[..., :span], carried), -1)
        stay = torch.cat((stay[..., :span], stay[..., span:] + stay[..., :-span]), -1)
        span *= 2
    return torch.nn.functional.pad(reached, (1, 0), value=-torch.inf)


def _rows(x_BKS: Tensor, parent_BK: Tensor) -> Tensor:
    return x_BKS.gather(1, parent_BK[..., None].expand(-1, -1, x_BKS.shape[-1]))
