import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from atat.data import kaldi_dir
from atat.grammar.grammar import Grammar
from atat.prepare import barista
from atat.semantics import target_sequence

BENCHMARK = Path(__file__).parents[3] / "shared" / "corpora" / "speech-to-intent-benchmark"
GRAMMAR = """
context:
  expressions:
    orderDrink:
      - "[get me, make me, I want, I'd like] a $size:size $drink:drink (please)"
      - "[get me, make me, I want, I'd like] a $drink:drink"
  slots:
    size: [small, large]
    drink: [latte, iced mocha]
"""
LABELS = {
    "a1.wav": {"intent": "orderDrink", "slots": {"drink": " latte", "size": "large "}},
    "b2.wav": {"intent": "orderDrink", "slots": {"drink": "iced  mocha"}},
    "gone.wav": {"intent": "orderDrink", "slots": {"drink": "latte"}},
}
SETTINGS = """
data:
  num_train: 12
  num_train_text: 10
  num_valid: 2
  num_test: 99
  voices: {train: {espeak: 1}, valid: {espeak: 1}}
"""


@pytest.fixture
def corpus(tmp_path):
    """The benchmark's layout: a label without a recording, a recording without a label."""
    root = tmp_path / "corpus"
    for part in (barista.LABELS.parent, barista.WAVS, barista.GRAMMAR.parent):
        (root / part).mkdir(parents=True)
    (root / barista.GRAMMAR).write_text(GRAMMAR)
    (root / barista.LABELS).write_text(json.dumps(LABELS))
    for name in ("a1", "b2", "extra"):
        sound = np.random.default_rng(0).normal(0, 0.1, 8000)
        soundfile.write(root / barista.WAVS / f"{name}.wav", sound, 16000)
    return root


@pytest.fixture
def run(tmp_path, corpus, command):
    """Run stage 1; returns (exit code, stdout, stderr)."""
    (tmp_path / "recipe.yaml").write_text(SETTINGS)

    def run(*arguments):
        given = ["--config", tmp_path / "recipe.yaml", "--data", tmp_path / "data"]
        given += ["--corpus_dir", corpus, f"data.cache={tmp_path / 'cache'}", *arguments]
        return command(barista.main, *given)

    return run


def test_a_mistake_in_labels_or_voices_is_found_before_a_split_is_written(run, tmp_path, corpus):
    assert run()[0] == 0
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")}
    assert run("data.voices.train={nobody: 1}")[0] == 2
    (corpus / barista.LABELS).write_text("[]")
    assert run("data.num_train=5")[0] == 2
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "data").rglob("*")} == before


@pytest.mark.supports(
    "Corpora",
    "Picovoice's coffee orders (barista)",
    "recordings are the test, training is rendered",
)
def test_recordings_are_the_test_and_nothing_else(run, tmp_path, corpus):
    code, out, err = run()
    assert code == 0
    data = tmp_path / "data"
    test = kaldi_dir.read(data / "test")
    assert test.semantics == {
        "a1": "orderDrink( size( large )size drink( latte )drink )orderDrink",
        "b2": "orderDrink( drink( iced mocha )drink )orderDrink",
    }
    assert test.wav_scp == {
        name: str(corpus / barista.WAVS / f"{name}.wav") for name in ("a1", "b2")
    }
    assert test.text is None and test.utt2spk == {"a1": "a1", "b2": "b2"}
    for split in ("train", "valid"):
        directory = kaldi_dir.read(data / split)
        assert not any(str(corpus) in path for path in directory.wav_scp.values())
        assert all(speaker.startswith("espeak") for speaker in directory.utt2spk.values())
    assert [len(kaldi_dir.read(data / s).ids) for s in ("train", "train_text", "valid")] == [
        12,
        10,
        2,
    ]
    assert (data / "grammar.yaml").read_text() == GRAMMAR
    about = json.loads((data / "about.json").read_text())
    assert about["speech"] == (
        "test recorded: 2 orders by people, whose number is not known; rendered by synthesisers, "
        "not recorded: train and valid by espeak 100%."
    )
    assert "1 of 3 labels without a recording: gone.wav" in err
    assert "1 of 3 recordings without a label: extra.wav" in err
    assert "cannot express" not in err
    assert out.splitlines()[-1].split() == ["test", "2", "0.00", "-", "1", "people"]


def test_speech_without_semantics_has_the_words_of_the_grammar_and_none_of_its_sentences(
    run, tmp_path
):
    code, out, _ = run("data.num_asr=12")
    assert code == 0
    asr, written = (kaldi_dir.read(tmp_path / "data" / split) for split in ("asr", "train_text"))
    assert asr.semantics is None and len(asr.ids) == 12
    assert all(speaker.startswith("espeak") for speaker in asr.utt2spk.values())
    grammar = Grammar.load(tmp_path / "data" / "grammar.yaml")
    assert all(grammar.parse(text) for text in written.text.values())
    assert not any(grammar.parse(text) for text in asr.text.values())
    known = {word for text in written.text.values() for word in text.split()}
    assert {word for text in asr.text.values() for word in text.split()} <= known
    assert [line.split()[0] for line in out.splitlines()[-5:]] == [
        *("train_text", "train", "valid", "asr", "test")
    ]


