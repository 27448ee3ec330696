"""The states of a frozen encoder (`model.frozen_encoder`), cached beside the features.

Training does not change them, so no epoch computes them again. They stand below stage 2's features
of the kind that the encoder takes: DUMP/base_DIGEST/SPLIT, where the digest is of the weights.

Augmentation cannot reach behind them. So `augment.copies` versions of the training speech, each
augmented once, have theirs in DUMP/base_DIGEST/copyN/SPLIT. Speech whose words are masked anew at
every step (task `mlm`) has its states computed anew (`encode`).
"""

# B utterances, T frames, F mel bins, S states, D width

import filecmp
import functools
import itertools
import json
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.common import parallel
from atat.common.files import atomic_directory, sha256
from atat.common.json_file import read_json
from atat.common.seeds import rng
from atat.config.schema import AugmentConfig, Config, FeaturesConfig
from atat.data import audio, filter_bank, kaldi_dir
from atat.data.feature_archive import FeatureReader, FeatureWriter

if TYPE_CHECKING:
    from atat.models.whisper import FrozenEncoder

MAX_CLIPPED_DB = 16.0  # over full scale
GROUP = 8  # utterances augmented together: each may have others behind it, as in a batch


@dataclass(frozen=True)
class WhichEncoder:
    """Which encoder: `model.frozen_encoder` and its sizes."""

    source: str
    num_bins: int
    width: int
    num_layers: int

    @classmethod
    def of(cls, settings: Config) -> "WhichEncoder":
        """That of an experiment's settings, which have one."""
        c = settings.model
        assert c.frozen_encoder is not None
        return cls(
            c.frozen_encoder,
            settings.features.num_mel_bins,
            c.frozen_encoder_width,
            c.frozen_encoder_layers,
        )


def copy_of(directory: Path, number: int) -> Path:
    """Where the states of augmented speech are; numbers count from 0."""
    return directory / f"copy{number}"


def cached_states(
    data: Path,
    dump: Path,
    settings: Config,
    splits: list[str],
    num_jobs: int,
    training: Collection[str] = (),
) -> Path:
    """The directory with the states of the splits; what is missing or out of date is made.

    Args:
        data: the splits, whose audio a copy may be made of (`augment.clipped`).
        dump: features of the kind that the encoder takes.
        settings: which encoder, and `augment` for copies.
        splits: those to have.
        num_jobs: processes.
        training: the splits among them that have `augment.copies`.

    Raises:
        ValueError: there is no such encoder, or a split's files do not belong together.
    """
    base = WhichEncoder.of(settings)
    weights = sha256(*(value.numpy().tobytes() for value in encoder_of(base).state_dict().values()))
    directory = dump / f"base_{weights[:12]}"
    directory.mkdir(exist_ok=True)
    cmvn, copied = dump / "cmvn.npz", directory / "cmvn.npz"
    if not copied.is_file() or not filecmp.cmp(cmvn, copied, shallow=False):
        shutil.copyfile(cmvn, copied)
    for split in splits:
        if not (dump / split).is_dir():
            continue  # it is written, or what wants its speech says that it has none
        features = read_json(dump / split / "stage.json")["inputs"]
        where: dict[str, Any] = {"directory": dump / split, "base": base, "num_jobs": num_jobs}
        _write(
            directory / split,
            dump / split,
            sha256(features, weights),
            functools.partial(_as_it_is, **where),
        )
        for number in range(settings.augment.copies if split in training else 0):
            how = Augmentation.of(settings, number)
            _write(
                copy_of(directory, number) / split,
                dump / split,
                sha256(features, weights, json.dumps(asdict(how), sort_keys=True)),
                functools.partial(_of_copy, how=how, wavs=data / split / "wav.scp", **where),
            )
    return directory


@dataclass(frozen=True)
class Augmentation:
    """Of one copy: all that decides what it sounds like."""

    augment: AugmentConfig
    features: FeaturesConfig
    seed: int
    number: int
    version: int
    group: int = GROUP

    @classmethod
    def of(cls, settings: Config, number: int) -> "Augmentation":
        """That of an experiment's copy, counted from 0."""
        from atat.data.augmentation import Augmenter

        # Stripes are for the states, anew at every step; how many copies there are and when they
        # are first taken changes none of them.
        augment = replace(
            settings.augment, freq_masks=0, time_masks=0, copies=0, low_strength_fraction=0.0
        )
        return cls(augment, settings.features, settings.seed, number, Augmenter.VERSION)


def _write(
    directory: Path,
    features: Path,
    inputs: str,
    states: Callable[[list[str], Path], Iterable[np.ndarray]],
) -> None:
    """What `states` gives of a split's utterances, in their order (it may put files into a
    directory meanwhile), unless those of `inputs` are there."""
    about = {"inputs": inputs}
    try:
        made_of = read_json(directory / "stage.json")
        FeatureReader(directory)
    except (ValueError, FileNotFoundError):  # not there, or damaged
        made_of = {}
    if made_of != about:
        directory.parent.mkdir(exist_ok=True)
        _write_states(directory, list(FeatureReader(features).ids), about, states)


