"""What is kept of a split, and when it is made again."""

import numpy as np
import pytest

from atat.data import kaldi_dir
from atat.data.tokenizer import Tokenizer
from atat.semantics import target_sequence
from atat.training import encoded_split
from tests import toy


@pytest.fixture
def made(tmp_path):
    """The toy's data, its tokenizer, and where the split `train` is kept."""
    data, _ = toy.write(tmp_path)
    tokenizer = Tokenizer.load(data / "tokenizer")
    return data, tokenizer, data / encoded_split.KEPT / tokenizer.digest[:12] / "train"


def contents(split: encoded_split.EncodedSplit) -> dict[str, list]:
    return {name: values.tolist() for name, values in split.arrays().items()}


def test_a_split_is_what_its_directory_says(made):
    data, tokenizer, _ = made
    split = encoded_split.read(data, "train", tokenizer)
    expected = kaldi_dir.read(data / "train")
    assert list(split.names()) == expected.ids
    for row, key in enumerate(expected.ids):
        sequence = expected.semantics[key]
        assert split.semantics[row].tolist() == tokenizer.encode(sequence)
        assert split.text[row].tolist() == tokenizer.encode(expected.text[key])
        assert split.words[row].tolist() == tokenizer.encode(target_sequence.words(sequence))
        skeleton = split.skeletons[split.skeleton_N[row]]
        assert skeleton == target_sequence.skeleton(sequence)


def test_what_is_kept_is_read_instead_of_the_directory(made, monkeypatch):
    data, tokenizer, _ = made
    first = contents(encoded_split.read(data, "train", tokenizer))
    monkeypatch.setattr(encoded_split, "encode", None)
    assert contents(encoded_split.read(data, "train", tokenizer)) == first


def test_other_labels_or_another_tokenizer_are_encoded_anew(made):
    data, tokenizer, _ = made
    before = contents(encoded_split.read(data, "train", tokenizer))
    split = kaldi_dir.read(data / "train")
    split.text[split.ids[0]] = "on"
    kaldi_dir.write(data / "train", split)
    assert encoded_split.read(data, "train", tokenizer).text[0].tolist() == tokenizer.encode("on")
    other = Tokenizer.train([*toy.SENTENCES, "all other words"], 100)
    assert contents(encoded_split.read(data, "train", other)) != before


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "remove", "about"])
def test_what_is_damaged_is_encoded_anew(made, damage):
    data, tokenizer, kept = made
    expected = contents(encoded_split.read(data, "train", tokenizer))
    path = kept / ("about.json" if damage == "about" else "semantics.flat.npy")
    content = bytearray(path.read_bytes())
    if damage == "remove":
        path.unlink()
    elif damage == "flip":
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        path.write_bytes(b"" if damage == "empty" else content[:-3])
    assert contents(encoded_split.read(data, "train", tokenizer)) == expected


def test_words_of_another_kind_are_encoded_anew(made, monkeypatch):
    data, tokenizer, kept = made
    encoded_split.read(data, "train", tokenizer)
    before = (kept / "about.json").read_bytes()
    monkeypatch.setattr(kaldi_dir, "WORDS", "other")
    encoded_split.read(data, "train", tokenizer)
    assert (kept / "about.json").read_bytes() != before


def test_where_nothing_can_be_written_memory_must_do(made, monkeypatch):
    data, tokenizer, kept = made

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "save", full)
    split = encoded_split.read(data, "train", tokenizer)
    assert list(split.names()) == kaldi_dir.read(data / "train").ids
    assert not kept.exists()


def test_a_split_that_is_gone_is_named_though_it_was_kept(made):
    data, tokenizer, _ = made
    encoded_split.read(data, "train", tokenizer)
    (data / "train").rename(data / "moved")
    with pytest.raises(FileNotFoundError, match="train: no such data directory"):
        encoded_split.read(data, "train", tokenizer)
