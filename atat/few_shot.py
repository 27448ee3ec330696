"""Few-shot adaptation: exact match of a model adapted to k recordings, by cross-validation.

The split is divided into folds by speaker (as far as utt2spk knows them). For each fold and each k,
`atat.adapt` adapts the experiment to k recordings of the other folds, and this fold is decoded: so
each recording is tested once for every k, by a model that was not adapted to it. Writes
EXP/few_shot/scores.json; the adapted models stay beside it, and are not trained again.
"""

import json
from pathlib import Path

from atat.common import cli
from atat.common.files import atomic_write
from atat.common.provenance import commit
from atat.evaluation.few_shot import SHOTS, adapt, parts_of, shots_of, table, understood
from atat.evaluation.scoring import hypothesis_key
from atat.inference.decode_runs import load_settings, runs_over
from atat.models.checkpoint import check_experiment, digest
from atat.training.adaptation import SHARE, check_recordings


def main() -> None:
    """Adapt to few recordings and measure, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, type=Path, metavar="DIR", help="a trained experiment")
    add("--data", required=True, type=Path, metavar="DIR", help="the splits")
    add(
        "--dump", required=True, type=Path, metavar="DIR", help="features of what it was trained on"
    )
    add("--split", default="test", help="the recordings, with semantics")
    add("--shots", action="append", type=cli.positive_int, help="k; 10, 50 and 100 by default")
    add("--folds", type=cli.positive_int, default=2, help="of the cross-validation")
    add("--run", action="append", help="of decode.runs; all on this split by default")
    add("--share", type=cli.share, default=SHARE, help="of recordings among the speech in training")
    add("--seed", type=int, default=1, help="of folds and shots")
    add("overrides", nargs="*", metavar="key=value", help="settings of the adaptation")
    args = parser.parse_args()

    check_experiment(args.exp)
    settings = load_settings(args.exp, [])
    runs = runs_over(settings, args.split, args.run)
    split = check_recordings(args.data / args.split)
    parts = parts_of(split, args.folds, args.seed)
    plan = {
        (num, n): shots_of(split, tested, num, args.seed)
        for num in sorted(set(args.shots or SHOTS))
        for n, tested in enumerate(parts, 1)
    }
    key = hypothesis_key(args.exp, args.data)

    import torch

    torch.set_num_threads(settings.train.num_threads)
    out, further = args.exp / "few_shot", ["--share", str(args.share), *args.overrides]
    right = {0: understood(args.exp, settings, runs, split, split.ids, key)}
    for (num, n), shots in plan.items():
        exp = out / f"{args.split}_{num}_{n}of{args.folds}"
        adapt(args.exp, exp, shots, args.data, args.dump, further)
        for name, found in understood(exp, settings, runs, split, parts[n - 1], key).items():
            right.setdefault(num, {}).setdefault(name, {}).update(found)
    text, values = table(right)
    about = {"model": digest(args.exp), "split": args.split, "seed": args.seed}
    about |= {"folds": args.folds, "commit": commit()}
    with atomic_write(out / "scores.json") as file:
        file.write(json.dumps(about | {"scores": values}, indent=1) + "\n")
    print(text)
    print(f"n = {len(split.ids)}, 95 % intervals in brackets; p: McNemar, against no recordings")
    print(f"written: {out / 'scores.json'}")


if __name__ == "__main__":
    cli.run(main)
