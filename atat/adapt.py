"""Adapt a trained experiment to recordings of people (fine-tuning with replay).

The recordings are a Kaldi directory with wav.scp and semantics. Where it has no text, each gets the
sentence of the grammar with the intent and slots of its label that the model decodes (constrained
decoding). The experiment's own training data are mixed in, so that a few recordings do not make it
forget the rest. The result is an experiment like any other.
"""

import sys
from pathlib import Path

from atat.common import cli
from atat.config import config_file
from atat.data import feature_store, kaldi_dir
from atat.models.checkpoint import check_experiment, is_trained
from atat.models.exported_model import is_exported
from atat.training import launch
from atat.training.adaptation import (
    SHARE,
    changes,
    check_splits,
    num_spoken,
    read_recordings,
    removed_if_refused,
    repeats,
    with_sentences,
)


def main() -> None:
    """Adapt an experiment, from the command line."""
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--exp", required=True, type=Path, metavar="DIR", help="a trained experiment")
    add("--recordings", required=True, type=Path, metavar="DIR", help="wav.scp, semantics[, text]")
    add("--data", required=True, type=Path, metavar="DIR", help="the splits it was trained on")
    add("--dump", required=True, type=Path, metavar="DIR", help="their features")
    add("--out", required=True, type=Path, metavar="DIR", help="the experiment to make")
    add("--share", type=cli.share, default=SHARE, help="of recordings among the speech in training")
    add("overrides", nargs="*", metavar="key=value", help="settings to change")
    args = parser.parse_args()
    # Mistakes show before anything is written, and before the words are looked for.
    check_experiment(args.exp)
    if is_exported(args.exp):
        raise ValueError(
            f"--exp: {args.exp} is an exported model, which cannot be trained; expected the "
            "experiment that it was exported from"
        )
    if is_trained(args.out):
        raise ValueError(f"--out: {args.out} holds a trained model; expected another directory")
    recordings = read_recordings(args.recordings)
    trained = config_file.load_resolved(args.exp / "config.yaml")
    check_splits(trained, args.data)
    num_others = num_spoken(trained, args.data)

    from atat.inference.predictor import SpeechToSemantics

    left_out: list[str] = []
    if recordings.text is None:
        model = SpeechToSemantics.load(args.exp, with_confidence=False)
        recordings, left_out = with_sentences(model, recordings)
        for line in left_out:
            print(f"left out: {line}", file=sys.stderr)
    if not recordings.ids:
        raise ValueError(f"{args.recordings}: none of {len(left_out)} recordings can be learned")
    split = f"adapt_{args.out.name}"
    repeat = repeats(args.share, len(recordings.ids), num_others)
    delta = changes(trained, args.exp, split, repeat)
    settings = config_file.load([args.exp / "config.yaml"], args.overrides, [delta])
    num_jobs = settings.train.num_processes
    dump = feature_store.of_kind(args.data, args.dump, settings.features, num_jobs)
    named = config_file.named([], args.overrides)
    with removed_if_refused(args.data / split, dump / split):
        kaldi_dir.write(args.data / split, recordings)
        feature_store.write_split(args.data / split, dump / split, settings.features, num_jobs)
        met = f"each {repeat} times beside {num_others} utterances"
        print(f"{len(recordings.ids)} recordings, {met}")
        launch.run(settings, args.data, args.dump, args.out, resume=True, named=named)


if __name__ == "__main__":
    cli.run(main)
