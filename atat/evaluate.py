"""Score a model on your own recordings: understood as atat.parse does, compared with their labels.

The recordings are a Kaldi directory with wav.scp and semantics, which may be intents and slots
alone; a text is not needed. Prints the scores, and what was wrong. `--out DIR` keeps both, in
scores.json and hyp.jsonl.
"""

from pathlib import Path

from atat.common import cli
from atat.evaluation import own_recordings
from atat.evaluation.scoring import hypothesis_key
from atat.models.checkpoint import check_experiment
from atat.training.adaptation import read_recordings


def main() -> None:
    """Score a model on recordings, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, type=Path, metavar="DIR", help="an experiment, or an exported one")
    add("--recordings", required=True, type=Path, metavar="DIR", help="wav.scp, semantics[, text]")
    add("--out", type=Path, metavar="DIR", help="scores.json and hyp.jsonl are written there")
    args = parser.parse_args()
    check_experiment(args.exp)
    recordings = read_recordings(args.recordings)
    key = hypothesis_key(args.exp, args.recordings.parent)

    from atat.inference.predictor import SpeechToSemantics

    model = SpeechToSemantics.load(args.exp)
    lines = own_recordings.understand(model, recordings)
    scores = own_recordings.compare(lines, recordings, args.recordings, key)
    print(own_recordings.table(scores))
    print(f"n = {len(lines)}, in brackets 95 % intervals; EM Hyp: intent and slots are all right")
    for line in own_recordings.mistakes(lines):
        print(line)
    if model.confidence is None:
        print(f"nothing is refused for lack of confidence: {args.exp} is not calibrated")
    if args.out is not None:
        num_left_out = len(recordings.ids) - len(lines)
        own_recordings.write(args.out, args.exp, lines, scores, num_left_out)
        print(f"written: {args.out / 'scores.json'}, hyp.jsonl")


if __name__ == "__main__":
    cli.run(main)
