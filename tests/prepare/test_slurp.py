"""Stage 1 of slurp on lists written here, and on SLURP's own where they are; no audio is needed."""

import json
from pathlib import Path

import pytest

from atat.data import kaldi_dir
from atat.evaluation.entity_metrics import apart, meaning
from atat.prepare import slurp
from atat.semantics import target_sequence

TEXTS = Path(__file__).parents[3] / "shared" / "corpora" / "slurp-text"


def line(number, words, entities=(), files=(), scenario="alarm", action="set"):
    """A line of a list: words as tokens, (type, first token, last token) of each entity."""
    return {
        "slurp_id": number,
        "sentence": words,
        "intent": action,  # as SLURP has it in some lines
        "scenario": scenario,
        "action": action,
        "tokens": [{"surface": word, "id": i} for i, word in enumerate(words.split())],
        "entities": [{"type": t, "span": list(range(a, b + 1))} for t, a, b in entities],
        "recordings": [{"file": name, "wer": 0.0, "status": "correct"} for name in files],
    }


LISTS = {
    "train": [
        line(1, "wake me at Five am", [("time", 3, 4)], ["audio-1-headset.flac", "audio-1.flac"]),
        line(2, "mute for an hour", [("time", 2, 3)], ["audio-2.flac"], "audio", "volume_mute"),
        line(3, "what 's on", [], [], "calendar", "query"),  # nobody has said it
    ],
    "devel": [line(4, "no alarm", [], ["audio--4.flac", "audio--4-headset.flac"], action="remove")],
    "test": [
        line(5, "jean 's call", [("person", 0, 1), ("event_name", 2, 2)], ["audio-5.flac"]),
        line(6, "wake me", [], ["audio-6-headset.flac"]),
    ],
    "train_synthetic": [line(7, "wake me now", [("time", 2, 2)], ["audio-synth7.flac"])],
}
SPEAKERS = {"audio-1": "FE-1", "audio-1-headset": "FE-1", "audio-2": "M O-2", "audio-5": "FE-1"}


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "corpus"
    (root / "dataset" / "slurp").mkdir(parents=True)
    write(root, LISTS)
    about = {"1": {"recordings": {f"{k}.flac": {"usrid": v} for k, v in SPEAKERS.items()}}}
    (root / "dataset" / "slurp" / "metadata.json").write_text(json.dumps(about))
    for split, lines in LISTS.items():
        audio = root / "audio" / ("slurp_synth" if "synth" in split else "slurp_real")
        audio.mkdir(parents=True, exist_ok=True)
        for recording in (r for one in lines for r in one["recordings"]):
            (audio / recording["file"]).touch()
    return root


def write(root, lists):
    for name, lines in lists.items():
        text = "".join(json.dumps(one) + "\n" for one in lines)
        (root / "dataset" / "slurp" / f"{name}.jsonl").write_text(text)


@pytest.fixture
def run(tmp_path, corpus, command):
    """Run stage 1; (exit code, stdout, stderr, split -> DataDir)."""

    def run(*arguments):
        data = tmp_path / "data"
        given = ["--data", data, "--corpus_dir", corpus, *arguments]
        code, out, err = command(slurp.main, *given)
        there = data.is_dir() and code == 0
        return (
            code,
            out,
            err,
            {s: kaldi_dir.read(data / s) for s in kaldi_dir.splits(data)} if there else {},
        )

    return run


@pytest.mark.supports("Corpora", "SLURP", "recordings by either microphone, synthetic speech, text")
def test_a_recording_has_the_tokens_and_entities_of_its_sentence(run):
    code, out, err, splits = run()
    assert (code, err) == (0, "")
    assert set(splits) == {"train", "valid", "test", "train_synth", "train_text", "test_text"}
    assert splits["train"].semantics == {
        "FE-1-audio-1": "alarm_set( wake me at time( five am )time )alarm_set",
        "FE-1-audio-1-headset": "alarm_set( wake me at time( five am )time )alarm_set",
        "M_O-2-audio-2": "audio_volume_mute( mute for time( an hour )time )audio_volume_mute",
    }
    for split in splits.values():
        for id_, sequence in split.semantics.items():
            assert split.text[id_] == target_sequence.words(sequence)
    assert splits["test"].semantics["FE-1-audio-5"] == (
        "alarm_set( person( jean's )person event_name( call )event_name )alarm_set"
    )
    # Who is not in metadata.json speaks for himself.
    assert splits["test"].utt2spk == {"FE-1-audio-5": "FE-1", "audio-6-headset": "audio-6-headset"}
    assert splits["valid"].utt2spk is None
    assert list(splits["train_text"].text.values()) == [
        *("wake me at five am", "mute for an hour", "what's on")
    ]
    assert splits["test_text"].ids == ["5", "6"] and splits["test_text"].wav_scp is None
    assert "train_synth" in out and "synthesisers" in out


