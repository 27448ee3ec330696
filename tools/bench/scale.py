#!/usr/bin/env python3
"""Time and memory of preparing and starting a training, by the number of its utterances.

For each of --sizes, N spoken and N written utterances are simulated (the features of the spoken
ones are a sparse file of zeros), and four processes are measured, one after the other: writing and
checking the directories (`write`), reading them (`read`), stage 3 (`tokenizer`), and the first
batch of a training of one process (`start`: checks, examples, plan, batch; stage 2's checks of its
archives among them). Prints a table of CPU seconds and peak memory; --out draws them too.

  tools/bench/scale.py --work ../scale --sizes 1000 10000 100000 --out scale.png
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import yaml

from atat.common import cli
from atat.common.files import atomic_write
from atat.data import feature_archive, kaldi_dir

STEPS = ("write", "read", "tokenizer", "start")
NUM_WORDS, NUM_VALID, NUM_BINS = 5000, 300, 80
SPLITS = {"train": True, "train_text": False, "valid": True}  # whether they are spoken
CONFIG = {
    "tokenizer": {"vocab_size": 2000, "splits": ["train", "train_text"]},
    "train": {
        "sources": [
            {"split": "train", "tasks": ["slu", "asr"]},
            {"split": "train_text", "tasks": ["nlu"]},
        ],
        "num_epochs": 20,
        "num_workers": 0,
    },
}


class Cost(NamedTuple):
    """What a process took."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    said: str


def sentence(number: int, draw: np.random.Generator) -> tuple[str, str]:
    """A target sequence of 9 to 16 words with one to three slots, and its words."""
    ranks = NUM_WORDS * draw.random(draw.integers(9, 17)) ** 3  # some words are frequent
    words = [f"w{int(rank):x}" for rank in ranks]
    intent = f"intent{number % 30}"
    tokens = list(words)
    for slot in range(number % 3 + 1):
        place = 4 * slot
        label = f"slot{(number + slot) % 40}"
        tokens[place] = f"{label}( {words[place]} ){label}"
    return f"{intent}( {' '.join(tokens)} ){intent}", " ".join(words)


def simulate(work: Path, num: int) -> None:
    """Splits, archives of zeros with sizes of 1 to 6 s, and settings."""
    draw = np.random.default_rng(num)
    for split, is_spoken in SPLITS.items():
        size = min(num, NUM_VALID) if split == "valid" else num
        made = [sentence(i, draw) for i in range(size)]
        ids = [f"{split}{i % 100:02d}-{i:07d}" for i in range(size)]
        kaldi_dir.write(
            work / "data" / split,
            kaldi_dir.DataDir(
                {i: f"wav/{i}.wav" for i in ids} if is_spoken else None,
                dict(zip(ids, (words for _, words in made), strict=True)),
                dict(zip(ids, (sequence for sequence, _ in made), strict=True)),
                {i: i.partition("-")[0] for i in ids} if is_spoken else None,
            ),
        )
        if is_spoken:
            archive(work / "dump" / split, sorted(ids), draw.integers(100, 600, size))
    np.savez(work / "dump" / "cmvn.npz", mean=np.zeros(NUM_BINS), std=np.ones(NUM_BINS))
    (work / "config.yaml").write_text(yaml.safe_dump(CONFIG))


def archive(directory: Path, ids: list[str], num_frames_N: np.ndarray) -> None:
    """What stage 2 writes, without numbers: the file is as long as it would be, and sparse."""
    directory.mkdir(parents=True)
    offset = 0
    with (
        (directory / feature_archive.SCP).open("w") as scp,
        (directory / feature_archive.SIZES).open("w") as sizes,
    ):
        for key, num_frames in zip(ids, num_frames_N.tolist(), strict=True):
            offset += len(key) + 1
            scp.write(f"{key} {feature_archive.ARK}:{offset}\n")
            sizes.write(f"{key} {num_frames}\n")
            offset += feature_archive.HEADER_BYTES + 4 * num_frames * NUM_BINS
    with (directory / feature_archive.ARK).open("wb") as file:
        file.truncate(offset)
        file.seek(len(ids[0]) + 1 + feature_archive.HEADER_BYTES - 4)
        file.write(NUM_BINS.to_bytes(4, "little"))


