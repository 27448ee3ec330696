"""A corpus of tones: every word is one, and it is known where each stands."""

from pathlib import Path

import numpy as np
import soundfile

from atat.config.schema import FeaturesConfig
from atat.data import ctm, kaldi_dir
from atat.data.ctm import Word
from atat.data.feature_store import write_split
from atat.data.tokenizer import Tokenizer

RATE = 16000
WORD_S, EDGE_S = 0.2, 0.5
WORDS = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
IDS = [f"s-{number}" for number in range(6)]
TEXTS = {i: " ".join(WORDS[n : n + 4 + n]) for n, i in enumerate(IDS)}


def spoken(text: str) -> np.ndarray:
    """Half a second of near silence, a fifth of a second of a tone for every word, and again."""
    time = np.arange(int(WORD_S * RATE)) / RATE
    tones = [0.4 * np.sin(2 * np.pi * 300 * (1 + WORDS.index(w)) * time) for w in text.split()]
    edge = np.zeros(int(EDGE_S * RATE))
    samples = np.concatenate([edge, *tones, edge])
    return samples + np.random.default_rng(0).normal(0, 1e-3, len(samples))


def words_of(text: str) -> list[Word]:
    return [Word(w, EDGE_S + WORD_S * n, WORD_S) for n, w in enumerate(text.split())]


def write(root: Path, settings: FeaturesConfig) -> None:
    """data/train with its alignment, and dump/train with its features."""
    for i, text in TEXTS.items():
        soundfile.write(root / f"{i}.wav", spoken(text), RATE)
    split = kaldi_dir.DataDir(
        wav_scp={i: str(root / f"{i}.wav") for i in IDS},
        text=TEXTS,
        semantics={i: f"count( {text} )count" for i, text in TEXTS.items()},
        utt2spk=dict.fromkeys(IDS, "s"),
    )
    kaldi_dir.write(root / "data" / "train", split)
    write_split(root / "data" / "train", root / "dump" / "train", settings, 1)
    ctm.write(root / "data" / "train" / "ctm", ((i, words_of(t)) for i, t in TEXTS.items()))


TOKENIZER = Tokenizer.train([f"count( {text} )count" for text in TEXTS.values()], 60)
