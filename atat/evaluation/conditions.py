"""Robustness to recording conditions: a split's speech as other microphones and rooms record it."""

# N samples, C channels

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import soxr

from atat.common.json_file import read_json
from atat.common.seeds import rng
from atat.common.text_table import align
from atat.data import audio
from atat.data.kaldi_dir import DataDir
from atat.evaluation import metrics
from atat.evaluation.intents import understood as intent_of
from atat.evaluation.scoring import percent
from atat.inference.result import Result
from atat.models import experiment_files
from atat.models.checkpoint import digest
from atat.semantics.target_sequence import Frame
from atat.synthesis import noise

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics

RATE_HZ = audio.SAMPLE_RATE_HZ
LIMIT = 100  # utterances
NOTHING_SAID = ("digital silence", "white noise", "hum", "two channels that cancel")
NUM_SOUNDS = 20  # of each kind in which nothing is said
ROOM_DBFS = -60.0  # RMS of a quiet room around the speech
PAUSES_S = (0.5, 1.0, 2.0)
PEAKS_DBFS = (-50.0, -30.0, -20.0, 0.0)
OFFSET = 0.05  # of full scale
OVER_DB = 12.0  # over full scale, of what is clipped
SOUND_S = (1.0, 5.0)
SOUND_DBFS = (-60.0, -20.0)  # RMS
HUM_HZ = (50.0, 60.0)

Draw = np.random.Generator
# What a device hands over: int16 (N,) or (N, C), and its rate in Hz.
Sound = tuple[np.ndarray, int]
Change = Callable[[Draw, np.ndarray], Sound]


def recorded(samples: np.ndarray) -> np.ndarray:
    """int16, as a recording is; what is beyond full scale is clipped.

    >>> recorded(np.array([0.5, 2.0, -2.0])).tolist()
    [16384, 32767, -32767]
    """
    return np.clip(np.round(samples * 32768.0), -32767, 32767).astype(np.int16)


def in_a_room(draw: Draw, speech_N: np.ndarray, pause_s: float) -> Sound:
    """Speech in the noise of a quiet room, and so many seconds of the room before and after."""
    around = np.pad(speech_N, round(pause_s * RATE_HZ))
    return recorded(around + at_rms(noise.fan(draw, len(around)), ROOM_DBFS)), RATE_HZ


def at_peak(speech_N: np.ndarray, peak_dbfs: float) -> np.ndarray:
    """float (N,) with its loudest sample at a level in dB of full scale."""
    return speech_N * (10 ** (peak_dbfs / 20) / max(np.abs(speech_N).max(), 1e-9))


def at_rms(samples_N: np.ndarray, level_dbfs: float) -> np.ndarray:
    """float (N,) with its mean power at a level in dB of full scale."""
    return samples_N * (10 ** (level_dbfs / 20) / np.sqrt(np.mean(np.square(samples_N))))


def _peaking(_: Draw, speech_N: np.ndarray, peak_dbfs: float) -> Sound:
    return recorded(at_peak(speech_N, peak_dbfs)), RATE_HZ


def conditions() -> dict[str, Change]:
    """Name of a condition -> its change of speech, float (N,) at 16 kHz within [-1, 1]."""
    found: dict[str, Change] = {"as it is": lambda _, x: (recorded(x), RATE_HZ)}
    for pause_s in PAUSES_S:
        found[f"{pause_s:g} s of room around"] = functools.partial(in_a_room, pause_s=pause_s)
    for peak_dbfs in PEAKS_DBFS:
        found[f"peak at {peak_dbfs:g} dBFS"] = functools.partial(_peaking, peak_dbfs=peak_dbfs)
    found[f"DC offset of {OFFSET:g}"] = lambda _, x: (recorded(x + OFFSET), RATE_HZ)
    found["8 kHz"] = lambda _, x: (recorded(soxr.resample(x, RATE_HZ, 8000)), 8000)
    found[f"clipped by {OVER_DB:g} dB"] = functools.partial(_peaking, peak_dbfs=OVER_DB)
    return found


def sounds(draw: Draw, speech: Sequence[np.ndarray]) -> dict[str, list[Sound]]:
    """Kind -> recordings in which nothing is said, NUM_SOUNDS each.

    Args:
        draw: of their lengths (SOUND_S), and of the noise.
        speech: float (N,) each, of which two channels that cancel are made.
    """
    lengths = [round(draw.uniform(*SOUND_S) * RATE_HZ) for _ in range(NUM_SOUNDS)]
    levels_dbfs = np.linspace(*SOUND_DBFS, NUM_SOUNDS)
    silence, white, hum, cancelling = NOTHING_SAID
    found: dict[str, list[np.ndarray]] = {
        silence: [np.zeros(num) for num in lengths],
        white: [
            at_rms(draw.standard_normal(num), level)
            for num, level in zip(lengths, levels_dbfs, strict=True)
        ],
        hum: [
            at_rms(_hum(HUM_HZ[i % len(HUM_HZ)], num), level)
            for i, (num, level) in enumerate(zip(lengths, levels_dbfs, strict=True))
        ],
        cancelling: [
            np.stack([speech[i % len(speech)], -speech[i % len(speech)]], axis=1)
            for i in range(NUM_SOUNDS)
        ],
    }
    return {kind: [(recorded(one), RATE_HZ) for one in made] for kind, made in found.items()}


def _hum(base_hz: float, num: int) -> np.ndarray:
    time_N = np.arange(num) / RATE_HZ
    overtones = (np.sin(2 * np.pi * n * base_hz * time_N) / n for n in (1, 2, 3, 5))
    return sum(overtones, start=np.zeros(num))


