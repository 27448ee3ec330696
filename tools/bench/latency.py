#!/usr/bin/env python3
"""What a model costs where it is used: size, start, time an utterance, memory; as a table.

`tools/bench/latency.py --exp DIR` exports the experiment twice and measures, each in a process of
its own and one after the other: torch, onnxruntime in float32 and in int8, with one thread and two,
and Whisper held to the experiment's grammar. CPU time is of the whole process, so that a busy
machine disturbs it less than the clock.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from atat.common import cli
from atat.common.text_table import align
from atat.data import audio

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "egs" / "commands" / "example.flac"
LENGTHS_S = (1, 3, 8)
COMMAND_S = 3  # the length of which end of speech to answer is reported


def measure(engine: str, source: str, wav: Path, num_threads: int, num: int) -> dict:
    """Load a model and use it, in this process.

    Args:
        engine: "whisper" or any other name.
        source: a grammar's file for Whisper, else the directory of a model.
        wav: speech, which is repeated and cut to LENGTHS_S.
        num_threads: of the engine.
        num: utterances of each length.
    """
    begin_cpu = time.process_time()
    if engine == "whisper":
        import torch

        from atat import WhisperGrammar
        from atat.inference import threads

        threads.limit(num_threads)
        torch.set_num_threads(num_threads)
        model = WhisperGrammar.load(source)
    else:
        from atat import SpeechToSemantics

        model = SpeechToSemantics.load(source, num_threads=num_threads)
    model(wav)
    found = {"start_cpu_s": time.process_time() - begin_cpu}
    samples = audio.read(wav)
    for seconds in LENGTHS_S:
        size = seconds * audio.SAMPLE_RATE_HZ
        speech = np.tile(samples, -(-size // len(samples)))[:size]
        times, cpu = [], time.process_time()
        for _ in range(num):
            begin = time.perf_counter()
            model(speech, sample_rate=audio.SAMPLE_RATE_HZ)
            times.append(time.perf_counter() - begin)
        found[f"cpu_ms_{seconds}"] = 1000 * (time.process_time() - cpu) / num
        found[f"p50_ms_{seconds}"], found[f"p95_ms_{seconds}"] = (
            1000 * float(np.quantile(times, q)) for q in (0.5, 0.95)
        )
    found["peak_mb"] = peak_mb()
    if engine != "whisper":
        found["parameters"] = model.network.num_parameters
    return found


def peak_mb() -> float:
    """Of this process; `ru_maxrss` would have that of the one that started it."""
    status = Path("/proc/self/status").read_text("ascii")
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1000


def size_mb(source: Path) -> float:
    """Of a model: its file in an experiment, all files of an exported directory."""
    weights = source / "model.safetensors"
    paths = [weights] if weights.is_file() else [p for p in source.rglob("*") if p.is_file()]
    return sum(path.stat().st_size for path in paths) / 1e6


def table(rows: list[dict]) -> str:
    """The measurements as text."""
    header = ["engine", "threads", "MB", "start, CPU s"]
    header += [f"{s} s: CPU ms" for s in LENGTHS_S] + ["real-time factor"]
    header += [f"{COMMAND_S} s, p50 / p95 ms", "peak MB"]
    cells = [header]
    for row in rows:
        rtf = row[f"cpu_ms_{COMMAND_S}"] / 1000 / COMMAND_S
        cells.append(
            [
                row["engine"],
                str(row["threads"]),
                f"{row['mb']:.1f}" if row["mb"] else "",
                f"{row['start_cpu_s']:.2f}",
                *(f"{row[f'cpu_ms_{s}']:.1f}" for s in LENGTHS_S),
                f"{rtf:.4f}",
                f"{row[f'p50_ms_{COMMAND_S}']:.0f} / {row[f'p95_ms_{COMMAND_S}']:.0f}",
                f"{row['peak_mb']:.0f}",
            ]
        )
    return align(cells)


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", type=Path, required=True, metavar="DIR", help="a trained experiment")
    add("--wav", type=Path, default=EXAMPLE, help="speech (default: the example of egs/commands)")
    add("--num", type=cli.positive_int, default=20, help="utterances of each length")
    add("--whisper", type=cli.boolean, default=True, help="Whisper held to the grammar, too")
    add("--worker", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker is not None:
        engine, source, num_threads = args.worker
        found = measure(engine, source, args.wav, int(num_threads), args.num)
        print(json.dumps(found))
        return

    from atat.deployment.export import PRECISIONS, export

    with tempfile.TemporaryDirectory() as directory:
        sources = {"torch": args.exp}
        for precision in reversed(PRECISIONS):
            sources[f"onnxruntime, {precision}"] = Path(directory, precision)
            export(args.exp, Path(directory, precision), precision)
        if args.whisper and (args.exp / "grammar.yaml").is_file():
            sources["whisper"] = args.exp / "grammar.yaml"
        rows = []
        for num_threads in (1, 2):
            for engine, source in sources.items():
                worker = ["--worker", engine, source, str(num_threads)]
                command = [sys.executable, __file__, "--exp", args.exp, "--wav", args.wav]
                command += ["--num", str(args.num), *worker]
                out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                mb = size_mb(source) if source.is_dir() else None
                row = json.loads(out) | {"engine": engine, "threads": num_threads, "mb": mb}
                print(f"{engine}, {num_threads}: done", file=sys.stderr)
                rows.append(row)
    print(f"{rows[0]['parameters'] / 1e6:.1f} M parameters")
    print(table(rows))
    torch, int8 = (
        next(r for r in rows if r["engine"] == e) for e in ("torch", "onnxruntime, int8")
    )
    for seconds in LENGTHS_S:
        ratio = torch[f"cpu_ms_{seconds}"] / int8[f"cpu_ms_{seconds}"]
        print(f"{seconds} s, one thread: int8 is {ratio:.2f} times as fast as torch")


if __name__ == "__main__":
    cli.run(main)
