"""Stage 3 as a command (the tokenizer itself: tests/data/test_tokenizer.py)."""

import sys

import pytest

from atat import tokenizer as command
from atat.data.tokenizer import Tokenizer
from atat.models import whisper_checkpoint
from atat.training import encoded_split


@pytest.fixture
def stage_3(tmp_path, monkeypatch):
    """Runs stage 3 on one sentence, and gives the tokenizer."""
    (tmp_path / "settings.yaml").write_text("tokenizer: {splits: [train_text]}\n")

    def run(semantics: str, *options: str) -> Tokenizer:
        split = tmp_path / "data" / "train_text"
        split.mkdir(parents=True, exist_ok=True)
        (split / "semantics").write_text(f"a {semantics}\n", encoding="utf-8")
        where = ["--config", str(tmp_path / "settings.yaml"), "--data", str(tmp_path / "data")]
        monkeypatch.setattr(sys, "argv", ["tokenizer", *where, *options])
        command.main()
        return Tokenizer.load(tmp_path / "data" / "tokenizer")

    return run


@pytest.fixture
def start(tmp_path):
    trained = Tokenizer.train(["Go( walk home )Go", "a long walk home"], 40)
    trained.save(tmp_path / "start" / "tokenizer")
    return trained


def test_with_a_start_words_are_cut_as_there_and_tags_are_ones_own(stage_3, start, tmp_path):
    found = stage_3("Run( home home )Run", "--init_from", str(tmp_path / "start"))
    assert found.tags == [")Run", "Run("]
    assert [s for s in found.symbols if s not in found.tags] == [
        s for s in start.symbols if s not in start.tags
    ]


def test_a_size_that_the_pieces_of_a_start_do_not_have_is_said(stage_3, start, tmp_path, capsys):
    stage_3("Run( home )Run", "tokenizer.vocab_size=50", "train.init_from=other")
    assert capsys.readouterr().err == ""  # the option alone gives its pieces
    stage_3("Run( home )Run", "--init_from", str(tmp_path / "start"), "tokenizer.vocab_size=50")
    assert capsys.readouterr().err.startswith("no effect here: tokenizer.vocab_size (the pieces")


def test_words_are_cut_as_whisper_does(stage_3, start, tmp_path, monkeypatch):
    vocabulary = [*"efghmowz", "om", "me", "\u0120h", "\u0120home", "\u0120hom", "zz"]
    asked = []

    def load(source: str) -> whisper_checkpoint.Checkpoint:
        asked.append(source)
        return whisper_checkpoint.Checkpoint(source, {}, vocabulary)

    monkeypatch.setattr(whisper_checkpoint, "load", load)
    found = stage_3("Run( home )Run", "tokenizer.pieces_of=tiny")
    assert [found.symbols[i] for i in found.encode("home")] == ["▁home"]
    assert "zz" not in found.symbols and asked == ["tiny"]
    # A start has been trained with pieces of its own.
    options = ["tokenizer.pieces_of=tiny", "--init_from", str(tmp_path / "start")]
    again = stage_3("Run( home )Run", *options)
    assert [s for s in again.symbols if s not in again.tags] == [
        s for s in start.symbols if s not in start.tags
    ]


def test_characters_that_a_start_has_not_met_are_counted(stage_3, start, tmp_path, capsys):
    stage_3("Run( zigzag )Run", "--init_from", str(tmp_path / "start"))
    said = capsys.readouterr().out
    assert "0 sequences come back exactly" in said
    assert "1 sequences have characters" in said and "'Run( zigzag )Run'" in said


def test_a_start_can_be_left_aside(stage_3, start, tmp_path):
    options = ["--init_from", str(tmp_path / "start"), "tokenizer.pieces_of_start=false"]
    found = stage_3("Run( zigzag )Run", *options)
    assert found.decode(found.encode("zigzag")) == "zigzag"


def test_token_ids_of_an_earlier_tokenizer_are_gone(stage_3, tmp_path):
    for sequence in ("Go( walk home )Go", "Run( zigzag )Run"):
        tokenizer = stage_3(sequence)
        kept = tmp_path / "data" / encoded_split.KEPT
        assert [path.name for path in kept.iterdir()] == [tokenizer.digest[:12]]
