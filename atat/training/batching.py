"""Mixed batches in ESPnet's form: a sampler plans the steps, a collator makes their tensors.

ESPnet's stock data classes want every example to have the same keys; its official way round them is
an iterator factory of one's own (`iterator_type: task`).
"""

import os
from collections.abc import Iterable

import torch

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.training.batch_sampler import MixedBatchSampler, Step
from atat.training.collator import Batch, Collator
from atat.training.training_data import TrainingData

from espnet2.iterators.abs_iter_factory import AbsIterFactory


class Batches:
    """A sampler and the collator of its steps.

    Args:
        examples: what there is.
        config: `train` for sizes, `augment` for training, `seed`.
        tokenizer: special symbols and task tokens.
        training: false goes through everything once, in order, without augmentation.
        rank: which of `train.num_processes`.
    """

    def __init__(
        self,
        examples: TrainingData,
        config: Config,
        tokenizer: Tokenizer,
        *,
        training: bool,
        rank: int = 0,
    ):
        self.config, self.training, self.rank = config, training, rank
        self.sampler = MixedBatchSampler(examples, config, training=training, rank=rank)
        self.collate = Collator(examples, config, tokenizer, training=training, rank=rank)


class IterFactory(AbsIterFactory):
    """ESPnet's interface: the batches of an epoch, made ahead by worker processes."""

    def __init__(self, batches: Batches, num_workers: int):
        self.batches, self.num_workers = batches, num_workers

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Iterable[Batch]:
        """Epochs count from 1; an epoch is `num_steps / num_epochs` steps."""
        if self.batches.training:
            train = self.batches.config.train
            first = train.num_steps * (epoch - 1) // train.num_epochs
            last = train.num_steps * epoch // train.num_epochs
            plan = self.batches.sampler.steps(first, last - first)
        else:
            # The first process alone tells of it.
            plan = self.batches.sampler.validation()[: 1 if self.batches.rank else None]
        workers = self.num_workers if self.batches.training else 0
        return torch.utils.data.DataLoader(
            _Planned(self.batches, plan),
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            # Where it can be had, since it starts at once; the default depends on who started us.
            multiprocessing_context="fork" if workers and hasattr(os, "fork") else None,
        )


class _Planned(torch.utils.data.Dataset):
    def __init__(self, batches: Batches, plan: list[Step]):
        self.batches, self.plan = batches, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch:
        return self.batches.collate(*self.plan[index])
