"""What a user sees of training; `train.jsonl`, a line an epoch, has the curves."""

import json
import math
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common import cli
from atat.common.files import atomic_write
from atat.config.schema import Config
from atat.training import distributed, skipped_updates

if TYPE_CHECKING:
    from atat.training.collator import Batch

    from espnet2.train.reporter import SubReporter

NEEDED = {"epoch", "step", "minutes"}
MAX_NUMBER = 2**53  # whole ones have no limit in JSON
SHOWN = ("slu", "nlu", "asr", "mlm")


class TrainLog:
    """Follows a training, over all its sittings.

    Args:
        path: `train.jsonl`; lines of earlier sittings are kept and their minutes counted.
        settings: for the number of steps and the frame shift.
        quiet: says and writes nothing; of several processes one is not.
    """

    def __init__(self, path: Path, settings: Config, quiet: bool = False) -> None:
        self.path, self.settings, self.quiet = path, settings, quiet
        self.lines: list[dict[str, Any]] = read(path)
        from atat.models.whisper import FRAMES_PER_STATE  # with torch; `read` is for reports too

        self._frames_each = FRAMES_PER_STATE if settings.model.frozen_encoder is not None else 1
        self._skipped = skipped_updates.count()
        self.epoch = 0
        self._clock = self._cpu_clock = self._frames = 0.0

    def begin(self, epoch: int) -> None:
        """Start the clocks of an epoch."""
        # An epoch that was cut off is trained again.
        self.lines = [line for line in self.lines if line["epoch"] < epoch]
        self.epoch, self._skipped.number = epoch, 0
        self._clock, self._cpu_clock, self._frames = time.perf_counter(), time.process_time(), 0

    def state_dict(self) -> dict[str, float]:
        """What the epoch has taken so far: seconds, CPU seconds, frames of audio, skips."""
        return {
            "seconds": time.perf_counter() - self._clock,
            "cpu_s": time.process_time() - self._cpu_clock,
            "frames": self._frames,
            "skipped": self._skipped.number,
        }

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Count on from what an earlier sitting took of the epoch."""
        self._clock = time.perf_counter() - state["seconds"]
        self._cpu_clock = time.process_time() - state["cpu_s"]
        self._frames, self._skipped.number = state["frames"], int(state["skipped"])

    def watch(self, batches: "Iterable[Batch]", first: int, count: int) -> "Iterator[Batch]":
        """Pass an epoch's batches on, with a progress bar and a count of the audio.

        Args:
            batches: those that are left of the epoch.
            first: how many were done in an earlier sitting.
            count: how many the epoch has.
        """
        desc = f"epoch {self.epoch}/{self.settings.train.num_epochs}"
        if not self.quiet:
            batches = cli.progress(batches, total=count, initial=first, desc=desc)
        for ids, batch in batches:
            if "speech_lengths" in batch:
                self._frames += int(batch["speech_lengths"].sum()) * self._frames_each
            yield ids, batch

    def trained(self, reporter: "SubReporter") -> None:
        """Take the means of the training statistics from ESPnet's reporter."""
        seconds = time.perf_counter() - self._clock
        means = _means(reporter)
        train = self.settings.train
        (frames,) = distributed.total(self._frames)
        skipped = self._skipped.take(self.epoch, max(1, train.num_steps // train.num_epochs))
        audio_s = frames * self.settings.features.frame_shift_ms / 1000.0
        self._line: dict[str, Any] = {
            "epoch": self.epoch,
            "step": train.num_steps * self.epoch // train.num_epochs,
            "train_loss": means.get("loss"),
            "train_loss_ctc": means.get("loss_ctc"),
            "num_skipped_updates": skipped,
            "learning_rate": means.get("optim0_lr0"),
            "audio_s": audio_s,
            "audio_s_per_s": audio_s / max(seconds, 1e-9),
        }

    def validated(self, reporter: "SubReporter") -> None:
        """Close the epoch: write its line, print a row."""
        means = _means(reporter)
        before = self.lines[-1] if self.lines else {"minutes": 0.0}
        minutes = before["minutes"] + (time.perf_counter() - self._clock) / 60.0
        (cpu_s,) = distributed.total(time.process_time() - self._cpu_clock)
        cpu_minutes = before.get("cpu_minutes", 0.0) + cpu_s / 60.0
        scores = {k: v for k, v in means.items() if k == "acc" or k.startswith("em")}
        self._line |= {"minutes": minutes, "cpu_minutes": cpu_minutes}
        self._line |= {"valid_loss": means.get("loss"), **scores}
        self.lines.append(self._line)
        if self.quiet:
            return
        with atomic_write(self.path) as file:
            file.writelines(json.dumps(line) + "\n" for line in self.lines)
        print(self._row(minutes), flush=True)

    def _row(self, minutes: float) -> str:
        line, train = self._line, self.settings.train
        left = minutes / line["step"] * (train.num_steps - line["step"])
        exact = "  ".join(
            f"{task} {100 * line[f'em_{task}']:5.1f} %" for task in SHOWN if f"em_{task}" in line
        )
        losses = f"loss {_number(line['train_loss'])}  valid {_number(line['valid_loss'])}"
        skipped = line.get("num_skipped_updates", 0)
        note = f"  {skipped} updates skipped: no finite gradient" if skipped else ""
        return (
            f"epoch {line['epoch']:3d}/{train.num_epochs}  step {line['step']:6d}  "
            f"{losses}  exact match: {exact}  "
            f"{line['audio_s_per_s']:5.0f} audio-s/s  {minutes:5.1f} min, {left:5.1f} left{note}"
        )


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a `train.jsonl`; none where there is no file. What is damaged of it is left out,
    and said: a training goes on without its earlier curve."""
    if not path.is_file():
        return []
    lines = []
    for number, text in enumerate(path.read_text("utf-8", errors="replace").splitlines(), 1):
        try:
            line = json.loads(text)
            if not line.keys() >= NEEDED or not all(map(_is_measured, line.values())):
                raise ValueError("not a line of a training's log")
        except (ValueError, AttributeError, RecursionError) as e:
            print(f"{path}:{number}: WARNING: is damaged and left out ({e})", file=sys.stderr)
        else:
            lines.append(line)
    return lines


def _is_measured(value: object) -> bool:
    """Whether a value of a line is a number, as all of them are, or is left open."""
    return (
        value is None
        or isinstance(value, float)
        or (type(value) is int and abs(value) < MAX_NUMBER)
    )


def _number(value: float | None) -> str:
    return "     -" if value is None else f"{value:6.3f}"


def _means(reporter: "SubReporter") -> dict[str, float]:
    """Means over the batches that have the statistic."""
    from espnet2.train.reporter import aggregate

    means = {key: float(aggregate(values)) for key, values in reporter.stats.items()}
    return {key: mean for key, mean in means.items() if math.isfinite(mean)}
