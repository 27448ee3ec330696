"""Robustness to recording conditions: a split's speech as other microphones and rooms record it."""

# N samples, C channels

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

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
from atat.synthesis import recording_conditions
from atat.synthesis.recording_conditions import (
    NOTHING_SAID,
    RATE_HZ,
    Draw,
    Sound,
    conditions,
)

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics

LIMIT = 100  # utterances


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
        wavs: utterance -> audio file, those that can be read (`evaluation_data.readable`).
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
        heard = list(recording_conditions.sounds(rng(seed, "nothing said"), said)[name])
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
