#!/usr/bin/env python3
"""Kill a recipe's run again and again, at random moments, and see that nothing is lost by it.

A toy recipe (six commands of a grammar, rendered; a tiny model) is run once in peace, and then with
kill -9 of its whole process group: the driver, its stage, and whatever that started. The same
command is given again each time. If it comes to its end before its moment, that round is compared,
and the next begins in a new directory. At last, of every round:

  - the run ended well, with stages 1 to 7;
  - no stage was run again that had been done before a kill (its marker says when);
  - losses, weights, hypotheses and scores are those of the run in peace: the same, or the largest
    difference is said and held against --tolerance.

  tools/kill_test.py [--kills 20] [--seed 1] [--work DIR] [-- OPTION OF RUN.SH ...]

Exit codes: 0 all of it is so, 1 something is not, 2 a mistake in what was given. DIR stays, for a
look, where something is not so.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from atat.common import provenance  # noqa: E402

# Of the time of a run in peace, within which each moment is drawn; so many times more after each
# kill before which nothing was finished, since else a training may never come to its first epoch.
SHARE, MORE = 0.4, 1.5
LIMIT_S = 3600

# A recipe of its own, in a directory called as the one whose stage 1 it takes.
RECIPE = "commands"
RUN_SH = """#!/usr/bin/env bash
set -euo pipefail
# shellcheck source=/dev/null
source {root}/utils/recipe.sh
about='six commands, for tools/kill_test.py'
recipe_main "$@"
"""
GRAMMAR = """
context:
  expressions:
    turnOn:
      - turn on the [light, lamp] in the $room:room
    turnOff:
      - turn off the [light, lamp] in the $room:room
  slots:
    room: [kitchen, bedroom, office, garage, hallway, bathroom]
"""
SETTINGS = """
data: {num_train: 40, num_train_text: 40, num_valid: 8, num_test: 8,
       voices: {train: {espeak: 1.0}, valid: {espeak: 1.0}, test: {nanotts: 1.0}}}
model: {width: 32, num_heads: 2, speech_layers: 1, speech_ffn: 64, text_layers: 1, text_ffn: 64,
        decoder_layers: 1, decoder_ffn: 64, front_channels: 4}
train: {num_steps: 60, num_epochs: 10, num_processes: 1, num_workers: 0, num_valid: 8,
        batch_frames: 1500,
        sources: [{split: train, tasks: [slu, asr]}, {split: train_text, tasks: [nlu]}]}
decode: {beam: 2, max_length: 20, runs: {test: {split: test, task: slu}}}
"""
TABLES = """
experiments:
  atat: {about: "all tasks"}
table:
  - {row: AT-AT, experiment: atat, run: test}
