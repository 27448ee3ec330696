"""Stage 2: log mel features of every spoken split, and their mean and deviation.

Writes DUMP/SPLIT/{feats.ark,feats.scp,utt2num_frames,dropped,stage.json} and DUMP/cmvn.npz. A
split whose audio and settings are as they were is left as it is. With ATAT_SHARE=3/8 in the
environment, a share of the utterances goes to DUMP/.shares, where the command without it takes it.
"""

from pathlib import Path

from atat.common import array_job, cli
from atat.config import config_file
from atat.data.feature_store import write_all, write_shares


def main() -> None:
    """Stage 2: extract features, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--config", required=True, action="append", help="the recipe's YAML")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--dump", required=True, type=Path, metavar="DIR", help="where to write")
    parser.add_argument("--nj", type=cli.positive_int, default=1, help="processes")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    settings = config_file.load(args.config, args.overrides).features
    if (share := array_job.mine()) is not None:
        num_utterances = write_shares(args.data, args.dump, settings, args.nj, share)
        raise array_job.Done(f"share {share}: features of {num_utterances} utterances")
    rows = [("split", "utterances", "hours", "dropped", "seconds", "audio s/s")]
    for split, (summary, cached) in write_all(args.data, args.dump, settings, args.nj).items():
        rows.append(
            (
                split,
                str(summary.num_utterances),
                f"{summary.audio_s / 3600:.3f}",
                str(summary.num_dropped),
                "there" if cached else f"{summary.seconds:.1f}",
                "" if cached else f"{summary.audio_s / max(summary.seconds, 0.01):.0f}",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *values in rows:
        cells = (value.rjust(width) for value, width in zip(values, widths[1:], strict=True))
        print(name.ljust(widths[0]), *cells, sep="  ")


if __name__ == "__main__":
    cli.run(main)