def chosen(split: DataDir, limit: int, draw: Draw) -> list[str]:
    """Draw at most so many utterances of a split with semantics, about as many of each intent."""
    assert split.semantics is not None
    of_intent: dict[str, list[str]] = {}
    ids = split.ids
    for i in draw.permutation(len(ids)):
        of_intent.setdefault(intent_of(split.semantics[ids[i]]), []).append(ids[i])
    turns = sorted(
        (turn, number, key)
        for number, (_, keys) in enumerate(sorted(of_intent.items()))
        for turn, key in enumerate(keys)
    )
    return sorted(key for _, _, key in turns[:limit])


def read(wavs: dict[str, str], limit_s: float) -> dict[str, np.ndarray | None]:
    """Utterance -> float (N,) at 16 kHz; None for one whose channels cancel each other out.

    Args:
        wavs: utterance -> audio file, those that can be read (`checked_data.readable`).
        limit_s: longer ones are refused.
    """
    speech: dict[str, np.ndarray | None] = {}
    for key, path in wavs.items():
        try:
            speech[key] = audio.read(path, RATE_HZ, limit_s)
        except audio.NoSpeechError:
            speech[key] = None
    if all(samples_N is None for samples_N in speech.values()):
        raise ValueError(f"nobody speaks in any of {len(wavs)} recordings; expected speech")
    return speech


def predict(
    model: "SpeechToSemantics", heard: Sequence[Sound | None], **options: Any
) -> Iterator[Result | None]:
    """The result of each recording, in order; None where there is none, or it is refused as audio.

    Features of all are extracted first, so that batches are of like length.

    Args:
        model: trained.
        heard: int16 (N,) or (N, C) and rate in Hz of each; None for none.
        options: of the search, as `SpeechToSemantics` takes them.
    """
    recordings = []
    for sound in heard:
        try:
            recordings.append(None if sound is None else model.extract_features(*sound))
        except ValueError:
            recordings.append(None)
    usable = [recording for recording in recordings if recording is not None]
    results = iter(model.predict(usable, **options) if usable else [])
    return (None if recording is None else next(results) for recording in recordings)


def score(
    results: Sequence[Result | None], references: Sequence[str], key: Callable[[str], Frame]
) -> dict[str, Any]:
    """Metrics of the results, each a share of all.

    Args:
        results: None counts as wrong and not understood.
        references: target sequences, in the same order.
        key: what EM Hyp compares, see `metrics.judge`.

    Returns:
        em_hyp (of the best hypothesis, accepted or not), understood (accepted), understood_wrong.
    """
    right, believed = [], []
    for result, reference in zip(results, references, strict=True):
        best = result.nbest[0].semantics if result and result.nbest else ""
        right.append(metrics.judge(reference, best, key).em_hyp)
        believed.append(bool(result and result.is_understood))
    wrong = sum(b and not r for b, r in zip(believed, right, strict=True))
    counts = {"em_hyp": sum(right), "understood": sum(believed), "understood_wrong": wrong}
    return {name: metrics.proportion(k, len(right)) for name, k in counts.items()}


def table(about: dict[str, Any]) -> str:
    """The content of scores.json as text."""
    rows = [["condition", "EM Hyp", "understood", "and wrong"]]
    for line in about["scores"]:
        metrics_of = (line[name] for name in ("em_hyp", "understood", "understood_wrong"))
        rows.append([line["condition"], *map(percent, metrics_of)])
    nothing = [["nothing is said", "refused"]]
    nothing += [[line["condition"], percent(line["refused"])] for line in about["nothing_said"]]
    return f"{align(rows)}\n\n{align(nothing)}"


@functools.cache
def _of_process(
    exp: Path, wavs: tuple[tuple[str, str], ...]
) -> tuple["SpeechToSemantics", dict[str, np.ndarray | None]]:
    """The model and the speech, read once a process."""
    import torch

    from atat.inference.predictor import SpeechToSemantics

    torch.set_num_threads(1)
    model = SpeechToSemantics.load(exp)
    return model, read(dict(wavs), model.settings.features.max_duration_s)


def try_one(
    name: str,
    exp: Path,
    wavs: tuple[tuple[str, str], ...],
    options: dict[str, Any],
    seed: int,
) -> list[Result | None]:
    """The results of a condition, or of a kind of sound in which nothing is said.

    Args:
        name: a key of `conditions`, or one of NOTHING_SAID.
        exp: the experiment, loaded once a process.
        wavs: (utterance id, audio file) of each.
        options: of the search, as `SpeechToSemantics` takes them.
        seed: of rooms and noise.
    """
    model, speech = _of_process(exp, wavs)
    heard: list[Sound | None]
    if name in NOTHING_SAID:
        said = [speech_N for speech_N in speech.values() if speech_N is not None]
        heard = list(sounds(rng(seed, "nothing said"), said)[name])
    else:
        change = conditions()[name]
        heard = [
            None if speech_N is None else change(rng(seed, name, i), speech_N)
            for i, speech_N in speech.items()
        ]
    return list(predict(model, heard, **options))


def is_tried(exp: Path, path: Path, wanted: dict[str, Any]) -> bool:
    """Whether the model that is there now, with its confidence, was tried as wanted.

    Args:
        exp: directory of the experiment.
        path: of the scores.json of before, which need not be there.
        wanted: entries that it is to have.
    """
    fitted = exp / experiment_files.CONFIDENCE
    if not path.is_file() or (fitted.is_file() and newer(fitted, path)):
        return False
    try:
        tried = read_json(path)
    except ValueError:  # damaged
        return False
    return (wanted | {"model": digest(exp)}).items() <= tried.items()


def newer(one: Path, other: Path) -> bool:
    """Whether a file was written after another."""
    return one.stat().st_mtime_ns > other.stat().st_mtime_ns
