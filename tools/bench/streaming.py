#!/usr/bin/env python3
"""Streams: how long after speech the answer comes, and how many streams at once keep up.

Recordings of a split, each with silence after it, as a stream in pieces of 100 ms. Then, for every
number of --streams, so many at once in real time, a thread each over one model, all of them
recordings and 3 s of silence in turn; they keep up where no piece waits longer than a second at
the end. On a busy machine the clock says little; processor time says what they need.

  tools/bench/streaming.py --exp egs/commands/exp/atat --data egs/commands/data
"""

# N samples

import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from atat.common import cli
from atat.common.provenance import commit
from atat.common.text_table import align
from atat.data import audio, kaldi_dir
from atat.inference.predictor import SpeechToSemantics
from atat.serving.session import Session
from atat.serving.voice_activity import HOP, VoiceActivity

RATE_HZ = audio.SAMPLE_RATE_HZ
PIECE = RATE_HZ // 10
SILENCE_S = 1.5  # after a recording
IDLE_S = 3.0  # between those of a stream in real time
NOISE_DB = -70.0
LATE_S = 1.0


@dataclass
class Timings:
    """Seconds, of everything that was measured."""

    pause: list[float] = field(default_factory=list)  # from the end of speech until it is noticed
    answer: list[float] = field(default_factory=list)  # from there to the result, by the clock
    answer_cpu: list[float] = field(default_factory=list)  # the same, of the processor
    first_words: list[float] = field(default_factory=list)  # from where speech begins
    words: list[float] = field(default_factory=list)
    total: list[float] = field(default_factory=list)  # from the end of speech to the result
    num_same: int = 0  # streams that gave one result, and that of the same audio as a file
    cpu: float = 0.0
    audio: float = 0.0


def silence(seconds: float) -> np.ndarray:
    """Near silence, float32 (N,)."""
    draw = np.random.default_rng(0)
    return draw.normal(0, 10 ** (NOISE_DB / 20), round(seconds * RATE_HZ)).astype(np.float32)


def measure(model: SpeechToSemantics, recordings: Iterable[np.ndarray], words: bool) -> Timings:
    """One stream after the other, as fast as it goes."""
    timings = Timings()
    for samples_N in recordings:
        signal_N = np.concatenate([silence(0.5), samples_N, silence(SILENCE_S)])
        session, begin_s, with_words = Session(model, partial_words=words), 0.0, False
        start_cpu, results = time.thread_time(), []
        for start in range(0, len(signal_N), PIECE):
            began, began_cpu = time.perf_counter(), time.thread_time()
            events = session.accept(signal_N[start : start + PIECE])
            took, took_cpu = time.perf_counter() - began, time.thread_time() - began_cpu
            for event in events:
                now_s = (start + PIECE) / RATE_HZ
                if event.kind == "speech":
                    begin_s, with_words = event.time_s, False
                elif event.kind == "words":
                    timings.words.append(took)
                    if not with_words:
                        timings.first_words.append(now_s - begin_s + took)
                    with_words = True
                elif event.result is not None:
                    results.append(event.result.semantics if event.result.intent else "")
                    timings.pause.append(now_s - event.time_s)
                    timings.answer.append(took)
                    timings.answer_cpu.append(took_cpu)
                    timings.total.append(now_s - event.time_s + took)
        timings.cpu += time.thread_time() - start_cpu
        timings.audio += len(signal_N) / RATE_HZ
        of_file = model((RATE_HZ, signal_N))
        timings.num_same += results == [of_file.semantics if of_file.intent else ""]
    return timings


def listen(session: Session, signal_N: np.ndarray, start_s: float, late_s: list[float]) -> None:
    """Give a session a stream in real time; how much later than it came each piece was done."""
    for start in range(0, len(signal_N), PIECE):
        due_s = start_s + (start + PIECE) / RATE_HZ
        time.sleep(max(due_s - time.perf_counter(), 0.0))
        session.accept(signal_N[start : start + PIECE])
        late_s.append(time.perf_counter() - due_s)


