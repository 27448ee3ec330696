"""Exact match in other recording conditions: silence around, level, DC, 8 kHz, clipping.

Decodes up to `--limit` utterances of a split in each condition, as atat.parse decodes a file, and
sound in which nothing is said: silence, noise, hum, two channels that cancel. Writes
EXP/conditions/scores.json: how many are right, and how many are accepted at all. What is measured
on other data than the experiment's own goes to --out DIR, in place of EXP.
"""

import functools
import json
from pathlib import Path

from atat.common import cli, parallel
from atat.common.files import atomic_directory
from atat.common.provenance import commit
from atat.common.seeds import rng
from atat.data import kaldi_dir
from atat.evaluation import metrics
from atat.evaluation.conditions import LIMIT, chosen, is_tried, score, table, try_one
from atat.evaluation.evaluation_data import readable, warn_of_labels
from atat.evaluation.scoring import hypothesis_key
from atat.inference.decode_runs import load_settings, runs_over, search_options
from atat.inference.results_place import results_place
from atat.models.checkpoint import check_experiment, digest
from atat.synthesis.recording_conditions import NOTHING_SAID, NUM_SOUNDS, conditions


def arguments() -> cli.Parser:
    """The options of the command."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="the experiment")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--out", type=Path, metavar="DIR", help="of results, in place of EXP")
    parser.add_argument("--split", default="test", help="whose speech is decoded")
    parser.add_argument("--limit", type=cli.positive_int, default=LIMIT, help="most utterances")
    parser.add_argument("--run", help="of decode.runs; by default as atat.parse decodes")
    parser.add_argument("--seed", type=int, default=1, help="of choice and noise")
    parser.add_argument("--nj", type=cli.positive_int, default=1, help="processes")
    parser.add_argument(
        "--if_needed",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="do nothing where this model, calibrated as it is now, has been tried so already",
    )
    return parser


def main() -> None:
    """Measure exact match in recording conditions, from the command line."""
    args = arguments().parse_args()
    check_experiment(args.exp)
    path = results_place(args.exp, args.data, args.out) / "conditions" / "scores.json"
    wanted = {name: getattr(args, name) for name in ("split", "run", "seed", "limit")}
    if args.if_needed and is_tried(args.exp, path, wanted):
        print(f"tried already: {path}")
        return
    settings = load_settings(args.exp, [])
    tested = sorted({run.split for run in settings.decode.runs.values()})
    if args.out is None and args.split not in tested:
        raise ValueError(
            f"--split: got '{args.split}', expected one that a run of decode.runs is of "
            f"({', '.join(tested) or 'there is none'}), or --out DIR for its results"
        )
    options = {}
    if args.run is not None:
        options = search_options(runs_over(settings, args.split, [args.run])[args.run], settings)
    held = kaldi_dir.read(args.data / args.split)
    if not held.wav_scp or not held.semantics:
        raise ValueError(f"{args.data / args.split}: expected speech with semantics")
    key = hypothesis_key(args.exp, args.data)

    import torch

    from atat.inference.predictor import SpeechToSemantics

    torch.set_num_threads(settings.train.num_threads)
    model = SpeechToSemantics.load(args.exp)
    is_calibrated = model.confidence is not None
    ids = chosen(held, args.limit, rng(args.seed, "conditions"))
    # What is wrong with them shows here, once.
    wavs = readable({i: held.wav_scp[i] for i in ids}, settings.features)
    warn_of_labels(model, {i: held.semantics[i] for i in wavs})
    references = [held.semantics[i] for i in wavs]
    about = wanted | {"model": digest(args.exp), "n": len(wavs)}
    about |= {"num_left_out": len(ids) - len(wavs)}
    about |= {"commit": commit(), "is_calibrated": is_calibrated, "scores": [], "nothing_said": []}
    function = functools.partial(
        try_one, exp=args.exp, wavs=tuple(wavs.items()), options=options, seed=args.seed
    )
    names = [*conditions(), *NOTHING_SAID]
    tried = parallel.run(
        function, names, args.nj, total=len(names), desc="conditions", chunk_size=1
    )
    for name, results in zip(names, tried, strict=True):
        if name in NOTHING_SAID:
            num = sum(not (result and result.is_understood) for result in results)
            refused = metrics.proportion(num, len(results))
            about["nothing_said"].append({"condition": name, "refused": refused})
        else:
            about["scores"].append({"condition": name, **score(results, references, key)})
    with atomic_directory(path.parent) as directory:
        (directory / "scores.json").write_text(json.dumps(about, indent=1) + "\n")
    print(table(about))
    print(f"in %, n = {len(wavs)} and {NUM_SOUNDS}, in brackets 95 % intervals")
    if not is_calibrated:
        print(f"nothing is refused for lack of confidence: {args.exp} is not calibrated")
    print(f"written: {path}")


if __name__ == "__main__":
    cli.run(main)
