"""The features of all splits on disk (stage 2), and the mean and deviation of each bin.

DUMP/SPLIT/{feats.ark,feats.scp,utt2num_frames,dropped,stage.json} and DUMP/cmvn.npz. A split whose
audio and settings are as they were is left as it is.
"""

# T frames, F mel bins

import dataclasses
import errno
import functools
import json
import os
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atat.common import array_job, cli, parallel
from atat.common.advice import rerun
from atat.common.files import atomic_directory, atomic_write, check_zip, sha256
from atat.config.schema import FeaturesConfig
from atat.data import audio_segment, kaldi_dir
from atat.data.audio import read
from atat.data.feature_archive import FeatureWriter, is_whole
from atat.data.feature_array_jobs import Extracted, FeatureShares, write_share
from atat.data.filter_bank import extract, longest_s

MAX_DROPPED = 0.01
# CMVN is over speech: frames whose loudest bin is within 35 dB of the utterance's (findings).
SPEECH_DB = 35.0
NATS_PER_DB = np.log(10) / 10  # features are logarithms of power
# The machine's, and not of the file that was read when they came.
MACHINE_ERRORS = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
MIN_STD = 0.1  # of a bin that hardly moves (audio of a limited band); usual are 2 to 4


@dataclass
class Summary:
    """What stage 2 knows of a split after it: `stage.json`.

    Attributes:
        inputs: digest of what the features were made from; the same digest, the same features.
        audio_s: seconds of audio read, before any trimming.
        num_dropped: utterances without features; `dropped` has a line "id reason" each.
        seconds: it took.
        num_speech_frames, total_F, squares_F: their number, sum and sum of squares.
    """

    inputs: str
    num_utterances: int
    audio_s: float
    num_dropped: int
    seconds: float
    num_speech_frames: int
    total_F: list[float]
    squares_F: list[float]


def write_split(
    data_dir: Path,
    dump_dir: Path,
    settings: FeaturesConfig,
    num_jobs: int,
    pending: ExitStack | None = None,
) -> tuple[Summary, bool]:
    """Extract the features of one split, unless they are there already.

    Args:
        data_dir: `data/<split>`, with wav.scp.
        dump_dir: where to write.
        settings: of the features.
        num_jobs: processes.
        pending: what is written replaces what is there when this is closed; at once without it.

    Returns:
        Its summary, and whether it was there already.

    Raises:
        ValueError: more than 1 % of the utterances have no features and `allow_drops` is off.
        OSError: a full disk and the like; what stood in `dump_dir` still stands.
    """
    wav_scp = kaldi_dir.read(data_dir).wav_scp
    assert wav_scp is not None  # what is called is for spoken splits
    inputs = _inputs_digest(wav_scp, settings)
    old = _read_summary(dump_dir)
    if old is not None and old.inputs == inputs and is_whole(dump_dir):
        return old, True
    begin = time.monotonic()
    ready = FeatureShares(dump_dir, inputs)
    with ExitStack() as whole:
        directory = whole.enter_context(atomic_directory(dump_dir))
        totals, dropped = _write_archive(
            wav_scp, directory, settings, num_jobs, data_dir.name, dump_dir, ready
        )
        summary = Summary(
            inputs=inputs,
            num_dropped=dropped,
            seconds=round(time.monotonic() - begin, 2),
            **totals,
        )
        (directory / "stage.json").write_text(json.dumps(dataclasses.asdict(summary), indent=1))
        if pending is not None:
            pending.push(whole.pop_all())
    return summary, False


class _Totals:
    """Sums over the speech of a split, of which CMVN is made."""

    def __init__(self, num_bins: int) -> None:
        self.num_utterances = self.num_speech_frames = 0
        self.total_F, self.squares_F = np.zeros(num_bins), np.zeros(num_bins)

    def add(self, feats_TF: np.ndarray) -> None:
        """Add an utterance: its frames that are not far below its loudest."""
        level_T = feats_TF.max(axis=1)
        speech_TF = feats_TF[level_T > level_T.max() - SPEECH_DB * NATS_PER_DB].astype(float)
        self.total_F += speech_TF.sum(axis=0)
        self.squares_F += np.square(speech_TF).sum(axis=0)
        self.num_speech_frames += len(speech_TF)
        self.num_utterances += 1

    def fields(self) -> dict[str, Any]:
        """As fields of `Summary`."""
        return {
            "num_utterances": self.num_utterances,
            "num_speech_frames": self.num_speech_frames,
            "total_F": self.total_F.tolist(),
            "squares_F": self.squares_F.tolist(),
        }