def _write_states(
    directory: Path,
    ids: list[str],
    about: dict[str, str],
    states: Callable[[list[str], Path], Iterable[np.ndarray]],
) -> None:
    with atomic_directory(directory) as new:
        with FeatureWriter(new) as writer:
            for key, states_SD in zip(ids, states(ids, new), strict=True):
                writer.write(key, states_SD)
        (new / "stage.json").write_text(json.dumps(about), encoding="utf-8")


def _as_it_is(
    ids: list[str], _: Path, directory: Path, base: WhichEncoder, num_jobs: int
) -> Iterator[np.ndarray]:
    """States of a split."""
    function = functools.partial(_states_of, directory=directory, base=base)
    desc = f"states {directory.name}"
    return parallel.run(function, ids, num_jobs, total=len(ids), desc=desc)


def _of_copy(
    ids: list[str],
    place: Path,
    directory: Path,
    base: WhichEncoder,
    num_jobs: int,
    how: Augmentation,
    wavs: Path,
) -> Iterator[np.ndarray]:
    """States of a copy. Its groups are of any utterances of the split, so that who speaks behind
    one is another person; they are put into the order of the ids in a directory below `place`."""
    order = rng(how.seed, "copy", how.number).permutation(len(ids))
    groups = [
        tuple(ids[i] for i in order[first : first + GROUP]) for first in range(0, len(ids), GROUP)
    ]
    function = functools.partial(
        _states_of_group, directory=directory, base=base, how=how, wavs=wavs
    )
    found = parallel.run(
        function,
        groups,
        num_jobs,
        total=len(groups),
        desc=f"states copy{how.number}/{directory.name}",
        chunk_size=2,
    )
    with TemporaryDirectory(dir=place) as unsorted:
        with FeatureWriter(Path(unsorted)) as writer:
            for number, states_SD in enumerate(itertools.chain.from_iterable(found)):
                writer.write(f"{number:09d}", states_SD)
        reader = FeatureReader(unsorted)
        for number in np.argsort(order):
            yield reader[f"{number:09d}"]


@functools.cache
def encoder_of(base: WhichEncoder) -> "FrozenEncoder":
    """With its weights; read once a process."""
    from atat.models import whisper

    encoder = whisper.FrozenEncoder(base.num_bins, base.width, base.num_layers)
    whisper.start_base(encoder, base.source)
    return encoder


@functools.cache
def _reader(directory: Path) -> FeatureReader:
    return FeatureReader(directory)


def _states_of(key: str, directory: Path, base: WhichEncoder) -> np.ndarray:
    """Of one utterance, (S, D)."""
    import torch

    torch.set_num_threads(1)  # of each of the processes that share the work
    return encode(_reader(directory)[key], base)


@functools.cache
def _paths(wav_scp: Path) -> dict[str, str]:
    """Utterance -> audio file, of a split."""
    return kaldi_dir.column(wav_scp.parent, wav_scp.name)


def _clipped(path: str, settings: FeaturesConfig, over_db: float) -> np.ndarray:
    """Features of a recording that was so far too loud for its microphone; float32 (T, F)."""
    samples = audio.read(path, settings.sample_rate_hz, settings.max_duration_s)
    start, end = filter_bank.speech_range(samples, settings)
    gain = 10 ** (over_db / 20) / max(np.abs(samples).max(), 1e-6)
    return filter_bank.of_speech((gain * samples[start:end]).clip(-1, 1), settings)


def _states_of_group(
    keys: tuple[str, ...], directory: Path, base: WhichEncoder, how: Augmentation, wavs: Path
) -> list[np.ndarray]:
    """Of utterances that are augmented together, (S', D) each."""
    import torch

    from atat.data.augmentation import Augmenter, active_frames

    torch.set_num_threads(1)
    reader, draw = _reader(directory), rng(how.seed, "copy", how.number, *keys)
    feats = []
    for key in keys:
        if how.augment.clipped > 0 and draw.random() < how.augment.clipped:
            over_db = draw.uniform(0.0, MAX_CLIPPED_DB)
            feats.append(_clipped(_paths(wavs)[key], how.features, over_db))
        else:
            feats.append(reader[key])
    speech_BTF = torch.nn.utils.rnn.pad_sequence(
        [torch.from_numpy(feats_TF) for feats_TF in feats], batch_first=True
    )
    lengths_B = torch.tensor([len(feats_TF) for feats_TF in feats])
    active_B2 = torch.tensor([active_frames(f) for f in feats], dtype=torch.float32)
    generator = torch.Generator().manual_seed(int(draw.integers(2**62)))
    speech_BTF, lengths_B, _ = Augmenter(how.augment, how.features)(
        speech_BTF, lengths_B, active_B2, generator
    )
    return [
        encode(feats_TF[:length].numpy(), base)
        for feats_TF, length in zip(speech_BTF, lengths_B.tolist(), strict=True)
    ]


def encode(feats_TF: np.ndarray, base: WhichEncoder) -> np.ndarray:
    """Features of one utterance, of the kind that the encoder takes, to its states (S, D)."""
    import torch

    states_1SD, _ = encoder_of(base)(
        torch.from_numpy(feats_TF)[None], torch.tensor([len(feats_TF)])
    )
    return states_1SD[0].numpy()