@pytest.mark.parametrize(
    ("part", "train", "test"),
    [
        ("headset", ["FE-1-audio-1-headset"], ["audio-6-headset"]),
        ("distant", ["FE-1-audio-1", "M_O-2-audio-2"], ["FE-1-audio-5"]),
    ],
)
def test_one_microphone_alone(run, part, train, test):
    code, _, _, splits = run(f"data.part={part}")
    assert code == 0 and splits["train"].ids == train and splits["test"].ids == test
    assert len(splits["train_synth"].ids) == 1


def test_a_part_that_does_not_exist_is_a_mistake(run):
    code, _, err, _ = run("data.part=far")
    assert code == 2 and "data.part is 'far', expected null, headset or distant" in err


def test_without_synthetic_speech_and_speakers_the_rest_is_prepared(run, corpus, tmp_path):
    for path in (corpus / "audio" / "slurp_synth").iterdir():
        path.unlink()
    (corpus / "audio" / "slurp_synth").rmdir()
    (corpus / "dataset" / "slurp" / "metadata.json").unlink()
    code, out, _, _ = run("--check", "true")
    assert code == 0 and "no audio/slurp_synth/" in out and "it is not known who speaks" in out
    code, _, err, splits = run()
    assert (code, err) == (0, "") and "train_synth" not in splits
    assert splits["train"].ids == ["audio-1", "audio-1-headset", "audio-2"]
    about = json.loads((tmp_path / "data" / "about.json").read_text())
    assert about["hypothesis"] == "frame" and "not known" in about["speech"]


def test_missing_audio_is_counted_and_limited(run, corpus):
    (corpus / "audio" / "slurp_real" / "audio-2.flac").unlink()
    code, _, err, _ = run()
    assert code == 2 and "train: audio of 1 of 3 utterances is missing" in err
    assert "audio-2.flac" in err
    code, _, err, splits = run("data.max_missing=0.4")
    assert code == 0 and "they are left out" in err and len(splits["train"].ids) == 2


def test_without_any_audio_it_is_said_where_it_comes_from(run, corpus):
    (corpus / "audio").rename(corpus / "sounds")
    code, _, err, _ = run("--check", "true")
    assert code == 2 and "slurp_real.tar.gz" in err


def test_a_recording_listed_again_is_taken_once(run, corpus):
    lists = LISTS | {"train": [*LISTS["train"], line(9, "wake me", [], ["audio-2.flac"])]}
    write(corpus, lists)
    code, _, err, splits = run()
    assert code == 0 and "1 recordings are listed again, and taken once: audio-2.flac" in err
    assert splits["train"].text["M_O-2-audio-2"] == "mute for an hour"


def test_a_recording_of_the_test_is_not_trained_on(run, corpus):
    lists = LISTS | {"train": [*LISTS["train"], line(9, "wake me", [], ["audio-5.flac"])]}
    write(corpus, lists)
    code, _, err, splits = run()
    assert code == 0 and "train: 1 recordings are in valid or test too, and left out" in err
    assert "FE-1-audio-5" not in splits["train"].ids and "FE-1-audio-5" in splits["test"].ids


def test_contracted_words_come_apart_again_and_entities_are_in_reading_order():
    words = "i ca n't hear jean 's 's songs at five o'clock"
    found = slurp._sentence(line(8, words, [("person", 4, 5), ("song_name", 7, 7)]))
    assert found.semantics == (
        "alarm_set( i can't hear person( jean's )person 's song_name( songs )song_name at five "
        "o'clock )alarm_set"
    )
    assert apart(found.text) == words
    assert meaning(target_sequence.frame(found.semantics)).entities == found.entities
    twice = slurp._sentence(line(8, "jean 's 's call", [("person", 0, 2)]))
    assert twice.entities == meaning(target_sequence.frame(twice.semantics)).entities
    listed = slurp._sentence(line(8, "now in rome", [("place_name", 2, 2), ("time", 0, 0)]))
    assert listed.entities == (("time", "now"), ("place_name", "rome"))  # in reading order
    # An entity that ends inside a word stays what it is.
    half = slurp._sentence(line(8, "jean 's call", [("person", 0, 0)]))
    assert half.semantics == "alarm_set( person( jean )person 's call )alarm_set"


