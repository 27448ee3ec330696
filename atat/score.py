"""Stage 6: compare hypotheses with the references, and write the scores with their intervals.

For every `decode_<run>/` of an experiment: `hyp.jsonl` gets the reference and the verdict of each
utterance, `scores.json` the metrics (atat/evaluation/metrics.py), `scores.<subset>.json` those of a
part of the split. This is the only stage that opens the labels of a test split.
"""

from pathlib import Path

from atat.common import cli
from atat.common.json_file import read_json
from atat.config import experiment_tables
from atat.evaluation.scoring import NoReference, compare, run_directories, table, write


def main() -> None:
    """Stage 6: score the runs of an experiment, from the command line."""
    parser = cli.parser(__doc__)
    parser.add_argument("--exp", required=True, type=Path, metavar="DIR", help="the experiment")
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="the splits")
    parser.add_argument("--tables", metavar="YAML", help="tables.yaml, for its subsets and metrics")
    parser.add_argument("--run", help="score decode_RUN only; all by default")
    args = parser.parse_args()
    asked = experiment_tables.load(args.tables) if args.tables else None
    subsets, names = (asked.subsets, asked.metrics) if asked else ({}, ())

    rows, found = [], []
    for directory in run_directories(args.exp, args.run):
        run = directory.name.removeprefix("decode_")
        try:
            lines, scored = compare(directory, args.data, subsets, names)
        except NoReference as error:
            if args.run:
                raise
            print(f"{run}: not scored; {error}")  # another run decodes what this one has recognised
            continue
        found.append((directory, lines, scored))
        rows += [(f"{run} ({part})" if part else run, scores) for part, scores in scored.items()]
        for subset in sorted(subsets.keys() - scored.keys()):
            print(f"{run}: no utterance of subset '{subset}' in its split")
    for compared in found:  # a mistake in one of them shows before any is written
        write(*compared)
    about = args.data / "about.json"
    if about.is_file() and (speech := read_json(about).get("speech")):
        print(f"Speech: {speech}")
    print(f"{args.exp}: % (95 % interval)")
    print(table(rows))


if __name__ == "__main__":
    cli.run(main)
