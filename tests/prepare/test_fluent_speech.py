"""Stage 1 of fluent_speech on a few lists in the corpus's layout; the wavs are empty files."""

import csv
import io
import json

import pytest

from atat.data import kaldi_dir
from atat.prepare import fluent_speech
from atat.semantics import triples

HEADER = ",path,speakerId,transcription,action,object,location"
# speaker, transcription, action, object, location
SAID = {
    "train": [
        ("ann", "Turn on the kitchen lights.", "activate", "lights", "kitchen"),
        ("ann", "Far too loud", "decrease", "volume", "none"),
        ("bob", "turn up the\nbathroom temperature", "increase", "heat", "washroom"),
        ("bob", "Far too loud!", "decrease", "volume", "none"),
    ],
    "valid": [("cid", "Switch languages", "change language", "none", "none")],
    "test": [
        ("dan", "Set my device to Chinese", "change language", "Chinese", "none"),
        ("dan", "Far too loud", "decrease", "volume", "none"),
    ],
}


def write_list(corpus, path, rows, first=0):
    """Write a list, and the wavs of its rows."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(HEADER.split(","))
    for number, (speaker, *said) in enumerate(rows, start=first):
        wav = f"wavs/speakers/{speaker}/{number:04d}.wav"
        (corpus / wav).parent.mkdir(parents=True, exist_ok=True)
        (corpus / wav).touch()
        writer.writerow([number, wav, speaker, *said])
    (corpus / path).parent.mkdir(parents=True, exist_ok=True)
    (corpus / path).write_text(text.getvalue())


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "corpus"
    for split, rows in SAID.items():
        write_list(root, f"data/{split}_data.csv", rows)
    return root


@pytest.fixture
def run(tmp_path, corpus, command):
    """Run stage 1; returns (exit code, stdout, stderr)."""

    def run(*arguments):
        given = ["--data", tmp_path / "data", "--corpus_dir", corpus, *arguments]
        return command(fluent_speech.main, *given)

    return run


@pytest.mark.supports("Corpora", "FluentSpeech Commands", "action, object and location as targets")
def test_lists_become_splits_with_triples_as_targets(run, tmp_path, corpus):
    code, out, err = run()
    assert (code, err) == (0, "")
    train = kaldi_dir.read(tmp_path / "data" / "train")
    assert train.text == {
        "ann-0000": "turn on the kitchen lights",
        "ann-0001": "far too loud",
        "bob-0002": "turn up the bathroom temperature",
        "bob-0003": "far too loud",
    }
    assert train.semantics["bob-0002"] == (
        "Increase( Heat( turn up the Location( bathroom )Location temperature )Heat )Increase"
    )
    assert train.utt2spk["bob-0002"] == "bob"
    assert train.wav_scp["bob-0002"] == str(corpus / "wavs/speakers/bob/0002.wav")
    for split, rows in SAID.items():
        sequences = kaldi_dir.read(tmp_path / "data" / split).semantics.values()
        assert [triples.from_sequence(s) for s in sequences] == [
            tuple(value.lower() for value in row[2:]) for row in rows
        ]
    assert out.splitlines()[1].split() == ["train", "4", "0.00", "2", "3", "people"]


def test_the_sentences_of_training_are_there_as_text_each_once(run, tmp_path):
    run()
    text = kaldi_dir.read(tmp_path / "data" / "train_text")
    assert sorted(text.text.values()) == [
        "far too loud",
        "turn on the kitchen lights",
        "turn up the bathroom temperature",
    ]
    assert text.wav_scp is None and text.utt2spk is None
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about["hypothesis"] == "triple" and about["speech"] == "recorded: 4 people"


def test_what_is_rendered_is_not_called_recorded(run, tmp_path):
    _, out, _ = run("data.stand_in=true")
    assert "people" not in out and out.count("synthesisers (a stand-in)") == 3
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about["speech"] == "rendered, not recorded: 4 voices"


def test_columns_are_found_by_name_and_others_ignored(run, corpus, tmp_path):
    path = corpus / "data" / "valid_data.csv"
    path.write_text(
        "Unnamed: 0,location,object,action,transcription,speakerId,note,path\n"
        "7,none,lamp,activate,Lamp on,eve,x,wavs/speakers/eve/1.wav\n"
    )
    (corpus / "wavs/speakers/eve").mkdir()
    (corpus / "wavs/speakers/eve/1.wav").touch()
    assert run()[0] == 0
    valid = kaldi_dir.read(tmp_path / "data" / "valid")
    assert valid.semantics == {"eve-1": "Activate( Object( lamp )Object on )Activate"}


def test_unseen_and_challenge_splits_are_parts(run, corpus, tmp_path):
    base = "data/challenge_splits"
    write_list(corpus, f"{base}/train_data.csv", SAID["train"])
    write_list(corpus, f"{base}/valid_data.csv", SAID["valid"])
    write_list(corpus, f"{base}/speaker_test_data.csv", SAID["test"])
    write_list(corpus, f"{base}/utterance_test_data.csv", SAID["test"][:1])
    assert run("data.part=challenge")[0] == 0
    ids = {
        split: kaldi_dir.read(tmp_path / "data" / split).ids
        for split in kaldi_dir.splits(tmp_path / "data")
    }
    assert ids["speaker_test"] == ids["test"] == ["dan-0000", "dan-0001"]
    assert ids["utterance_test"] == ["dan-0000"]
    assert len(ids["train"]) == 4 and "train_text" in ids
    assert "challenge utterance_test: utterances" in run("--check", "true")[1]
    assert run()[0] == 0  # what it was divided into before is gone
    assert kaldi_dir.splits(tmp_path / "data") == ["test", "train", "train_text", "valid"]
    write_list(corpus, f"{base}/utterance_test_data.csv", SAID["train"][:1])
    code, out, _ = run("--check", "true")  # all but that part can be used
    assert code == 0 and "! data.part=challenge cannot be used: 1 recordings are listed" in out
    assert run("data.part=challenge")[0] == 2
    code, _, err = run("data.part=unseen")
    assert code == 2 and "unseen_splits/train_data.csv: no such file" in err
    code, _, err = run("data.part=unseen", "--check", "true")
    assert code == 2 and "unseen_splits/train_data.csv: no such file" in err
    code, _, err = run("data.part=close_1")
    assert code == 2 and "data.part is 'close_1', expected null, unseen or challenge" in err


def test_missing_audio_is_counted_and_limited(run, corpus, tmp_path):
    (corpus / "wavs/speakers/ann/0001.wav").unlink()
    code, _, err = run()
    assert code == 2 and len(err.splitlines()) == 1
    assert "train: audio of 1 of 4 utterances is missing" in err and "limit is 1.0%" in err
    assert not (tmp_path / "data").exists()
    code, _, err = run("data.max_missing=0.3")
    assert code == 0 and "ann/0001.wav; they are left out" in err
    assert "ann-0001" not in kaldi_dir.read(tmp_path / "data" / "train").ids


ROW = "0,wavs/speakers/dan/0000.wav,dan,lights on,activate,lights,none"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "test_data.csv:1: no column path, speakerId"),
        (HEADER.replace("speakerId", "speaker") + f"\n{ROW}\n", "no column speakerId; got path"),
        (HEADER + "\n", "has no recordings"),
        (HEADER + f"\n{ROW},more\n", "test_data.csv:2: more values than columns"),
        (HEADER + "\n0,wavs/x.wav,dan,lights on,activate\n", "csv:2: no object, location"),
        (HEADER + f"\n{ROW}\n{ROW}\n", "id 'dan-0000' comes twice"),
        (HEADER + f"\n{ROW.replace('wavs', '../wavs')}\n", "leads out of the corpus"),
        (HEADER + f"\n{ROW.replace('lights on', '?!')}\n", "transcription '?!' has no word"),
        (HEADER + f"\n{ROW.replace('none', 'kitchen')}\n", "does not say the location"),
        (HEADER + f"\n{ROW.replace('dan', 'ann')}\n", "1 recordings are listed in both train and"),
        (HEADER + '\n0,"x\n', "not a CSV file"),
        (
            HEADER + f"\n{ROW.replace('dan', 'd an')}\n",
            "test: got the id 'd an-0000', expected no white",
        ),
    ],
)
def test_a_list_of_another_form_is_one_line_and_nothing_is_written(
    run, corpus, tmp_path, content, reason
):
    (corpus / "data" / "test_data.csv").write_text(content)
    code, _, err = run()
    assert code == 2
    assert reason in err and len(err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_check_counts_beside_what_was_published_and_writes_nothing(run, corpus, tmp_path):
    code, out, err = run("--check", "true")
    assert (code, err) == (0, "")
    rows = {line[:25].strip(): line[25:].split() for line in out.splitlines()}
    assert rows["train: utterances"] == ["4", "23,132", "differs"]
    assert rows["phrases"][0] == "5" and rows["intents"][0] == "5"
    assert "! no data/unseen_splits" in out
    assert not (tmp_path / "data").exists()
    for wav in corpus.glob("wavs/speakers/*/*"):
        wav.unlink()
    code, _, err = run("--check", "true")
    assert code == 2 and "train: audio of 4 of 4 utterances is missing" in err


def test_another_directory_is_told_what_was_expected(run, tmp_path):
    code, _, err = run("--corpus_dir", tmp_path, "--check", "true")
    assert code == 2 and "expected the directory of Fluent Speech Commands" in err
