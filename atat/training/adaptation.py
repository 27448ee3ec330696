"""Further training with recordings: their words, and how often they are met."""

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atat.common import cli
from atat.common.advice import rerun
from atat.config.schema import Config, Source
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.grammar.grammar import Grammar
from atat.inference import constraints
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
        model: with a grammar; it searches for the words.
        recordings: with wav_scp and semantics, the latter with or without carrier words.

    Returns:
        the recordings with text and whole target sequences, and why others are left out.

    Raises:
        ValueError: the model came without a grammar. FileNotFoundError: audio that is missing.
    """
    if model.grammar is None:
        raise ValueError(
            "got recordings without text and a model without grammar, expected one of the two: "
            "which words were said cannot be known"
        )
    assert recordings.wav_scp is not None and recordings.semantics is not None
    grammar = Grammar.load(model.grammar)
    options = replace(model.options("slu"), constraint="grammar", beam=BEAM, nbest=1)
    sequences: dict[str, str] = {}
    left_out = []
    for id_, path in cli.progress(sorted(recordings.wav_scp.items()), desc="finding the words"):
        frame = target_sequence.frame(recordings.semantics[id_])
        try:
            accepted = constraints.from_meaning(grammar, frame, model.tokenizer)
            heard = model.encode_features([model.extract_features(path).feats_TF])
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
    """What the further training has other than the experiment that it starts from.

    Args:
        settings: that experiment's.
        exp: its directory.
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
            "noam_factor": RATE * settings.train.noam_factor,  # with the other schedule
        },
        "augment": {"low_strength_fraction": 0.0},
    }


def repeats(part: float, num_recordings: int, num_others: int) -> int:
    """How often recordings are met while other utterances are met once, to be a part of all.

    >>> repeats(0.25, 10, 3000), repeats(0.25, 5000, 3000)
    (100, 1)
    """
    return max(round(part / (1 - part) * num_others / num_recordings), 1)


def num_spoken(settings: Config, data: Path) -> int:
    """Utterances that the experiment meets in a pass over its speech, by its sources."""
    from atat.training.training_data import utterances_a_pass

    spoken = settings.train.spoken_splits
    return sum(
        utterances_a_pass(settings.train.sources, data, split, settings.seed) for split in spoken
    )


def check_splits(settings: Config, data: Path) -> None:
    """Raise FileNotFoundError unless what the experiment was trained on is there."""
    learned = [source.split for source in settings.train.sources]
    for path in (data / split for split in (*learned, *settings.train.valid_splits)):
        if not path.is_dir():
            raise FileNotFoundError(
                f"--data: {path}: no such split, expected those that the experiment was trained on"
            )
    if not (data / "tokenizer").is_dir():
        raise FileNotFoundError(f"--data: {data / 'tokenizer'}: is not there; {rerun(3)}")


@contextlib.contextmanager
def removed_if_refused(*directories: Path) -> Iterator[None]:
    """Remove directories that were not there before, if a mistake ends what is done meanwhile."""
    new = [path for path in directories if not path.exists()]
    try:
        yield
    except cli.MISTAKES:
        for path in new:
            shutil.rmtree(path, ignore_errors=True)
        raise


def read_recordings(path: Path) -> DataDir:
    """Read a user's own recordings, as `check_recordings`; they are of no stage."""
    if not path.is_dir():
        raise FileNotFoundError(
            f"--recordings: {path}: no such directory, expected one with wav.scp and semantics "
            "(docs/recordings.md)"
        )
    return check_recordings(path)


def check_recordings(path: Path) -> DataDir:
    """Read the recordings; ValueError unless they have audio and semantics."""
    recordings = kaldi_dir.read(path)
    if not recordings.wav_scp or not recordings.semantics:
        raise ValueError(f"{path}: expected wav.scp and semantics (intent and slots), both")
    return recordings
