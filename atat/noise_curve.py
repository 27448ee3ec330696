"""Exact match of a trained model in noise: its runs over one split, clean and at several ratios.

Writes EXP/noise/{scores.json,noise.png}. The noise is drawn anew for every utterance, the same for
all runs and ratios. Babble is made of the validation split's speech, or of noise without that.
"""

# N samples, T frames

import argparse
import json
from pathlib import Path

import numpy as np

from atat import metrics, plots
from atat.common import cli
from atat.common.files import atomic_directory
from atat.common.text_table import align
from atat.config.schema import FeaturesConfig
from atat.data import audio, filter_bank, kaldi_dir
from atat.inference.decode_runs import Inputs, decoded, load_settings, runs_over, search_options
from atat.score import hypothesis_key, percent
from atat.synthesis import noise

CLEAN = "clean"
SNRS_DB = (24, 21, 18, 15, 12, 9, 6)
MAX_SNR_DB = 100.0


def heard(
    wavs: dict[str, str], kind: str | None, snr_db: float, settings: FeaturesConfig, make, seed: int
) -> Inputs:
    """The utterances with their features, in noise unless the kind is None.

    One that cannot be used is dropped, as stage 2 does, and understood wrong.
    """
    from atat.common.seeds import rng

    feats, dropped = {}, {}
    desc = CLEAN if kind is None else f"{kind} {snr_db:g} dB"
    for key, path in cli.progress(wavs.items(), desc=desc):
        try:
            samples_N = audio.read(path, settings.sample_rate_hz, settings.max_duration_s)
            if kind is not None:
                noise_N = make(rng(seed, "noise", kind, key), len(samples_N))
                samples_N = noise.mix(samples_N, noise_N, snr_db)
            feats[key] = filter_bank.extract(samples_N, settings)
        except (ValueError, FileNotFoundError) as e:
            dropped[key] = str(e)
    if not feats:
        raise ValueError(
            f"not one utterance can be used; the first: {next(iter(dropped.values()))}"
        )
    sizes = {key: len(feats_TF) for key, feats_TF in feats.items()}
    return Inputs(list(wavs), sizes, reader=feats, dropped=dropped)


def understood(model, inputs: Inputs, options, references, key) -> dict[str, bool]:
    """Whether each utterance is understood right (EM Hyp)."""
    right = dict.fromkeys(inputs.ids, False)
    for name, hypotheses in decoded(model, inputs, options):
        said = model.tokenizer.decode(hypotheses[0].tokens) if hypotheses else ""
        right[name] = bool(metrics.judge(references[name], said, key).em_hyp)
    return right


def others_speech(data: Path, splits: list[str]) -> list[str]:
    """Files of what is said in the splits that are there; without any, that is said."""
    there = [data / split for split in splits if (data / split).is_dir()]
    speech = sorted(p for split in there for p in (kaldi_dir.read(split).wav_scp or {}).values())
    if not speech:
        print(f"babble is made of noise: {data} has no speech in {', '.join(splits) or 'valid'}")
    return speech


def table(scores: list[dict]) -> str:
    """Rows: kind and ratio; columns: runs; below each kind its mean."""
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


def decibels(text: str) -> float:
    """A ratio in dB, as an option has it."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not -MAX_SNR_DB <= value <= MAX_SNR_DB:
        raise argparse.ArgumentTypeError(f"got '{text}', expected dB, e.g. 12")
    return value


def main() -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="the experiment")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--split", default="test", help="whose speech is understood")
    parser.add_argument(
        "--run", action="append", help="of decode.runs; all on this split by default"
    )
    parser.add_argument(
        "--noise", action="append", help="babble, fan, street (all by default), DIR"
    )
    parser.add_argument("--snr", action="append", type=decibels, help="dB; 24 to 6 by 3 by default")
    parser.add_argument("--seed", type=int, default=1, help="of the noise")
    args = parser.parse_args()

    from atat.models.checkpoint import check_experiment, digest

    check_experiment(args.exp)
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
    key = hypothesis_key(args.data)

    import torch

    from atat.common.provenance import commit
    from atat.inference.predictor import SpeechToSemantics

    torch.set_num_threads(settings.train.num_threads)
    model = SpeechToSemantics.load(args.exp, with_confidence=False)
    options = {name: model.options(**search_options(run)) for name, run in runs.items()}
    points = [(None, 0.0)] + [(k, snr) for k in kinds for snr in args.snr or SNRS_DB]
    scores = []
    for kind, snr_db in points:
        make = makers.get(kind)
        inputs = heard(held.wav_scp, kind, snr_db, settings.features, make, args.seed)
        line = {"noise": kind or CLEAN, "snr_db": None if kind is None else snr_db, "runs": {}}
        for name in runs:
            right = understood(model, inputs, options[name], held.semantics, key)
            line["runs"][name] = metrics.proportion(sum(right.values()), len(right))
        scores.append(line)
    with atomic_directory(args.exp / "noise") as directory:
        about = {"model": digest(args.exp), "split": args.split, "seed": args.seed}
        about |= {"commit": commit(), "scores": scores}
        (directory / "scores.json").write_text(json.dumps(about, indent=1) + "\n")
        with (directory / "noise.png").open("wb") as file:
            plots.noise_curves(scores, file)
    print(table(scores))
    print(f"EM Hyp in %, n = {len(held.wav_scp)}, in brackets 95 % intervals")
    print(f"written: {args.exp / 'noise' / 'scores.json'}, noise.png")


if __name__ == "__main__":
    cli.run(main)
