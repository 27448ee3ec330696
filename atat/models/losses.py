"""The losses that AT-AT is trained with: next tokens of all targets, and CTC of the spoken words.

The paper has the first alone (section 3.1), label-smoothed (section 4.3); CTC on the speech encoder
and its flat start are ours (docs/log.md).
"""

# B speech rows, R targets (r of one kind of source), S states of the encoder, L tokens, N tokens
# of all targets without padding, or of words, V vocabulary

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from atat.models.decoder import Decoder
from atat.models.encoders import length_mask

# Makes sums over this process's rows those over the rows of all that share the batch.
Total = Callable[[Tensor], Tensor]


class NextTokens(NamedTuple):
    """Cross-entropy and accuracy of the tokens of all targets, the ends included.

    Attributes:
        loss_N: cross-entropy, float32.
        is_right_N: whether the token is the most probable one after the target so far.
        target_N: which target each token belongs to, int64.
    """

    loss_N: Tensor
    is_right_N: Tensor
    target_N: Tensor


class Bounds(NamedTuple):
    """Where targets start and end.

    Attributes:
        start_R: id of the token that the decoder starts from, int64.
        end_R: id of the token that ends each, int64.
        given_R: how many tokens each begins with that are not to be learned, int64.
    """

    start_R: Tensor
    end_R: Tensor
    given_R: Tensor


def whole(task_R: Tensor, eos: int) -> Bounds:
    """Of targets that are learned whole, from the ids of their task tokens to the end of
    sequence `eos`."""
    return Bounds(task_R, torch.full_like(task_R, eos), torch.zeros_like(task_R))


def of_two_parts(
    target_RL: Tensor, task_R: Tensor, bounds: Bounds, ids: Mapping[str, int]
) -> Bounds:
    """Where the targets are what is said, <nlu>, what it means (`model.transcript_first`): those of
    speech start from <asr>, transcripts end with <nlu>, written sentences have their words given.

    Args:
        target_RL: int64, token ids, padded.
        task_R: int64, ids of the task tokens.
        bounds: of whole targets.
        ids: task -> id of its token.
    """
    is_past_RL = (target_RL == ids["nlu"]).cumsum(dim=1) > 0
    num_words_R = (~is_past_RL).sum(dim=1)
    return Bounds(
        bounds.start_R.masked_fill(task_R == ids["slu"], ids["asr"]),
        bounds.end_R.masked_fill(task_R == ids["asr"], ids["nlu"]),
        (num_words_R + 1).masked_fill(task_R != ids["nlu"], 0),
    )


def next_tokens(
    decoder: Decoder,
    memories: list[tuple[Tensor, Tensor]],
    target_RL: Tensor,
    lengths_R: Tensor,
    source_R: Tensor,
    bounds: Bounds,
    *,
    pad: int,
    label_smoothing: float,
) -> NextTokens:
    """Teacher-forced cross-entropy of all targets, each from its source.

    One decoder, but speech and text go through it one after the other: together, each would be
    padded to the other's longest target and memory (docs/log.md has what that costs).

    Args:
        decoder: shared by all tasks.
        memories: memory (B, S, D) and mask (B, S) of each kind of source, speech before text.
        target_RL: int64, token ids, padded.
        lengths_R: int64, tokens of each target.
        source_R: int64, rows of the targets' sources, counted through all memories.
        bounds: where each target starts and ends.
        pad: id of the padding.
        label_smoothing: share of the probability that is spread over the vocabulary, 0 to 1.
    """
    # Of several processes that share a batch one may have no targets.
    losses = [memories[0][0].new_zeros(0)]
    right, targets, first = [target_RL.new_zeros(0).bool()], [target_RL.new_zeros(0)], 0
    for memory_BSD, mask_BS in memories:
        row_R = source_R - first
        target_r = ((row_R >= 0) & (row_R < len(memory_BSD))).nonzero().squeeze(1)
        first += len(memory_BSD)
        if not len(target_r):
            continue
        lengths_r = lengths_R[target_r]
        given_rL = target_RL[target_r, : int(lengths_r.max())]
        label_rL = F.pad(given_rL, (0, 1), value=pad)
        label_rL.scatter_(1, lengths_r[:, None], bounds.end_R[target_r, None])
        given_r = bounds.given_R[target_r]
        places_L = torch.arange(label_rL.size(1), device=label_rL.device)
        valid_rL = (label_rL != pad) & (places_L >= given_r[:, None])
        label_N = label_rL[valid_rL]
        token_rL = torch.cat([bounds.start_R[target_r, None], given_rL], dim=1)
        # Float32 again, where products are in another precision.
        logits_NV = decoder(token_rL, memory_BSD, mask_BS, row_R[target_r], valid_rL).float()
        losses.append(
            F.cross_entropy(logits_NV, label_N, label_smoothing=label_smoothing, reduction="none")
        )
        right.append(logits_NV.detach().argmax(dim=-1) == label_N)
        targets.append(target_r.repeat_interleave(lengths_r + 1 - given_r))
    return NextTokens(torch.cat(losses), torch.cat(right), torch.cat(targets))


