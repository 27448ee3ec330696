"""Calibrate a trained model: fit confidence, and choose the threshold from which it is accepted.

Decodes validation speech and audio that means nothing to the recipe (made from the seed, or
`--negatives`), fits on a half of both, chooses the threshold there, measures on the other half, and
writes EXP/confidence.json and EXP/coverage.png. The threshold is the smallest that promises at most
the wanted false accepts an hour; if that accepts too little of the validation speech, the largest
that accepts enough. Near misses of a grammar's sentences are fitted on too, and up to a quarter of
what need not be accepted is given up to refuse 95 % of them; no hour counts them. With
`--evaluate_in` or `--evaluate_out` nothing is fitted: what is stored is measured on other audio.
"""

import argparse
from pathlib import Path

from atat.common import cli
from atat.evaluation import calibration
from atat.evaluation.calibration import WANTED, calibrate, evaluate
from atat.inference.decode_runs import load_settings
from atat.models.checkpoint import check_experiment
from atat.models.experiment_files import CONFIDENCE


def _share(text: str) -> float:
    if not 0.0 < (value := float(text)) <= 1.0:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a share above 0, at most 1")
    return value


def _above_0(text: str) -> float:
    if not 0.0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number above 0")
    return value


def _not_negative(text: str) -> float:
    if not 0.0 <= (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"got '{text}', expected a number of 0 or more")
    return value


def main() -> None:
    """Calibrate an experiment, or evaluate one that is, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, type=Path, metavar="DIR", help="a trained experiment")
    add("--data", type=Path, metavar="DIR", help="the splits")
    add("--dump", type=Path, metavar="DIR", help="their features")
    add("--split", default="valid", help="one of train.valid_splits")
    add("--run", help="of decode.runs, whose options are calibrated; default: the grammar's")
    add("--negatives", nargs="+", type=Path, default=[], metavar="DIR", help="audio or splits")
    add(
        "--hours",
        type=_above_0,
        help="of negatives to make without --negatives; default: decode.negative_hours",
    )
    add("--false_accepts_per_hour", type=_not_negative, default=2.0, help="most that are wanted")
    add("--accept", type=_share, default=0.95, help="least share of validation speech accepted")
    add("--nj", type=cli.positive_int, default=1, help="processes")
    add(
        "--if_needed",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="do nothing where this model is calibrated so already, or cannot be",
    )
    add("--evaluate_in", type=Path, metavar="DIR", help="measure on this split; nothing is fitted")
    add("--evaluate_out", type=Path, metavar="DIR", help="the same, on audio that means nothing")
    add("overrides", nargs="*", metavar="decode.NAME=value", help="settings")
    args = parser.parse_args()
    is_evaluation = args.evaluate_in is not None or args.evaluate_out is not None
    if not is_evaluation and (args.data is None or args.dump is None):
        parser.error("got no --data or no --dump, expected both where there is something to fit")

    check_experiment(args.exp)
    settings = load_settings(args.exp, args.overrides)

    import torch

    torch.set_num_threads(settings.train.num_threads)
    if is_evaluation:
        evaluate(args.exp, args.evaluate_in, args.evaluate_out)
        return
    wanted = {name: getattr(args, name) for name in ("split", "hours", *WANTED)}
    wanted["hours"] = args.hours or settings.decode.negative_hours
    if args.if_needed and not args.negatives and calibration.is_calibrated(args.exp, wanted):
        print(f"calibrated already: {args.exp / CONFIDENCE}")
        return
    calibrate(
        args.exp,
        args.data,
        args.dump,
        settings,
        run=args.run,
        wanted=wanted,
        negative_files=args.negatives,
        num_jobs=args.nj,
        must_fit=not args.if_needed,
    )


if __name__ == "__main__":
    cli.run(main)
