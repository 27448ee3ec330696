"""Scaled dot-product attention, in the precision that is fast where it runs."""

# R rows, H heads, L queries, T keys, D width

import torch
import torch.nn.functional as F
from torch import Tensor


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    is_causal: bool = False,
    dropout: float = 0.0,
) -> Tensor:
    """Values, weighted by the softmax of queries times keys (Vaswani et al. 2017, section 3.2.1).

    Of bfloat16 on a CPU (`train.use_amp`) it is done in float32: torch's backward of it takes six
    times as long in bfloat16 (docs/log.md), most of what the products of matrices gain.

    Args:
        queries: (R, H, L, D / H).
        keys: (R, H, T, D / H).
        values: as the keys.
        mask: what is broadcast to (R, H, L, T), of two dimensions or more: bool, true where a key
            counts, or float, added.
        is_causal: a query has the keys up to its own position alone.
        dropout: probability, of a weight.

    Returns:
        (R, H, L, D / H).
    """
    attention = F.scaled_dot_product_attention
    if queries.dtype != torch.bfloat16 or queries.device.type != "cpu":
        return attention(queries, keys, values, mask, dropout, is_causal)
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    with torch.autocast("cpu", enabled=False):
        return attention(queries.float(), keys.float(), values.float(), mask, dropout, is_causal)
