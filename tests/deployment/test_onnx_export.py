"""Exported graphs against the model in torch, for every architecture that recipes train."""

import copy
import pickle

import numpy as np
import pytest
import torch

from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.deployment import onnx_export
from atat.inference import beam_search
from atat.inference.beam_search import search
from atat.inference.onnx_network import OnnxDecoder, OnnxNetwork, OnnxState
from atat.inference.torch_network import TorchNetwork
from atat.models.espnet_model import build
from tests.conftest import SEQUENCES, toy_settings

WHISPER = {"kind": "whisper", "num_mel_bins": 20}
FROZEN = {"frozen_encoder": "tiny", "frozen_encoder_width": 64, "frozen_encoder_layers": 1}
ARCHITECTURES = {
    "conformer": {},
    "conformer, 8x, max-pooled": {"subsampling": 8, "front": "max", "utterance_mean": True},
    "transformer": {"speech_encoder": "transformer", "front": "stride", "subsampling": 4},
    "no CTC": {"ctc_weight": 0.0, "token_residual": False},
    "token-embedding residual": {"token_residual": True},
    "nlu by CTC's posteriors": {"ctc_to_text_share": 0.5, "token_residual": True},
    "all by CTC's posteriors": {"ctc_to_text_share": 1.0, "token_residual": False},
    "Whisper's encoder": {"speech_encoder": "whisper"},
    "above a frozen encoder": FROZEN | {"subsampling": 8},
    "an adapter and Whisper's decoder": FROZEN
    | {"width": 64, "speech_encoder": "adapter", "subsampling": 4, "decoder": "whisper"},
}


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer.train(SEQUENCES, vocab_size=60)


def settings_of(changes) -> Config:
    settings = toy_settings()
    settings.model.decoder_layers = settings.model.speech_layers = 2
    for name, value in changes.items():
        setattr(settings.model, name, value)
    if settings.model.speech_encoder == "whisper" or settings.model.frozen_encoder:
        for name, value in WHISPER.items():
            setattr(settings.features, name, value)
    return settings


@pytest.fixture(scope="module", params=ARCHITECTURES)
def networks(request, tokenizer, tmp_path_factory):
    """The same weights, drawn, in torch and exported."""
    directory = tmp_path_factory.mktemp("onnx")
    torch.manual_seed(0)
    model = build(settings_of(ARCHITECTURES[request.param]), tokenizer).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # what starts at zero shall count too
            parameter.add_(0.05 * torch.randn_like(parameter))
        model.decoder.output_bias.add_(torch.randn(len(tokenizer)))
    about = onnx_export.export(model, directory)
    assert not model.training and about["left_out"] == {}
    return TorchNetwork(model), OnnxNetwork(directory, about, "cpu", 1, len(tokenizer))


def close(got, expected, mask=None):
    assert (got is None) == (expected is None)
    if got is not None:
        if mask is not None:
            got, expected = got[mask], expected[mask]
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_speech_of_any_length_is_encoded_alike(networks):
    rng = np.random.default_rng(0)
    num_bins = len(networks[0].model.cmvn_mean_F)
    for lengths in ((57, 49), (12,), (130, 77, 41), (31, 32, 33, 34), (200,)):
        feats = [rng.normal(size=(n, num_bins)).astype(np.float32) for n in lengths]
        (memory, mask, ctc), (memory2, mask2, ctc2) = (n.encode_speech(feats) for n in networks)
        assert (mask == mask2).all()
        close(memory2, memory, mask)
        close(ctc2, ctc, mask)


def test_an_output_is_no_longer_than_the_decoder_has_positions(networks):
    decoder = networks[0].model.decoder
    expected = beam_search.MAX_LENGTH if decoder.positions is None else 447
    assert [network.max_tokens for network in networks] == [expected, expected]


def test_text_of_any_length_is_encoded_alike(networks, tokenizer):
    tokens = [tokenizer.encode(s) for s in SEQUENCES]
    for batch in (tokens, tokens[:1], [tokens[0][:1]], [tokens[1], tokens[0][:2]]):
        (memory, mask), (memory2, mask2) = (n.encode_text(batch) for n in networks)
        assert (mask == mask2).all()
        close(memory2, memory, mask)


def test_posteriors_are_read_alike(networks):
    assert networks[1].ctc_tasks == networks[0].ctc_tasks
    if not networks[0].ctc_tasks:
        pytest.skip("this architecture does not")
    feats = [np.random.default_rng(i).normal(size=(60 + i, 80)).astype(np.float32) for i in (0, 9)]
    _, mask_BS, ctc_BSV = networks[0].encode_speech(feats)
    sharp_BSV = np.random.default_rng(1).normal(size=ctc_BSV.shape).astype(np.float32) * 9
    (memory, mask), (memory2, mask2) = (n.encode_posteriors(sharp_BSV, mask_BS) for n in networks)
    length = mask.shape[1]
    assert (mask == mask2[:, :length]).all() and not mask2[:, length:].any()
    close(memory2[:, :length], memory, mask)


def test_what_was_exported_before_says_whether_nlu_reads_ctc(tmp_path):
    about = {"has_ctc": True, "num_parameters": 1, "max_positions": None}
    assert OnnxNetwork(tmp_path, about | {"reads_ctc": True}, "cpu", 1, 6).ctc_tasks == ("nlu",)
    assert OnnxNetwork(tmp_path, about | {"reads_ctc": False}, "cpu", 1, 6).ctc_tasks == ()


@pytest.mark.parametrize("beam", [1, 3])
def test_searches_find_the_same(networks, tokenizer, beam):
    rng = np.random.default_rng(1)
    num_bins = len(networks[0].model.cmvn_mean_F)
    feats = [rng.normal(size=(n, num_bins)).astype(np.float32) for n in (90, 40, 61)]
    found = []
    for network in networks:
        memory, mask, ctc = network.encode_speech(feats)
        first_B = np.full(3, tokenizer.task_ids["slu"])
        options = {} if ctc is None else {"ctc_log_probs_BTV": ctc, "ctc_weight": 0.3}
        options |= {"eos": tokenizer.eos, "beam": beam, "nbest": 2, "max_length": 12}
        found.append(search(network.decoder, memory, mask, first_B, **options))
    for one, other in zip(*found, strict=True):
        assert [h.tokens for h in one] == [h.tokens for h in other]
        assert [h.score for h in one] == pytest.approx([h.score for h in other], abs=1e-3)
    if beam > 1:
        assert len({h.tokens for hyps in found[0] for h in hyps}) > 1


def test_more_tokens_than_were_learned_are_refused():
    nothing = np.zeros((1, 1, 1, 0, 2), np.float32)
    state = OnnxState(3, nothing, nothing, nothing[0], nothing, nothing, nothing[0])
    with pytest.raises(ValueError, match="got a sequence of 4 tokens, expected at most 3"):
        OnnxDecoder(None, None, 3, 6).step(np.array([[5]]), state)


def test_copies_and_pickles_of_an_exported_network_work(networks):
    network = networks[1]
    before = network.encode_text([[9, 10]])[0]
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert (other.encode_text([[9, 10]])[0] == before).all()
