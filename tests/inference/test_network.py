"""Encoding in parts: as in one batch, whatever the order."""

import numpy as np
import pytest

from atat.config.schema import Config
from atat.inference.length_batches import MAX_OUTPUTS, encoder_frames
from atat.inference.network import encode_in_parts, padded


class Halving:
    """A network whose states are every second frame, and in the padding NaN."""

    def __init__(self, device="cpu", has_ctc=True):
        self.device, self.has_ctc, self.calls = device, has_ctc, []

    def encode_speech(self, feats):
        self.calls.append([len(feats_TF) for feats_TF in feats])
        memory_BSD, lengths_B = padded([feats_TF[::2] for feats_TF in feats])
        mask_BS = np.arange(memory_BSD.shape[1]) < lengths_B[:, None]
        memory_BSD[~mask_BS] = np.nan
        return memory_BSD, mask_BS, -memory_BSD if self.has_ctc else None


@pytest.fixture
def feats():
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, 3)).astype(np.float32) for n in (7, 20, 4, 9, 5, 8)]


@pytest.mark.parametrize("has_ctc", [True, False])
def test_parts_are_one_batch_in_the_order_of_the_input(feats, has_ctc):
    network = Halving(has_ctc=has_ctc)
    memory_BSD, mask_BS, ctc_BSV = encode_in_parts(network, feats, 16)
    assert network.calls == [[4, 5], [7, 8], [9], [20]]  # of like length, at most 16 with padding
    expected_BSD, expected_BS, _ = Halving().encode_speech(feats)
    assert np.array_equal(mask_BS, expected_BS)
    assert np.array_equal(memory_BSD[mask_BS], expected_BSD[mask_BS])
    assert (ctc_BSV is not None) == has_ctc
    if has_ctc:
        assert np.array_equal(ctc_BSV[mask_BS], -memory_BSD[mask_BS])


@pytest.mark.parametrize(("device", "max_frames"), [("cpu", 120), ("cuda:0", 16)])
def test_what_fits_and_a_gpus_batch_are_encoded_at_once(feats, device, max_frames):
    network = Halving(device)
    encode_in_parts(network, feats, max_frames)
    assert network.calls == [[7, 20, 4, 9, 5, 8]]


def test_wide_fronts_take_few_frames_at_once():
    c = Config()
    c.features.num_mel_bins = 80
    c.model.front, c.model.front_channels = "stride", 8
    assert encoder_frames(c) == MAX_OUTPUTS // (8 * 80 // 4)
    c.model.front, c.model.front_channels = "max", 256
    assert encoder_frames(c) == MAX_OUTPUTS // (256 * 80)
    c.model.frozen_encoder, c.model.frozen_encoder_width = "tiny", 384
    assert encoder_frames(c) == MAX_OUTPUTS // (4 * 384 // 2)
    c.model.frozen_encoder, c.model.speech_encoder, c.model.speech_ffn = None, "whisper", 1536
    assert encoder_frames(c) == MAX_OUTPUTS // (1536 // 2)
