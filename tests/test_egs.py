"""The recipes from grammar to report, on toy corpora rendered here: seconds of training."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

ROOT = Path(__file__).resolve().parent.parent
GRAMMAR = """
context:
  expressions:
    turnOn:
      - "(please) turn on the [light, lamp] in the $room:room"
      - "(please) switch on the $room:room [light, lamp]"
    turnOff:
      - "(please) turn off the [light, lamp] in the $room:room"
  slots:
    room: [kitchen, bedroom, office, garage, hallway, bathroom]
"""
TINY = """
data: {num_train: 40, num_train_text: 30, num_valid: 6, num_test: 6, num_pseudo_speakers: 2}
model: {width: 32, num_heads: 2, speech_layers: 1, speech_ffn: 64, text_layers: 1, text_ffn: 64,
        decoder_layers: 1, decoder_ffn: 64, front_channels: 4}
train: {num_steps: 12, num_epochs: 2, num_processes: 1, num_workers: 0, num_valid: 6}
"""


def run(*arguments: object, expected: int = 0) -> str:
    command = [ROOT / "run.sh", "--python", sys.executable, "--nj", "2", *arguments]
    done = subprocess.run(
        list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert done.returncode == expected, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A toy grammar, from sentences to RESULTS.md; the options of the run."""
    root = tmp_path_factory.mktemp("egs")
    (root / "grammar.yaml").write_text(GRAMMAR)
    (root / "tiny.yaml").write_text(TINY)
    exp = root / "exp"
    options = ["--grammar", root / "grammar.yaml", "--expdir", exp, "--config", root / "tiny.yaml"]
    options += ["--set", f"data.cache={root / 'cache'}"]
    return exp, options, run(*options)


def test_a_grammar_becomes_a_scored_model_and_a_report(trained):
    exp, _, output = trained
    assert "exact match" in output
    scores = json.loads((exp / "atat" / "decode_test" / "scores.json").read_text())
    assert scores["em_hyp"]["n"] == 6
    assert 0.0 <= scores["em_hyp"]["low"] <= scores["em_hyp"]["high"] <= 1.0
    for line in (exp / "atat" / "decode_test" / "hyp.jsonl").read_text().splitlines():
        assert {"id", "hypothesis", "reference", "em_hyp"} <= set(json.loads(line))
    assert "AT-AT" in (exp / "RESULTS.md").read_text()
    assert (exp / "learning_curves.png").read_bytes().startswith(b"\x89PNG")


def test_test_voices_and_sentences_are_not_in_training(trained):
    exp, _, _ = trained
    texts, engines = {}, {}
    for split in ("train", "train_text", "test"):
        lines = (exp / "data" / split / "text").read_text().splitlines()
        texts[split] = {line.split(" ", 1)[1] for line in lines}
        engines[split] = {line.split("-")[0] for line in lines}
    assert not texts["test"] & (texts["train"] | texts["train_text"])
    assert not engines["test"] & engines["train"]


def test_what_is_done_is_not_done_again_and_a_stage_can_be_ordered(trained):
    _, options, _ = trained
    again = run(*options)
    assert again.count("done already") == 6
    decoded = run(*options, "--stage", 5, "--stop_stage", 6)
    assert "stage 5 decode (atat): done" in decoded and "stage 4" not in decoded


def test_the_model_understands_a_wav(trained):
    exp, _, _ = trained
    wav = (exp / "data" / "test" / "wav.scp").read_text().split("\n")[0].split(" ", 1)[1]
    command = [sys.executable, "-m", "atat.parse", "--exp", exp / "atat"]
    for source in ([wav], ["--text", "turn on the kitchen light"]):
        done = subprocess.run([*command, *source], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode == 0, done.stderr
        assert {"intent", "slots", "semantics", "seconds"} <= set(json.loads(done.stdout))


def test_barista_trains_on_its_grammar_and_is_scored_on_recordings(trained, tmp_path):
    exp, _, _ = trained
    corpus = tmp_path / "corpus"
    for part in ("speech/clean", "label", "rhino"):
        (corpus / "data" / part).mkdir(parents=True)
    (corpus / "data" / "rhino" / "coffee_maker.yaml").write_text(GRAMMAR)
    labels = {}
    for number, line in enumerate((exp / "data" / "test" / "wav.scp").read_text().splitlines()[:3]):
        samples, rate = soundfile.read(line.split(" ", 1)[1])
        soundfile.write(corpus / "data" / "speech" / "clean" / f"r{number}.wav", samples, rate)
        labels[f"r{number}.wav"] = {"intent": "turnOn", "slots": {"room": " kitchen"}}
    (corpus / "data" / "label" / "label.json").write_text(json.dumps(labels))
    (tmp_path / "tiny.yaml").write_text(TINY)
    options = ["--recipe", "barista", "--corpus_dir", corpus, "--expdir", tmp_path / "exp"]
    options += ["--config", tmp_path / "tiny.yaml", "--set", f"data.cache={tmp_path / 'cache'}"]
    run(*options)
    scores = json.loads((tmp_path / "exp" / "atat" / "decode_test" / "scores.json").read_text())
    assert scores["em_hyp"]["n"] == 3 and "em_full" not in scores
    train = (tmp_path / "exp" / "data" / "train" / "wav.scp").read_text()
    assert str(corpus) not in train
    shutil.rmtree(corpus)
    assert "corpus" in run(*options, "--stage", 1, expected=2)