def weighted_by_task(
    found: NextTokens,
    task_R: Tensor,
    tasks: Mapping[int, str],
    weights: Mapping[str, float],
    total: Total = torch.Tensor.detach,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The mean loss of each task's tokens, weighted and added up.

    Args:
        found: of all targets.
        task_R: ids of the targets' task tokens.
        tasks: id -> name of a task.
        weights: name -> factor of its loss.
        total: of several processes that share a batch.

    Returns:
        The loss (of several processes: this one's part of it, so that the parts add up to it); and,
        detached, of all targets and of each task that there is: loss, accuracy of the next token,
        and greedy exact match (`loss`, `acc`, `em`, `loss_slu`, `acc_slu`, `em_slu`, ...).
    """
    # Greedy decoding gives the target exactly when every next token, the end included, is the most
    # probable after the target so far: no decoding is needed to count exact matches.
    exact_R = torch.ones_like(task_R, dtype=torch.bool)
    exact_R[found.target_N[~found.is_right_N]] = False
    exact_R, right_N = exact_R.float(), found.is_right_N.float()
    task_N = task_R[found.target_N]
    sums = []
    for token in tasks:
        of_task_N, of_task_R = task_N == token, task_R == token
        loss, right = found.loss_N[of_task_N].sum(), right_N[of_task_N].sum()
        sums.append(
            torch.stack([loss, right, of_task_N.sum(), exact_R[of_task_R].sum(), of_task_R.sum()])
        )
    sums_K5 = torch.stack(sums)
    all_K5 = total(sums_K5)
    _, right, num_tokens, exact, num = all_K5.sum(dim=0)
    loss = value = found.loss_N.new_zeros(())
    stats = {"acc": right / num_tokens, "em": exact / num}
    there = (all_K5[:, 2] > 0).tolist()
    for name, is_there, (own, *_), (all_, right, num_tokens, exact, num) in zip(
        tasks.values(), there, sums_K5, all_K5, strict=True
    ):
        if not is_there:
            continue
        loss = loss + weights[name] * (own / num_tokens)
        value = value + weights[name] * (all_ / num_tokens)
        stats[f"loss_{name}"] = all_ / num_tokens
        stats[f"acc_{name}"] = right / num_tokens
        stats[f"em_{name}"] = exact / num
    return loss, (stats if any(there) else {}) | {"loss": value}


def ctc_loss(
    ctc_BSV: Tensor, states_B: Tensor, words_BN: Tensor, lengths_B: Tensor, blank: int
) -> tuple[Tensor, Tensor]:
    """CTC of the words (Graves et al. 2006): its sum, and the number of word tokens.

    A row with more tokens than states, after strong speeding up, has no path: it teaches nothing,
    and its tokens do not count either.

    Args:
        ctc_BSV: CTC's log-softmax outputs, float.
        states_B: int64, states of each row.
        words_BN: int64, token ids, padded.
        lengths_B: int64, their numbers, 0 where the words are not known.
        blank: id of CTC's blank.
    """
    loss_B = F.ctc_loss(
        ctc_BSV.transpose(0, 1),
        words_BN,
        states_B,
        lengths_B,
        blank=blank,
        reduction="none",
        zero_infinity=True,  # else the gradient of a row without a path is not a number
    )
    within_BN = length_mask(lengths_B, words_BN.size(1))
    # Between two of the same token a path has a blank.
    again_B = ((words_BN[:, 1:] == words_BN[:, :-1]) & within_BN[:, 1:]).sum(dim=1)
    is_taught_B = (lengths_B > 0) & (lengths_B + again_B <= states_B)
    return loss_B[is_taught_B].sum(), lengths_B[is_taught_B].sum()


def flat_start_loss(
    ctc_BSV: Tensor,
    states_B: Tensor,
    words_BN: Tensor,
    lengths_B: Tensor,
    active_B2: Tensor,
    characters_V: Tensor,
    blank: int,
) -> tuple[Tensor, Tensor]:
    """Cross-entropy of every state, the words spread over the speech by their length: its sum, and
    the number of states.

    As monophone training starts from equal alignments: without it CTC stays on its plateau of
    blanks for thousands of steps (docs/log.md).

    Args:
        ctc_BSV: CTC's log-softmax outputs, float.
        states_B: int64, states of each row.
        words_BN: int64, token ids, padded.
        lengths_B: int64, their numbers, 0 where the words are not known.
        active_B2: where speech begins and ends, in states.
        characters_V: characters of each token, at least 1.
        blank: id of CTC's blank.
    """
    position_S = torch.arange(ctc_BSV.size(1), device=ctc_BSV.device)
    begin_B1, end_B1 = active_B2.split(1, dim=1)
    share_BS = (position_S + 0.5 - begin_B1) / (end_B1 - begin_B1).clamp(min=1.0)
    size_BN = characters_V[words_BN] * length_mask(lengths_B, words_BN.size(1))
    ends_BN = size_BN.cumsum(dim=1) / size_BN.sum(dim=1, keepdim=True).clamp(min=1)
    index_BS = torch.searchsorted(ends_BN, share_BS.clamp(0.0, 1.0).contiguous())
    label_BS = words_BN.gather(1, index_BS.clamp(max=words_BN.size(1) - 1))
    label_BS = label_BS.masked_fill((share_BS < 0) | (share_BS >= 1), blank)
    known_BS = length_mask(states_B, ctc_BSV.size(1)) & (lengths_B > 0)[:, None]
    label_BS = label_BS.masked_fill(~known_BS, -100)
    return F.nll_loss(ctc_BSV.transpose(1, 2), label_BS, reduction="sum"), known_BS.sum()


def mean(sum_: Tensor, count: Tensor, total: Total = torch.Tensor.detach) -> tuple[Tensor, Tensor]:
    """A sum, divided by the count, at least 1, over all processes that share a batch.

    Returns:
        This process's part of the mean; and, detached, the mean.
    """
    all_sum, all_count = total(torch.stack([sum_, count.to(sum_.dtype)]))
    return sum_ / all_count.clamp(min=1), all_sum / all_count.clamp(min=1)