def _write_archive(
    wav_scp: dict[str, str],
    directory: Path,
    settings: FeaturesConfig,
    num_jobs: int,
    split: str,
    shown: Path,
    ready: FeatureShares,
) -> tuple[dict[str, Any], int]:
    """Write a split's files; returns its totals (fields of `Summary`) and the number dropped."""
    totals, num_samples, num_dropped = _Totals(settings.num_mel_bins), 0, 0
    ids = sorted(wav_scp)
    results = ready.results(ids, lambda keys: _extract(wav_scp, keys, settings, num_jobs, split))
    with (
        FeatureWriter(directory) as writer,
        (directory / "dropped").open("w", encoding="utf-8", errors="backslashreplace") as dropped,
    ):
        first_reason = ""
        for key, (feats_TF, length) in zip(ids, results, strict=True):
            if isinstance(feats_TF, str):
                num_dropped += 1
                first_reason = first_reason or f"{key}: {feats_TF}"
                dropped.write(f"{key} {feats_TF}\n")
                if not settings.allow_drops and num_dropped > MAX_DROPPED * len(ids):
                    raise ValueError(
                        f"{split}: {num_dropped} of {len(ids)} utterances cannot be used (limit "
                        f"{MAX_DROPPED:.0%}; features.allow_drops=true goes on); the first: "
                        f"{first_reason}"
                    )
                continue
            writer.write(key, feats_TF)
            totals.add(feats_TF)
            num_samples += length
    if totals.num_utterances == 0:
        raise ValueError(f"{split}: not one utterance could be used; the first: {first_reason}")
    if num_dropped:
        print(
            f"{split}: dropped {num_dropped} of {len(ids)} utterances (listed in "
            f"{shown / 'dropped'}); the first: {first_reason}",
            file=sys.stderr,
        )
    audio_s = round(num_samples / settings.sample_rate_hz, 3)
    return {"audio_s": audio_s, **totals.fields()}, num_dropped


def _extract(
    wav_scp: dict[str, str], ids: list[str], settings: FeaturesConfig, num_jobs: int, split: str
) -> Iterator[Extracted]:
    return parallel.run(
        functools.partial(_extract_file, settings=settings),
        (wav_scp[key] for key in ids),
        num_jobs,
        total=len(ids),
        desc=f"features {split}",
    )


def write_shares(
    data: Path, dump: Path, settings: FeaturesConfig, num_jobs: int, share: array_job.Share
) -> int:
    """Extract one of several jobs' share of all splits; `write_all` takes it from there.

    Returns:
        The number of utterances in this share.
    """
    num_utterances = 0
    for split in _spoken_splits(data, settings.cmvn_splits):
        wav_scp = kaldi_dir.read(data / split).wav_scp
        assert wav_scp is not None
        ids, inputs = share.of(sorted(wav_scp)), _inputs_digest(wav_scp, settings)
        results = _extract(wav_scp, ids, settings, num_jobs, split)
        write_share(dump / split, share, inputs, ids, results)
        num_utterances += len(ids)
    return num_utterances


def write_all(
    data: Path, dump: Path, settings: FeaturesConfig, num_jobs: int
) -> dict[str, tuple[Summary, bool]]:
    """Extract the features of all spoken splits, and write `cmvn.npz`.

    Args:
        data: directory of the splits.
        dump: where to write.
        settings: of the features.
        num_jobs: processes.

    Returns:
        What `write_split` returns, by split. Errors as there, and:

    Raises:
        ValueError: there is no speech, or not the splits that CMVN comes from. Where a split cannot
            be used, all are left as they were.
    """
    done = {}
    with ExitStack() as pending:
        try:
            for split in _spoken_splits(data, settings.cmvn_splits):
                where = data / split, dump / split
                done[split] = write_split(*where, settings, num_jobs, pending)
        except cli.MISTAKES:
            raise
        except BaseException:  # it goes on from the splits that are finished
            pending.pop_all().close()
            raise
    write_cmvn(dump, {split: done[split][0] for split in settings.cmvn_splits}, settings.kind)
    shutil.rmtree(dump / array_job.DIRECTORY, ignore_errors=True)
    return done


