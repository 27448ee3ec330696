#!/usr/bin/env python3
"""How much a service carries: requests a second and their times, memory, streams that keep up.

Starts `python -m atat.serve` with a model, and asks it for recordings of a Kaldi directory, as
whole files by several clients at once (--num_requests, --num_clients), then as streams at the speed
of speech (--streams, several numbers of them, for --stream_s each). A stream keeps up if its last
answer comes within --max_lag_s of the end of its audio. The model alone, called in a loop by this
process, is the baseline. The clients take their share of the same processors.

  tools/bench/service.py --model model/ --data egs/commands/data/test --num_requests 10000
"""

# N samples

import asyncio
import itertools
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import numpy as np

from atat.common import cli, provenance
from atat.common.files import atomic_write
from atat.data import audio, kaldi_dir

PIECE_S = 0.1  # of a stream's messages
PAUSE_S = 1.0  # between the utterances of a stream
WARM = 500  # requests, after which memory counts
BASELINE = 100  # utterances


@contextmanager
def served(model: Path, num_threads: int, max_sessions: int) -> Iterator[int]:
    """The port of a service that runs until the block ends."""
    command = [sys.executable, "-m", "atat.serve", "--model", str(model), "--port", "0"]
    command += ["--num_threads", str(num_threads), "--max_sessions", str(max_sessions)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", said)
        if found is None:
            raise ValueError(f"{model}: cannot be served (python -m atat.serve --model says why)")
        yield int(found[1])
    finally:
        process.terminate()
        process.wait(60)


def metric(port: int, name: str) -> float:
    """The value of one of the service's metrics."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(name))


def cpu_s(port: int) -> float:
    """Processor time that the service has taken."""
    return metric(port, "process_cpu_seconds_total")


def resident_mb(port: int) -> float:
    """The service's resident memory."""
    return metric(port, "process_resident_memory_bytes") / 2**20


def ask_all(port: int, files: list[bytes], num: int, num_clients: int) -> list[float]:
    """Milliseconds of each of `num` requests, by clients that ask one after the other."""
    took: list[float] = []
    left = itertools.count()

    def client() -> None:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"Content-Type": "audio/wav"}
        while (i := next(left)) < num:
            start = time.perf_counter()
            connection.request("POST", "/v1/understand", files[i % len(files)], headers)
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"request {i}: status {response.status}")
            took.append(1000 * (time.perf_counter() - start))
        connection.close()

    threads = [threading.Thread(target=client) for _ in range(num_clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(took) != num:
        raise RuntimeError(f"{len(took)} of {num} requests were answered")
    return took


async def stream(port: int, samples_N: np.ndarray, first_s: float) -> tuple[float, int]:
    """How late the last answer of one stream came, in s, and how many results it gave."""
    from websockets.asyncio.client import connect

    await asyncio.sleep(first_s)
    num = round(PIECE_S * audio.SAMPLE_RATE_HZ)
    pieces = [samples_N[i : i + num].tobytes() for i in range(0, len(samples_N), num)]
    num_results = 0
    async with connect(f"ws://127.0.0.1:{port}/v1/stream", max_queue=None) as socket:
        start = time.perf_counter()

        async def speak() -> None:
            for i, piece in enumerate(pieces, 1):
                await asyncio.sleep(start + i * PIECE_S - time.perf_counter())
                await socket.send(piece)
            await socket.send('{"end": true}')

        speaking = asyncio.create_task(speak())
        async for message in socket:  # to the service's end of it
            num_results += json.loads(message)["kind"] == "result"
        await speaking
    return time.perf_counter() - start - len(pieces) * PIECE_S, num_results


def programme(spoken: list[np.ndarray], first: int, seconds: float) -> np.ndarray:
    """int16 (N,) of a stream: utterances from one on, in turn, with pauses."""
    pause_N = np.zeros(int(PAUSE_S * audio.SAMPLE_RATE_HZ), np.int16)
    parts: list[np.ndarray] = []
    for i in itertools.count(first):
        if sum(map(len, parts)) >= seconds * audio.SAMPLE_RATE_HZ:
            return np.concatenate(parts)
        parts += [spoken[i % len(spoken)], pause_N]
    raise AssertionError  # it counts for ever


async def streams(port: int, programmes: list[np.ndarray]) -> list[float]:
    """Lags of streams that run at once."""
    apart_s = PIECE_S / len(programmes)
    jobs = [stream(port, samples_N, k * apart_s) for k, samples_N in enumerate(programmes)]
    return [lag for lag, _ in await asyncio.gather(*jobs)]


def baseline_ms(model: Path, files: list[Path]) -> float:
    """CPU time of the model alone, called by Python, an utterance at a time in one thread."""
    from atat.inference.predictor import SpeechToSemantics

    loaded = SpeechToSemantics.load(model)
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_num_threads(1)
    loaded(files[0])
    start = time.process_time()
    for i in range(BASELINE):
        loaded(files[i % len(files)])
    return 1000 * (time.process_time() - start) / BASELINE


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--model", type=Path, required=True, metavar="DIR", help="as of atat.serve")
    add("--data", type=Path, required=True, metavar="DIR", help="a Kaldi directory")
    add("--num_files", type=cli.positive_int, default=100, help="of them, in turn")
    add("--num_requests", type=cli.positive_int, default=10_000)
    add("--num_clients", type=cli.positive_int, nargs="+", default=[1, 4])
    add("--streams", type=cli.positive_int, nargs="*", default=[1, 4, 8, 16])
    add("--stream_s", type=float, default=30.0, help="of each stream")
    add("--max_lag_s", type=float, default=1.0)
    add("--num_threads", type=cli.positive_int, default=1, help="of the service")
    add("--out", type=Path, metavar="FILE", help="the tables, in Markdown; default: printed")
    args = parser.parse_args()

    paths = [Path(path) for path in kaldi_dir.read(args.data).wav_scp.values()][: args.num_files]
    files = [path.read_bytes() for path in paths]
    spoken = [(32767 * audio.read(path)).astype(np.int16) for path in paths]
    mean_s = np.mean([len(samples_N) for samples_N in spoken]) / audio.SAMPLE_RATE_HZ
    alone_ms = baseline_ms(args.model, paths)
    lines = [
        "| clients | requests | a second | p50 ms | p95 ms | p99 ms | CPU ms a request | MB after "
        f"{WARM} | MB at the end |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with served(args.model, args.num_threads, max([*args.streams, 1])) as port:
        each = args.num_requests // len(args.num_clients)
        ask_all(port, files, WARM, 2)
        warm_mb = resident_mb(port)
        for num_clients in args.num_clients:
            start, cpu = time.perf_counter(), cpu_s(port)
            took = ask_all(port, files, each, num_clients)
            cpu_ms = 1000 * (cpu_s(port) - cpu) / each
            rate = each / (time.perf_counter() - start)
            p50, p95, p99 = np.percentile(took, (50, 95, 99))
            times = " | ".join(f"{ms:.0f}" for ms in (p50, p95, p99))
            memory = f"{cpu_ms:.0f} | {warm_mb:.0f} | {resident_mb(port):.0f}"
            lines.append(f"| {num_clients} | {each} | {rate:.1f} | {times} | {memory} |")
        lines += [
            "",
            "| streams | keep up | median lag s | longest lag s | CPU s a second of audio |",
            "|---|---|---|---|---|",
        ]
        for num in args.streams:
            programmes = [programme(spoken, 7 * k, args.stream_s) for k in range(num)]
            audio_s = sum(map(len, programmes)) / audio.SAMPLE_RATE_HZ
            cpu = cpu_s(port)
            lags = asyncio.run(streams(port, programmes))
            share = (cpu_s(port) - cpu) / audio_s
            good = sum(lag <= args.max_lag_s for lag in lags)
            late = f"{np.median(lags):.2f} | {max(lags):.2f}"
            lines.append(f"| {num} | {good} | {late} | {share:.3f} |")
        lines += ["", f"Memory after the streams: {resident_mb(port):.0f} MB."]
    about = provenance.environment(seed=0)
    lines += [
        "",
        f"{len(paths)} recordings of {mean_s:.1f} s in the mean, in turn; the model alone takes "
        f"{alone_ms:.0f} ms of CPU for one (mean of {BASELINE}, one thread). "
        f"{args.num_threads} thread(s) of the service, which shares {about['num_cpus']} processors "
        f"({about['cpu']}) with its clients and, at the end, a load of {os.getloadavg()[0]:.1f}; "
        f"commit {about['commit']}. "
        f"Streams of {args.stream_s:.0f} s or a little more, {PAUSE_S:g} s between utterances; one "
        f"keeps up if its last answer is {args.max_lag_s:g} s late at most.",
    ]
    text = "\n".join(lines) + "\n"
    if args.out is None:
        print(text, end="")
    else:
        with atomic_write(args.out) as file:
            file.write(text)


if __name__ == "__main__":
    cli.run(main)
