"""A learning rate of their own for parameters that another experiment gave, for a while.

Paper, fine-tuning: their rate is multiplied by 0 for 500 steps, by 0.2, 0.5 and 0.7 for 100 steps
each, then by 1; new parameters have the whole rate throughout.

A step of Adam or AdamW is proportional to the rate (weight decay included). So a factor of the rate
is a factor of the step, and that can be had for some rows of a tensor: the new symbols' rows of an
embedding learn beside old ones that stand still.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

Schedule = list[list[float]]  # [number of steps, factor of the rate] each, in order; then 1

# The count of updates is kept where the optimizer keeps its rate: a checkpoint has it too.
COUNT = "num_updates"


def check(schedule: Schedule) -> None:
    """Raise ValueError unless it is a list of [steps, factor]."""
    for entry in schedule:
        steps, value = entry if len(entry) == 2 else (0.0, 0.0)
        if not (steps >= 1 and steps == int(steps) and 0 <= value < math.inf):
            raise ValueError(
                f"train.pretrained_schedule: got {list(entry)}, expected [steps, factor]: a whole "
                "number of 1 or more, and 0 or more"
            )


def factor(schedule: Schedule, update: int) -> float:
    """The factor of an update; they count from 0.

    >>> [factor([[500, 0.0], [100, 0.2]], update) for update in (0, 499, 500, 599, 600)]
    [0.0, 0.0, 0.2, 0.2, 1.0]
    """
    for steps, value in schedule:
        if update < steps:
            return value
        update -= int(steps)
    return 1.0


def always(value: float) -> Schedule:
    """A factor that stays.

    >>> [factor(always(0.25), update) for update in (0, 10**9)], always(1.0)
    ([0.25, 0.25], [])
    """
    return [] if value == 1.0 else [[math.inf, value]]


class Followers(NamedTuple):
    """Parameters, each with the indices of its rows that are meant (None for all of it), and the
    schedule that they follow: factors of the rate, as `factor` takes them, after its last step 1.
    """

    parameters: list[tuple[Parameter, Tensor | None]]
    schedule: Schedule


def follow(optimizer: Optimizer, *followers: Followers) -> None:
    """Let parameters follow their schedules at every step of the optimizer from now on.

    Args:
        optimizer: whose steps are proportional to its rate.
        followers: of a parameter that is in several, the factors are multiplied.
    """
    held: list[tuple[Parameter, Tensor | None, Tensor, float]] = []  # with the values before a step

    def before(optimizer: Optimizer, *_: object) -> None:
        update = optimizer.param_groups[0].setdefault(COUNT, 0)
        for parameters, schedule in followers:
            share = factor(schedule, update)
            if share != 1.0:
                for p, rows in parameters:
                    place = None if rows is None else rows.to(p.device)
                    old = (p if place is None else p[place]).detach().clone()
                    held.append((p, place, old, share))

    @torch.no_grad()
    def after(optimizer: Optimizer, *_: object) -> None:
        for p, rows, old, share in held:
            if rows is None:
                p.copy_(torch.lerp(old, p, share))
            else:
                p[rows] = torch.lerp(old, p[rows], share)
        held.clear()
        optimizer.param_groups[0][COUNT] += 1

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
