"""Preemptible training: a signal leads to a checkpoint in the middle of an epoch, and the next
start goes on from there as if nothing had been.

ESPnet's own checkpoint, after every epoch, stays as it is: where the one within an epoch is missing
or damaged, training goes on from that.
"""

import random
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from atat.common import espnet_compat
from atat.common.stages import AGAIN
from atat.training import distributed, signals
from atat.training.signals import StopSignal

from espnet2.train.reporter import Average, SubReporter, WeightedAverage


class Stateful(Protocol):
    """What a checkpoint keeps: an optimizer, a scheduler, a scaler, a log."""

    def state_dict(self) -> dict[str, Any]:
        """Everything that is to be kept."""

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take it back."""


class EpochCheckpoint:
    """The state of a training within an epoch, on disk.

    Args:
        path: of the file.
        stop: asked between any two steps.
        log: its clocks go on where they stood.
    """

    def __init__(self, path: Path, stop: StopSignal, log: Stateful) -> None:
        self.path, self.stop, self.log = path, stop, log
        self._parts: dict[str, Any] = {}
        self._reporter: SubReporter | None = None
        self._accumulate = 1
        self.position = 0  # batches of the epoch that are done

    def begin(self, parts: dict[str, Any], reporter: SubReporter, accumulate: int) -> None:
        """Begin an epoch, or go on within it where a checkpoint of it is there.

        Args:
            parts: model, optimizers, schedulers and scaler by name (lists of some), None among
                them; what there is is loaded.
            reporter: ESPnet's, of the epoch.
            accumulate: batches an update; only between two updates is there a state to keep.
        """
        self._parts, self._reporter, self._accumulate = parts, reporter, accumulate
        self._random: list[Any] = []
        self.position = 0
        if (saved := self._read()) is None:
            return
        for name, part in parts.items():
            for one, state in zip(_listed(part), saved[name], strict=True):
                if one is not None:
                    one.load_state_dict(state)
        _set_stats(reporter, saved["stats"])
        self.log.load_state_dict(saved["log"])
        self._random, self.position = saved["random"], saved["position"]

    def rest(self, loader: Iterable[Any]) -> Iterator[Any]:
        """The batches of the epoch that are left; between two of them a signal is obeyed.

        Args:
            loader: of those batches; a DataLoader draws from the generators when it starts.

        Raises:
            SystemExit: after a signal; the checkpoint is written.
        """
        batches = iter(loader)
        rank = distributed.rank()
        if rank < len(self._random):
            _set_random_states(self._random[rank])
        for batch in batches:
            if self.position % self._accumulate == 0:
                self.obey()
            yield batch
            self.position += 1

    def unless_stopped(self, batches: Iterable[Any]) -> Iterator[Any]:
        """Pass on the batches of the validation after the epoch; a signal is obeyed there too."""
        for batch in batches:
            self.obey()
            yield batch

    def obey(self) -> None:
        """If a signal has come to any process: write the checkpoint and leave (SystemExit)."""
        if not any(distributed.largest(self.stop.name is not None)):
            return
        assert self._reporter is not None
        epoch = self._reporter.get_epoch()
        if self.position:
            self._write(epoch)
        if distributed.rank():
            raise SystemExit(AGAIN)
        name = self.stop.name or "a signal"
        signals.leave(f"{name}: stopped in epoch {epoch} after {self.position} batches")

    def _read(self) -> dict[str, Any] | None:
        """The file's content, if it is of this epoch and whole."""
        assert self._reporter is not None
        if not self.path.is_file():
            return None
        try:
            saved = espnet_compat.load_weights_only(self.path, "cpu")
        except ValueError as e:
            if distributed.rank() == 0:
                print(f"WARNING: {e}: goes on from the epoch before", file=sys.stderr)
            return None
        return saved if saved["epoch"] == self._reporter.get_epoch() else None

    def _write(self, epoch: int) -> None:
        assert self._reporter is not None
        states = {
            name: [None if one is None else one.state_dict() for one in _listed(part)]
            for name, part in self._parts.items()
        }
        about = {
            "epoch": epoch,
            "position": self.position,
            "stats": _stats(self._reporter),
            "log": self.log.state_dict(),
            "random": distributed.gathered(_random_states()),
        }
        if distributed.rank() == 0:
            espnet_compat.save_aside(states | about, self.path)
        distributed.gathered(None)  # nobody leaves before it is written


def _listed(part: Any) -> Sequence[Any]:
    return part if isinstance(part, list | tuple) else [part]


def _stats(reporter: SubReporter) -> dict[str, Any]:
    """What ESPnet's reporter has gathered in the epoch, as plain numbers: value and weight."""
    values = {
        key: [(float(v.value), getattr(v, "weight", None)) for v in values]
        for key, values in reporter.stats.items()
    }
    return {"values": values, "count": reporter.count, "total_count": reporter.total_count}


def _set_stats(reporter: SubReporter, stats: dict[str, Any]) -> None:
    for key, values in stats["values"].items():
        reporter.stats[key] = [
            Average(value) if weight is None else WeightedAverage(value, weight)
            for value, weight in values
        ]
    reporter.count, reporter.total_count = stats["count"], stats["total_count"]


def _random_states() -> dict[str, Any]:
    """Of the generators that have no names: torch's, numpy's and Python's."""
    state = np.random.get_state()
    assert isinstance(state, tuple)  # of the Mersenne twister
    kind, keys, *rest = state
    states: dict[str, Any] = {
        "torch": torch.get_rng_state(),
        "numpy": (kind, torch.from_numpy(keys.astype(np.int64)), *rest),
        "python": random.getstate(),
    }
    if torch.cuda.is_initialized():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_random_states(states: dict[str, Any]) -> None:
    torch.set_rng_state(states["torch"])
    kind, keys, *rest = states["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(states["python"])
    if "cuda" in states and torch.cuda.is_initialized():
        torch.cuda.set_rng_state(states["cuda"])
