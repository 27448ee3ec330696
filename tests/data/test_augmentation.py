import dataclasses
import itertools

import numpy as np
import pytest
import torch

from atat.config.schema import AugmentConfig, FeaturesConfig
from atat.data import filter_bank
from atat.data.augmentation import NATS_PER_DB, Augmenter

QUIET = AugmentConfig(
    tempo=[1.0, 1.0],
    time_warp=0.0,
    frequency_warp=[1.0, 1.0],
    equaliser_db=0.0,
    spectral_blur=0.0,
    band_limit=0.0,
    reverb=0.0,
    noise=1.0,  # whoever draws none has a little
    snr_db=[200.0, 200.0],
    babble=0.0,
    padding_s=0.0,
    freq_masks=0,
    time_masks=0,
)


@pytest.fixture
def speech():
    """Two utterances: a band of 20 nats that rises, over a floor of 0; 60 and 40 frames."""
    out = torch.zeros(2, 60, 80)
    for t in range(60):
        out[:, t, t : t + 10] = 20.0
    return out, torch.tensor([60, 40]), torch.tensor([[0.0, 60.0], [5.0, 35.0]])


def run(speech, seed=0, strength=1.0, **changes):
    augment = Augmenter(dataclasses.replace(QUIET, **changes), FeaturesConfig())
    return augment(*speech, torch.Generator().manual_seed(seed), strength)


def test_the_same_seed_gives_the_same_features(speech):
    full = AugmentConfig()
    outs = [
        Augmenter(full, FeaturesConfig())(*speech, torch.Generator().manual_seed(seed))
        for seed in (1, 1, 2)
    ]
    assert torch.equal(outs[0][0], outs[1][0])
    assert outs[0][0].shape != outs[2][0].shape or not torch.equal(outs[0][0], outs[2][0])
    assert all(torch.isfinite(o[0]).all() for o in outs)


def test_switched_off_it_changes_nothing(speech):
    out, lengths, active = run(speech, enabled=False)
    assert torch.equal(out, speech[0])
    assert torch.equal(lengths, speech[1])
    assert torch.equal(active, speech[2])


def test_sway_changes_the_tempo_inside_and_never_turns_time_back(speech):
    ramp = (20.0 + torch.arange(60.0) / 10)[None, :, None].expand(2, 60, 80).contiguous()
    still, *_ = run((ramp, *speech[1:]))
    for seed in range(30):
        out, lengths, _ = run((ramp, *speech[1:]), seed=seed, time_warp=0.99)
        assert torch.equal(lengths, speech[1])
        inner = out[0, 1:-1, 0].diff()
        assert (inner > 0).all()
        assert (out - still).abs().max() > 0.1  # a frame and more
        assert not torch.allclose(inner, inner[:1])


def test_tempo_shortens_and_moves_the_active_part(speech):
    _, lengths, active = run(speech, tempo=[2.0, 2.0])
    assert lengths.tolist() == [30, 20]
    torch.testing.assert_close(active, speech[2] / 2)


@pytest.mark.parametrize("changes", [{"tempo": [0.5, 0.5]}, {"time_warp": 0.6}])
def test_warping_mixes_no_padding_of_the_batch_into_a_shorter_utterance(speech, changes):
    _, lengths, active = speech
    flat = torch.full((2, 60, 80), 20.0)
    flat[1, 40:] = 0.0  # the padding of the shorter one
    for seed in range(10):
        out, new_lengths, _ = run((flat, lengths, active), seed, **changes)
        inner = out[1, : new_lengths[1]]  # all of one level, which is drawn
        torch.testing.assert_close(inner, inner[:1, :1].expand_as(inner))


def test_strength_zero_keeps_tempo_and_formants(speech):
    _, lengths, _ = run(speech, strength=0.0, tempo=[0.5, 2.0], frequency_warp=[0.8, 1.25])
    assert torch.equal(lengths, speech[1])


def test_padding_is_quiet_and_around_the_speech(speech):
    out, lengths, active = run(speech, padding_s=0.5)
    for row in range(2):
        before = round(float(active[row, 0] - speech[2][row, 0]))
        assert 0 <= before <= 50
        assert lengths[row] - speech[1][row] >= before
        loud = (out[row].amax(dim=1) > out[row].max() - 5).nonzero().flatten()
        assert loud[0] >= before
        assert loud[-1] < before + speech[1][row]


def test_long_padding_comes_as_often_as_wanted_and_for_all_of_a_batch(speech):
    added = []
    for seed in range(200):
        _, lengths, active = run(speech, seed=seed, long_padding=0.3, long_padding_s=2.0)
        before, both = active[:, 0] - speech[2][:, 0], lengths - speech[1]
        assert before[0] == before[1]
        assert both[0] == both[1]
        added.append((float(before[0]), float(both[0] - before[0])))
    for end in zip(*added, strict=True):
        long = [frames for frames in end if frames > 0]
        assert 0.2 < len(long) / len(end) < 0.4
        assert 150 < max(long) <= 200
        assert min(long) < 50
    _, lengths, _ = run(speech, long_padding=1.0, strength=0.0)
    assert torch.equal(lengths, speech[1])


