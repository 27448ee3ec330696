"""Forced alignment: a trained CTC aligns a split's text with its speech -> DATA/SPLIT/ctm.

The task `mlm` (conf/base.yaml, `train.mlm_share`) masks words there. The experiment must have CTC
(model.ctc_weight above 0) and the features of the dump; the audio is read where these were trimmed.
"""

from pathlib import Path

from atat.common import cli
from atat.common.files import atomic_write
from atat.data import feature_store
from atat.inference.forced_alignment import write_ctm


def main() -> None:
    """Align splits, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="has a trained CTC")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--dump", required=True, type=Path, metavar="DIR", help="their features")
    parser.add_argument("--split", required=True, action="append", help="to align; may be repeated")
    parser.add_argument("--nj", type=cli.positive_int, default=1, help="processes that read audio")
    parser.add_argument(
        "--allow_drops",
        type=cli.boolean,
        default=False,
        help="go on when more than 1 %% of a split cannot be aligned",
    )
    args = parser.parse_args()
    import torch

    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(args.exp)
    torch.set_num_threads(model.settings.train.num_threads)
    dump = feature_store.of_kind(args.data, args.dump, model.settings.features, args.nj)
    for split in args.split:
        said = write_ctm(
            model, args.data / split, dump / split, args.nj, allow_drops=args.allow_drops
        )
        # Tells it from one that somebody put there, which the recipes leave alone.
        with atomic_write(args.data / split / "ctm.by") as file:
            file.write(f"{args.exp.name}\n")
        print(f"{split}: {said}")


if __name__ == "__main__":
    cli.run(main)
