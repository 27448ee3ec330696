"""CTC posteriors as an input of the text encoder."""

# B utterances, T frames, N labels, V vocabulary

import torch
from torch import Tensor


def collapse(
    log_probs_BTV: Tensor, mask_BT: Tensor, blank: int, trim: bool = True
) -> tuple[Tensor, Tensor]:
    """CTC posteriors, collapsed along the best path: one mean a label of it.

    Args:
        log_probs_BTV: CTC's log-softmax outputs, float.
        mask_BT: bool, True where a frame is real.
        blank: id of CTC's blank.
        trim: false leaves N at T: an exported graph has no sizes that depend on values.

    Returns:
        probs_BNV, float: distribution over the labels but blank, of every label of the best path,
        zeros in the padding; num_labels_B, int64. N is the largest of these, at least 1.
    """
    best_BT = log_probs_BTV.argmax(-1).masked_fill(~mask_BT, blank)
    before_BT = torch.nn.functional.pad(best_BT, (1, 0), value=blank)[:, :-1]
    is_label_BT = best_BT != blank
    starts_BT = (is_label_BT & (best_BT != before_BT)).long()
    num_labels_B = starts_BT.sum(-1)
    which_BT = (starts_BT.cumsum(-1) - 1).clamp(min=0)
    probs_BTV = log_probs_BTV.exp() * is_label_BT[..., None]
    probs_BTV[..., blank] = 0.0
    probs_BNV = torch.zeros_like(probs_BTV)
    if trim:
        probs_BNV = probs_BNV[:, : max(1, int(num_labels_B.max()))].contiguous()
    probs_BNV = probs_BNV.scatter_add(1, which_BT[..., None].expand_as(probs_BTV), probs_BTV)
    return probs_BNV / probs_BNV.sum(-1, keepdim=True).clamp(min=1e-9), num_labels_B
