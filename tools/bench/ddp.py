#!/usr/bin/env python3
"""Whether several processes train faster than one, exchanging gradients or parameters.

Trains one experiment for a few epochs with one process, with several that share every batch
(`train.sync: gradients`) and with several that have batches of their own (`parameters`), in turns,
each in processes of its own. A step of `parameters` takes a batch a process; so that all see as
much audio a step, the batches of the others are as many times as large. Prints a table: audio
seconds a second (by the clock, without validation), times those of one process, CPU seconds an
audio second, exact match after the last epoch, and exact match a minute of training.

Only an idle machine tells: each line has the load before its run.

  tools/bench/ddp.py --config egs/commands/conf/recipe.yaml --data data --dump dump \\
    --work ../ddp --processes 2 --rounds 2 train.num_steps=400 train.num_epochs=4
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from atat.common import cli
from atat.config import config_file, experiment_tables
from atat.training import train_log

HEADER = "| processes | exchange | audio-s/s | times one | CPU-s/audio-s | exact match | a minute |"


class Way(NamedTuple):
    """How many processes train, and what they exchange."""

    num: int
    sync: str

    def overrides(self, batch_frames: int, text_batch: int, num: int) -> list[str]:
        """Settings under which a step sees as much audio as one of `num` batches."""
        times = 1 if self.sync == "parameters" else num
        return [
            f"train.num_processes={self.num}",
            f"train.sync={self.sync}",
            f"train.batch_frames={times * batch_frames}",
            f"train.text_batch={times * text_batch}",
        ]


def measure(command: list[str], exp: Path, task: str) -> dict[str, float]:
    """Train once; what the log of it says."""
    shutil.rmtree(exp, ignore_errors=True)
    load = os.getloadavg()[0]
    subprocess.run([*command, "--exp", str(exp)], check=True, stdout=subprocess.DEVNULL)
    lines = train_log.read(exp / "train.jsonl")
    speed = statistics.fmean(line["audio_s_per_s"] for line in lines)
    last = lines[-1]
    audio_s = sum(line["audio_s"] for line in lines)
    return {
        "speed": speed,
        "cpu": 60.0 * last["cpu_minutes"] / audio_s,
        "em": last[f"em_{task}"],
        "a_minute": last[f"em_{task}"] / last["minutes"],
        "load": load,
    }


def main() -> None:
    """Measure, from the command line."""
    parser = cli.parser(__doc__ or "")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--config", required=True, action="append", help="the recipe's YAML")
    parser.add_argument("--tables", help="the recipe's tables.yaml")
    parser.add_argument("--experiment", default="atat")
    parser.add_argument("--data", required=True, help="directory of stages 1 and 3")
    parser.add_argument("--dump", required=True, help="directory of stage 2")
    parser.add_argument("--work", required=True, type=Path, help="directory for the trainings")
    parser.add_argument("--processes", type=cli.positive_int, default=2)
    parser.add_argument("--rounds", type=cli.positive_int, default=2)
    parser.add_argument("--task", default="slu", help="whose exact match counts")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    args = parser.parse_args()
    deltas = []
    if args.tables:
        deltas = [experiment_tables.load(args.tables).training(args.experiment).config]
    train = config_file.load(args.config, args.overrides, deltas).train
    command = [sys.executable, "-m", "atat.train", "--experiment", args.experiment]
    for path in args.config:
        command += ["--config", path]
    command += ["--tables", args.tables] if args.tables else []
    command += ["--data", args.data, "--dump", args.dump, *args.overrides]
    ways = [Way(1, "gradients"), *(Way(args.processes, s) for s in ("gradients", "parameters"))]
    found: dict[Way, list[dict[str, float]]] = {way: [] for way in ways}
    for number in range(args.rounds):
        for way in ways:
            exp = args.work / f"{way.num}_{way.sync}_{number}"
            more = way.overrides(train.batch_frames, train.text_batch, args.processes)
            found[way].append(measure([*command, *more], exp, args.task))
            print(way, {key: round(x, 3) for key, x in found[way][-1].items()}, file=sys.stderr)
    print(HEADER, "|---|---|---|---|---|---|---|", sep="\n")
    one = statistics.median(run["speed"] for run in found[ways[0]])
    for way, runs in found.items():
        mean = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
        print(
            f"| {way.num} | {way.sync} | {mean['speed']:.1f} | {mean['speed'] / one:.2f} "
            f"| {mean['cpu']:.4f} | {mean['em']:.3f} | {mean['a_minute']:.3f} |"
        )


if __name__ == "__main__":
    cli.run(main)
