import pytest

from atat.config import config_file
from atat.data import kaldi_dir, split_overlap

SETTINGS = [
    "train.sources=[{split: training, tasks: [slu]}, {split: written, tasks: [nlu]}]",
    "train.valid_splits=[dev]",
    "decode.runs={a: {split: test}, b: {split: dev}, c: {split: training}, d: {split: elsewhere}}",
]


def check(data, **ids):
    for split, members in ids.items():
        text = {i: "play" for i in members}
        wavs = None if split == "written" else {i: f"{i}.wav" for i in members}
        kaldi_dir.write(data / split, kaldi_dir.DataDir(wavs, text))
    split_overlap.check_apart(config_file.load([], SETTINGS), data)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({}, None),
        ({"training": "dev"}, None),  # no business of the tests
        (
            {"training": ["a", "t1", "t3", "t4", "t5"]},
            "4 utterances of 'test' (decode.runs) are in 'training' (train.sources) too: "
            "t1, t3, t4, ...; correct",
        ),
        ({"written": ["t2"]}, "1 utterances of 'test' (decode.runs) are in 'written' (train.sour"),
        ({"dev": ["d", "t2"]}, "are in 'dev' (train.valid_splits) too: t2; correct"),
    ],
)
def test_a_test_has_no_utterance_of_training_whatever_splits_are_called(tmp_path, changed, message):
    ids = {"training": ["a", "b"], "written": ["w"], "dev": ["d"]}
    ids |= {"test": [f"t{i}" for i in range(1, 6)]} | changed
    if message is None:
        check(tmp_path, **ids)
        return
    with pytest.raises(ValueError) as error:
        check(tmp_path, **ids)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_test_has_no_recording_of_training_by_another_id(tmp_path):
    kaldi_dir.write(tmp_path / "test", kaldi_dir.DataDir({"t1": "a.wav", "t2": "t.wav"}))
    with pytest.raises(ValueError) as error:
        check(tmp_path, training=["a", "b"], written=["w"], dev=["d"])
    assert "1 recordings of 'test' (decode.runs) are in 'training' (train.sources) too: a.wav" in (
        str(error.value)
    )


def test_a_split_that_training_lacks_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="training: no such data directory"):
        check(tmp_path, test=["t"])
