"""Length bucketing: inputs in batches of like length."""

from collections.abc import Iterable, Sequence

from atat.config.schema import Config, DecodeConfig

MAX_TEXT_TOKENS = 512  # of one sentence; what BERT takes
# Of an encoder's widest layer, in a batch: 8 MB of float32, about what a core has of caches. More
# wait for memory: larger batches of the paper's encoder take twice the time (docs/log.md).
MAX_OUTPUTS = 2_000_000


def batches(sizes: Sequence[int], max_size: int) -> Iterable[list[int]]:
    """Indices in batches of like size, whose padded size stays within a limit (or of one).

    >>> list(batches([5, 1, 9, 2, 30], 10))
    [[1, 3], [0], [2], [4]]
    """
    batch: list[int] = []
    for index in sorted(range(len(sizes)), key=lambda i: sizes[i]):
        if batch and sizes[index] * (len(batch) + 1) > max_size:
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def search_batches(sizes: Sequence[int], decode: DecodeConfig, beam: int) -> Iterable[list[int]]:
    """Batches of decode.batch_frames, which are meant for decode.beam: smaller for a wider beam.

    >>> list(search_batches([5, 1, 9, 2], DecodeConfig(batch_frames=20, beam=2), beam=4))
    [[1, 3], [0], [2]]
    """
    return batches(sizes, decode.batch_frames * decode.beam // max(beam, decode.beam))


def encoder_frames(settings: Config) -> int:
    """Most feature frames that a speech encoder on a CPU shall have at once, 1 or more.

    By what its widest layer puts out for a frame: front, or feed-forward of Whisper's encoder.
    """
    c = settings.model
    if c.frozen_encoder is not None:
        width = 4 * c.frozen_encoder_width // 2  # a state is two frames
    elif c.speech_encoder == "whisper":
        width = c.speech_ffn // 2
    else:
        width = c.front_channels * settings.features.num_mel_bins
        width //= 1 if c.front == "max" else 4  # half the time and half the bins
    return max(1, MAX_OUTPUTS // width)


def text_size(sentence: str) -> int:
    """Size of a sentence as so many feature frames: a word is a quarter of a second of speech."""
    return 25 * len(sentence.split())
