"""Stand-ins have the files, columns and labels of the corpora, drawn by seed."""

import csv
import json
import random
import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atat.prepare import snips_nlu, toy_corpus, toy_labels
from atat.prepare.toy_corpus import LAYOUTS, Size
from atat.synthesis import toy_sentences
from atat.toy_corpus import main

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spoken(tmp_path, monkeypatch):
    """Nothing is rendered: every sentence sounds alike. What was said, by whom."""
    wav = tmp_path / "beep.wav"
    soundfile.write(wav, np.sin(np.arange(4000) / 5), 16000, "PCM_16")
    said = []

    def render(requests, cache, num_jobs):
        said.extend(requests)
        return [wav] * len(requests)

    monkeypatch.setattr(toy_corpus.synthetic_speech, "render", render)
    return said


@pytest.fixture
def make(tmp_path, spoken):
    def make(layout: str, size: str = "small", seed: int = 1) -> Path:
        out = tmp_path / f"{layout} {size} {seed}"
        assert toy_corpus.make(layout, size, seed, out, tmp_path / "cache", 1)
        return out

    return make


def columns(path: Path, separator: str = "\t") -> list[list[str]]:
    return [line.split(separator) for line in path.read_text(encoding="utf-8").splitlines()]


def files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_seed_gives_the_same_corpus_and_another_seed_another(make, tmp_path, layout):
    first = make(layout)
    again = tmp_path / "again"
    toy_corpus.make(layout, "small", 1, again, tmp_path / "cache", 1)
    assert files(first) == files(again)
    other = files(make(layout, seed=2))
    assert {name: b for name, b in other.items() if files(first).get(name) != b}
    assert (first / "README.txt").read_text().startswith("Rendered speech, not ")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_there_are_sentences_and_speakers_enough_for_a_large_one(make, layout):
    assert (make(layout, "large") / "README.txt").is_file()


def test_a_corpus_that_is_there_is_left_and_a_directory_of_others_is_not_touched(make, tmp_path):
    out = make("top")
    cache = tmp_path / "cache"
    assert not toy_corpus.make("top", "small", 1, out, cache, 1)
    assert toy_corpus.make("top", "small", 2, out, cache, 1)  # another in its place
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("")
    with pytest.raises(ValueError, match="is there and no toy corpus"):
        toy_corpus.make("top", "small", 1, mine, cache, 1)
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]


def test_what_cannot_be_spoken_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(
        toy_corpus.synthetic_speech, "render", lambda requests, *_: [None] * len(requests)
    )
    with pytest.raises(ValueError, match="could not be spoken; the first: '"):
        toy_corpus.make("stop", "small", 1, tmp_path / "out", tmp_path, 1)
    assert list(tmp_path.iterdir()) == []


def test_fluent_speech_has_every_intent_and_speakers_of_one_split_only(make):
    out = make("fluent_speech")
    speakers, intents, wavs = {}, {}, []
    for split in ("train", "valid", "test"):
        with (out / "data" / f"{split}_data.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == [
            *("", "path", "speakerId", "transcription", "action", "object", "location")
        ]
        assert [row[""] for row in rows] == [str(n) for n in range(len(rows))]
        speakers[split] = {row["speakerId"] for row in rows}
        intents[split] = {(row["action"], row["object"], row["location"]) for row in rows}
        wavs += [row["path"] for row in rows]
        for row in rows:
            assert re.fullmatch(
                rf"wavs/speakers/{row['speakerId']}/[0-9a-f-]{{36}}\.wav", row["path"]
            )
            assert soundfile.info(out / row["path"]).samplerate == 16000
            room = {"washroom": "bathroom"}.get(row["location"], row["location"])
            assert (room in row["transcription"].lower()) == (room != "none")
    assert len(intents["train"]) == 31 and intents["test"] <= intents["train"]
    assert len(set(wavs)) == len(wavs)
    assert len(set().union(*speakers.values())) == sum(map(len, speakers.values())) == 8


def test_fluent_speech_holds_sentences_out_of_its_unseen_and_challenge_lists(make):
    def said(path):
        with path.open(newline="") as file:
            return {row["transcription"] for row in csv.DictReader(file)}

    out = make("fluent_speech") / "data"
    for directory, test in (("unseen", "test"), ("challenge", "utterance_test")):
        new = said(out / f"{directory}_splits" / f"{test}_data.csv")
        assert new and not new & said(out / f"{directory}_splits" / "train_data.csv")
    assert (out / "challenge_splits" / "speaker_test_data.csv").is_file()


