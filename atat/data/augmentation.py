"""Augmentation of log mel features, batched: other speakers, rooms, microphones and noises.

Works on Kaldi log mel energies before normalisation, where a room is a convolution in the power
domain along time, noise an addition of powers, a microphone an offset per bin. Everything is drawn
from the generator that is given, so a step's augmentation depends on its seed only.
"""

# B batch, T frames, F mel bins

import functools
import math
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from atat.config.schema import AugmentConfig, FeaturesConfig
from atat.data import filter_bank

NATS_PER_DB = math.log(10.0) / 10.0
ACTIVE_DB = 35.0  # frames this far below the loudest still count as speech
WAVES = (2, 3, 5, 8)  # half-waves an utterance of the local changes of tempo
GRAIN_S = 30.0  # of white noise, in which excerpts begin anywhere
# What features of noise depend on.
DECISIVE = ("kind", "num_mel_bins", "frame_length_ms", "frame_shift_ms", "sample_rate_hz")
SILENCE_DB = 55.0  # how far below the loudest frame the added padding lies, before noise


class Augmenter:
    """Random changes to a padded batch of features.

    In this order: tempo, time and frequency warp and padding; reverberation; spectral blur;
    frequency response; noise and babble; band limits; level; SpecAugment.

    Args:
        c: which, how often and how much (conf/base.yaml explains each).
        settings: of the features.
    """

    # To be raised when the same settings and draws give other features: what was kept of them
    # (atat/training/frozen_states.py) is made again.
    VERSION = 4

    def __init__(self, c: AugmentConfig, settings: FeaturesConfig) -> None:
        self.c = c
        self.frames_per_s = 1000.0 / settings.frame_shift_ms
        self.grain_NF = (
            _grain(*(getattr(settings, name) for name in DECISIVE)) if c.enabled else None
        )

    def __call__(
        self,
        speech_BTF: Tensor,
        lengths_B: Tensor,
        active_B2: Tensor,
        generator: torch.Generator,
        strength: float = 1.0,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Augment a batch; nothing changes where augmentation is not enabled.

        Args:
            speech_BTF: log mel energies, natural logarithm of power, float32, not normalised.
            lengths_B: int64, frames of each.
            active_B2: first frame of speech and the frame after its last.
            generator: of all draws.
            strength: 0 to 1: 0 leaves nearly everything as it is, 1 is the full range.

        Returns:
            New features float32 (B, T', F), lengths int64 (B,), active frames float (B, 2).
        """
        if not self.c.enabled:
            return speech_BTF, lengths_B, active_B2
        draw = _Draw(generator, len(lengths_B), strength)
        loudest_B = _masked_max(speech_BTF, lengths_B)
        speech, lengths, active = self._warp(speech_BTF, lengths_B, active_B2, loudest_B, draw)
        speech = self._reverberate(speech, draw)
        speech = self._equalise(self._smooth(speech, draw), draw)
        speech = self._add_noise(speech, lengths, loudest_B, draw)
        speech = self._limit_band(speech, loudest_B, draw)
        speech = speech + draw.between(-6.0, 6.0)[:, None, None] * NATS_PER_DB
        speech = self._mask(speech, lengths, draw)
        return speech, lengths, active

    def of_states(
        self, states_BSD: Tensor, lengths_B: Tensor, generator: torch.Generator
    ) -> Tensor:
        """Augment cached states of a frozen encoder: SpecAugment alone, at full strength.

        Args:
            states_BSD: float32; D takes the place of mel bins.
            lengths_B: int64, states of each.
            generator: of all draws.

        Returns:
            New states, (B, S, D).
        """
        if not self.c.enabled:
            return states_BSD
        return self._mask(states_BSD, lengths_B, _Draw(generator, len(lengths_B), 1.0))

    def _warp(
        self,
        speech: Tensor,
        lengths_B: Tensor,
        active_B2: Tensor,
        loudest_B: Tensor,
        draw: "_Draw",
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Tempo, local changes of it, formants, and silence around: one resampling."""
        tempo_B = draw.log_between(*self.c.tempo)
        before_B, after_B = self._padding(draw), self._padding(draw)
        inner_B = (lengths_B / tempo_B).round().clamp(min=1)
        new_lengths_B = (inner_B + before_B + after_B).long()

        time_BT = torch.arange(int(new_lengths_B.max()), dtype=torch.float32)[None]
        share_BT = (time_BT - before_B[:, None] + 0.5) / inner_B[:, None]
        # Slower here, faster there: every wave changes the local tempo by up to its part of
        # `time_warp`, and as that is below 1, time never runs backwards.
        warped_BT = share_BT
        for wave in WAVES:
            change_B1 = draw.between(-1.0, 1.0)[:, None] * self.c.time_warp / len(WAVES)
            angle_BT = wave * math.pi * share_BT
            warped_BT = warped_BT + change_B1 * torch.sin(angle_BT) / (wave * math.pi)
        # Not beyond its last frame: there is the padding of the batch.
        source_BT = (warped_BT * lengths_B[:, None] - 0.5).minimum(lengths_B[:, None] - 1)

        num_bins = speech.size(2)
        bin_F = torch.arange(num_bins, dtype=torch.float32)
        factor_B1 = draw.log_between(*self.c.frequency_warp)[:, None]
        # Vocal tract length (Jaitly & Hinton 2013): scale the low bins, bend back to the top.
        knee = 0.7 * num_bins
        low_BF = bin_F * factor_B1
        top = num_bins - 1.0
        high_BF = top - (top - bin_F) * (top - knee * factor_B1) / (top - knee)
        bins_BF = torch.where(bin_F < knee, low_BF, high_BF)

        grid = torch.stack(
            torch.broadcast_tensors(
                (2 * bins_BF / top - 1)[:, None, :],
                (2 * source_BT / max(speech.size(1) - 1, 1) - 1)[:, :, None],
            ),
            dim=-1,
        )
        out = F.grid_sample(
            speech[:, None], grid, mode="bilinear", padding_mode="border", align_corners=True
        )[:, 0]
        outside_BT = (share_BT < 0) | (share_BT >= 1)
        silence_B11 = (loudest_B - SILENCE_DB * NATS_PER_DB)[:, None, None]
        out = torch.where(outside_BT[..., None], silence_B11.expand_as(out), out)
        scale_B1 = (inner_B / lengths_B)[:, None]
        return out, new_lengths_B, active_B2 * scale_B1 + before_B[:, None]

    def _padding(self, draw: "_Draw") -> Tensor:
        """Frames of silence at one end."""
        seconds_B = draw.between(0.0, self.c.padding_s)
        if self.c.long_padding > 0:
            # One draw for the batch: its longest utterance decides what it costs.
            longer_s = self.c.long_padding_s * draw.scalar()
            seconds_B = seconds_B + longer_s * (draw.scalar() < self.c.long_padding * draw.strength)
        return (seconds_B * self.frames_per_s).round()

    def _reverberate(self, speech: Tensor, draw: "_Draw") -> Tensor:
        """An exponentially decaying tail of earlier frames' power."""
        on_B = draw.chance(self.c.reverb)
        decay_s_B = draw.between(0.03, 0.25)  # time constant of power; T60 is 13.8 times that / 2
        level_B = draw.between(0.02, 0.3) * on_B
        lag_K = torch.arange(int(0.5 * self.frames_per_s), dtype=torch.float32)
        kernel_BK = level_B[:, None] * torch.exp(-lag_K / (decay_s_B[:, None] * self.frames_per_s))
        kernel_BK[:, 0] = 1.0
        power_FBT = speech.clamp(max=40.0).exp().permute(2, 0, 1)
        padded = F.pad(power_FBT, (len(lag_K) - 1, 0))
        out = F.conv1d(padded, kernel_BK.flip(1)[:, None], groups=speech.size(0))
        return out.clamp(min=1e-10).log().permute(1, 2, 0)

    def _smooth(self, speech: Tensor, draw: "_Draw") -> Tensor:
        """Blur neighbouring bins, so that harmonics, which tell of the pitch, tell less."""
        width = 5
        blurred = F.avg_pool1d(
            F.pad(speech, (width // 2, width // 2), mode="replicate"), width, stride=1
        )
        return torch.where(draw.chance(self.c.spectral_blur)[:, None, None], blurred, speech)

    def _equalise(self, speech: Tensor, draw: "_Draw") -> Tensor:
        """A smooth random frequency response."""
        phase_F = torch.linspace(0, math.pi, speech.size(2))
        gain_BF = torch.zeros(speech.size(0), speech.size(2))
        for order in (1, 2, 3):
            amplitude_B = draw.between(-self.c.equaliser_db, self.c.equaliser_db) / order
            gain_BF += amplitude_B[:, None] * torch.cos(order * phase_F)
        return speech + gain_BF[:, None] * NATS_PER_DB

    def _add_noise(
        self, speech: Tensor, lengths_B: Tensor, loudest_B: Tensor, draw: "_Draw"
    ) -> Tensor:
        """Coloured noise that comes and goes, and other utterances of the batch as babble."""
        num_batch, num_frames, num_bins = speech.shape
        # Everyone has some noise: no microphone is silent.
        snr_B = torch.where(
            draw.chance(self.c.noise), draw.between(*self.c.snr_db), draw.between(45.0, 60.0)
        )
        # dB from the lowest to the highest bin; most of a fall is among the low ones, as it is
        # in noise that loses so many dB an octave.
        slope_B = draw.between(-40.0, 10.0)
        bend_B = draw.between(0.4, 1.0)
        colour_BF = slope_B[:, None] * torch.linspace(0, 1, num_bins) ** bend_B[:, None]
        bump_B1 = draw.between(0, num_bins)[:, None]
        bump_BF = torch.exp(-(((torch.arange(num_bins) - bump_B1) / 6.0) ** 2))
        colour_BF = colour_BF + draw.between(0.0, 10.0)[:, None] * bump_BF
        colour_BF = colour_BF - colour_BF.amax(dim=1, keepdim=True)
        # Slow swells and single impulses make it non-stationary.
        swell_B1K = draw.normal(num_batch, 1, max(num_frames // 25, 2))
        swell_BT = F.interpolate(swell_B1K, size=num_frames, mode="linear", align_corners=True)[
            :, 0
        ]
        swell_BT = swell_BT * draw.between(0.0, 6.0)[:, None]
        knock_BT = 15.0 * (draw.uniform(num_batch, num_frames) < 0.01)
        knock_BT = F.max_pool1d(knock_BT[:, None], 5, stride=1, padding=2)[:, 0]
        knock_BT = knock_BT * draw.chance(self.c.impulse_noise)[:, None]
        level_BTF = colour_BF[:, None] + (swell_BT + knock_BT)[..., None] - snr_B[:, None, None]
        assert self.grain_NF is not None  # as it is enabled
        first_B1 = (draw.uniform(num_batch, 1) * len(self.grain_NF)).long()
        grain_BTF = self.grain_NF[(first_B1 + torch.arange(num_frames)) % len(self.grain_NF)]
        noise = loudest_B[:, None, None] + level_BTF * NATS_PER_DB + grain_BTF
        speech = torch.logaddexp(speech, noise)

        babble = self._somebody(speech, draw)
        for _ in range(self.c.babble_voices - 1):
            quieter_B = draw.between(0.0, 6.0) * NATS_PER_DB
            another = self._somebody(speech, draw) - quieter_B[:, None, None]
            babble = torch.logaddexp(babble, another)
        babble_loudest_B = _masked_max(babble, torch.full_like(lengths_B, num_frames))
        target_B = loudest_B - draw.between(*self.c.babble_db) * NATS_PER_DB
        babble = babble + (target_B - babble_loudest_B)[:, None, None]
        mixed = torch.logaddexp(speech, babble)
        return torch.where(draw.chance(self.c.babble)[:, None, None], mixed, speech)

    def _somebody(self, speech: Tensor, draw: "_Draw") -> Tensor:
        """Another utterance of the batch, from anywhere in it on, for each."""
        other = draw.permutation(speech.size(0))
        return speech[other].roll(int(draw.scalar() * speech.size(1)), dims=1)

    def _limit_band(self, speech: Tensor, loudest_B: Tensor, draw: "_Draw") -> Tensor:
        """Telephones and cheap microphones: nothing above, or below, some bin."""
        num_bins = speech.size(2)
        bin_F = torch.arange(num_bins)
        top_B = draw.between(0.65 * num_bins, num_bins)
        bottom_B = draw.between(0.0, 0.1 * num_bins)
        outside_BF = (bin_F > top_B[:, None]) | (bin_F < bottom_B[:, None])
        outside_BF &= draw.chance(self.c.band_limit)[:, None]
        floor_B11 = (loudest_B - SILENCE_DB * NATS_PER_DB)[:, None, None]
        return torch.where(outside_BF[:, None], torch.minimum(speech, floor_B11), speech)

    def _mask(self, speech: Tensor, lengths_B: Tensor, draw: "_Draw") -> Tensor:
        """SpecAugment (Park et al. 2019): stripes of frequency and time become the mean."""
        _, num_frames, num_bins = speech.shape
        mean_B11 = speech.mean(dim=(1, 2), keepdim=True)
        hidden = torch.zeros(speech.shape, dtype=torch.bool)
        for _ in range(self.c.freq_masks):
            size_B = draw.between(0.0, self.c.freq_mask_bins)
            begin_B = draw.between(0.0, 1.0) * (num_bins - size_B)
            bin_F = torch.arange(num_bins)
            stripe = (bin_F >= begin_B[:, None]) & (bin_F < (begin_B + size_B)[:, None])
            hidden |= stripe[:, None]
        for _ in range(self.c.time_masks):
            size_B = draw.between(0.0, self.c.time_mask_fraction) * lengths_B
            begin_B = draw.between(0.0, 1.0) * (lengths_B - size_B)
            time_T = torch.arange(num_frames)
            stripe = (time_T >= begin_B[:, None]) & (time_T < (begin_B + size_B)[:, None])
            hidden |= stripe[..., None]
        return torch.where(hidden, mean_B11, speech)


class _Draw:
    """One random number an utterance, from one generator; ranges shrink with the strength."""

    def __init__(self, generator: torch.Generator, size: int, strength: float) -> None:
        self.generator, self.size, self.strength = generator, size, strength

    def uniform(self, *shape: int) -> Tensor:
        """Uniform in [0, 1), of any shape, whatever the strength."""
        return torch.rand(*shape, generator=self.generator)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, of any shape, whatever the strength."""
        return torch.randn(*shape, generator=self.generator)

    def scalar(self) -> float:
        """One number for the whole batch, uniform in [0, 1)."""
        return float(self.uniform(1))

    def between(self, low: float, high: float) -> Tensor:
        """Uniform in [low, high), whatever the strength; (B,)."""
        return low + (high - low) * self.uniform(self.size)

    def log_between(self, low: float, high: float) -> Tensor:
        """Log-uniform factors, drawn towards 1 when the strength is low."""
        return torch.exp(self.strength * self.between(math.log(low), math.log(high)))

    def chance(self, probability: float) -> Tensor:
        """True with a probability, times the strength; bool (B,)."""
        return self.uniform(self.size) < probability * self.strength

    def permutation(self, size: int) -> Tensor:
        """The numbers from 0 to size - 1 in random order, int64."""
        return torch.randperm(size, generator=self.generator)


@functools.cache
def _grain(*settings: Any) -> Tensor:
    """How noise flickers: features of white noise (N, F), of mean power 1 in each bin.

    A low bin is one bin of the spectrum, whose log power varies by a nat and more; a high one is
    the mean of many.
    """
    c = FeaturesConfig(**dict(zip(DECISIVE, settings, strict=True)))
    samples_N = np.random.default_rng(0).standard_normal(int(GRAIN_S * c.sample_rate_hz))
    white_NF = torch.from_numpy(filter_bank.log_mel(samples_N.astype(np.float32), c))
    return white_NF - white_NF.exp().mean(dim=0).log()


def active_frames(feats_TF: np.ndarray) -> tuple[int, int]:
    """First frame with speech and the frame after the last, by level below the loudest frame.

    Args:
        feats_TF: log mel energies, natural logarithm of power.

    >>> active_frames(np.array([[0.0], [20.0], [19.0], [0.0]]))
    (1, 3)
    """
    level_T = feats_TF.max(axis=1)
    loud = np.flatnonzero(level_T > level_T.max() - ACTIVE_DB * NATS_PER_DB)
    return int(loud[0]), int(loud[-1]) + 1


def _masked_max(speech_BTF: Tensor, lengths_B: Tensor) -> Tensor:
    """Loudest value of each utterance, (B,)."""
    mask = torch.arange(speech_BTF.size(1)) < lengths_B[:, None]
    return speech_BTF.masked_fill(~mask[..., None], -math.inf).amax(dim=(1, 2))
