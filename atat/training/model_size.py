"""The size of a model, and whether this machine has the memory to train it."""

import os

from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer

BYTES_A_PARAMETER = 16  # of itself, its gradient, and Adam's two means


def num_parameters(settings: Config, tokenizer: Tokenizer) -> int:
    """Size of the model that the settings describe, without making it.

    Raises:
        ValueError: it could not be trained in this machine's memory.
    """
    import torch

    from atat.models.espnet_model import build

    with torch.device("meta"):
        model = build(settings, tokenizer, load_pretrained=False)
    size = sum(parameter.numel() for parameter in model.parameters())
    needed, there = BYTES_A_PARAMETER * size / 2**30, memory_gb()
    if there is not None and needed > there:
        raise ValueError(
            f"model: got settings of {size:,} parameters, which take {needed:,.0f} GB to train; "
            f"expected at most the {there:.0f} GB of this machine: lower model.width or the layers"
        )
    return size


def memory_gb() -> float | None:
    """This machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return None
