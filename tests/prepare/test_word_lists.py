import pytest

from atat.models import whisper_checkpoint
from atat.prepare import word_lists
from atat.synthesis import pronunciation

TOKENS = [
    "\u0120play",
    "\u0120Detroit",
    "ing",
    "\u0120subst",
    "\u0120a",
    "\u012042",
    "\u0120music",
    "\u0120caf\u00c3\u00a9",
]


@pytest.fixture(autouse=True)
def whisper(monkeypatch):
    checkpoint = whisper_checkpoint.Checkpoint("w", {}, TOKENS)
    monkeypatch.setattr(whisper_checkpoint, "load", lambda source: checkpoint)
    known = {"play", "detroit", "music", "a"}
    monkeypatch.setattr(pronunciation, "not_in_dictionary", lambda words: sorted(words - known))


def test_frequent_words_are_whole_and_have_a_pronunciation():
    assert word_lists.frequent_words() == ["detroit", "music", "play"]


def test_all_words_come_about_as_often():
    lists = word_lists.draw(200, seed=1)
    assert len(lists) == 200 and {len(text.split()) for text in lists} == set(word_lists.LENGTHS)
    words = " ".join(lists).split()
    counts = [words.count(word) for word in ("detroit", "music", "play")]
    assert sum(counts) == len(words) and max(counts) - min(counts) <= 3
    assert word_lists.draw(200, seed=1) == lists != word_lists.draw(200, seed=2)


def test_of_none_nothing_is_read(monkeypatch):
    monkeypatch.setattr(whisper_checkpoint, "load", None)
    assert word_lists.draw(0, seed=1) == []
