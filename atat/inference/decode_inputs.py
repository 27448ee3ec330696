"""What a run of `decode.runs` decodes: features of a split, its text, or words that were heard."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from atat.common.advice import rerun
from atat.config.schema import DecodeRun
from atat.data import kaldi_dir
from atat.inference.hypotheses import read_hypotheses
from atat.inference.length_batches import text_size
from atat.semantics import target_sequence

if TYPE_CHECKING:
    import numpy as np

    from atat.data.feature_archive import FeatureReader


@dataclass
class Inputs:
    """What a run decodes: features of speech, or sentences.

    Attributes:
        ids: of all utterances of the split, sorted.
        sizes: id -> feature frames (speech) or their equivalent (`text_size`), of those that can be
            decoded.
        reader: id -> features; None for text.
        texts: id -> sentence; None for speech.
        dropped: id -> why there is nothing to decode.
    """

    ids: list[str]
    sizes: dict[str, int]
    reader: "FeatureReader | dict[str, np.ndarray] | None" = None
    texts: dict[str, str] | None = None
    dropped: dict[str, str] = field(default_factory=dict)


def open_inputs(run: DecodeRun, data: Path, dump: Path, exp: Path) -> Inputs:
    """Open what a run decodes.

    Args:
        run: one of decode.runs.
        data: directory of the splits, whose text is read for text runs and no references ever.
        dump: directory of their features.
        exp: directory of the experiment, with the hypotheses of other runs.

    Raises:
        FileNotFoundError: the split or its features are not there, or the other run's hypotheses.
        ValueError: the features are of other utterances than the split.
    """
    if run.source == "text":
        texts = _column(data / run.split / "text")
        return Inputs(sorted(texts), {i: text_size(text) for i, text in texts.items()}, texts=texts)
    if run.source == "hypotheses":
        return heard_by(exp / f"decode_{run.input}" / "hyp.jsonl")
    from atat.data.feature_archive import FeatureReader  # with NumPy

    reader = FeatureReader(dump / run.split)
    # What stage 2 dropped is still in the split, and will count as wrong.
    reasons = _reasons(dump / run.split / "dropped")
    dropped = {i: f"dropped by stage 2: {reason}" for i, reason in reasons.items()}
    ids = sorted(_column(data / run.split / "wav.scp"))
    if set(ids) != {*reader.ids, *dropped}:
        raise ValueError(
            f"{dump / run.split}: its utterances are not those of {data / run.split}; {rerun(2)}"
        )
    return Inputs(ids, dict(reader.num_frames), reader=reader, dropped=dropped)


def heard_by(path: Path) -> Inputs:
    """The words that a run has recognised, from its `hyp.jsonl`: in the words of training.

    Raises:
        FileNotFoundError: the run is not decoded. ValueError: as `read_hypotheses`.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; decode that run first (--run)")
    # A model that has hardly learned the task may give tags too.
    texts = {
        line["id"]: target_sequence.words(line["hypothesis"]) for line in read_hypotheses(path)
    }
    useless = {
        i: f"{path.parent.name} recognised no words" for i, text in texts.items() if not text
    }
    sizes = {i: text_size(text) for i, text in texts.items() if i not in useless}
    return Inputs(sorted(texts), sizes, texts=texts, dropped=useless)


def without_long(inputs: Inputs, num_tokens: Callable[[str], int], most: int) -> Inputs:
    """The same, but that sentences of more tokens than a text encoder takes are dropped: one that a
    model rambled, or two that a corpus has in a line, ends no run.

    Args:
        inputs: as `open_inputs` gives them.
        num_tokens: of a sentence.
        most: how many it takes.
    """
    # A word has a token more than characters at most: the one that begins it.
    texts = {} if inputs.texts is None else {i: inputs.texts[i] for i in inputs.sizes}
    long = {i: num_tokens(text) for i, text in texts.items() if len(text) >= most}
    dropped = {
        i: f"got {num} tokens, expected at most {most}" for i, num in long.items() if num > most
    }
    sizes = {i: size for i, size in inputs.sizes.items() if i not in dropped}
    return replace(inputs, sizes=sizes, dropped=inputs.dropped | dropped)


def _column(path: Path) -> dict[str, str]:
    """Id -> value of one file of a data directory (`kaldi_dir.read` opens references too)."""
    return kaldi_dir.column(_present(path).parent, path.name)


def _reasons(path: Path) -> dict[str, str]:
    """Id -> why stage 2 dropped it."""
    with _present(path).open(encoding="utf-8") as file:
        entries = (line.rstrip("\n").partition(" ") for line in file)
        return {key: value for key, _, value in entries}


def _present(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file, which a run of decode.runs needs; {rerun(1, 'run')}"
        )
    return path
