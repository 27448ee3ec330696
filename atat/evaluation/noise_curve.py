"""Noise robustness: exact match of a split in additive noise of several kinds and ratios."""

# N samples, T frames

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.common import cli
from atat.common.seeds import rng
from atat.common.text_table import align
from atat.config.schema import FeaturesConfig
from atat.data import audio, filter_bank, kaldi_dir
from atat.evaluation import metrics
from atat.evaluation.scoring import percent
from atat.inference.decode_inputs import Inputs
from atat.inference.decode_runs import decoded
from atat.inference.search_options import SearchOptions
from atat.semantics.target_sequence import Frame
from atat.synthesis import noise

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics

CLEAN = "clean"
SNRS_DB = (24, 21, 18, 15, 12, 9, 6)
MAX_SNR_DB = 100.0


def heard(
    wavs: dict[str, str],
    kind: str | None,
    snr_db: float,
    settings: FeaturesConfig,
    make: Callable[[noise.Draw, int], np.ndarray] | None,
    seed: int,
) -> Inputs:
    """Features of utterances in additive noise.

    One that cannot be used is dropped, as stage 2 does, and counts as wrong; stderr says so.

    Args:
        wavs: utterance id -> audio file.
        kind: of noise, as `noise.source` takes it; None: clean speech.
        snr_db: ratio of the loudest frames of speech and noise, in dB (`noise.mix`).
        settings: of the features.
        make: (generator, number of samples) -> noise, float (N,); None where the kind is.
        seed: of the noise: one utterance has the same at all ratios and in all runs.

    Returns:
        What `decoded` takes: ids in the order given, and features, float32 (T, F), in memory.

    Raises:
        ValueError, FileNotFoundError: no utterance can be used, or a file of the noise cannot.
    """
    feats, dropped = {}, {}
    desc = CLEAN if kind is None else f"{kind} {snr_db:g} dB"
    for key, path in cli.progress(wavs.items(), desc=desc):
        try:
            samples_N = audio.read(path, settings.sample_rate_hz, settings.max_duration_s)
        except (ValueError, FileNotFoundError) as e:
            dropped[key] = str(e)
            continue
        if kind is not None:  # a mistake in the noise is not the utterance's
            assert make is not None
            noise_N = make(rng(seed, "noise", kind, key), len(samples_N))
            samples_N = noise.mix(samples_N, noise_N, snr_db)
        try:
            feats[key] = filter_bank.extract(samples_N, settings)
        except ValueError as e:
            dropped[key] = str(e)
    first = next(iter(dropped.values()), "")
    if not feats:
        raise ValueError(f"not one utterance can be used; the first: {first}")
    if dropped:
        print(
            f"{desc}: {len(dropped)} of {len(wavs)} utterances cannot be used and count as wrong; "
            f"the first: {first}",
            file=sys.stderr,
        )
    sizes = {key: len(feats_TF) for key, feats_TF in feats.items()}
    return Inputs(list(wavs), sizes, reader=feats, dropped=dropped)


def understood(
    model: "SpeechToSemantics",
    inputs: Inputs,
    options: SearchOptions,
    references: Mapping[str, str],
    key: Callable[[str], Frame],
) -> dict[str, bool]:
    """Exact match (EM Hyp) of each utterance.

    Args:
        model: trained.
        inputs: speech or text to decode.
        options: of the search.
        references: utterance id -> target sequence.
        key: what EM Hyp compares, see `metrics.judge`.

    Returns:
        Utterance id -> whether it is right; one that was dropped is not.
    """
    right = dict.fromkeys(inputs.ids, False)
    for name, hypotheses in decoded(model, inputs, options):
        said = model.tokenizer.decode(hypotheses[0].tokens) if hypotheses else ""
        right[name] = bool(metrics.judge(references[name], said, key).em_hyp)
    return right


def others_speech(data: Path, splits: list[str]) -> list[str]:
    """Audio files to make babble of: those of the splits; where there are none, prints so."""
    there = [data / split for split in splits if (data / split).is_dir()]
    speech = sorted(p for split in there for p in (kaldi_dir.read(split).wav_scp or {}).values())
    if not speech:
        print(f"babble is made of noise: {data} has no speech in {', '.join(splits) or 'valid'}")
    return speech


def table(scores: list[dict[str, Any]]) -> str:
    """EM Hyp as text: a row for each kind and ratio, a column for each run, means below each kind.

    Args:
        scores: {"noise", "snr_db", "runs": {name: metric}} each, those of a kind together; the
            clean one has `snr_db` None.
    """
    runs = list(scores[0]["runs"])
    rows = [["noise", "SNR", *runs]]
    for number, line in enumerate(scores):
        name = "" if line["snr_db"] is None else f"{line['snr_db']:g} dB"
        rows.append([line["noise"], name, *(percent(line["runs"][run]) for run in runs)])
        last = number + 1 == len(scores) or scores[number + 1]["noise"] != line["noise"]
        if last and line["noise"] != CLEAN:
            same = [s for s in scores if s["noise"] == line["noise"]]
            means = [np.mean([s["runs"][run]["value"] for s in same]) for run in runs]
            rows.append([line["noise"], "mean", *(f"{100 * mean:.1f}" for mean in means)])
    return align(rows)
