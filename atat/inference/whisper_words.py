"""The words of a run by Whisper as it was published: the first half of a cascade.

A cascade is what one could do without this project: a recogniser of others, and a text model that
understands its words. A run with `recognizer` and one with `source: hypotheses` are its halves.
"""

import functools
import math
import time
from collections.abc import Sequence
from pathlib import Path

from atat.common import parallel
from atat.common.provenance import commit
from atat.config.schema import DecodeRun
from atat.data import audio, kaldi_dir
from atat.inference.hypotheses import Line, RunRecord, empty_line, write_run
from atat.inference.typed_text import said
from atat.inference.whisper_listener import WINDOW_S, Listener
from atat.semantics.text_normalization import normalize

Heard = tuple[str, float, float, float]  # words, their score, seconds of audio, CPU seconds


def recognize(
    name: str,
    run: DecodeRun,
    data: Path,
    beam: int,
    directory: Path,
    num_jobs: int,
    spelled_out: bool = False,
    kept: str = "",
    model: str | None = None,
) -> RunRecord:
    """Recognise a split, and write `hyp.jsonl` and `run.json` as stage 5 does.

    Args:
        name: the run's, a key of decode.runs.
        run: its `recognizer` names the weights, as `whisper_checkpoint.load` takes them.
        data: directory of the splits; of this one, only the audio is read.
        beam: of the search.
        directory: `decode_<run>/`, which is replaced.
        num_jobs: processes.
        spelled_out: numbers become words, as in the texts of the split (data.spelled_out).
        kept: what stays inside of words beside letters, as hyphens do in the texts of a split.
        model: digest of the experiment's, whose results these stand among; None: of none.

    Returns:
        What `run.json` says.

    Raises:
        FileNotFoundError, ValueError: there are no such weights. A recording that cannot be read
            has a line without words, as stage 2 leaves it out.
    """
    assert run.recognizer is not None, "a run by the model"
    wavs = kaldi_dir.column(data / run.split, "wav.scp")
    listener(run.recognizer)  # what cannot be loaded is said once, here
    find = functools.partial(_hear, source=run.recognizer, beam=beam)
    start = time.perf_counter()
    lines: list[Line] = []
    audio_s = cpu_s = 0.0
    keys: Sequence[str] = sorted(wavs)
    found = parallel.run(find, (wavs[key] for key in keys), num_jobs, total=len(keys), desc=name)
    for key, one in zip(keys, found, strict=True):
        line = empty_line(key, run.task)
        lines.append(line)
        if isinstance(one, str):
            line["reason"] = one
            continue
        heard, score, seconds, spent = one
        words = said(heard) if spelled_out else normalize(heard, kept)
        line["hypothesis"], line["score"] = words, round(score, 4)
        line["nbest"] = [{"hypothesis": words, "score": round(score, 4)}]
        audio_s, cpu_s = audio_s + seconds, cpu_s + spent
    record: RunRecord = {
        "run": name,
        "split": run.split,
        "source": run.source,
        "input": run.input,
        "task": run.task,
        "recognizer": run.recognizer,
        "beam": beam,
        "constraint": "none",
        "num_utterances": len(lines),
        "num_dropped": sum("reason" in line for line in lines),
        "audio_seconds": round(audio_s, 2),
        "seconds": round(time.perf_counter() - start, 3),
        "cpu_seconds": round(cpu_s, 3),
        "commit": commit(),
    }
    if model is not None:
        record["model"] = model
    write_run(directory, lines, record)
    return record


@functools.cache
def listener(source: str) -> Listener:
    """Whisper, loaded once a process."""
    return Listener(source)


def _hear(wav: str, source: str, beam: int) -> Heard | str:
    """One recording, as much of it as Whisper hears at a time; or why it cannot be read."""
    start = time.process_time()
    try:
        samples_N = audio.read(wav, audio.SAMPLE_RATE_HZ, math.inf)
    except (OSError, ValueError) as error:
        return str(error)
    whisper = listener(source)
    states = whisper.encode(whisper.features(samples_N))
    best = whisper.search(states, beam)[0]
    seconds = min(len(samples_N) / audio.SAMPLE_RATE_HZ, WINDOW_S)
    return whisper.words.decode(best.tokens), best.score, seconds, time.process_time() - start
