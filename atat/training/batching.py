"""Mixed batches in ESPnet's form: a sampler plans the steps, a collator makes their tensors.

ESPnet's stock data classes want every example to have the same keys; its official way round them is
an iterator factory of one's own (`iterator_type: task`).
"""

import os
from collections.abc import Iterable, Iterator

import torch

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.training import signals
from atat.training.batch_sampler import MixedBatchSampler, Step
from atat.training.collator import Batch, Collator
from atat.training.distributed import ALONE, World
from atat.training.training_data import TrainingData

from espnet2.iterators.abs_iter_factory import AbsIterFactory


class Batches:
    """A sampler and the collator of its steps.

    Args:
        examples: what there is.
        config: `train` for sizes, `augment` for training, `seed`.
        tokenizer: special symbols and task tokens.
        training: false goes through everything once, in order, without augmentation.
        apart: place among the processes that have batches of their own (`train.sync: parameters`).
        together: place among those that have the rows of a batch between them.
    """

    def __init__(
        self,
        examples: TrainingData,
        config: Config,
        tokenizer: Tokenizer,
        *,
        training: bool,
        apart: World = ALONE,
        together: World = ALONE,
    ) -> None:
        self.config, self.training, self.apart = config, training, apart
        self.sampler = MixedBatchSampler(examples, config, training=training, world=apart)
        self.collate = Collator(
            examples, config, tokenizer, training=training, rank=apart.rank, world=together
        )


class Epoch:
    """The batches of an epoch, made ahead by worker processes.

    Args:
        batches: sampler and collator.
        plan: the steps of the epoch.
        num_workers: processes; 0 makes the batches in this one.
    """

    def __init__(self, batches: Batches, plan: list[Step], num_workers: int) -> None:
        self.batches, self.plan, self.num_workers = batches, plan, num_workers

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.rest(0))

    def rest(self, first: int) -> Iterable[Batch]:
        """The batches from `first` on."""
        workers = self.num_workers
        return torch.utils.data.DataLoader(
            _Planned(self.batches, self.plan[first:]),
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=signals.ignore,
            # Where it can be had, since it starts at once; the default depends on who started us.
            multiprocessing_context="fork" if workers and hasattr(os, "fork") else None,
        )


class IterFactory(AbsIterFactory):
    """ESPnet's interface: an `Epoch` for each."""

    def __init__(self, batches: Batches, num_workers: int) -> None:
        self.batches, self.num_workers = batches, num_workers

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Epoch:
        """Epochs count from 1; an epoch is `num_steps / num_epochs` updates."""
        if self.batches.training:
            train = self.batches.config.train
            first = train.num_steps * (epoch - 1) // train.num_epochs * train.accum_grad
            last = train.num_steps * epoch // train.num_epochs * train.accum_grad
            plan = self.batches.sampler.steps(first, last - first)
        else:
            # Of those that have batches of their own, the first process alone tells of it.
            plan = self.batches.sampler.validation()[: 1 if self.batches.apart.rank else None]
        return Epoch(self.batches, plan, self.num_workers if self.batches.training else 0)


class _Planned(torch.utils.data.Dataset[Batch]):
    def __init__(self, batches: Batches, plan: list[Step]) -> None:
        self.batches, self.plan = batches, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch:
        return self.batches.collate(*self.plan[index])
