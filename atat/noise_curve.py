"""Noise curve: exact match of a trained model's runs over one split, clean and at several SNRs.

Writes EXP/noise/{scores.json,noise.png}. The noise is drawn anew for every utterance, the same for
all runs and ratios. Babble is made of the validation split's speech, or of noise without that. What
is measured on other data than the experiment's own goes to --out DIR, in place of EXP.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from atat.common import cli
from atat.common.files import atomic_directory
from atat.common.provenance import commit
from atat.data import kaldi_dir
from atat.evaluation import metrics, plots
from atat.evaluation.evaluation_data import readable, warn_of_labels
from atat.evaluation.noise_curve import (
    CLEAN,
    MAX_SNR_DB,
    SNRS_DB,
    heard,
    others_speech,
    table,
    understood,
)
from atat.evaluation.scoring import hypothesis_key
from atat.inference.decode_runs import load_settings, runs_over, search_options
from atat.inference.results_place import results_place
from atat.models.checkpoint import check_experiment, digest
from atat.synthesis import noise


def decibels(text: str) -> float:
    """A ratio in dB from an option's text, within MAX_SNR_DB of 0."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not -MAX_SNR_DB <= value <= MAX_SNR_DB:
        raise argparse.ArgumentTypeError(f"got '{text}', expected dB, e.g. 12")
    return value


def main() -> None:
    """Measure exact match in noise, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="the experiment")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of results, in place of EXP")
    parser.add_argument("--split", default="test", help="whose speech is decoded")
    parser.add_argument(
        "--run", action="append", help="of decode.runs; all on this split by default"
    )
    parser.add_argument(
        "--noise", action="append", help="babble, fan, street (all by default), DIR"
    )
    parser.add_argument("--snr", action="append", type=decibels, help="dB; 24 to 6 by 3 by default")
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    args = parser.parse_args()

    check_experiment(args.exp)
    place = results_place(args.exp, args.data, args.out) / "noise"
    settings = load_settings(args.exp, [])
    runs = runs_over(settings, args.split, args.run)
    kinds = args.noise or ["babble", "fan", "street"]
    held = kaldi_dir.read(args.data / args.split)
    if not held.wav_scp or not held.semantics:
        raise ValueError(f"{args.data / args.split}: expected speech with semantics")
    speech = []
    if "babble" in kinds:
        speech = others_speech(args.data, settings.train.valid_splits[:1])
    makers = {kind: noise.source(kind, speech) for kind in kinds}
    key = hypothesis_key(args.exp, args.data)

    import torch

    from atat.inference.predictor import SpeechToSemantics

    torch.set_num_threads(settings.train.num_threads)
    model = SpeechToSemantics.load(args.exp, with_confidence=False)
    wavs = readable(held.wav_scp, settings.features)
    warn_of_labels(model, {i: held.semantics[i] for i in wavs})
    options = {
        name: model.options(**search_options(run, model.settings)) for name, run in runs.items()
    }
    points = [(None, 0.0)] + [(k, snr) for k in kinds for snr in args.snr or SNRS_DB]
    scores = []
    for kind, snr_db in points:
        make = makers.get(kind)
        inputs = heard(wavs, kind, snr_db, settings.features, make, args.seed)
        exact = {}
        for name in runs:
            right = understood(model, inputs, options[name], held.semantics, key)
            exact[name] = metrics.proportion(sum(right.values()), len(right))
        ratio = None if kind is None else snr_db
        scores.append({"noise": kind or CLEAN, "snr_db": ratio, "runs": exact})
    with atomic_directory(place) as directory:
        about = {"model": digest(args.exp), "split": args.split, "seed": args.seed}
        about |= {"commit": commit(), "num_left_out": len(held.ids) - len(wavs), "scores": scores}
        (directory / "scores.json").write_text(json.dumps(about, indent=1) + "\n")
        with (directory / "noise.png").open("wb") as file:
            plots.noise_curves({args.exp.name: [about]}, file)
    print(table(scores))
    print(f"EM Hyp in %, n = {len(wavs)}, in brackets 95 % intervals")
    print(f"written: {place / 'scores.json'}, noise.png")


if __name__ == "__main__":
    cli.run(main)
