"""What synthesisers are given to say instead of the sentence as it is written."""

import random

import pytest

from atat.config import schema
from atat.config.schema import DataConfig
from atat.prepare import spoken_grammar
from atat.synthesis import disfluency

TEXT = "can i have a large mocha with almond milk"
PEOPLE = DataConfig(
    pronunciations={"mocha": ["mocka"], "almond": ["ahmond"]}, pauses=0.1, fillers=0.05
)


def plain(said: str) -> str:
    """Without pauses and hesitation, spelled as it is written."""
    words = said.replace(",", "").replace("mocka", "mocha").replace("ahmond", "almond").split()
    return " ".join(word for word in words if word not in disfluency.FILLERS)


def test_pauses_hesitation_and_other_pronunciations_come_as_often_as_asked_for():
    said = [disfluency.said(TEXT, PEOPLE, random.Random(i)) for i in range(2000)]
    assert {plain(one) for one in said} == {TEXT}
    gaps = len(said) * (len(TEXT.split()) - 1)
    words = len(said) * len(TEXT.split())
    fillers = sum(word.strip(",") in disfluency.FILLERS for one in said for word in one.split())
    commas = sum(one.count(",") for one in said)
    first = sum(one.startswith(disfluency.FILLERS) for one in said)
    assert fillers / words == pytest.approx(0.05, rel=0.15)
    assert first / len(said) == pytest.approx(0.05, rel=0.3)
    assert (commas - 2 * fillers + first) / gaps == pytest.approx(0.1, rel=0.15)
    assert sum("mocka" in one for one in said) / len(said) == pytest.approx(0.5, abs=0.05)
    assert not any(one.startswith(",") or one.endswith(",") for one in said)


def test_by_default_a_sentence_is_said_as_it_is_written():
    assert disfluency.said(TEXT, DataConfig(), random.Random(1)) == TEXT


def test_one_setting_does_not_shift_the_others():
    quiet = DataConfig(pronunciations=PEOPLE.pronunciations)
    for i in range(50):
        both = (disfluency.said(TEXT, settings, random.Random(i)) for settings in (quiet, PEOPLE))
        assert len({("mocka" in one, "ahmond" in one) for one in both}) == 1


def test_training_alone_is_said_as_people_would_and_a_longer_list_keeps_a_shorter_one():
    settings = schema.Config(data=PEOPLE)
    texts = [TEXT] * 20
    train = spoken_grammar.said("train", texts, settings)
    assert len(set(train)) > 5 and {plain(one) for one in train} == {TEXT}
    assert spoken_grammar.said("train", ["make me a mocha", *texts], settings)[1:] == train
    for split in ("valid", "test"):
        assert spoken_grammar.said(split, texts, settings) == texts
