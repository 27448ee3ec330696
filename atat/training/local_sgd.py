"""Several processes train one model: each takes steps of its own, and every few steps all take the
mean of their parameters.

Local SGD (Stich 2019), parameter averaging in speech (Povey et al. 2014), `train.sync: parameters`.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

import torch
from torch import Tensor, nn

Batch = TypeVar("Batch")


def average(tensors: Iterable[Tensor]) -> None:
    """Set each tensor to its mean over the processes; integers (counts of steps) stay as they are.

    All processes of the default group have to call it, with tensors of the same shapes.
    """
    taken = [tensor for tensor in tensors if tensor.is_floating_point()]
    with torch.no_grad():
        flat = torch.cat([tensor.flatten().float() for tensor in taken])
        torch.distributed.all_reduce(flat)
        flat /= torch.distributed.get_world_size()
        for tensor, mean in zip(taken, flat.split([t.numel() for t in taken]), strict=True):
            tensor.copy_(mean.view_as(tensor))


def averaged(
    batches: Iterable[Batch], model: nn.Module, optimizer: torch.optim.Optimizer, every: int
) -> Iterator[Batch]:
    """Pass on the batches of an epoch; whenever `every` of them are done, average the model.

    After the last one the optimizer's moments are averaged too: then all processes are in one
    state, which is what a checkpoint keeps.

    Args:
        batches: of this process; every process has as many.
        model: this process's, whose floating-point state becomes the mean of all.
        optimizer: this process's.
        every: steps from one mean of the parameters to the next.
    """
    # What is frozen is the same everywhere.
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    changing = [value for name, value in model.state_dict().items() if name not in frozen]
    for number, batch in enumerate(batches):
        # A batch is done when the next is asked for.
        if number and number % every == 0:
            average(changing)
        yield batch
    average(changing)
    moments = (
        value for state in optimizer.state.values() for value in state.values() if value.dim() > 0
    )
    average(moments)
