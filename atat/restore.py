"""Put back what is damaged of a trained experiment.

The model file has copies of the settings, the tokenizer and what else a training leaves beside it;
the model itself can be made again while its checkpoints are there (`./run.sh --clean true` removes
them). A recipe does this by itself; the command is for experiments without one.
"""

from pathlib import Path

from atat.common import cli


def main() -> None:
    """Restore an experiment, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="the experiment")
    args = parser.parse_args()
    from atat.training.restoring import restore  # with torch: help need not wait for it

    names = restore(args.exp)
    for name in names:
        print(f"put back: {args.exp / name}")
    if not names:
        print(f"{args.exp}: all is as it was left")


if __name__ == "__main__":
    cli.run(main)
