import pytest

from atat.data.tokenizer import Tokenizer
from atat.training.model_size import num_parameters
from tests import toy
from tests.tiny_training import settings


def test_a_model_too_large_for_the_machine_is_refused_before_it_is_made():
    tokenizer = Tokenizer.train(toy.SENTENCES, 60)
    assert 10_000 < num_parameters(settings(), tokenizer) < 1_000_000
    large = settings()
    large.model.width = large.model.speech_ffn = 32768
    large.model.speech_layers = 100
    with pytest.raises(ValueError, match=r"got settings of .* parameters.*of this machine"):
        num_parameters(large, tokenizer)
