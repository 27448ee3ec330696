"""A toy corpus in the form that stages 1 to 3 leave: every word has a sound of its own."""

from pathlib import Path

import numpy as np

from atat.data import kaldi_dir
from atat.data.feature_archive import FeatureWriter
from atat.data.tokenizer import Tokenizer
from atat.semantics import target_sequence

SENTENCES = [
    "turnOn( turn on the room( kitchen )room light )turnOn",
    "turnOff( turn off the room( kitchen )room light )turnOff",
    "turnOn( turn on the room( garage )room light )turnOn",
    "setVolume( volume to level( forty )level percent )setVolume",
]


def sound(word: str, seed: int) -> np.ndarray:
    """(16, 80) log mel: two formants that depend on the word, a little noise on the seed."""
    draw = np.random.default_rng([*word.encode()])
    feats = np.full((16, 80), 2.0)
    for centre in draw.integers(5, 75, 3):
        feats += 12.0 * np.exp(-(((np.arange(80) - centre) / 4.0) ** 2))
    return feats + np.random.default_rng(seed).normal(0, 0.3, feats.shape)


def speech(sentence: str, seed: int = 0) -> np.ndarray:
    """float32 (T, 80) of a target sequence's words, with silence around."""
    words = target_sequence.words(sentence).split()
    silence = np.full((10, 80), 0.0)
    return np.concatenate([silence, *(sound(w, seed) for w in words), silence]).astype(np.float32)


def log_softmax(x: np.ndarray) -> np.ndarray:
    """float32, over the last axis."""
    x = x - x.max(-1, keepdims=True)
    return (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(np.float32)


def write(root: Path, sentences: list[str] = SENTENCES) -> tuple[Path, Path]:
    """Write splits train and valid (the same four utterances, spoken) and a tokenizer.

    Returns:
        the data and the dump directory.
    """
    data, dump = root / "data", root / "dump"
    ids = [f"toy-{i}" for i in range(len(sentences))]
    for split in ("train", "valid", "test"):
        kaldi_dir.write(
            data / split,
            kaldi_dir.DataDir(
                wav_scp={i: f"{i}.wav" for i in ids},
                text={i: target_sequence.words(s) for i, s in zip(ids, sentences, strict=True)},
                semantics=dict(zip(ids, sentences, strict=True)),
                utt2spk=dict.fromkeys(ids, "toy"),
            ),
        )
        (dump / split).mkdir(parents=True)
        with FeatureWriter(dump / split) as writer:
            for i, sentence in zip(ids, sentences, strict=True):
                writer.write(i, speech(sentence))
    np.savez(dump / "cmvn.npz", mean=np.full(80, 4.0, "f"), std=np.full(80, 4.0, "f"))
    Tokenizer.train(sentences, 60).save(data / "tokenizer")
    return data, dump