def of_kind(data: Path, dump: Path, settings: FeaturesConfig, num_jobs: int) -> Path:
    """The directory of an experiment's features: stage 2's, unless the experiment wants another
    kind than the recipe. Those are extracted here, when first needed, below stage 2's.

    Args:
        data: directory of the splits.
        dump: directory of stage 2's features.
        settings: of the experiment's features.
        num_jobs: processes.

    Raises:
        ValueError: as `write_all`. FileNotFoundError: stage 2 has not been.
    """
    if recipe_kind(dump) == settings.kind:
        return dump
    if not dump.is_dir():
        raise FileNotFoundError(f"{dump}: has no features; {rerun(2, 'run')}")
    kind_dir = dump / f"kind_{settings.kind}"
    write_all(data, kind_dir, settings, num_jobs)
    return kind_dir


def recipe_kind(dump: Path) -> str:
    """The kind of stage 2's features; those from before there were several are Kaldi's."""
    if not (dump / "cmvn.npz").is_file():
        return "kaldi"
    return str(read_cmvn(dump).get("kind", "kaldi"))


def read_cmvn(dump: Path) -> dict[str, Any]:
    """The arrays of `cmvn.npz`.

    Raises:
        ValueError: it is damaged. FileNotFoundError: it is not there.
    """
    path = dump / "cmvn.npz"
    again = f"remove {path} and run the same ./run.sh again, which makes it again (stage 2)"
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is not there; {again}")
    try:
        check_zip(path)
        with np.load(path) as about:
            return dict(about)
    except (ValueError, OSError) as e:
        raise ValueError(f"{path}: is damaged ({e}); {again}") from e


def write_cmvn(dump: Path, summaries: dict[str, Summary], kind: str) -> None:
    """Write `cmvn.npz`: mean and std (float32 (F,)), num_frames and splits they come from, kind.

    Over speech frames only, so that silence, of which recordings have much and rendered speech
    has little, does not shift what speech looks like.
    """
    num_frames = sum(summary.num_speech_frames for summary in summaries.values())
    mean_F = np.sum([s.total_F for s in summaries.values()], axis=0) / num_frames
    squares_F = np.sum([s.squares_F for s in summaries.values()], axis=0) / num_frames
    std_F = np.sqrt(np.maximum(squares_F - np.square(mean_F), MIN_STD**2))
    with atomic_write(dump / "cmvn.npz", "wb") as file:
        np.savez(
            file,
            mean=mean_F.astype(np.float32),
            std=std_F.astype(np.float32),
            num_frames=num_frames,
            splits=np.array(sorted(summaries)),
            kind=np.array(kind),
        )


def _extract_file(path: str, settings: FeaturesConfig) -> Extracted:
    """Features and number of samples, or why there are none, and 0."""
    try:
        if not stat.S_ISREG(
            mode := os.stat(audio_segment.file_of(path)).st_mode
        ) and not stat.S_ISDIR(mode):
            raise ValueError("a pipe or a device, expected a file")  # reading may never end
        samples = read(path, settings.sample_rate_hz, longest_s(settings))
        return extract(samples, settings), len(samples)
    except ValueError as e:
        reason = str(e).removeprefix(f"{path}: ")
    except OSError as e:
        if e.errno in MACHINE_ERRORS:
            raise
        reason = e.strerror or str(e)
    return " ".join(f"{path}: {reason}".split()), 0


def _inputs_digest(wav_scp: dict[str, str], settings: FeaturesConfig) -> str:
    """Digest of the settings and of every utterance's path, size and time of change."""
    what = dataclasses.asdict(settings) | {"cmvn_splits": None}
    parts = [json.dumps(what, sort_keys=True)]
    for key, path in sorted(wav_scp.items()):
        try:
            status = os.stat(audio_segment.file_of(path))
            parts.append(f"{key} {path} {status.st_size} {status.st_mtime_ns}")
        except (OSError, ValueError):  # ValueError: a name that no file can have
            parts.append(f"{key} {path} -")
    return sha256(*parts)


def _read_summary(dump_dir: Path) -> Summary | None:
    """None where stage 2 has not been, or another version of it."""
    try:
        return Summary(**json.loads((dump_dir / "stage.json").read_text()))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def _spoken_splits(data: Path, cmvn_splits: list[str]) -> list[str]:
    spoken = [split for split in kaldi_dir.splits(data) if (data / split / "wav.scp").is_file()]
    if not spoken:
        raise ValueError(f"{data}: no split has a wav.scp, expected speech in one; {rerun(1)}")
    missing = sorted(set(cmvn_splits) - set(spoken))
    if missing or not cmvn_splits:
        raise ValueError(
            f"features.cmvn_splits: got {cmvn_splits}, expected some of {spoken}, the splits of "
            f"{data} that have a wav.scp"
        )
    return spoken
