"""Features that several jobs extract, each a share of a split (see common/array_job.py).

DUMP/.shares/SPLIT.NUMBER-of-COUNT/ has an archive, and `about.json` with what it was made from, how
long each utterance is, and why some have no features.
"""

# T frames, F mel bins

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from atat.common.array_job import DIRECTORY, Share
from atat.common.files import atomic_directory
from atat.data.feature_archive import FeatureReader, FeatureWriter

ABOUT = "about.json"
# Features and number of samples of an utterance, or why it has none, and 0.
Extracted = tuple[np.ndarray | str, int]


class FeatureShares:
    """What is there of a split: `shares[id]` as the extraction gave it.

    Args:
        dump_dir: of the split.
        inputs: digest of what features are made from now; shares of other inputs do not count.
    """

    def __init__(self, dump_dir: Path, inputs: str) -> None:
        self.directories = sorted((dump_dir.parent / DIRECTORY).glob(f"{dump_dir.name}.*-of-*"))
        self._found: dict[str, FeatureReader | str] = {}
        self._num_samples: dict[str, int] = {}
        for directory in self.directories:
            try:
                about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))
                if about["inputs"] != inputs:
                    continue
                reader = FeatureReader(directory)
                self._found |= dict.fromkeys(reader.ids, reader) | about["dropped"]
                self._num_samples |= about["num_samples"]
            except (OSError, ValueError, KeyError, TypeError):
                continue  # damaged: extracted again

    def __contains__(self, key: str) -> bool:
        return key in self._found

    def __getitem__(self, key: str) -> Extracted:
        found = self._found[key]
        if isinstance(found, str):
            return found, 0
        return found[key], self._num_samples[key]

    def results(
        self, ids: Iterable[str], extract: Callable[[list[str]], Iterator[Extracted]]
    ) -> Iterator[Extracted]:
        """The result of every utterance in order, extracted where no share has it."""
        ids = list(ids)
        others = extract([key for key in ids if key not in self])
        for key in ids:
            yield self[key] if key in self else next(others)
        if next(others, None) is not None:
            raise AssertionError("more was extracted than was asked for")


def write_share(
    dump_dir: Path,
    share: Share,
    inputs: str,
    ids: list[str],
    results: Iterator[Extracted],
) -> None:
    """Write a share of a split.

    Args:
        dump_dir: of the split.
        share: which of how many; the directory is named after it.
        inputs: as of `FeatureShares`.
        ids: of the utterances of this share, sorted.
        results: of each.
    """
    num_samples, dropped = {}, {}
    name = f"{dump_dir.name}.{share}"
    with atomic_directory(dump_dir.parent / DIRECTORY / name) as directory:
        with FeatureWriter(directory) as writer:
            for key, (feats_TF, length) in zip(ids, results, strict=True):
                if isinstance(feats_TF, str):
                    dropped[key] = feats_TF
                else:
                    writer.write(key, feats_TF)
                    num_samples[key] = length
        about = {"inputs": inputs, "num_samples": num_samples, "dropped": dropped}
        (directory / ABOUT).write_text(json.dumps(about), encoding="utf-8")