def test_snips_audio_has_texts_that_differ_and_queries_that_were_not_recorded(make):
    out = make("snips_audio")
    words = {}
    for field in ("close", "far"):
        place = out / f"smart-lights-en-{field}-field"
        content = json.loads((place / "dataset.json").read_text())
        assert len(content["intents"]) == 6
        queries = {
            "".join(chunk["text"] for chunk in query["data"])
            for intent in content["intents"].values()
            for query in intent["utterances"]
        }
        metadata = json.loads((place / "speech_corpus" / "metadata.json").read_text())
        texts = [record["text"] for record in metadata.values()]
        plain = {" ".join(re.sub(r"[.]", "", text).lower().split()) for text in texts}
        assert plain < queries
        assert any("\n" in text for text in texts) and any(text.endswith(".") for text in texts)
        assert len({record["worker"]["id"] for record in metadata.values()}) == 10
        for record in metadata.values():
            assert (place / "speech_corpus" / "audio" / record["filename"]).is_file()
        words[field] = texts
    assert words["close"] == words["far"]
    close, far = (out / f"smart-lights-en-{f}-field/speech_corpus/audio/0.wav" for f in words)
    assert close.read_bytes() != far.read_bytes()


def test_slurp_has_entities_over_tokens_and_recordings_by_two_microphones(make):
    out = make("slurp")
    people = json.loads((out / "dataset" / "slurp" / "metadata.json").read_text())
    sentences, ends, usrids = [], set(), set()
    for split, num in {"train": 24, "devel": 12, "test": 12, "train_synthetic": 12}.items():
        text = (out / "dataset" / "slurp" / f"{split}.jsonl").read_text()
        lines = [json.loads(line) for line in text.splitlines()]
        assert len(lines) == num
        for line in lines:
            assert line["intent"] == f"{line['scenario']}_{line['action']}"
            tokens = [token["surface"] for token in line["tokens"]]
            assert "".join(tokens) == line["sentence"].replace(" ", "")
            annotated = re.findall(r"\[(\w+) : (.*?)\]", line["sentence_annotation"])
            spans = [(e["type"], "".join(tokens[i] for i in e["span"])) for e in line["entities"]]
            assert spans == [(kind, words.replace(" ", "")) for kind, words in annotated]
            real = split != "train_synthetic"
            for recording in line["recordings"]:
                path = out / "audio" / ("slurp_real" if real else "slurp_synth") / recording["file"]
                assert soundfile.info(path).samplerate == 16000
                if real:
                    about = people[str(line["slurp_id"])]["recordings"][recording["file"]]
                    usrids.add(about["usrid"])
                    ends.add(path.stem.endswith("-headset"))
            sentences.append(line["sentence"])
    assert len(set(sentences)) == len(sentences) and ends == {True, False} and len(usrids) == 4
    assert any("'s" in sentence for sentence in sentences)
    both = [
        p
        for p in (out / "audio" / "slurp_real").glob("*-headset.flac")
        if p.with_name(p.name.replace("-headset", "")).is_file()
    ]
    assert both and all(
        path.read_bytes() != path.with_name(path.name.replace("-headset", "")).read_bytes()
        for path in both
    )


def test_chunks_join_to_the_sentence():
    rng = random.Random(1)
    for intent in toy_labels.LIGHTS:
        sentence = toy_labels.light(intent, rng)
        text = re.sub(r"\[(.*?)\]\(\w+\)", r"\1", sentence)
        assert "".join(chunk["text"] for chunk in toy_labels.chunks(sentence)) == text


@pytest.mark.parametrize("domain", toy_sentences.TREES)
def test_trees_are_balanced_alternate_and_have_the_words_of_their_sentence(domain):
    from nltk import Tree

    rng = random.Random(1)
    for tree in (toy_sentences.tree(domain, rng) for _ in range(200)):
        read = Tree.fromstring(tree.brackets, brackets="[]")
        assert " ".join(read.leaves()) == tree.tokenised
        assert re.sub(r"\W", "", tree.raw.lower()) == re.sub(r"\W", "", tree.tokenised)
        for place in read.treepositions():
            kind = "SL:" if len(place) % 2 else "IN:"
            assert isinstance(read[place], str) or read[place].label().startswith(kind)


def test_top_has_three_columns_no_header_and_no_sentence_twice(make):
    out = make("top")
    rows = list(chain(*(columns(out / f"{split}.tsv") for split in ("train", "eval", "test"))))
    assert all(len(row) == 3 and row[2].startswith("[IN:") for row in rows)
    assert len({row[1] for row in rows}) == len(rows)
    assert any(row[2].startswith("[IN:UNSUPPORTED") for row in rows)


