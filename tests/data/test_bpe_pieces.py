import pytest
import sentencepiece
from hypothesis import given
from hypothesis import strategies as st

from atat.data import bpe_pieces
from atat.data.tokenizer import Tokenizer

# In the order of merging; Ġ is the space before a word.
VOCABULARY = [
    *"abcdefghijklmnopqrstuvwxyzO",
    *("Ġ", "Ġt", "he", "Ġthe", "er", "Ġther", "lo", "ĠO", "slo", "ĠOslo", "at", "lat", "te"),
    "<|endoftext|>",
]


def cut(words: list[str], word: str) -> list[str]:
    model = bpe_pieces.word_model(words, VOCABULARY)
    return sentencepiece.SentencePieceProcessor(model_proto=model).encode(word, out_type=str)


def test_words_are_cut_by_the_order_of_merging():
    words = ["the", "there", "latte", "zoo"]
    assert cut(words, "the") == ["▁the"]
    assert cut(words, "there") == ["▁ther", "e"]  # "he" comes before "er"
    assert cut(words, "latte") == ["▁", "lat", "te"]
    assert cut(words, "zoo") == ["▁", "z", "o", "o"]


def test_pieces_that_no_word_needs_are_left_out():
    assert cut(["the"], "latte") == ["▁", "l", "a", "t", "t", "e"]
    model = bpe_pieces.word_model(["the"], VOCABULARY)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    assert [pieces.id_to_piece(i) for i in range(4)] == ["<unk>", "▁t", "he", "▁the"]
    assert len(pieces) == 4 + 26 + 1


def test_a_name_is_one_piece_though_the_vocabulary_has_it_with_a_capital_alone():
    assert cut(["oslo"], "oslo") == ["▁oslo"]
    assert cut(["oslo", "Oslo"], "Oslo") == ["▁Oslo"]


def test_characters_that_the_vocabulary_lacks_are_pieces():
    assert cut(["café"], "café") == ["▁", "c", "a", "f", "é"]


@given(st.lists(st.text(st.sampled_from("theroslat'é7"), min_size=1), min_size=1, max_size=8))
def test_all_words_come_back(words):
    tokenizer = Tokenizer.borrow(words, VOCABULARY)
    assert all(tokenizer.gives_back(word) for word in words)


def test_tags_are_symbols_and_no_words_are_refused():
    tokenizer = Tokenizer.borrow(["go( to the( oslo )the )go"], VOCABULARY)
    assert tokenizer.tags == [")go", ")the", "go(", "the("]
    assert tokenizer.decode(tokenizer.encode("go( the oslo )go")) == "go( the oslo )go"
    with pytest.raises(ValueError, match="no words"):
        Tokenizer.borrow(["go( )go"], VOCABULARY)
