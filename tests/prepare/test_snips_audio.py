"""Stage 1 of snips_audio on a corpus in its layout, written here; the wavs are empty files."""

import json
import sys
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.data import kaldi_dir
from atat.prepare import snips_audio
from atat.prepare.corpus import Utterance
from atat.semantics import target_sequence

ROOMS = ["kitchen", "living room", "bedroom", "attic", "hall"]


def sentence(number, room):
    """Query of dataset.json: chunks. Every sentence is another one."""
    return {
        "data": [
            {"text": f"Lamp {number}, in the "},
            {"text": room.title(), "entity": "house_room", "slot_name": "house_room"},
            {"text": " on!"},
        ]
    }


@pytest.fixture
def corpus(tmp_path):
    """Ten speakers with four recordings each, and two queries that nobody said."""
    root = tmp_path / "corpus"
    for field in ("close", "far"):
        directory = root / f"smart-lights-en-{field}-field"
        (directory / "speech_corpus" / "audio").mkdir(parents=True)
        queries, metadata = [], {}
        for number in range(42):
            room = ROOMS[number % len(ROOMS)]
            queries.append(sentence(number, room))
            if number < 40:
                metadata[str(number)] = {
                    "id": number,
                    "text": f"lamp {number} in\nthe {room} ON",
                    "filename": f"{number}.wav",
                    "worker": {"id": 100 + number // 4, "age": 30},
                }
                (directory / "speech_corpus" / "audio" / f"{number}.wav").touch()
        queries.append({"data": [{"text": "Everything off"}]})
        intents = {"SwitchLightOn": {"utterances": queries}}
        (directory / "dataset.json").write_text(json.dumps({"language": "en", "intents": intents}))
        (directory / "speech_corpus" / "metadata.json").write_text(json.dumps(metadata))
    return root


@pytest.fixture
def run(tmp_path, corpus, command):
    """Run stage 1 of a part; returns (exit code, stderr, split -> DataDir)."""

    def run(part, *arguments):
        data = tmp_path / f"data_{part}"
        given = ["--data", data, "--corpus_dir", corpus, f"data.part={part}", *arguments]
        code, _, err = command(snips_audio.main, *given)
        done = data.is_dir() and "true" not in arguments
        splits = {s: kaldi_dir.read(data / s) for s in kaldi_dir.splits(data)} if done else {}
        return code, err, splits

    return run


@pytest.mark.supports(
    "Corpora",
    "SNIPS SmartLights, close and far field",
    "slots with the words of the recording",
)
def test_recordings_have_the_slots_of_the_query_with_their_words(run, corpus):
    code, err, splits = run("close_1")
    assert (code, err) == (0, "")
    spoken = {k: v for s in ("train", "valid", "test") for k, v in splits[s].semantics.items()}
    assert spoken["101-00006"] == (
        "SwitchLightOn( lamp 6 in the HouseRoom( living room )HouseRoom on )SwitchLightOn"
    )
    for split in ("train", "valid", "test"):
        for id_, sequence in splits[split].semantics.items():
            assert splits[split].text[id_] == target_sequence.words(sequence)
            wav = f"smart-lights-en-close-field/speech_corpus/audio/{int(id_.split('-')[1])}.wav"
            assert splits[split].wav_scp[id_] == str(corpus / wav)


def test_every_utterance_is_tested_once_and_no_speaker_is_on_both_sides(run):
    tested = Counter()
    for fold in range(1, 6):
        _, _, splits = run(f"far_{fold}")
        speakers = {
            split: set(splits[split].utt2spk.values()) for split in ("train", "valid", "test")
        }
        assert len(speakers["test"]) == 2
        assert not speakers["test"] & (speakers["train"] | speakers["valid"])
        assert not set(splits["train"].ids) & set(splits["valid"].ids)
        assert len(splits["train"].ids) + len(splits["valid"].ids) + len(splits["test"].ids) == 40
        tested.update(splits["test"].ids)
    assert len(tested) == 40 and set(tested.values()) == {1}


def test_the_text_of_training_has_no_sentence_of_valid_or_test(run):
    _, _, splits = run("close_2")
    text = set(splits["train_text"].text.values())
    assert text >= set(splits["train"].text.values())
    assert not text & {t for s in ("valid", "test") for t in splits[s].text.values()}
    # What nobody said is there too.
    assert "everything off" in text and len(text) == 43 - 8 - 3


def test_folds_follow_from_the_seed(run):
    first, again, other = (run("close_1", f"seed={seed}")[2]["test"].ids for seed in (1, 1, 2))
    assert first == again != other


def test_what_has_no_audio_or_no_query_is_counted_and_limited(run, corpus):
    directory = corpus / "smart-lights-en-close-field" / "speech_corpus"
    (directory / "audio" / "7.wav").unlink()
    metadata = json.loads((directory / "metadata.json").read_text())
    metadata["9"]["text"] = "what\nis this"
    (directory / "metadata.json").write_text(json.dumps(metadata))
    code, err, _ = run("close_1")
    assert code == 2 and "1 of 40 recordings have no query: what is this; the limit is 1.0%" in err
    code, err, splits = run("close_1", "data.max_missing=0.1")
    assert code == 0 and "close: audio of 1 of 39 utterances is missing" in err
    assert sum(len(splits[s].ids) for s in ("train", "valid", "test")) == 38


def test_a_query_with_two_readings_is_said(run, corpus):
    path = corpus / "smart-lights-en-close-field" / "dataset.json"
    content = json.loads(path.read_text())
    content["intents"]["SwitchLightOff"] = {
        "utterances": [{"data": [{"text": "everything off"}]}, sentence(41, "living room")]
    }
    path.write_text(json.dumps(content))
    code, err, _ = run("close_1")
    assert code == 0 and "close: 2 queries have a second reading, which is not used:" in err


SPOKEN = st.lists(st.integers(1, 30), min_size=1, max_size=12)


@given(SPOKEN, st.integers(2, 6), st.integers(0, 3))
def test_folds_part_speakers_or_say_why_not(counts, num_folds, seed):
    utterances = [
        Utterance(f"{s}-{n}", speaker=str(s))
        for s, count in enumerate(counts)
        for n in range(count)
    ]
    try:
        folds = snips_audio.divide(utterances, num_folds, seed)
    except ValueError as e:
        assert len(counts) < num_folds or "expected no fold over twice another" in str(e)
        return
    sizes = list(map(len, folds))
    assert len(folds) == num_folds and 0 < max(sizes) <= 2 * min(sizes)
    speakers = [{u.speaker for u in fold} for fold in folds]
    assert sum(map(len, speakers)) == len(set().union(*speakers)) == len(counts)
    assert sorted(u.id for fold in folds for u in fold) == sorted(u.id for u in utterances)


@pytest.mark.parametrize("part", ["null", "close", "close_0", "close_6", "near_1", "close_1x"])
def test_a_part_that_is_none_is_refused(run, part):
    code, err, _ = run(part)
    assert code == 2 and "expected close_1 to far_5" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("dataset.json", "{", "not a JSON file"),
        ("dataset.json", "[]", "got a list, expected an object"),
        ("dataset.json", "{}", "expected intents with utterances"),
        (
            "dataset.json",
            '{"intents": {"A": {"utterances": [{"data": [{}]}]}}}',
            "KeyError: 'text'",
        ),
        ("dataset.json", '{"intents": {"A": {"utterances": [{"data": []}]}}}', "has no words"),
        ("dataset.json", '{"intents": {"A(": {"utterances": [{"data": [{"text": "x"}]}]}}}', "A("),
        ("dataset.json", '{"intents": {"PlayMusic": {"utterances": []}}}', "SNIPS NLU"),
        ("speech_corpus/metadata.json", '{"1": {"text": "on"}}', "record '1' is"),
        ("speech_corpus/metadata.json", '{"1": {"text": 3, "filename": "1.wav"}}', "record '1' is"),
        ("speech_corpus/metadata.json", "{}", "data.num_folds is 5, expected 2 to 0"),
    ],
)
def test_a_file_of_another_form_is_one_line(run, corpus, tmp_path, name, content, reason):
    (corpus / "smart-lights-en-close-field" / name).write_text(content)
    code, err, _ = run("close_1")
    assert code == 2 and reason in err and len(err.splitlines()) == 1
    assert not (tmp_path / "data_close_1").exists()


