"""Text to speech with installed synthesisers: planned by seed, rendered in parallel, cached.

`plan` decides from a seed who says each text and how; `render` turns the plan into wav files.
"""

import io
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from atat.common import array_job, parallel
from atat.common.files import atomic_write, sha256
from atat.data.active_speech import active_range
from atat.synthesis import engines

SAMPLE_RATE_HZ = 16000
# Pseudo-speakers: a voice resampled by a factor in this range stays as intelligible as it was
# (findings: WER of hibari 0.7-2.1 % at 0.75-1.2).
FACTOR_RANGE = (0.8, 1.2)
PEAK = 0.7  # of the loudest sample, -3 dB
EDGE_S = 0.1  # silence kept before and after speech, as far as the engine made some
MIN_DURATION_S = 0.1
MIN_PEAK = 0.01  # below is an engine's noise (nanotts: 0.003)
MAX_FAILED = 0.01
# Part of the cache key; raise it when what `render` makes of an engine's samples changes.
_PROCESSING = "1"


@dataclass(frozen=True, slots=True)
class Request:
    """One text said by one voice in one way; the whole of what its audio depends on.

    Attributes:
        engine: name of the synthesiser; voice: one of its voices.
        speaker_factor: frequencies, formants included, are scaled by it; above 1 is a smaller
            speaker. Tempo is not: that is `rate`.
        rate: tempo, and pitch: fundamental frequency, both relative to the voice's usual one.
        seed: of the engine's noise.
    """

    engine: str
    voice: str
    text: str
    speaker_factor: float = 1.0
    rate: float = 1.0
    pitch: float = 1.0
    seed: int = 0

    @property
    def speaker(self) -> str:
        """Who speaks, for Kaldi ids: letters, digits and `-`, no speaker a prefix of another.

        >>> Request("espeak", "en-us+f2", "hello", speaker_factor=0.9).speaker
        'espeak-en-us-f2-x090'
        """
        voice = re.sub(r"[^a-z0-9]+", "-", self.voice.lower()).strip("-")
        return f"{self.engine}-{voice}-x{round(100 * self.speaker_factor):03d}"


def plan(
    texts: Iterable[str],
    shares: Mapping[str, float],
    seed: int | str,
    num_pseudo_speakers: int = 1,
    rate_range: Sequence[float] = (1.0, 1.0),
    pitch_range: Sequence[float] = (1.0, 1.0),
) -> list[Request]:
    """Decide who says each text and how.

    A text's request depends on the text, on how often it occurred before, and on the other
    arguments, never on other texts: a longer list keeps the audio of a shorter one.

    Args:
        texts: repetitions among them are different requests.
        shares: engine -> its share of the texts, relative to the others. Its English voices are
            equally likely; `engine/voice` names one, e.g. `{"espeak": 3, "hibari/heart": 1}`.
        seed: of all draws; another says the same text in another way.
        num_pseudo_speakers: every voice becomes that many, by factors spread over FACTOR_RANGE.
        rate_range: lowest and highest factor of the tempo, 0.3 to 3, drawn uniformly on a
            logarithmic scale.
        pitch_range: the same of the pitch.

    Raises:
        ValueError: an engine or a voice that is not there, a share or range without sense.
    """
    voices = {name: voices_of(name) for name in shares}
    weights = np.asarray(list(shares.values()), float)
    if not shares or not np.all(np.isfinite(weights)) or weights.min() < 0 or weights.sum() == 0:
        raise ValueError(
            f"got shares {dict(shares)}, expected engine: share with shares of 0 or more, "
            f"one at least above 0 (engines: {', '.join(engines.NAMES)})"
        )
    for name, (low, high) in {"rate_range": rate_range, "pitch_range": pitch_range}.items():
        if not 0.3 <= low <= high <= 3:
            raise ValueError(f"got {name} [{low}, {high}], expected 0.3 <= low <= high <= 3")
    if num_pseudo_speakers < 1:
        raise ValueError(f"got num_pseudo_speakers {num_pseudo_speakers}, expected 1 or more")
    factors = np.linspace(*FACTOR_RANGE, num_pseudo_speakers) if num_pseudo_speakers > 1 else [1.0]

    requests: list[Request] = []
    occurrences: Counter[str] = Counter()
    for text in texts:
        digest = sha256("synth", str(seed), text, str(occurrences[text]))
        occurrences[text] += 1
        rng = np.random.default_rng(int(digest, 16))
        name = str(rng.choice(list(shares), p=weights / weights.sum()))
        engine, voice = voices[name][rng.integers(len(voices[name]))]
        factor = round(float(rng.choice(factors)), 2)
        # Every draw is made for every text, so that one setting does not shift the others.
        rate, pitch = (_log_uniform(rng, bounds) for bounds in (rate_range, pitch_range))
        pitch = pitch if engines.load(engine).has_pitch else 1.0
        seed_of_noise = int(rng.integers(2**31))
        requests.append(Request(engine, voice, text, factor, rate, pitch, seed_of_noise))
    return requests


