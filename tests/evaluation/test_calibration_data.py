"""Calibration hears near misses that training has not."""

import pytest

from atat.config import config_file
from atat.data import kaldi_dir
from atat.evaluation import calibration_data
from atat.grammar.grammar import Grammar
from atat.prepare import spoken_grammar
from atat.semantics import target_sequence
from atat.synthesis import negatives

SETTINGS = [
    *("data.num_train=20", "data.num_train_text=20", "data.num_valid=10", "data.num_test=2"),
    *("data.num_foreign=30", "data.voices={train: {espeak: 1}, valid: {espeak: 1}}"),
]


@pytest.fixture
def grammar(tmp_path):
    names = ", ".join(("zero", "one", "two", "three", "four", "five"))
    text = f"context: {{expressions: {{digit: [$d:d]}}, slots: {{d: [{names}]}}}}"
    (tmp_path / "grammar.yaml").write_text(text)
    return Grammar.load(tmp_path / "grammar.yaml")


def test_near_misses_are_other_texts_and_recordings_than_training_has(tmp_path, grammar):
    settings = config_file.load([], [*SETTINGS, f"data.cache={tmp_path / 'cache'}"])
    drawn = spoken_grammar.draw(grammar, settings.data, settings.seed)
    texts = spoken_grammar.texts_alone(grammar, drawn, settings)
    spoken_grammar.write_spoken(tmp_path / "data", texts, settings, 1)
    trained = kaldi_dir.read(tmp_path / "data" / "foreign")
    references = {str(number): sequence for number, sequence in enumerate(drawn["valid"])}
    misses = calibration_data.near_misses(
        tmp_path, tmp_path / "none", references, settings.seed, hours=0.1
    )
    assert len(misses) == 15
    # Of a grammar as small as this, other draws find the same words.
    again = [text for text in misses if text in trained.text.values()]
    assert again
    left = calibration_data.near_misses(tmp_path, tmp_path / "data", references, settings.seed, 0.1)
    assert left and not set(left) & set(trained.text.values())
    known = {
        word for sequence in drawn["valid"] for word in target_sequence.words(sequence).split()
    }
    about = (known, settings.data, tmp_path / "cache", 1)
    found = negatives.make(0.005, settings.seed, *about, misses)
    near = {str(path.resolve()) for id_, path in found.items() if id_.startswith(negatives.NEAR)}
    assert len(near) == 15 and not near & set(trained.wav_scp.values())
