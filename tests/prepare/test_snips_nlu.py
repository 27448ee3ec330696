import os
from pathlib import Path

import pytest

from atat.prepare import snips_nlu
from atat.semantics import target_sequence
from tests.prepare.nlu_corpora import encoded, write_snips_nlu

CORPUS = Path(__file__).parents[3] / "shared" / "corpora" / "nlu-benchmark"


def test_sentences_are_chunks_joined_and_slots_are_tags(tmp_path):
    corpus = write_snips_nlu(tmp_path / "nlu")
    sentences = {s.text: s for s in snips_nlu.read(corpus, "train")}
    assert len(sentences) == 2 * len(snips_nlu.INTENTS)
    jazz = sentences["play jazz by ana playmusic"]
    assert jazz.semantics == "PlayMusic( play Genre( jazz )Genre by ana playmusic )PlayMusic"
    assert jazz.domain == "PlayMusic"
    assert "one two three getweather" in sentences  # doubled spaces, a newline at the end
    validate = snips_nlu.read(corpus, "validate")
    assert len(validate) == len(snips_nlu.INTENTS)
    assert len({s.id for s in [*sentences.values(), *validate]}) == 3 * len(snips_nlu.INTENTS)


def test_the_latin_1_file_is_read_as_what_it_is(tmp_path):
    texts = {s.text for s in snips_nlu.read(write_snips_nlu(tmp_path / "nlu"), "train")}
    assert "add cita rom\u00e1ntica there addtoplaylist" in texts


def test_the_directory_of_the_intents_will_do_too(tmp_path):
    corpus = write_snips_nlu(tmp_path / "nlu")
    inside = corpus / "2017-06-custom-intent-engines"
    assert snips_nlu.find(corpus) == snips_nlu.find(inside) == inside


def test_another_directory_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"AddToPlaylist.*as SNIPS NLU has"):
        snips_nlu.find(tmp_path)


@pytest.mark.parametrize(
    "content", [b"{", b"[]", b'{"RateBook": [{}]}', b'{"RateBook": [{"data": [{"x": "y"}]}]}']
)
def test_a_file_of_another_form_is_named(tmp_path, content):
    corpus = write_snips_nlu(tmp_path / "nlu")
    path = snips_nlu.find(corpus) / "RateBook" / "train_RateBook_full.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"train_RateBook_full\.json: expected .*unpack"):
        snips_nlu.read(corpus, "train")


def test_sentences_without_words_are_counted_against_a_limit(tmp_path):
    corpus = write_snips_nlu(tmp_path / "nlu")
    path = snips_nlu.find(corpus) / "RateBook" / "train_RateBook_full.json"
    path.write_bytes(encoded("RateBook", [[("?!", None)]]))
    with pytest.raises(ValueError, match=r"1 of 13 sentences cannot be used.*has no words"):
        snips_nlu.read(corpus, "train")


def test_check_prints_what_was_found_beside_what_was_published(tmp_path, capsys):
    snips_nlu.check(write_snips_nlu(tmp_path / "nlu"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[2].split() == ["train", "sentences", "14", "13,784", "differs"]


@pytest.mark.skipif(not CORPUS.is_dir(), reason=f"{os.path.basename(CORPUS)} is not here")
def test_the_published_corpus_is_read_whole():
    train, validate = (snips_nlu.read(CORPUS, split) for split in ("train", "validate"))
    assert (len(train), len(validate)) == (13784, 700)
    slots = {t for s in train for t in target_sequence.tags(s.semantics) if t.startswith(")")}
    assert len(slots) == 7 + 39