def render(requests: Sequence[Request], cache_dir: str | Path, num_jobs: int) -> list[Path | None]:
    """Make a wav file (16 kHz, mono, int16) of every request, or find it in the cache.

    A file appears in the cache whole or not at all, so a run that was killed goes on where it was.

    Returns:
        A path for every request, in order; None for those that the engine could not say, which
        are reported on stderr.

    Raises:
        ValueError: an engine that is not installed; more than 1 % of the requests failed.
        OSError: the cache cannot be written.
        array_job.Done: this job has a share of the files alone, and they are there.
    """
    cache_dir = Path(cache_dir)
    versions = {name: engines.load(name).version for name in {r.engine for r in requests}}
    paths = [_cached(request, versions[request.engine], cache_dir) for request in requests]
    wanted = dict(zip(paths, requests, strict=True))
    share = array_job.mine()
    ours = wanted if share is None else share.of(list(wanted))
    missing = {path: wanted[path] for path in ours if not is_whole(path)}
    failed: dict[Path, str] = {}
    outcomes = parallel.run(
        render_one, missing.items(), num_jobs, total=len(missing), desc="speech"
    )
    for path, failure in zip(missing, outcomes, strict=True):
        if failure is not None:
            failed[path] = failure
            if share is None and len(failed) > MAX_FAILED * len(requests):
                raise ValueError(
                    f"{len(failed)} of {len(requests)} texts could not be spoken "
                    f"(limit {MAX_FAILED:.0%}); the last: {failure}"
                )
    if share is not None:  # what could not be spoken is tried again, and counted, by the others
        raise array_job.Done(f"share {share}: {len(missing) - len(failed)} utterances spoken")
    if failed:
        first = next(iter(failed.values()))
        print(
            f"synth: {len(failed)} of {len(requests)} texts could not be spoken; "
            f"the first: {first}",
            file=sys.stderr,
        )
    return [None if path in failed else path for path in paths]


def speak(request: Request) -> np.ndarray:
    """The audio of one request, float32 (num_samples,) at 16 kHz.

    Raises:
        ValueError: the engine is not installed, or gave no sound.
    """
    import soxr

    engine, factor = engines.load(request.engine), request.speaker_factor
    samples, sample_rate_hz = engine.speak(
        request.text,
        request.voice,
        rate=request.rate / factor,
        pitch=request.pitch,
        seed=request.seed,
    )
    # Taken as if recorded at factor x the rate: frequencies and tempo are scaled by the factor.
    samples = soxr.resample(samples, sample_rate_hz * factor, SAMPLE_RATE_HZ)
    peak = np.abs(samples).max(initial=0.0)
    if len(samples) < MIN_DURATION_S * SAMPLE_RATE_HZ or not np.isfinite(peak) or peak < MIN_PEAK:
        raise ValueError(f"{request.engine} gave no sound")
    start, end = active_range(samples, padding_s=EDGE_S)
    return (samples[start:end] * (PEAK / peak)).astype(np.float32)


def voices_of(name: str) -> list[tuple[str, str]]:
    """(engine, voice) for every voice that a key of `shares` names."""
    engine, _, voice = name.partition("/")
    known = engines.load(engine).voices()
    if not known:
        raise ValueError(f"the synthesiser '{engine}' has no English voice on this machine")
    if voice and voice not in known:
        raise ValueError(
            f"'{engine}' has no voice '{voice}' here (python -m atat.synth --list shows them)"
        )
    return [(engine, v) for v in known if voice in ("", v)]


def _log_uniform(rng: np.random.Generator, bounds: Sequence[float]) -> float:
    return round(float(np.exp(rng.uniform(*np.log(bounds)))), 3)


def _cached(request: Request, version: str, cache_dir: Path) -> Path:
    key = sha256(_PROCESSING, version, *map(str, astuple(request)))
    return cache_dir / key[:2] / f"{key[:32]}.wav"


def is_whole(path: Path) -> bool:
    """Whether a file of the cache is there and as long as its header says."""
    try:
        with path.open("rb") as file:
            header = file.read(8)
            size = os.fstat(file.fileno()).st_size
    except OSError:
        return False
    return header[:4] == b"RIFF" and size == 8 + int.from_bytes(header[4:], "little")


def render_one(item: tuple[Path, Request]) -> str | None:
    """Write one file; returns what went wrong if the engine could not say the text."""
    import soundfile

    path, request = item
    try:
        samples = speak(request)
    except Exception as e:  # whatever an engine raises for a text concerns this text only
        return f"{request.engine} ({request.voice}), '{request.text}': {e or type(e).__name__}"
    # In memory first: libsndfile goes on after an error of the disk.
    content = io.BytesIO()
    soundfile.write(content, samples, SAMPLE_RATE_HZ, "PCM_16", format="WAV")
    with atomic_write(path, "wb") as file:
        file.write(content.getbuffer())
    return None