def test_unequal_folds_are_refused(run, corpus):
    path = corpus / "smart-lights-en-close-field" / "speech_corpus" / "metadata.json"
    metadata = json.loads(path.read_text())
    for number in range(30):
        metadata[str(number)]["worker"]["id"] = 1
    path.write_text(json.dumps(metadata))
    code, err, _ = run("close_1", "data.num_folds=3")
    assert code == 2 and "3 folds by speaker would have 4 to 30 utterances" in err


@pytest.mark.parametrize(
    "made",
    [
        *("AddToPlaylist", "2017-06-custom-intent-engines/PlayMusic"),
        *("train/seq.in", "train_PlayMusic_full.json"),
    ],
)
def test_snips_nlu_is_recognised(run, tmp_path, made):
    (tmp_path / "nlu" / made).mkdir(parents=True)
    if "." in made:
        (tmp_path / "nlu" / made).rmdir()
        (tmp_path / "nlu" / made).touch()
    for arguments in ((), ("--check", "true")):
        code, err, _ = run("close_1", "--corpus_dir", tmp_path / "nlu", *arguments)
        assert code == 2 and "this is SNIPS NLU (typed queries of 7 intents, no audio)" in err


def test_records_of_one_recording_or_one_key_are_refused(run, corpus):
    path = corpus / "smart-lights-en-close-field" / "speech_corpus" / "metadata.json"
    text = path.read_text()
    path.write_text(text.replace('"1.wav"', '"0.wav"'))
    code, err, splits = run("close_1")
    assert code == 2 and "records '0' and '1' are both of the recording 0.wav" in err
    assert len(err.splitlines()) == 1 and not splits
    path.write_text(text.replace('"1": {', '"0": {', 1))
    code, err, _ = run("close_1")
    assert code == 2 and "the key '0' stands twice in one object" in err


def test_check_counts_both_fields_and_says_what_is_not_there(run, corpus, capsys, monkeypatch):
    command = ["prepare", "--check", "true", "--corpus_dir", str(corpus)]
    monkeypatch.setattr(sys, "argv", command)
    snips_audio.main()
    out = capsys.readouterr().out
    assert out.count("40      1,660  differs") == 2 and "!" not in out
    (corpus / "smart-lights-en-far-field").rename(corpus / "elsewhere")
    snips_audio.main()
    assert "! no far field" in capsys.readouterr().out
