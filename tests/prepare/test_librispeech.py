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


def test_a_missing_split_is_named_and_the_parent_recognised(run, corpus, tmp_path):
    code, _, err = run("--corpus_dir", tmp_path)
    assert code == 2 and f"no train-* in it; give {corpus}" in err
    (corpus / "dev-clean").rename(tmp_path / "dev-clean")
    code, _, err = run()
    assert code == 2 and "no dev-clean in it; expected LibriSpeech's directory" in err


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
