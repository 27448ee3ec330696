from atat.data.text_tokenization import punctuation
from atat.data.tokenizer import Tokenizer


def test_punctuation_is_what_stands_in_the_words_of_training():
    sentences = ["a-tag.x( an e-mail at 7:30 it's )a-tag.x", "mail r&b under_score 5"]
    assert punctuation(Tokenizer.train(sentences, 100)) == "&-:"
    assert punctuation(Tokenizer.train(["a-tag( plain words )a-tag"], 100)) == ""