def test_what_is_said_to_others_has_words_that_the_grammar_has_not(run, tmp_path):
    code, out, _ = run("data.num_foreign=12")
    assert code == 0
    foreign, written = (
        kaldi_dir.read(tmp_path / "data" / split) for split in ("foreign", "train_text")
    )
    assert foreign.semantics is None and len(set(foreign.text.values())) == 12
    assert all(speaker.startswith("espeak") for speaker in foreign.utt2spk.values())
    known = {word for text in written.text.values() for word in text.split()}
    others = [
        sum(word in known for word in words) <= len(words) / 2
        for words in map(str.split, foreign.text.values())
    ]
    assert sum(others) >= 8  # the other four are near misses of what is written
    assert not set(foreign.text.values()) & set(written.text.values())
    assert [line.split()[0] for line in out.splitlines()[-5:]] == [
        *("train_text", "train", "valid", "foreign", "test")
    ]


def test_labels_that_another_grammar_cannot_express_are_counted(run, tmp_path):
    (tmp_path / "other.yaml").write_text(GRAMMAR.replace("iced mocha", "tea"))
    code, _, err = run("--grammar", tmp_path / "other.yaml")
    assert code == 0
    assert "1 of 2 labels that the grammar cannot express: b2.wav" in err


@pytest.mark.parametrize("missing", [barista.LABELS, barista.WAVS, barista.GRAMMAR])
def test_a_wrong_directory_is_told_what_was_expected_where(run, corpus, missing):
    (corpus / missing).rename(corpus / "elsewhere")
    code, _, err = run()
    assert code == 2
    assert f"no {missing} in it; expected the speech-to-intent benchmark (git clone http" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "label.json: not a JSON file"),
        ("[]", "label.json: got a list, expected wav name -> label"),
        ('{"a1.wav": {"slots": {}}}', "label of 'a1.wav' is"),
        ('{"a1.wav": {"intent": "orderDrink", "slots": {"size": 3}}}', "label of 'a1.wav' is"),
        ('{"a1.wav": {"intent": "order drink", "slots": {}}}', "label of 'a1.wav' is"),
        ('{"a1.wav": "orderDrink"}', "label of 'a1.wav' is"),
        ('{"x.wav": {"intent": "orderDrink", "slots": {}}}', "none of 3 wav files has a label"),
    ],
)
def test_labels_of_another_form_are_refused(run, corpus, tmp_path, content, reason):
    (corpus / barista.LABELS).write_text(content)
    code, _, err = run()
    assert code == 2
    assert reason in err and len(err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


@pytest.mark.skipif(not BENCHMARK.is_dir(), reason="the benchmark is not on this machine")
def test_every_label_of_the_benchmark_is_a_frame_of_its_grammar(tmp_path, capsys):
    barista.check_corpus(BENCHMARK)
    grammar = Grammar.load(BENCHMARK / barista.GRAMMAR)
    kaldi_dir.write(tmp_path / "test", barista.read_recordings(BENCHMARK, grammar))
    test = kaldi_dir.read(tmp_path / "test")
    assert len(test.ids) == 200
    labels = json.loads((BENCHMARK / barista.LABELS).read_text())
    for key, sequence in test.semantics.items():
        frame = target_sequence.frame(sequence)
        expected = {name: value.strip() for name, value in labels[f"{key}.wav"]["slots"].items()}
        assert dict(frame.slots) == expected
        order = [list(grammar.slots).index(name) for name, _ in frame.slots]
        assert order == sorted(order)
    assert capsys.readouterr().err == ""  # nothing missing, nothing foreign


def test_check_counts_and_writes_nothing(run, tmp_path):
    code, out, _ = run("--check", "true")
    assert code == 0 and not (tmp_path / "data").exists()
    rows = [line.split() for line in out.splitlines()]
    assert ["recordings", "3", "619", "differs"] in rows
    assert ["recordings", "with", "a", "label", "2", "619", "differs"] in rows
    assert ["labels", "that", "the", "grammar", "can", "express", "3", "-"] in rows
    # 4 openings, 2 sizes, 2 drinks, please or not; 4 openings, 2 drinks.
    assert any(
        line.endswith("coffee_maker.yaml: intents 1, slots 2, sentences 40")
        for line in out.splitlines()
    )


def test_a_saying_of_a_word_that_nobody_says_is_named(run):
    code, _, err = run("data.pronunciations={latte: [lattay], moca: [mocka]}")
    notes = [line for line in err.splitlines() if line.startswith("data.pronunciations")]
    assert code == 0 and notes == ["data.pronunciations: 'moca' is in no sentence that is spoken"]
