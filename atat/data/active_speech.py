"""Where in a recording somebody speaks, and how loud."""

# N samples, T frames of 10 ms

import numpy as np

from atat.data.audio import SAMPLE_RATE_HZ, NoSpeechError

SILENCE_DB = -75.0  # of full scale: where no 10 ms are louder, nobody speaks

FRAME_S = 0.01
SMOOTHING_FRAMES = 7  # a median over 70 ms ignores clicks
NOISE_PERCENTILES = (10, 40)  # of the levels in a recording: the noise, and how it swells
# Steady noise hides little above its level, swelling noise must not be taken for speech.
MARGIN_PER_SWELL = 2.5
MARGIN_DB = (5.0, 10.0)
PADDING_S_PER_DB = 0.01  # of speech that may lie below what counts: more where noise hides more
MAX_PAUSE_S = 0.7
MIN_SPEECH_S = 0.08


def active_range(
    samples: np.ndarray,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
    trim_db: float = 40.0,
    padding_s: float = 0.2,
) -> tuple[int, int]:
    """Find the speech inside a recording: from its first to its last active frame, padded.

    A frame of 10 ms is active when its level, smoothed by a median, is within `trim_db` of the
    loudest and clearly above the noise, whose level is taken to be the 10th percentile. The level
    is that of what moves: a constant offset (DC) has none. Active frames with pauses of up to 0.7 s
    between them belong together; a group with less than 80 ms of activity is a click or a breath
    and does not count. The padding grows with what the noise may hide of quiet beginnings and ends.

    Args:
        samples: float (N,) within [-1, 1].
        sample_rate_hz: of the samples.
        trim_db: how far below the loudest frame is still speech, in dB, above 0.
        padding_s: kept before and after, at least.

    Returns:
        start, end: sample indices; the whole recording where nothing stands out.
    """
    hop = round(FRAME_S * sample_rate_hz)
    level_db = levels_db(samples, sample_rate_hz)
    if len(level_db) == 0:
        return 0, len(samples)
    padded = np.pad(level_db, SMOOTHING_FRAMES // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, SMOOTHING_FRAMES)
    smooth_db = np.median(windows, axis=1)
    noise_db, swell_db = np.percentile(smooth_db, NOISE_PERCENTILES)
    margin_db = np.clip(MARGIN_PER_SWELL * (swell_db - noise_db), *MARGIN_DB)
    hidden_db = max(noise_db + margin_db - (smooth_db.max() - trim_db), 0.0)
    active = smooth_db >= smooth_db.max() - trim_db + hidden_db

    at = np.flatnonzero(active)
    groups = np.split(at, np.flatnonzero(np.diff(at) > MAX_PAUSE_S / FRAME_S) + 1)
    groups = [group for group in groups if len(group) >= MIN_SPEECH_S / FRAME_S]
    if not groups:
        return 0, len(samples)
    padding = round((padding_s + PADDING_S_PER_DB * hidden_db) * sample_rate_hz)
    start, end = groups[0][0] * hop - padding, (groups[-1][-1] + 1) * hop + padding
    return int(max(start, 0)), int(min(end, len(samples)))


def levels_db(samples: np.ndarray, sample_rate_hz: int = SAMPLE_RATE_HZ) -> np.ndarray:
    """Level of each whole frame of 10 ms, in dB of full scale, without its mean (DC); (T,)."""
    hop = round(FRAME_S * sample_rate_hz)
    num_frames = len(samples) // hop
    frames = samples[: num_frames * hop].reshape(num_frames, hop)
    return 10 * np.log10(np.var(frames, axis=1, dtype=np.float64) + 1e-10)


def at_level(samples: np.ndarray, level_db: float, sample_rate_hz: int) -> np.ndarray:
    """A recording without its mean, its loudest 10 ms at `level_db` of full scale.

    Raises:
        NoSpeechError: it is silent (below SILENCE_DB), so that its noise would become loud.
    """
    loudest_db = levels_db(samples, sample_rate_hz).max(initial=-np.inf)
    if loudest_db < SILENCE_DB:
        raise NoSpeechError(
            f"no speech: silent (its loudest 10 ms have {max(loudest_db, -100.0):.0f} dB of full "
            f"scale, expected {SILENCE_DB:.0f} dB or more)"
        )
    return (samples - samples.mean()) * np.float32(10 ** ((level_db - loudest_db) / 20))
