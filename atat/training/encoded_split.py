"""A split's utterances as token ids, in a few flat arrays.

A million utterances are no Python object each. The arrays are kept beside the data, by what they
were made of, and mapped: the directory is read and checked once, and the processes of a training
share the memory.
"""

# N utterances, rows of the split's files; L tokens

import json
import zlib
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from atat.common.files import atomic_directory, sha256
from atat.common.json_file import WRONG_JSON
from atat.common.ragged import Names, Ragged, RaggedBuilder, Selection
from atat.data import kaldi_dir
from atat.data.tokenizer import Tokenizer
from atat.semantics import target_sequence

KEPT = ".tokens"  # in the directory of the splits
ABOUT = "about.json"


@dataclass
class EncodedSplit:
    """Token ids of what the utterances of a split are to be taught, None where it has no such file.

    Attributes:
        characters: ids of the utterances, in UTF-8.
        text: of their words.
        semantics: of their target sequences; words: of the words in these.
        skeleton_N: the place of each target sequence's skeleton (its tags alone) in `skeletons`.
    """

    characters: Ragged
    text: Ragged | None
    semantics: Ragged | None
    words: Ragged | None
    skeleton_N: np.ndarray
    skeletons: list[str]

    def __len__(self) -> int:
        return len(self.characters)

    def names(self, rows_N: np.ndarray | None = None) -> Names:
        """Ids of the utterances: all, or those of some rows."""
        chosen = self.characters if rows_N is None else Selection(self.characters, rows_N)
        return Names(chosen)

    def arrays(self) -> dict[str, np.ndarray]:
        """All that there are, by name."""
        found = {"skeleton_N": self.skeleton_N}
        for name in _RAGGED:
            if (ragged := getattr(self, name)) is not None:
                found |= {f"{name}.flat": ragged.flat, f"{name}.ends_N": ragged.ends_N}
        return found


_RAGGED = ("characters", "text", "semantics", "words")


def read(data: Path, split: str, tokenizer: Tokenizer) -> EncodedSplit:
    """A split, from what an earlier call has kept of it, if that is of the same content.

    Raises:
        FileNotFoundError, ValueError: as `kaldi_dir.read`.
    """
    directory = data / KEPT / tokenizer.digest[:12] / split
    inputs = sha256(kaldi_dir.fingerprint([data / split]), tokenizer.digest, kaldi_dir.WORDS)
    kept = _load(directory, inputs)
    if kept is None:
        made = encode(data / split, tokenizer)
        try:
            _save(made, directory, inputs)
        except OSError:  # it cannot be written there, or the disk is full: memory must do
            return made
        kept = _load(directory, inputs)
        return made if kept is None else kept
    return kept


def encode(path: Path, tokenizer: Tokenizer) -> EncodedSplit:
    """The split that is at `path`, read and checked one utterance after the other.

    Raises:
        FileNotFoundError, ValueError: as `kaldi_dir.read`.
    """
    builders = {name: RaggedBuilder("B" if name == "characters" else "i") for name in _RAGGED}
    place_of: dict[str, int] = {}
    places = array("i")
    for utterance in kaldi_dir.utterances(path):
        builders["characters"].append(utterance.id.encode())
        text: list[int] = []
        if utterance.text is not None:
            text = tokenizer.encode(utterance.text)
            builders["text"].append(text)
        if utterance.semantics is not None:
            words = target_sequence.words(utterance.semantics)
            same = words == utterance.text
            builders["words"].append(text if same else tokenizer.encode(words))
            builders["semantics"].append(tokenizer.encode(utterance.semantics))
            skeleton = " ".join(target_sequence.tags(utterance.semantics))
            places.append(place_of.setdefault(skeleton, len(place_of)))
    made = {name: builder.ragged() for name, builder in builders.items() if len(builder)}
    return EncodedSplit(
        made["characters"],
        made.get("text"),
        made.get("semantics"),
        made.get("words"),
        np.array(places, dtype=np.int32),
        list(place_of),
    )


def _save(split: EncodedSplit, directory: Path, inputs: str) -> None:
    arrays = split.arrays()
    about = {
        "inputs": inputs,
        "crc32": dict(_checksums(arrays)),
        "skeletons": split.skeletons,
    }
    with atomic_directory(directory) as new:
        for name, values in arrays.items():
            np.save(new / f"{name}.npy", values)
        (new / ABOUT).write_text(json.dumps(about), encoding="utf-8")


def _load(directory: Path, inputs: str) -> EncodedSplit | None:
    """What was kept of these inputs; None where there is nothing, or something damaged."""
    try:
        about = json.loads((directory / ABOUT).read_text(encoding="utf-8"))
        if about["inputs"] != inputs:
            return None
        arrays = {name: _mapped(directory / f"{name}.npy") for name in about["crc32"]}
        if dict(_checksums(arrays)) != about["crc32"]:
            return None
        ragged = {
            name: Ragged(arrays[f"{name}.flat"], arrays[f"{name}.ends_N"])
            for name in _RAGGED
            if f"{name}.flat" in arrays
        }
        return EncodedSplit(
            ragged["characters"],
            ragged.get("text"),
            ragged.get("semantics"),
            ragged.get("words"),
            arrays["skeleton_N"],
            about["skeletons"],
        )
    except (OSError, EOFError, *WRONG_JSON):
        return None


def _mapped(path: Path) -> np.ndarray:
    small = path.stat().st_size < 4096  # what is empty cannot be mapped
    return np.asarray(np.load(path, mmap_mode=None if small else "r", allow_pickle=False))


def _checksums(arrays: dict[str, np.ndarray]) -> Iterator[tuple[str, int]]:
    for name, values in arrays.items():
        yield name, zlib.crc32(np.ascontiguousarray(values).data)
