"""A batch whose rows several processes have between them: means and statistics over all of it.

Gradients that are averaged over processes are those of the whole batch only if each process divides
by the batch's counts, not by its own. So counts are added up before anything is divided, and batch
norm takes its statistics over all rows.
"""

# W processes, B rows of this one, D channels, S positions

from typing import Any

import torch
from torch import Tensor, nn


def total(sums: Tensor) -> Tensor:
    """The sums over all processes, detached; all of them have to ask, in the same order."""
    sums = sums.detach().clone()
    torch.distributed.all_reduce(sums)
    return sums


class BatchNorm(nn.BatchNorm1d):
    """Batch normalisation over the rows of all processes.

    torch's SyncBatchNorm does that on GPUs alone. Every process has as many positions a row.

    Attributes:
        counted: whether this process's rows count; those that only keep it in step do not.
        group: of the processes, apart from the one in which gradients are exchanged meanwhile.
    """

    counted = True
    group: "torch.distributed.ProcessGroup | None" = None

    @classmethod
    def of(cls, norm: nn.BatchNorm1d, group: "torch.distributed.ProcessGroup") -> "BatchNorm":
        """In place of another, with its parameters and statistics."""
        new = cls(norm.num_features, norm.eps, norm.momentum, norm.affine)
        new.weight, new.bias = norm.weight, norm.bias
        new.running_mean, new.running_var = norm.running_mean, norm.running_var
        new.num_batches_tracked = norm.num_batches_tracked
        new.group = group
        return new.train(norm.training)

    def forward(self, x_BDS: Tensor) -> Tensor:
        """Normalise; float (B, D, S)."""
        if not self.training:
            return super().forward(x_BDS)
        x = x_BDS.float()
        variance_D, mean_D = torch.var_mean(x, dim=(0, 2), correction=0)
        size = x.size(0) * x.size(2) * self.counted
        own = torch.cat([mean_D * self.counted, variance_D * self.counted, x.new_tensor([size])])
        mean_WD, variance_WD, size_W1 = _gather(own, self.group).split(
            [len(mean_D), len(mean_D), 1], dim=1
        )
        share_W1 = size_W1.detach() / size_W1.detach().sum()
        mean_D = (share_W1 * mean_WD).sum(0)
        variance_D = (share_W1 * (variance_WD + (mean_WD - mean_D) ** 2)).sum(0)
        with torch.no_grad():
            num, mean, var = float(size_W1.sum()), self.running_mean, self.running_var
            assert mean is not None and var is not None  # ESPnet's layers track them
            assert self.num_batches_tracked is not None and self.momentum is not None
            self.num_batches_tracked += 1
            mean.lerp_(mean_D, self.momentum)
            var.lerp_(variance_D * num / max(num - 1, 1), self.momentum)
        scale_D = self.weight * torch.rsqrt(variance_D + self.eps)
        out = (x - mean_D[:, None]) * scale_D[:, None] + self.bias[:, None]
        return out.to(x_BDS.dtype)


def _gather(own: Tensor, group: object) -> Tensor:
    """(W, N): what each process has, in all of them; gradients flow back to each."""
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    slots = own.new_zeros(world, len(own)).index_copy(0, own.new_tensor([rank]).long(), own[None])
    sum_up: Any = _Sum.apply  # has no types
    return sum_up(slots, group)


class _Sum(torch.autograd.Function):
    """The sum over all processes; so the gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, group: object) -> Tensor:
        ctx.group = group
        tensor = tensor.clone()
        torch.distributed.all_reduce(tensor, group=group)
        return tensor

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone()
        torch.distributed.all_reduce(gradient, group=ctx.group)
        return gradient, None


def share_statistics(model: nn.Module) -> None:
    """Let every batch norm of a model count the rows of all processes."""
    group = torch.distributed.new_group()
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.BatchNorm1d:
                setattr(module, name, BatchNorm.of(child, group))


def count_rows(model: nn.Module, counted: bool) -> None:
    """Whether this process's rows of the next batch count in the statistics."""
    for module in model.modules():
        if isinstance(module, BatchNorm):
            module.counted = counted
