"""Which tags stand in which, as training had it."""

import shutil

import pytest

from atat.config.schema import Config, Source
from atat.data.tokenizer import Tokenizer
from atat.inference.predictor import SpeechToSemantics
from atat.semantics import tag_nesting, target_sequence
from atat.training import run_directory
from atat.training.training_data import taught_skeletons
from tests import toy

SEQUENCES = [
    "light( turn the room( hall )room on )light",
    "light( dim it )light",
    "ask( is the light( room( hall )room light )light on )ask",
]


def test_nesting_holds_what_is_directly_inside_what():
    assert tag_nesting.of(SEQUENCES) == {
        tag_nesting.OUTSIDE: ["ask", "light"],
        "ask": ["light"],
        "light": ["room"],
        "room": [],
    }
    with pytest.raises(ValueError, match="never closed"):
        tag_nesting.of(["light( on"])


def test_nesting_is_read_as_it_was_written(tmp_path):
    assert tag_nesting.load(tmp_path) is None
    tag_nesting.save(tag_nesting.of(SEQUENCES), tmp_path)
    assert tag_nesting.load(tmp_path) == tag_nesting.of(SEQUENCES)
    tag_nesting.save(tag_nesting.of([]), tmp_path)  # a training for ASR alone
    assert tag_nesting.load(tmp_path) is None


@pytest.mark.parametrize("content", ["", "[]", '{"a": "b"}', '{"a": [1]}'])
def test_a_broken_file_is_a_mistake_that_names_it(tmp_path, content):
    (tmp_path / tag_nesting.FILE).write_text(content)
    with pytest.raises(ValueError, match=r"nesting\.json: .*rerun stage 4"):
        tag_nesting.load(tmp_path)


def test_a_training_keeps_the_nesting_of_what_it_is_taught(tmp_path):
    data, _ = toy.write(tmp_path)
    c = Config()
    c.train.sources = [
        Source("train", ["slu"], exclude_intents=["setVolume"]),
        Source("valid", ["asr"]),
    ]
    run_directory.prepare_experiment(c, data, tmp_path / "exp", True)
    taught = [s for s in toy.SENTENCES if not s.startswith("setVolume")]
    assert tag_nesting.load(tmp_path / "exp") == tag_nesting.of(taught)


def test_sources_that_are_not_there_cost_nothing_that_is(tmp_path):
    data, _ = toy.write(tmp_path)
    (tmp_path / "exp").mkdir()
    (tmp_path / "exp" / "model.pth").write_bytes(b"trained before")
    c = Config()
    c.train.sources = [Source("nowhere", ["slu"])]
    with pytest.raises((ValueError, FileNotFoundError), match="nowhere"):
        run_directory.prepare_experiment(c, data, tmp_path / "exp", True)
    assert (tmp_path / "exp" / "model.pth").read_bytes() == b"trained before"


def test_what_is_taught_is_of_the_share_that_a_source_takes(tmp_path):
    data, _ = toy.write(tmp_path)
    tokenizer = Tokenizer.load(data / "tokenizer")

    def taught(*tasks, **rest):
        sources = [Source("train", list(tasks), **rest)]
        return taught_skeletons(sources, data, tokenizer, seed=1)

    skeletons = list(dict.fromkeys(map(target_sequence.skeleton, toy.SENTENCES)))
    assert sorted(taught("slu")) == sorted(skeletons)
    assert not taught("asr")
    half = taught("nlu", "asr", fraction=0.5)
    assert 0 < len(half) <= 2 and set(half) <= set(skeletons)


def test_what_is_understood_is_nested_as_in_training(toy_experiment, toy_wavs, tmp_path):
    exp, wav = tmp_path / "exp", toy_wavs["anna-0"]
    shutil.copytree(toy_experiment, exp)
    assert SpeechToSemantics.load(exp)(wav).semantics.startswith("turnOn( turn on the room(")
    tag_nesting.save({tag_nesting.OUTSIDE: ["setVolume"], "setVolume": ["level"], "level": []}, exp)
    sequence = SpeechToSemantics.load(exp)(wav).semantics
    assert sequence.startswith("setVolume(") and "room(" not in sequence
    assert SpeechToSemantics.load(exp)(wav, constraint="none").semantics.startswith("turnOn(")