def at_once(
    model: SpeechToSemantics, recordings: list[np.ndarray], num: int, seconds: float, words: bool
) -> list[float]:
    """So many streams in real time: the seconds by which pieces were late, of their last third."""
    lates: list[list[float]] = [[] for _ in range(num)]
    threads = []
    begin_s = time.perf_counter() + 0.5
    for number, late_s in enumerate(lates):
        own = recordings[number::num] or recordings
        length, signal_N = 0, [silence(number * IDLE_S / num)]  # they do not speak together
        while length < seconds * RATE_HZ:
            signal_N += [own[len(signal_N) % len(own)], silence(IDLE_S)]
            length = sum(map(len, signal_N))
        stream_N = np.concatenate(signal_N)[: round(seconds * RATE_HZ)]
        session = Session(model, partial_words=words)
        arguments = (session, stream_N, begin_s, late_s)
        threads.append(threading.Thread(target=listen, args=arguments))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [late for late_s in lates for late in late_s[-len(late_s) // 3 :]]


def detector() -> float:
    """Real-time factor of the voice activity detector, one thread."""
    activity, signal_N = VoiceActivity(), silence(30)
    start = time.thread_time()
    for first in range(0, len(signal_N) - HOP + 1, HOP):
        activity(signal_N[first : first + HOP])
    return (time.thread_time() - start) / 30


def rows(timings: Timings) -> list[list[str]]:
    """p50 and p95 in ms of what was measured."""
    named = {
        "end of speech until it is noticed": timings.pause,
        "then, until the result": timings.answer,
        "the same, of the processor": timings.answer_cpu,
        "end of speech to result": timings.total,
        "partial words, each": timings.words,
        "begin of speech to the first words": timings.first_words,
    }
    return [
        [name, str(len(values)), *(f"{1000 * np.percentile(values, p):.0f}" for p in (50, 95))]
        for name, values in named.items()
        if values
    ]


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, type=Path, metavar="DIR", help="an experiment, or exported")
    add("--data", required=True, type=Path, metavar="DIR", help="the splits")
    add("--split", default="test", help="whose speech is streamed")
    add("--limit", type=cli.positive_int, default=100, help="recordings, spread over the split")
    add("--streams", type=cli.positive_int, nargs="*", default=[4, 8, 16], help="at once")
    add("--seconds", type=cli.positive_int, default=30, help="of each number of streams")
    add("--words", type=cli.boolean, default=True, help="partial words")
    args = parser.parse_args()
    model = SpeechToSemantics.load(args.exp)
    paths = list(kaldi_dir.read(args.data / args.split).wav_scp.values())
    paths = paths[:: max(len(paths) // args.limit, 1)][: args.limit]
    recordings = [audio.read(path) for path in paths]

    print(f"{model!r}")
    print(f"{len(recordings)} recordings, commit {commit()}")
    timings = measure(model, recordings, args.words)
    print(f"{timings.num_same} give what the same audio gives as a file\n")
    print(align([["ms", "n", "p50", "p95"], *rows(timings)]))
    factors = [["real-time factor, one thread", ""], ["voice activity", f"{detector():.4f}"]]
    factors += [["all of a stream", f"{timings.cpu / timings.audio:.3f}"]]
    print("\n" + align(factors))
    table = [["streams at once", "cores they need", "late by, p50", "p95", "most", "keep up"]]
    for num in args.streams:
        begin_cpu = time.process_time()
        late_s = at_once(model, recordings, num, args.seconds, args.words)
        cores = (time.process_time() - begin_cpu) / args.seconds
        cells = [f"{value:.2f} s" for value in (*np.percentile(late_s, [50, 95]), max(late_s))]
        keep_up = "yes" if max(late_s) < LATE_S else "no"
        table.append([str(num), f"{cores:.2f}", *cells, keep_up])
    if args.streams:
        print("\n" + align(table))


if __name__ == "__main__":
    cli.run(main)