def test_topv2_has_a_file_a_domain_and_split(make):
    out = make("topv2")
    found = {path.name for path in out.glob("*.tsv")}
    domains = "alarm event messaging music navigation reminder timer weather".split()  # noqa: SIM905
    assert found == {f"{d}_{s}.tsv" for d in domains for s in ("train", "eval", "test")}
    header, *rows = columns(out / "music_train.tsv")
    assert header == ["domain", "utterance", "semantic_parse"]
    assert {row[0] for row in rows} == {"music"}


def test_stop_has_manifests_whose_ids_lack_no_audio_but_for_a_zero(make):
    out = make("stop")
    said = []
    for split in ("train", "eval", "test"):
        header, *rows = columns(out / "manifests" / f"{split}.tsv")
        assert header == [
            *("file_id", "domain", "gender", "native", "utterance", "seqlogical"),
            *("normalized_utterance", "normalized_seqlogical", "decoupled_normalized_seqlogical"),
        ]
        for row in rows:
            line = dict(zip(header, row, strict=True))
            folder, name = line["file_id"].split("/")
            assert folder == f"{line['domain']}_{split}" + ("" if split == "train" else "_0")
            assert (out / folder.removesuffix("_0") / name).is_file()
            assert line["normalized_utterance"] == line["normalized_utterance"].lower()
            words = {w for w in line["decoupled_normalized_seqlogical"].split() if "[" not in w}
            assert words <= set(line["normalized_seqlogical"].split())
            said.append(line["normalized_utterance"])
    assert len(set(said)) == len(said)


def test_librispeech_has_transcripts_in_capitals_beside_its_recordings(make):
    out = make("librispeech")
    readers = {}
    for part in ("train-clean-100", "dev-clean", "test-clean"):
        readers[part] = {path.name for path in (out / part).iterdir()}
        for path in (out / part).glob("*/*/*.trans.txt"):
            chapter = f"{path.parent.parent.name}-{path.parent.name}"
            assert path.name == f"{chapter}.trans.txt"
            for line in path.read_text().splitlines():
                id_, _, text = line.partition(" ")
                assert id_.startswith(f"{chapter}-") and text == text.upper() != text.lower()
                assert soundfile.info(path.parent / f"{id_}.flac").samplerate == 16000
    assert len(set().union(*readers.values())) == sum(map(len, readers.values()))
    assert len(list(out.rglob("*.flac"))) == 48


def test_speakers_are_different_and_of_both_engines():
    speakers = toy_corpus.cast(40, random.Random(1))
    assert len(set(speakers)) == 40
    assert {speaker.engine for speaker in speakers} == {"espeak", "nanotts"}


def test_too_many_sentences_are_an_error():
    with pytest.raises(ValueError, match="got 2 different sentences, expected 3"):
        toy_sentences.draw(lambda: random.choice("ab"), 3, set())


def test_the_command_renders_and_says_that_it_is_no_corpus(tmp_path, monkeypatch, capsys):
    tiny = Size(2, 2, 2, (1, 1, 1))
    layout = LAYOUTS["librispeech"]
    monkeypatch.setitem(
        LAYOUTS, "librispeech", toy_corpus.Layout(layout.corpus, layout.write, tiny, tiny)
    )
    out = tmp_path / "out"
    arguments = ["--layout", "librispeech", "--out", out, "--cache", tmp_path / "cache"]
    monkeypatch.setattr(sys, "argv", ["toy_corpus", *map(str, arguments)])
    main()
    assert (
        "written: sentences of our own by synthesisers, not LibriSpeech" in capsys.readouterr().out
    )
    samples, rate = soundfile.read(next(out.rglob("*.flac")))
    assert rate == 16000 and len(samples) > rate and np.abs(samples).max() > 0.3
    main()
    assert "is there already" in capsys.readouterr().out


def test_the_script_takes_recipes_and_a_mistake_is_one_line():
    command = [sys.executable, ROOT / "utils" / "toy_corpus.py", "--out", "x", "--layout"]
    done = subprocess.run([*command, "commands"], capture_output=True, text=True)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert "music_lowres" in done.stderr and "librispeech" in done.stderr


def test_snips_nlu_has_seven_intents_whose_sentences_are_chunks(make):
    corpus = make("snips_nlu")
    train, validate = (snips_nlu.read(corpus, split) for split in ("train", "validate"))
    assert len(train) == 7 * LAYOUTS["snips_nlu"].small.train
    assert len({s.text for s in [*train, *validate]}) == len(train) + len(validate)
    assert any("DateTime( " in s.semantics for s in train)
