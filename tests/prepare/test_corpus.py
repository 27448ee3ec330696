"""What readers of corpora share: words, splits, and what is said of the audio that is missing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.data import kaldi_dir
from atat.prepare import corpus
from atat.prepare.corpus import Utterance
from atat.semantics import target_sequence

TEXTS = st.text() | st.text(st.sampled_from("aB1.,'\u2019-:%\n\t _"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Turn  on\nthe LIGHTS!", "turn on the lights"),
        ("What's the kids\u2019 plan?", "what's the kids plan"),
        ("wake me at 5PM", "wake me at 5 pm"),
        ("mom 's", "mom 's"),
        ("set it to 50% - now", "set it to 50 now"),
        ("8:30 p.m.", "8 30 pm"),
        ("1,000 or 2.5, ok.", "1000 or 2 5 ok"),
        ("'' ' _ ()", ""),
    ],
)
def test_texts_are_normalized_to_words(text, words):
    assert corpus.normalize(text) == words


@given(TEXTS)
def test_normalized_text_is_words_that_can_stand_in_a_sequence_and_stays_so(text):
    words = corpus.normalize(text)
    assert corpus.normalize(words) == words == " ".join(words.split())
    assert words == words.lower()
    assert (
        target_sequence.words(
            target_sequence.build(target_sequence.Node("a", tuple(words.split())))
        )
        == words
    )


@given(st.lists(TEXTS))
def test_words_are_the_same_whether_a_text_is_normalized_whole_or_in_parts(texts):
    parts = " ".join(filter(None, map(corpus.normalize, texts)))
    assert corpus.normalize(" ".join(texts)) == parts


@pytest.fixture
def wavs(tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.wav").touch()
    return [tmp_path / f"{number}.wav" for number in range(4)]


def test_a_split_has_the_files_that_its_utterances_have(tmp_path, wavs):
    spoken = [Utterance(f"ann-{i}", wav, "on", "on( on )on", "ann") for i, wav in enumerate(wavs)]
    corpus.write_splits(tmp_path / "data", {"train": spoken})
    train = kaldi_dir.read(tmp_path / "data" / "train")
    assert train.wav_scp == {f"ann-{i}": str(wav) for i, wav in enumerate(wavs)}
    assert train.spk2utt == {"ann": "ann-0 ann-1 ann-2 ann-3"}
    corpus.write_splits(tmp_path / "data", {"text": [Utterance("1", text="on")]})
    text = kaldi_dir.read(tmp_path / "data" / "text")
    assert (text.wav_scp, text.semantics, text.utt2spk) == (None, None, None)


def test_missing_audio_is_left_out_up_to_a_limit(tmp_path, wavs, capsys):
    utterances = [Utterance(f"ann-{i}", wav, "on") for i, wav in enumerate(wavs)]
    wavs[2].unlink()
    utterances.append(Utterance("ann-9", None, "off"))
    corpus.write_splits(tmp_path, {"train": utterances}, max_missing=0.4)
    assert kaldi_dir.read(tmp_path / "train").ids == ["ann-0", "ann-1", "ann-3"]
    said = f"train: audio of 2 of 5 utterances is missing: {wavs[2]}, ann-9 (not recorded)"
    assert said in capsys.readouterr().err
    with pytest.raises(ValueError, match=r"2 of 5 .* the limit is 39.0% .*data.max_missing"):
        corpus.write_splits(tmp_path, {"train": utterances}, max_missing=0.39)
    with pytest.raises(ValueError, match="1 of 1"):  # nothing would be left
        corpus.write_splits(
            tmp_path, {"train": [Utterance("x", tmp_path / "gone")]}, max_missing=1.0
        )


@pytest.mark.parametrize(
    ("utterances", "reason"),
    [
        ([], "test: the corpus has no utterances"),
        ([Utterance("a", text="x"), Utterance("a", text="y")], "id 'a' comes twice"),
        (
            [Utterance("a b-1", text="x", speaker="a b")],
            "test: got the id 'a b-1', expected no whi",
        ),
        ([Utterance("a", text="x( y")], "'x\\(' is a tag"),
        ([Utterance("a-1", text="x", speaker="b")], "expected 'b-<utterance>'"),
        ([Utterance("a", text="x", semantics="x( x )x"), Utterance("b", text="x")], "not in sem"),
    ],
)
def test_a_split_that_breaks_a_rule_is_not_written(tmp_path, utterances, reason):
    with pytest.raises(ValueError, match=reason):
        corpus.write_splits(tmp_path, {"test": utterances})
    assert list(tmp_path.iterdir()) == []


def test_no_split_is_replaced_or_removed_before_all_are_checked(tmp_path):
    first = {"train": [Utterance("a", text="x")], "old": [Utterance("b", text="x")]}
    corpus.write_splits(tmp_path, first)
    broken = {"train": [Utterance("a", text="y")], "test": [Utterance("c", text="x( y")]}
    with pytest.raises(ValueError, match="is a tag"):
        corpus.write_splits(tmp_path, broken)
    assert sorted(p.name for p in tmp_path.iterdir()) == [".splits", "old", "train"]
    assert kaldi_dir.read(tmp_path / "train").text == {"a": "x"}


def test_no_split_is_written_before_all_are_looked_through(tmp_path):
    with pytest.raises(ValueError, match="test: the corpus has no utterances"):
        corpus.write_splits(tmp_path, {"train": [Utterance("a", text="x")], "test": []})
    assert list(tmp_path.iterdir()) == []


def test_no_recording_is_in_two_of_training_validation_and_test(tmp_path):
    (tmp_path / "a.wav").touch()
    said = Utterance("a", tmp_path / "a.wav", "x")
    for one, other in (("train_low", "valid"), ("asr", "test"), ("valid", "speaker_test")):
        with pytest.raises(ValueError, match="1 recordings are listed in both"):
            corpus.write_splits(tmp_path / "data", {one: [said], other: [said]})
    corpus.write_splits(tmp_path / "data", {"test": [said], "speaker_test": [said]})
    corpus.write_splits(tmp_path / "other", {"train": [said], "test": [Utterance("a", text="x")]})


def test_no_recording_is_in_two_of_them_by_another_id(tmp_path):
    (tmp_path / "a.wav").touch()
    splits = {split: [Utterance(split, tmp_path / "a.wav", "x")] for split in ("train", "valid")}
    with pytest.raises(
        ValueError, match=r"1 recordings are listed in both train and valid: .*a\.wav"
    ):
        corpus.write_splits(tmp_path / "data", splits)
    assert not (tmp_path / "data").exists()


def test_splits_of_an_earlier_call_go_and_those_of_others_stay(tmp_path):
    some = [Utterance("a", text="x")]
    corpus.write_splits(tmp_path, {"train": some, "old_test": some})
    corpus.write_splits(tmp_path / "mine", {"mine": some})
    (tmp_path / "mine" / "mine").rename(tmp_path / "by_hand")
    corpus.write_splits(tmp_path, {"train": some, "test": some})
    assert kaldi_dir.splits(tmp_path) == ["by_hand", "test", "train"]


def test_about_says_where_the_speech_is_from_and_what_is_compared(tmp_path):
    corpus.write_about(tmp_path, "Letters", "recorded: 2 people", "tree")
    assert json.loads((tmp_path / "about.json").read_text()) == {
        "corpus": "Letters",
        "speech": "recorded: 2 people",
        "hypothesis": "tree",
    }
    with pytest.raises(ValueError, match="hypothesis is 'guess', expected one of frame, triple"):
        corpus.write_about(tmp_path, "Letters", "", "guess")


def test_check_marks_counts_that_differ_from_the_published(capsys):
    corpus.print_check("here: Letters", [("a", 4, 4), ("b", 1, 23132), ("c", 2, None)], ["no d"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        ["here:", "Letters"],
        ["found", "published"],
        ["a", "4", "4"],
        ["b", "1", "23,132", "differs"],
        ["c", "2", "-"],
        ["!", "no", "d"],
    ]
