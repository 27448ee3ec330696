"""Train a finished experiment further, with recordings of people.

The recordings are a Kaldi directory with wav.scp and semantics. Where it has no text, each is given
the sentence of the grammar with the intent and slots of its label that the model hears best. What
the experiment was trained on is repeated beside them, so that a few recordings do not make it
forget the rest. The result is an experiment like any other.
"""

import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common import cli
from atat.config import config_file
from atat.config.schema import Config, Source
from atat.data import feature_store, kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.semantics import target_sequence

if TYPE_CHECKING:
    from atat.inference.predictor import SpeechToSemantics

# With 300 steps, a quarter of the rate and a quarter of recordings, hardly any of them is learned.
NUM_STEPS, NUM_EPOCHS = 500, 5
RATE = 0.5  # of the learning rate that the experiment began with
SHARE = 0.5  # of recordings among the speech in training
BEAM = 8  # for sentences whose meaning is known


def with_sentences(model: "SpeechToSemantics", recordings: DataDir) -> tuple[DataDir, list[str]]:
    """Recordings of which intent and slots are known, with the words that were most likely said.

    The search is held to the sentences of the model's grammar that mean what the label says.

    Args:
        recordings: with wav_scp and semantics, the latter with or without carrier words.

    Returns:
        the recordings with text and whole target sequences, and why others are left out.

    Raises:
        ValueError: the model came without a grammar. FileNotFoundError: audio that is missing.
    """
    from atat.grammar.grammar import Grammar
    from atat.inference import constraints

    if model.grammar is None:
        raise ValueError(
            "got recordings without text and a model without grammar, expected one of the two: "
            "which words were said cannot be known"
        )
    grammar = Grammar.load(model.grammar)
    options = replace(model.options("slu"), constraint="grammar", beam=BEAM, nbest=1)
    sequences: dict[str, str] = {}
    left_out = []
    for id_, path in cli.progress(sorted(recordings.wav_scp.items()), desc="finding the words"):
        frame = target_sequence.frame(recordings.semantics[id_])
        try:
            accepted = constraints.from_meaning(grammar, frame, model.tokenizer)
            heard = model.encode_features([model.hear(path).feats_TF])
        except ValueError as error:
            left_out.append(f"{id_}: {error}")
            continue
        found = model.search_encoded(*heard, options, accepted)[0]
        if found:
            sequences[id_] = model.tokenizer.decode(found[0].tokens)
        else:
            left_out.append(f"{id_}: no such sentence of {options.max_length} tokens or fewer")
    return (
        DataDir(
            wav_scp={i: recordings.wav_scp[i] for i in sequences},
            text={i: target_sequence.words(sequence) for i, sequence in sequences.items()},
            semantics=sequences,
            utt2spk={i: (recordings.utt2spk or {}).get(i, i) for i in sequences},
        ),
        left_out,
    )


def changes(settings: Config, exp: Path, split: str, repeat: int) -> dict[str, Any]:
    """What the further training has other than the experiment `exp`, whose settings these are.

    Args:
        split: the recordings.
        repeat: how often each is met while the other speech is met once.
    """
    sources = [*settings.train.sources, Source(split, ["slu", "asr"], repeat=repeat)]
    return {
        "train": {
            "sources": [asdict(source) for source in sources],
            "init_from": str(exp),
            "init_parts": ["all"],
            "pretrained_schedule": [],
            "num_steps": NUM_STEPS,
            "num_epochs": NUM_EPOCHS,
            "learning_rate": RATE * settings.train.learning_rate,
        },
        "augment": {"mild_fraction": 0.0},
    }


def repeats(part: float, num_recordings: int, num_others: int) -> int:
    """How often recordings are met while other utterances are met once, to be a part of all.

    >>> repeats(0.25, 10, 3000), repeats(0.25, 5000, 3000)
    (100, 1)
    """
    return max(round(part / (1 - part) * num_others / num_recordings), 1)


def num_spoken(settings: Config, data: Path) -> int:
    """Utterances that the experiment meets in a pass over its speech, by its sources."""
    from atat.examples import met

    spoken = settings.train.spoken_splits
    return sum(met(settings.train.sources, data, split, settings.seed) for split in spoken)


def check_recordings(path: Path) -> DataDir:
    """Read the recordings; ValueError unless they have audio and semantics."""
    recordings = kaldi_dir.read(path)
    if not recordings.wav_scp or not recordings.semantics:
        raise ValueError(f"{path}: expected wav.scp and semantics (intent and slots), both")
    return recordings


def main() -> None:
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
    recordings = check_recordings(args.recordings)

    from atat.models.checkpoint import check_experiment

    check_experiment(args.exp)
    if (args.out / "model.pth").exists():
        raise ValueError(f"--out: {args.out} holds a trained model; expected another directory")

    from atat import train
    from atat.inference.predictor import SpeechToSemantics

    left_out = []
    if recordings.text is None:
        model = SpeechToSemantics.load(args.exp, with_confidence=False)
        recordings, left_out = with_sentences(model, recordings)
        for line in left_out:
            print(f"left out: {line}", file=sys.stderr)
    if not recordings.ids:
        raise ValueError(f"{args.recordings}: none of {len(left_out)} recordings can be learned")
    split = f"adapt_{args.out.name}"
    kaldi_dir.write(args.data / split, recordings)

    trained = config_file.load_resolved(args.exp / "config.yaml")
    num_others = num_spoken(trained, args.data)
    repeat = repeats(args.share, len(recordings.ids), num_others)
    delta = changes(trained, args.exp, split, repeat)
    settings = config_file.load([args.exp / "config.yaml"], args.overrides, [delta])
    num_jobs = settings.train.num_processes
    dump = feature_store.of_kind(args.data, args.dump, settings.features, num_jobs)
    feature_store.write_split(args.data / split, dump / split, settings.features, num_jobs)
    print(f"{len(recordings.ids)} recordings, each {repeat} times beside {num_others} utterances")
    train.run(settings, args.data, args.dump, args.out, resume=True)


if __name__ == "__main__":
    cli.run(main)