def spoiled(**changes):
    return LISTS["train"][0] | changes


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (line(8, "wake (me"), "word '(me'"),
        (line(8, "wake me", [("time", 1, 2)]), "beyond the sentence's 2"),
        (line(8, "wake me", [("time", 0, 1), ("date", 1, 1)]), "one is in another"),
        (spoiled(entities=[{"type": "time", "span": [0, 2]}]), "which have gaps"),
        (spoiled(entities=[{"type": "a time", "span": [0]}]), "tag 'a time'"),
        (spoiled(tokens=[], entities=[]), "no words"),
    ],
)
def test_a_sentence_that_is_no_sequence_is_named_and_counts_against_the_limit(
    run, corpus, bad, said
):
    write(corpus, {"train": [*LISTS["train"], bad]})
    code, _, err, _ = run()
    assert code == 2 and "train.jsonl:4: " in err and said in err and len(err.splitlines()) == 1
    code, _, err, splits = run("data.max_missing=0.3")
    assert code == 0 and "1 of 4 sentences cannot be used" in err
    assert len(splits["train"].ids) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ('{"slurp_id": 1', "train.jsonl:1: not JSON"),
        ("<html>", "train.jsonl:1: not JSON"),
        ("[1]", "train.jsonl:1: got [1], expected an object"),
        ('{"slurp_id": 1}', "KeyError: 'tokens'"),
        (json.dumps(spoiled(recordings=None)), "train.jsonl:1: expected slurp_id"),
        (json.dumps(spoiled(recordings=[{"file": "../x.flac"}])), "got the recording '../x.flac'"),
        (json.dumps(spoiled(recordings=[{"file": ""}])), "got the recording ''"),
        (
            json.dumps(spoiled(entities=[{"span": [float("inf")], "type": "a"}])),
            "OverflowError",
        ),
        (b"\xff\xfe", "not in UTF-8"),
    ],
)
def test_a_damaged_list_is_one_line(run, corpus, content, said):
    path = corpus / "dataset" / "slurp" / "train.jsonl"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, _, err, _ = run()
    assert code == 2 and said in err and len(err.splitlines()) == 1


def test_a_damaged_list_of_speakers_is_one_line(run, corpus):
    (corpus / "dataset" / "slurp" / "metadata.json").write_text('{"1": {"recordings": [1]}}')
    code, _, err, _ = run()
    assert code == 2 and "metadata.json: expected recordings with a usrid" in err


def test_check_counts_beside_what_was_published_and_writes_nothing(run, tmp_path):
    code, out, err, _ = run("--check", "true")
    assert (code, err) == (0, "") and not (tmp_path / "data").exists()
    assert "test: recordings" in out and "13,078  differs" in out and "50,628" in out


@pytest.mark.skipif(not TEXTS.is_dir(), reason="SLURP's lists are not on this machine")
@pytest.mark.parametrize(("split", "name"), [("valid", "devel"), ("test", "test")])
def test_slurps_lists_become_sequences_that_lose_nothing(split, name, capsys):
    path = TEXTS / f"{name}.jsonl"
    sentences = slurp.read_list(path)
    assert capsys.readouterr().err == ""
    assert len(sentences) == slurp.SENTENCES[split]
    assert sum(len(s.files) for s in sentences) == slurp.RECORDINGS[split]
    for sentence, text in zip(sentences, path.open(), strict=True):
        theirs = json.loads(text)
        tokens = [token["surface"].lower() for token in theirs["tokens"]]
        fillers = [
            (e["type"], " ".join(tokens[place] for place in e["span"])) for e in theirs["entities"]
        ]
        got = meaning(target_sequence.frame(sentence.semantics))
        assert got == (theirs["scenario"], theirs["action"], tuple(fillers))
        assert apart(sentence.text) == " ".join(tokens)
        assert " 's" not in sentence.text and " n't" not in sentence.text