"""


@dataclass
class Kill:
    """One kill: when, and what there was."""

    round: int
    seconds: float
    stage: str  # that the driver had last spoken of
    done: dict[str, str]  # marker -> its first line
    epochs: int  # of the training


@dataclass
class Found:
    """What one round ended with, beside the run in peace."""

    problems: list[str] = field(default_factory=list)
    differences: dict[str, float] = field(default_factory=dict)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20, help="how many (default: 20)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--work", type=Path, help="directory to work in (default: a temporary one)")
    parser.add_argument(
        "--tolerance", type=float, default=1e-4, help="of losses and weights, relative"
    )
    parser.add_argument("options", nargs="*", help="of run.sh, after --")
    args = parser.parse_args()
    if args.kills < 1 or (args.work is not None and args.work.exists()):
        parser.error(
            f"got --kills {args.kills} --work {args.work}, expected 1 or more, and a new one"
        )
    work = args.work or Path(tempfile.mkdtemp(prefix="kill_test."))
    write_recipe(work)
    print(f"{args.kills} kills, seed {args.seed}, commit {provenance.commit()}")
    problems = kill_and_compare(work, args.kills, random.Random(args.seed), args)
    for problem in problems:
        print(f"NOT SO: {problem}")
    if not problems:
        shutil.rmtree(work)
    else:
        print(f"what it left: {work}")
    return 1 if problems else 0


def write_recipe(work: Path) -> None:
    """Write the toy recipe into WORK/commands."""
    recipe = work / RECIPE
    (recipe / "conf").mkdir(parents=True)
    (recipe / "run.sh").write_text(RUN_SH.format(root=f"'{ROOT}'"))
    (recipe / "run.sh").chmod(0o755)
    (recipe / "grammar.yaml").write_text(GRAMMAR)
    (recipe / "tables.yaml").write_text(TABLES)
    (recipe / "conf" / "recipe.yaml").write_text(SETTINGS)


def kill_and_compare(
    work: Path, num_kills: int, rng: random.Random, args: argparse.Namespace
) -> list[str]:
    start = time.monotonic()
    code = command(work, "peace", args.options).wait(LIMIT_S)
    if code:
        return [f"the run in peace ended with exit code {code}: {log(work, 'peace')[-500:]}"]
    peace_s = time.monotonic() - start
    print(f"in peace: {peace_s:.0f} s", flush=True)
    kills: list[Kill] = []
    problems, number = [], 0
    differences: dict[str, float] = {}
    while len(kills) < num_kills:
        number += 1
        name = f"round_{number}"
        problems += run_round(work, name, number, kills, num_kills, peace_s, rng, args.options)
        found = compare(work, name, args.tolerance)
        problems += [f"{name}: {problem}" for problem in found.problems]
        for key, value in found.differences.items():
            differences[key] = max(value, differences.get(key, 0.0))
    stages = sorted({kill.stage for kill in kills})
    print(f"{len(kills)} kills in {number} rounds (runs to the end), in: {'; '.join(stages)}")
    for key, value in differences.items():
        said = "the same, bit for bit" if value == 0 else f"differ by at most {value:.1e}"
        print(f"{key}: {said}")
    return problems


def run_round(
    work: Path,
    name: str,
    number: int,
    kills: list[Kill],
    num_kills: int,
    peace_s: float,
    rng: random.Random,
    options: list[str],
) -> list[str]:
    """Run to the end in a new directory, killed as often as there is something to kill."""
    problems: list[str] = []
    limit_s = SHARE * peace_s
    while True:
        process = command(work, name, options)
        moment = rng.uniform(0.0, limit_s) if len(kills) < num_kills else LIMIT_S
        try:
            code = process.wait(moment)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            kill = Kill(
                number, moment, last_stage(work, name), markers(work / name), epochs(work / name)
            )
            limit_s *= MORE
            if kills and kills[-1].round == number:
                problems += run_again(kills[-1].done, kill.done, f"kill {len(kills) + 1}")
                if (len(kill.done), kill.epochs) > (len(kills[-1].done), kills[-1].epochs):
                    limit_s = SHARE * peace_s
            kills.append(kill)
            print(
                f"kill {len(kills)} after {moment:.1f} s: {kill.stage} ({len(kill.done)} stages "
                f"and {kill.epochs} epochs done)",
                flush=True,
            )
            continue
        if code:
            problems.append(f"{name} ended with exit code {code}: {log(work, name)[-500:]}")
        if kills and kills[-1].round == number:
            problems += run_again(kills[-1].done, markers(work / name), f"the end of {name}")
        return problems


def command(work: Path, name: str, options: list[str]) -> subprocess.Popen:
    """Start the recipe in a session of its own; its output is added to WORK/NAME.log."""
    words = ["bash", work / RECIPE / "run.sh", "--python", sys.executable, "--nj", "2"]
    words += ["--grammar", work / RECIPE / "grammar.yaml", "--expdir", work / name]
    words += ["--set", f"data.cache={work / f'{name}_cache'}", *options]
    with open(work / f"{name}.log", "ab") as file:
        return subprocess.Popen(
            list(map(str, words)), stdout=file, stderr=file, stdin=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip


def log(work: Path, name: str) -> str:
    return (work / f"{name}.log").read_text(errors="replace")


def last_stage(work: Path, name: str) -> str:
    titles = [line[3:] for line in log(work, name).splitlines() if line.startswith("== ")]
    return titles[-1].partition(": made again")[0] if titles else "before stage 1"


def markers(directory: Path) -> dict[str, str]:
    """Markers of stages that are done, and when that was."""
    found = {}
    for path in sorted(directory.rglob(".done.*")):
        if not path.name.endswith(".new"):
            found[str(path.relative_to(directory))] = path.read_text().partition("\n")[0]
    return found


def epochs(directory: Path) -> int:
    """How many the training has finished."""
    path = directory / "atat" / "train.jsonl"
    return path.read_text().count("\n") if path.exists() else 0


def run_again(before: dict[str, str], now: dict[str, str], when: str) -> list[str]:
    return [
        f"{when}: {name} was done before the last kill, and is {now.get(name, 'not any more')}"
        for name, finished in before.items()
        if now.get(name) != finished
    ]


def compare(work: Path, name: str, tolerance: float) -> Found:
    """A round's losses, weights, hypotheses and scores beside those of the run in peace."""
    from safetensors.numpy import load_file

    found = Found()
    one, other = work / "peace" / "atat", work / name / "atat"
    try:
        losses = [read_losses(exp / "train.jsonl") for exp in (one, other)]
        weights = [load_file(exp / "model.safetensors") for exp in (one, other)]
        decoded = [(exp / "decode_test" / "hyp.jsonl").read_text() for exp in (one, other)]
        scores = [(exp / "decode_test" / "scores.json").read_text() for exp in (one, other)]
    except (OSError, ValueError) as e:
        return Found([f"its results cannot be read: {e}"])
    if len(losses[0]) != len(losses[1]) or weights[0].keys() != weights[1].keys():
        found.problems.append("it has other epochs or weights than the run in peace")
        return found
    pairs = zip(losses[0], losses[1], strict=True)
    found.differences["losses (relative)"] = max(abs(a - b) / max(abs(a), 1e-9) for a, b in pairs)
    found.differences["weights"] = max(
        float(abs(weights[0][key] - weights[1][key]).max()) for key in weights[0]
    )
    lines = [[json.loads(line)["hypothesis"] for line in text.splitlines()] for text in decoded]
    found.differences["hypotheses (share)"] = float(
        sum(a != b for a, b in zip(*lines, strict=True)) / len(lines[0])
    )
    found.differences["files of scores (share)"] = float(scores[0] != scores[1])
    found.problems += [
        f"{key} differ by {value:.1e}, more than {tolerance:.1e}"
        for key, value in found.differences.items()
        if value > tolerance
    ]
    return found


def read_losses(path: Path) -> list[float]:
    """Training and validation loss of each epoch."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return [line[key] for line in lines for key in ("train_loss", "valid_loss")]


if __name__ == "__main__":
    sys.exit(main())