def test_warping_moves_the_bins(speech):
    centre = lambda x: (x[0, 20].exp() * torch.arange(80)).sum() / x[0, 20].exp().sum()  # noqa: E731
    plain, *_ = run(speech)
    higher, *_ = run(speech, frequency_warp=[0.8, 0.8])
    assert centre(higher) > centre(plain) + 3


def test_smoothing_flattens_harmonics_and_keeps_the_envelope(speech):
    features, lengths, active = speech
    harmonics = 0.0 * features + 3.0 * (torch.arange(80) % 3 == 0)
    out, *_ = run((harmonics, lengths, active), spectral_blur=1.0)
    assert out[0, 20, 40:].std() < 0.5 * harmonics[0, 20, 40:].std()


def test_reverberation_leaves_a_tail_and_no_echo_before(speech):
    features, _, active = speech
    knock = torch.full_like(features, -10.0)
    knock[:, 30] = 20.0
    out, *_ = run((knock, torch.tensor([60, 60]), active), reverb=1.0)
    level = out[0].amax(dim=1)
    assert level[31] > level[35] > level[45]
    assert level[31] > level[:29].max() + 5


def test_noise_fills_silence_to_about_its_level(speech):
    out, *_ = run(speech, noise=1.0, snr_db=[20.0, 20.0])
    silence = out[0, 0, 40:]
    assert silence.max() > 0.0  # the floor was 0 before gain of at most 6 dB (1.4 nats)
    assert silence.mean() < out[0].max() - 2.0


@pytest.mark.parametrize("kind", ["kaldi", "whisper"])
def test_noise_flickers_as_real_noise_does_in_the_same_features(kind):
    """Bin by bin, against features of other white noise; and as alike from bin to bin."""
    settings = FeaturesConfig(kind=kind)
    samples = np.random.default_rng(7).standard_normal(160_000).astype(np.float32)
    real_TF = torch.from_numpy(filter_bank.log_mel(samples, settings))
    quiet = torch.full((2, 600, 80), -50.0)
    quiet[:, :3] = 20.0  # the loudest, which the level of noise is told by
    augment = Augmenter(dataclasses.replace(QUIET, noise=1.0, snr_db=[0.0, 0.0]), settings)
    whole = torch.tensor([600, 600]), torch.tensor([[0.0, 600.0]] * 2)
    out, *_ = augment(quiet, *whole, torch.Generator().manual_seed(3))
    made_TF = out[0, 10:]
    change = lambda x: x[2:] - x[:-2]  # noqa: E731  (slow swells are left out)
    torch.testing.assert_close(change(made_TF).std(0), change(real_TF).std(0), rtol=0.2, atol=0.0)
    assert made_TF[:, 10].diff().std() > 1.5 * made_TF[:, 79].diff().std()
    alike = lambda x: torch.corrcoef(change(x).T).diagonal(1).mean()  # noqa: E731
    assert alike(made_TF) == pytest.approx(float(alike(real_TF)), abs=0.1)
    assert not torch.equal(out[0, 10:], out[1, 10:])
    again = Augmenter(AugmentConfig(), FeaturesConfig(kind=kind, cmvn_splits=["other"]))
    assert again.grain_NF is augment.grain_NF  # a copy of an utterance makes an Augmenter each


def test_knocks_stand_out_of_the_noise_where_they_are_wanted(speech):
    def loudest(knocks):
        outs = [
            run(speech, seed=seed, noise=1.0, snr_db=[40.0, 40.0], impulse_noise=knocks)[0]
            for seed in range(8)
        ]
        # By frame, where nobody speaks: the last 20 bins.
        return torch.stack([out[..., 75:].amax(dim=(0, 2)) - out.amax() for out in outs]).amax()

    assert loudest(1.0) > loudest(0.0) + 5.0 * NATS_PER_DB


def test_others_speak_behind_as_many_and_as_loud_as_is_said(speech):
    own = speech[0] > 10.0
    shares = {1: 0.0, 4: 0.0}
    for voices, seed in itertools.product(shares, range(5)):
        out, *_ = run(speech, seed, babble=1.0, babble_voices=voices, babble_db=[6.0, 6.0])
        below = (out[own].max() - out[~own].max()) / NATS_PER_DB
        assert below == pytest.approx(6.0, abs=1.0)
        shares[voices] += (out[~own] > out[own].max() - 13.0 * NATS_PER_DB).float().mean()
    assert shares[4] > 1.3 * shares[1]


def test_masks_hide_stripes(speech):
    features, lengths, active = speech
    flat = torch.randn(features.shape, generator=torch.Generator().manual_seed(3)) + 10
    out, *_ = run((flat, lengths, active), freq_masks=1, freq_mask_bins=20)
    hidden = (out.std(dim=1) < 1e-3).sum(dim=1)
    assert 0 < hidden.max() <= 20
