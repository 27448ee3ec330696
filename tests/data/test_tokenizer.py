import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.config.tasks import TASKS
from atat.data.tokenizer import SPECIALS, Tokenizer
from atat.semantics import target_sequence

SEQUENCES = [
    "turnOn( turn on the room( kitchen )room lights )turnOn",
    "setVolume( set the volume to level( forty two )level percent )setVolume",
    "turn off the lights in the kitchen please",
]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(SEQUENCES, vocab_size=60)


def test_training_targets_come_back_exactly(tokenizer):
    for sequence in SEQUENCES:
        assert tokenizer.decode(tokenizer.encode(sequence)) == sequence


words = st.text(alphabet=sorted(set("".join(SEQUENCES)) - set("() ONV")), min_size=1, max_size=8)


@given(st.lists(words, min_size=1, max_size=6))
def test_any_words_of_known_letters_come_back_exactly(tokenizer, sentence):
    text = " ".join(sentence)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_where_there_is_room_words_are_whole():
    """Pieces of words are more tokens than CTC can tell in the few frames of a fast word."""
    draw = random.Random(0)
    verbs, rooms = ["brighten", "switch", "illuminate"], ["kitchen", "bathroom", "hallway"]
    texts = [f"{draw.choice(verbs)} the {draw.choice(rooms)} please" for _ in range(300)]
    tokenizer = Tokenizer.train(texts, vocab_size=200)
    assert [len(tokenizer.encode(word)) for word in [*verbs, *rooms, "please"]] == [1] * 7


def test_tags_and_tasks_are_single_symbols(tokenizer):
    tags = target_sequence.tags(SEQUENCES[0])
    assert all(len(tokenizer.encode(tag)) == 1 for tag in tags)
    assert {tokenizer.encode(tag)[0] for tag in tags} <= tokenizer.tag_ids
    assert [tokenizer.symbols[tokenizer.task_ids[t]] for t in TASKS] == [f"<{t}>" for t in TASKS]
    assert tokenizer.symbols[: len(SPECIALS)] == list(SPECIALS)


def test_a_word_has_the_same_tokens_wherever_it_stands(tokenizer):
    ids = tokenizer.encode("kitchen lights kitchen")
    kitchen = tokenizer.encode("kitchen")
    assert ids[: len(kitchen)] == kitchen == ids[-len(kitchen) :]


def test_unknown_characters_are_kept_as_unk(tokenizer):
    ids = tokenizer.encode("lights \u00e9")
    assert ids.count(tokenizer.unk) == 1
    assert "<unk>" in tokenizer.decode(ids)


def test_unknown_tags_are_unk(tokenizer):
    assert tokenizer.encode("nothing( x )nothing")[0] == tokenizer.unk


def test_saving_and_loading_keeps_every_id(tokenizer, tmp_path):
    tokenizer.save(tmp_path / "t")
    loaded = Tokenizer.load(tmp_path / "t")
    assert loaded.symbols == tokenizer.symbols
    assert loaded.fingerprint == tokenizer.fingerprint
    assert loaded.encode(SEQUENCES[0]) == tokenizer.encode(SEQUENCES[0])


def test_loading_says_what_is_missing_or_mixed_up(tokenizer, tmp_path):
    with pytest.raises(FileNotFoundError, match="run stage 3"):
        Tokenizer.load(tmp_path)
    tokenizer.save(tmp_path / "a")
    Tokenizer.train(["other words"], 40).save(tmp_path / "b")
    (tmp_path / "a" / "words.model").write_bytes((tmp_path / "b" / "words.model").read_bytes())
    with pytest.raises(ValueError, match="do not belong together"):
        Tokenizer.load(tmp_path / "a")
    (tmp_path / "a" / "words.model").write_bytes(b"not a model")
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokenizer.load(tmp_path / "a")


def test_no_words_is_an_error():
    with pytest.raises(ValueError, match="no words"):
        Tokenizer.train(["a( )a"], 10)


def test_fewer_pieces_than_characters_are_refused_by_the_settings_name():
    with pytest.raises(ValueError, match=r"tokenizer\.vocab_size: got 5, expected more: .*5 vs"):
        Tokenizer.train(["turn on the lights quickly"], 5)


def test_other_tags_leave_the_pieces_as_they_are(tokenizer):
    extended = tokenizer.with_tags(["Rate( five stars )Rate"])
    assert extended.tags == [")Rate", "Rate("]
    words = "order two lattes"
    for text in (words, words.replace("latte", "late")):
        assert [extended.symbols[i] for i in extended.encode(text)] == [
            tokenizer.symbols[i] for i in tokenizer.encode(text)
        ]
    with pytest.raises(ValueError, match="no words to encode"):
        tokenizer.with_tags(["Rate( )Rate"])


def test_what_is_wrong_with_the_sequences_is_said_as_it_is():
    def sequences():
        yield from SEQUENCES
        raise ValueError("text:7: is empty")

    with pytest.raises(ValueError, match=r"^text:7: is empty$"):
        Tokenizer.train(sequences(), 60)


def test_a_sequence_comes_back_if_each_of_its_words_does(tokenizer):
    assert tokenizer.gives_back("turnOn( kitchen lights )turnOn")
    assert not tokenizer.gives_back("kitchen \u65e5")
