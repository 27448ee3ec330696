"""Stage 1 of librispeech on chapters in its layout, written here; the flacs are empty files."""

import json
import shutil

import pytest

from atat.data import kaldi_dir
from atat.prepare import librispeech

CHAPTERS = {
    "train-clean-100/19/198": ["NORTHANGER ABBEY", "THIS LITTLE WORK WAS FINISHED"],
    "train-clean-360/14/208": ["IT'S THE SECOND OF THEM"],
    "dev-clean/84/121123": ["GO DO YOU HEAR"],
    "test-clean/61/70968": ["HE BEGAN A CONFUSED COMPLAINT", "GIVE NOT SO EARNEST A MIND"],
}


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "LibriSpeech"
    for chapter, sentences in CHAPTERS.items():
        directory = root / chapter
        directory.mkdir(parents=True)
        name = "-".join(chapter.split("/")[1:])
        ids = [f"{name}-{number:04d}" for number in range(len(sentences))]
        for id_ in ids:
            (directory / f"{id_}.flac").touch()
        lines = [f"{id_} {words}\n" for id_, words in zip(ids, sentences, strict=True)]
        (directory / f"{name}.trans.txt").write_text("".join(lines))
    return root


@pytest.fixture
def run(tmp_path, corpus, command):
    """Run stage 1; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        given = ["--data", tmp_path / "data", "--corpus_dir", corpus, *arguments]
        return command(librispeech.main, *given)

    return run


@pytest.mark.supports("Corpora", "LibriSpeech", "all training directories are one split")
def test_all_training_directories_are_one_split(run, tmp_path, corpus):
    code, out, err = run()
    assert (code, err) == (0, "")
    train = kaldi_dir.read(tmp_path / "data" / "train")
    assert train.text == {
        "14-208-0000": "it's the second of them",
        "19-198-0000": "northanger abbey",
        "19-198-0001": "this little work was finished",
    }
    assert train.utt2spk["19-198-0001"] == "19" and train.semantics is None
    assert train.wav_scp["14-208-0000"] == str(corpus / "train-clean-360/14/208/14-208-0000.flac")
    assert len(kaldi_dir.read(tmp_path / "data" / "valid").ids) == 1
    assert len(kaldi_dir.read(tmp_path / "data" / "test").ids) == 2
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about["speech"] == ("recorded: 4 people; trained on train-clean-100, train-clean-360")
    assert out.splitlines()[1].split() == ["train", "3", "0.00", "2", "0", "people"]


def test_a_directory_without_parts_says_what_to_give(run, corpus, tmp_path):
    code, _, err = run("--corpus_dir", corpus / "dev-clean" / "84")
    assert code == 2 and "has none of train-*, dev-clean, " in err
    assert "expected LibriSpeech's directory" in err and len(err.splitlines()) == 1
    code, _, err = run("--corpus_dir", corpus / "dev-clean")
    assert code == 2 and f"it is a part itself: give {corpus}" in err
    assert not (tmp_path / "data").exists()


def write_part(directory, speakers, sentences=("ONE", "TWO")):
    """A part of `speakers`, who say the sentences."""
    for speaker in speakers:
        chapter = directory / str(speaker) / "7"
        chapter.mkdir(parents=True)
        lines = []
        for number, words in enumerate(sentences):
            id_ = f"{speaker}-7-{number:04d}"
            (chapter / f"{id_}.flac").touch()
            lines.append(f"{id_} {words}\n")
        (chapter / f"{speaker}-7.trans.txt").write_text("".join(lines))


def supported(what, how, *values):
    mark = pytest.mark.supports("Corpora", what, how)
    return pytest.param(*values, marks=mark, id=what)


MINI = {"train-clean-5": range(100, 140), "dev-clean-2": range(200, 204)}
SUBSET = {"train-clean-100": range(100, 120), "dev-clean": range(200, 202)}


@pytest.mark.parametrize(
    ("parts", "speakers", "said"),
    [
        supported(
            "mini_librispeech",
            "dev-clean-2 is the test; validation is split off by speaker",
            MINI,
            {"train": 38, "valid": 2, "test": 4},
            [
                "valid: 4 utterances of 2 speakers, split off train-clean-5: it has no part here",
                "test: is dev-clean-2, there is no test-* here",
            ],
        ),
        supported(
            "LibriSpeech without a test part",
            "the dev part is the test; validation is split off by speaker",
            SUBSET,
            {"train": 19, "valid": 1, "test": 2},
            ["valid: 2 utterances of 1 speakers, split off train-clean-100", "test: is dev-clean"],
        ),
        supported(
            "LibriSpeech without a dev part",
            "validation is split off by speaker",
            {"train-clean-100": range(100, 120), "test-other": range(2)},
            {"train": 19, "valid": 1, "test": 2},
            ["valid: 2 utterances of 1 speakers, split off train-clean-100"],
        ),
        supported(
            "one training part of LibriSpeech",
            "validation and test are split off by speaker",
            {"train-other-500": range(3)},
            {"train": 1, "valid": 1, "test": 1},
            ["valid: 2 utterances of 1 speakers", "test: 2 utterances of 1 speakers"],
        ),
        supported(
            "one part of LibriSpeech that is not for training",
            "trained on, but for speakers of validation and test",
            {"dev-clean": range(40)},
            {"train": 36, "valid": 2, "test": 2},
            ["split off dev-clean", "split off dev-clean", "train: is dev-clean"],
        ),
        supported(
            "LibriSpeech without a training part",
            "the dev part is trained on",
            {"dev-clean": range(40), "test-clean": range(50, 52)},
            {"train": 38, "valid": 2, "test": 2},
            ["valid: 4 utterances of 2 speakers, split off dev-clean", "train: is dev-clean"],
        ),
    ],
)
@pytest.mark.parametrize("inside", ["LibriSpeech", "."])
def test_any_subset_of_the_parts_will_do(run, tmp_path, parts, speakers, said, inside):
    for name, who in parts.items():
        write_part(tmp_path / "libri" / inside / name, who)
    code, out, err = run("--corpus_dir", tmp_path / "libri", "--check", "true")
    assert code == 0 and "utterances" in out
    code, _, err_of_run = run("--corpus_dir", tmp_path / "libri")
    assert (code, err_of_run) == (0, err)
    assert len(err.splitlines()) == len(said)
    for line, start in zip(err.splitlines(), said, strict=True):
        assert start in line
    splits = {split: kaldi_dir.read(tmp_path / "data" / split) for split in speakers}
    heard = {split: set(data.utt2spk.values()) for split, data in splits.items()}
    assert {split: len(who) for split, who in heard.items()} == speakers
    assert not heard["train"] & (heard["valid"] | heard["test"])
    assert not heard["valid"] & heard["test"]
    assert all(len(data.ids) == 2 * speakers[split] for split, data in splits.items())


@pytest.mark.supports("Corpora", "LibriSpeech unpacked into several places", "found together")
def test_parts_are_found_in_the_directory_and_in_librispeech_in_it(run, tmp_path):
    write_part(tmp_path / "libri" / "train-clean-100", range(5))
    write_part(tmp_path / "libri" / "LibriSpeech" / "dev-clean", range(5, 7))
    write_part(tmp_path / "libri" / "LibriSpeech" / "test-clean", range(7, 9))
    write_part(tmp_path / "libri" / "LibriSpeech" / "test-other", range(9, 11))
    code, out, err = run("--corpus_dir", tmp_path / "libri", "--check", "true")
    assert (code, err) == (0, "") and "! test-other is not used" in out
    assert run("--corpus_dir", tmp_path / "libri")[0] == 0
    splits = [kaldi_dir.read(tmp_path / "data" / split) for split in ("train", "valid", "test")]
    assert [len(split.ids) for split in splits] == [10, 4, 4]


def test_the_same_speakers_are_split_off_whatever_else_is_there(tmp_path):
    write_part(tmp_path / "a" / "train-clean-5", range(40))
    write_part(tmp_path / "b" / "train-clean-5", reversed(range(40)))
    for split, utterances in librispeech.read(tmp_path / "a").items():
        others = librispeech.read(tmp_path / "b")[split]
        assert [u.id for u in utterances] == [u.id for u in others]


def test_too_few_speakers_to_split_off_are_named(run, tmp_path):
    write_part(tmp_path / "libri" / "train-clean-5", range(2))
    code, _, err = run("--corpus_dir", tmp_path / "libri")
    assert code == 2 and "got 2 speakers to train on, expected more: one each" in err
    assert "valid and test" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        *("", "61-70968-0000", "61-70968-0000 ...", "61-709680000 HE", "WORDS ONLY HERE"),
        *("61-70968-../../x HE", "61-70969-0000 HE"),
    ],
)
def test_a_transcript_of_another_form_is_one_line(run, corpus, tmp_path, line):
    path = corpus / "test-clean" / "61" / "70968" / "61-70968.trans.txt"
    path.write_text(f"61-70968-0009 FINE\n{line}\n")
    code, _, err = run()
    assert code == 2 and len(err.splitlines()) == 1
    assert "61-70968.trans.txt:2: got" in err and "expected '61-CHAPTER-NUMBER WORDS'" in err
    assert not (tmp_path / "data").exists()


def test_a_transcript_with_a_byte_order_mark_and_line_ends_of_windows_is_read(
    run, corpus, tmp_path
):
    path = corpus / "test-clean" / "61" / "70968" / "61-70968.trans.txt"
    path.write_text("\ufeff" + path.read_text(), newline="\r\n")
    assert run()[0] == 0
    text = kaldi_dir.read(tmp_path / "data" / "test").text
    assert text["61-70968-0000"] == "he began a confused complaint"


def test_missing_audio_is_counted_and_limited(run, corpus, tmp_path):
    (corpus / "train-clean-100/19/198/19-198-0001.flac").unlink()
    code, _, err = run()
    assert code == 2 and "train: audio of 1 of 3 utterances is missing" in err
    assert not (tmp_path / "data").exists()
    assert run("data.max_missing=0.5")[0] == 0
    assert len(kaldi_dir.read(tmp_path / "data" / "train").ids) == 2


def test_an_utterance_of_training_is_not_in_the_test(run, corpus, tmp_path):
    chapter = "19/198"
    shutil.copytree(corpus / "train-clean-100" / chapter, corpus / "test-clean" / chapter)
    for arguments in ((), ("--check", "true")):
        code, _, err = run(*arguments)
        assert code == 2 and "2 recordings are listed in both train and test: 19-198-0000" in err
        assert len(err.splitlines()) == 1 and not (tmp_path / "data").exists()


def test_check_names_what_is_not_there_and_what_has_no_transcript(run, corpus, tmp_path):
    (corpus / "dev-clean/84/121123/84-121123-0007.flac").touch()
    code, out, err = run("--check", "true")
    assert (code, err) == (0, "")
    rows = {line[:30].strip(): line[30:].split() for line in out.splitlines()}
    assert rows["train-clean-100: utterances"] == ["2", "28,539", "differs"]
    assert "! dev-clean: 1 recordings have no transcript: 84-121123-0007" in out
    assert "! no train-other-500" in out
    assert not (tmp_path / "data").exists()
