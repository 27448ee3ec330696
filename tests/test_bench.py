"""The benches against ESPnet: its search and ours find the same, and both models train."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest

from atat.config import config_file

ROOT = Path(__file__).resolve().parents[1]


def bench(name):
    path = ROOT / "tools" / "bench" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"bench_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def config():
    """conf/model_tiny.yaml, smaller."""
    found = config_file.load([ROOT / "conf" / "model_tiny.yaml"])
    c = found.model
    c.width, c.num_heads, c.front_channels = 32, 2, 4
    c.speech_ffn = c.text_ffn = c.decoder_ffn = 64
    c.speech_layers = c.text_layers = 1
    found.tokenizer.vocab_size, found.train.batch_frames = 60, 800
    return found


@pytest.mark.parametrize(("beam", "ctc_weight"), [(3, 0.0), (3, 0.4)])
def test_our_search_finds_what_espnets_finds(config, beam, ctc_weight):
    search = bench("search")
    search.LEARNING_RATE = 1e-2  # so small a model takes it
    problem = search.drawn(config, num_frames=50, num=4, seed=1)
    engines = search.compare(problem, beam, ctc_weight, rounds=1)
    espnet = engines[search.ESPNET]
    assert len({hypothesis.tokens for hypothesis in espnet.found}) == 4  # each memory its own
    for name, engine in engines.items():
        assert engine.cpu_s > 0, name
        for found, expected in zip(engine.found, espnet.found, strict=True):
            assert found.tokens == expected.tokens, name
            assert found.score == pytest.approx(expected.score, abs=1e-4), name
    rows = list(search.rows(engines))
    assert [row[3:5] for row in rows] == [["100.0", "0.0"]] * 6


def test_a_trained_model_and_its_speech_come_together(command):
    code, _, err = command(bench("search").main, "--exp", "exp/nowhere")
    assert code == 2 and "got one of --exp and --data, expected both or neither" in err


def test_a_step_of_training_is_timed(config):
    about, _, _, *rows = bench("train_step").measure(config, num_steps=1, seed=1).splitlines()
    assert about.startswith("8x subsampling, 8 utterances, ") and about.endswith(" s, 1 steps")
    assert [row.split("  ")[0] for row in rows] == [
        *("ours", "ours, train.use_amp", "ESPnet, conv2d8", "ESPnet, conv2d")
    ]
    assert rows[0].endswith("1.00")


def test_a_grammar_whose_calibration_had_no_negatives_left_has_an_empty_cell(tmp_path, monkeypatch):
    grammars = bench("grammars")
    monkeypatch.setattr(grammars, "ROOT", tmp_path)
    exp = tmp_path / "egs" / "commands" / "exp_tiny" / "atat"
    score = {"value": 0.5, "low": 0.2, "high": 0.8, "n": 6}
    measured = {"threshold": 0.5, "accepted": score}
    for path, content in {
        "decode_test_grammar/scores.json": {"em_hyp": score},
        "env.json": {"commit": "fed"},
        "confidence.json": {"about": {"measured_on_the_other_half": measured}},
        "conditions/scores.json": {"scores": [{"condition": "8 kHz", "em_hyp": score}]},
    }.items():
        (exp / path).parent.mkdir(parents=True, exist_ok=True)
        (exp / path).write_text(json.dumps(content))
    (exp / "train.jsonl").write_text('{"epoch": 1, "step": 9, "minutes": 1, "cpu_minutes": 1}\n')
    grammar = ROOT / "egs" / "commands" / "grammars" / "form.yaml"
    (tmp_path / "tiny.yaml").write_bytes(grammar.read_bytes())
    cells = dict(zip(grammars.HEADER, grammars.row(Path("tiny.yaml")), strict=True))
    assert cells["accepted"] == "50.0 (20.0-80.0)" and cells["false accepts an hour"] == ""