def start(work: Path) -> dict[str, float]:
    """Seconds, from the start of the process, until a training has checked, read, and its first
    batch; then those that planning the first and the last epoch takes."""
    from atat.config import config_file
    from atat.data.tokenizer import Tokenizer
    from atat.training.batching import Batches
    from atat.training.run_directory import prepare_experiment
    from atat.training.training_data import TrainingData

    settings = config_file.load([str(work / "config.yaml")], [])
    prepare_experiment(settings, work / "data", work / "exp", resume=False)
    found = {"checked": time.process_time()}
    tokenizer = Tokenizer.load(work / "exp" / "tokenizer")
    examples = TrainingData(settings.train.sources, work / "data", work / "dump", tokenizer)
    found["read"] = time.process_time()
    batches = Batches(examples, settings, tokenizer, training=True)
    first, *_ = batches.sampler.steps(0, 1000)
    batches.collate(*first)
    found["first batch"] = time.process_time()
    for name, epoch in (("next epoch", 1), ("epoch 20", 19)):
        before = time.process_time()
        batches.sampler.steps(1000 * epoch, 1000)
        found[name] = time.process_time() - before
    return found


def measure(command: list[str]) -> Cost:
    """Run a command to its end."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    wall = time.perf_counter() - begin
    return Cost(usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024, said)


def commands(work: Path, num: int) -> dict[str, list[str]]:
    """What is measured, by name, in the order in which one needs the other."""
    own = [sys.executable, __file__, "--work", str(work), "--sizes", str(num), "--only"]
    config = ["--config", str(work / "config.yaml"), "--data", str(work / "data")]
    return {
        **{name: [*own, name] for name in ("write", "read")},
        "tokenizer": [sys.executable, "-m", "atat.tokenizer", *config],
        "start": [*own, "start"],
    }


def only(name: str, work: Path, num: int) -> None:
    """One of the measured processes that are this script's."""
    if name == "write":
        simulate(work, num)
    elif name == "read":
        for split in SPLITS:
            kaldi_dir.validate(work / "data" / split)
    else:
        print(json.dumps(start(work)))


def draw_plot(costs: dict[int, dict[str, Cost]], out: Path) -> None:
    """CPU seconds and peak memory against the number of utterances."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    sizes = sorted(costs)
    for name in STEPS:
        left.loglog(sizes, [costs[n][name].cpu_s for n in sizes], "o-", label=name)
        right.loglog(sizes, [costs[n][name].peak_mb for n in sizes], "o-", label=name)
    left.set_ylabel("CPU seconds")
    right.set_ylabel("peak memory, MB")
    for axes in (left, right):
        axes.set_xlabel("utterances, spoken and as many written")
        axes.grid(alpha=0.3)
    left.legend()
    with atomic_write(out, "wb") as file:
        figure.savefig(file, dpi=110, format=out.suffix[1:])
    pyplot.close(figure)


def main() -> None:
    """Measure, from the command line."""
    parser = cli.parser(__doc__ or "")
    parser.add_argument("--work", required=True, type=Path, help="directory, new for each size")
    parser.add_argument("--sizes", type=cli.positive_int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--out", type=Path, help="image file (png, svg)")
    parser.add_argument("--only", choices=STEPS, help="one process, as this script starts it")
    args = parser.parse_args()
    if args.only:
        only(args.only, args.work, *args.sizes)
        return
    print("| utterances | what | CPU s | s | peak MB |", "|---|---|---|---|---|", sep="\n")
    costs: dict[int, dict[str, Cost]] = {}
    for num in args.sizes:
        costs[num] = {}
        for name, command in commands(args.work / str(num), num).items():
            cost = costs[num][name] = measure(command)
            about = f"{name}: {cost.said.strip()}" if name == "start" else name
            numbers = f"{cost.cpu_s:.1f} | {cost.wall_s:.1f} | {cost.peak_mb:.0f}"
            print(f"| {num:,} | {about} | {numbers} |", flush=True)
    if args.out:
        draw_plot(costs, args.out)


if __name__ == "__main__":
    cli.run(main)
