#!/usr/bin/env python
"""Proof that moving code changes no number: two checkouts train, decode and are compared.

Each trains three small experiments with one seed, one process and one thread: commands from
nothing, commands above a frozen encoder, and trees on a toy corpus. The losses in train.jsonl and
the hypotheses must be the same to the last digit; only times may differ. Speech is rendered once,
for both. What is done already in --work is not done again.

  git worktree add ../before main
  tools/same_results.py --before ../before --after . --work ../same
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SMALL = """
data: {num_train: 40, num_train_text: 40, num_valid: 8, num_test: 8, num_foreign: 8, num_asr: 8,
       num_pseudo_speakers: 2}
model: {width: 48, num_heads: 2, front_channels: 4, speech_layers: 1, speech_ffn: 96,
        text_layers: 1, text_ffn: 96, decoder_layers: 1, decoder_ffn: 96}
train: {num_processes: 1, num_threads: 1, num_workers: 0, num_valid: 8, batch_frames: 600}
"""
TIMES = {"minutes", "cpu_minutes", "audio_s_per_s"}


class Case(NamedTuple):
    """What is trained: an experiment of a recipe, on which toy corpus, and the run to decode."""

    recipe: str
    experiment: str
    num_steps: int
    layout: str | None = None
    run: str | None = None  # all of them; few sentences do not have all tags of a grammar


CASES = {
    "commands, 200 steps": Case("commands", "from_nothing", 200, run="test"),
    "above a frozen encoder": Case("commands", "atat", 60, run="test"),
    "trees, toy corpus": Case("top_zeroshot", "atat", 60, "top"),
}


def run(checkout: Path, work: Path, number: int, case: Case) -> Path:
    """Train and decode in a checkout; the experiment's directory."""
    place = work / f"{number}_{case.experiment}"
    exp = place / case.experiment
    place.mkdir(parents=True, exist_ok=True)
    (place / "small.yaml").write_text(SMALL, encoding="utf-8")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(checkout)}
    cache = work.parent / "cache"

    def execute(*words: object) -> None:
        with (place / "log").open("a", encoding="utf-8") as log:
            command = list(map(str, words))
            code = subprocess.run(command, stdout=log, stderr=log, env=environment, cwd=checkout)
        if code.returncode:
            sys.exit(f"{place / 'log'}: {' '.join(command)} failed with {code.returncode}")

    options = ["--recipe", case.recipe, "--experiment", case.experiment, "--stop_stage", 4]
    if case.layout:
        corpus = ["--layout", case.layout, "--out", place / "corpus", "--cache", cache]
        execute(sys.executable, checkout / "utils" / "toy_corpus.py", *corpus)
        options += ["--corpus_dir", place / "corpus"]
    settings = {"data.cache": cache, "train.num_steps": case.num_steps, "train.num_epochs": 4}
    options += [f"--set={key}={value}" for key, value in settings.items()]
    options += ["--config", place / "small.yaml", "--expdir", place, "--nj", 1]
    execute(checkout / "run.sh", *options, "--python", sys.executable)
    where = ["--exp", exp, "--data", place / "data"]
    only = ["--run", case.run] if case.run else []
    execute(sys.executable, "-m", "atat.decode", *where, "--dump", place / "dump", *only)
    execute(sys.executable, "-m", "atat.score", *where)
    return exp


def lines(path: Path) -> list[dict]:
    """The lines of a file of JSON, without times."""
    found = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{k: v for k, v in line.items() if k not in TIMES} for line in found]


def differences(before: Path, after: Path) -> list[str]:
    """What is not the same in two experiments; files, or lines of them."""
    names = [sorted(p.relative_to(e) for p in e.glob("*/hyp.jsonl")) for e in (before, after)]
    if names[0] != names[1]:
        return [f"got decoded runs {names[1]}, expected {names[0]}"]
    found = []
    for name in ("train.jsonl", *names[0]):
        first, second = lines(before / name), lines(after / name)
        if len(first) != len(second):
            found.append(f"{name}: {len(first)} lines before, {len(second)} after")
        found += [
            f"{name}:{number}: {key}: {one.get(key)} before, {other.get(key)} after"
            for number, (one, other) in enumerate(zip(first, second, strict=False), 1)
            for key in sorted(one.keys() | other.keys())
            if one.get(key) != other.get(key)
        ]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--before", required=True, type=Path, metavar="DIR", help="a checkout")
    parser.add_argument("--after", required=True, type=Path, metavar="DIR", help="another one")
    parser.add_argument("--work", required=True, type=Path, metavar="DIR", help="to write in")
    args = parser.parse_args()
    work, code = args.work.resolve(), 0
    for number, (title, case) in enumerate(CASES.items(), 1):
        before = run(args.before.resolve(), work / "before", number, case)
        after = run(args.after.resolve(), work / "after", number, case)
        found = differences(before, after)
        losses = [line["train_loss"] for line in lines(after / "train.jsonl")]
        num = sum(len(lines(path)) for path in after.glob("*/hyp.jsonl"))
        what = f"{len(losses)} epochs (losses {losses[0]} to {losses[-1]}), {num} hypotheses"
        print(f"{title}: {what}: {'the same' if not found else 'DIFFERENT'}", flush=True)
        print(*(f"  {line}\n" for line in found[:20]), sep="", end="")
        code = code or int(bool(found))
    sys.exit(code)


if __name__ == "__main__":
    main()
