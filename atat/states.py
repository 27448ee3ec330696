"""The states of a frozen encoder (`model.speech_base`), computed once and kept beside the features.

Training does not change them, so no epoch computes them again. They stand below stage 2's features
of the kind that the encoder takes: DUMP/base_DIGEST/SPLIT, where the digest is of the weights.
"""

# T frames, F mel bins, S states, D width

import functools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from atat import parallel
from atat.archive import FeatureReader, FeatureWriter
from atat.config import Config
from atat.files import atomic_directory, sha256

if TYPE_CHECKING:
    from atat.whisper import FrozenEncoder

FRAMES_PER_STATE = 4


@dataclass(frozen=True)
class Base:
    """Which encoder: `model.speech_base` and its sizes."""

    source: str
    num_bins: int
    width: int
    num_layers: int


def of_base(dump: Path, settings: Config, splits: list[str], num_jobs: int) -> Path:
    """The directory with the states of the splits; what is missing or out of date is made.

    Raises:
        ValueError: there is no such encoder, or a split's files do not belong together.
    """
    c = settings.model
    base = Base(
        c.speech_base, settings.features.num_mel_bins, c.speech_base_width, c.speech_base_layers
    )
    weights = sha256(*(value.numpy().tobytes() for value in _encoder(base).state_dict().values()))
    directory = dump / f"base_{weights[:12]}"
    directory.mkdir(exist_ok=True)
    shutil.copyfile(dump / "cmvn.npz", directory / "cmvn.npz")
    for split in splits:
        if not (dump / split).is_dir():
            continue  # it is written, or what wants its speech says that it has none
        reader = FeatureReader(dump / split)
        features = json.loads((dump / split / "stage.json").read_text(encoding="utf-8"))["inputs"]
        inputs = {"inputs": sha256(features, weights)}
        stage = directory / split / "stage.json"
        if stage.is_file() and json.loads(stage.read_text(encoding="utf-8")) == inputs:
            continue
        states = parallel.run(
            functools.partial(_states_of, directory=dump / split, base=base),
            reader.ids,
            num_jobs,
            total=len(reader.ids),
            desc=f"states {split}",
        )
        with atomic_directory(directory / split) as new:
            with FeatureWriter(new) as writer:
                for key, states_SD in zip(reader.ids, states, strict=True):
                    writer.write(key, states_SD)
            (new / "stage.json").write_text(json.dumps(inputs), encoding="utf-8")
    return directory


@functools.cache
def _encoder(base: Base) -> "FrozenEncoder":
    import torch

    from atat import whisper

    torch.set_num_threads(1)  # of each of the processes that share the work
    encoder = whisper.FrozenEncoder(base.num_bins, base.width, base.num_layers)
    whisper.start_base(encoder, base.source)
    return encoder


@functools.cache
def _reader(directory: Path) -> FeatureReader:
    return FeatureReader(directory)


def _states_of(key: str, directory: Path, base: Base) -> np.ndarray:
    """Of one utterance, (S, D)."""
    import torch

    feats_TF = torch.from_numpy(_reader(directory)[key])
    states_1SD, _ = _encoder(base)(feats_TF[None], torch.tensor([len(feats_TF)]))
    return states_1SD[0].numpy()
