"""Length bucketing: inputs in batches of like length."""

from collections.abc import Iterable, Sequence

MAX_TEXT_TOKENS = 512  # of one sentence; what BERT takes


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


def text_size(sentence: str) -> int:
    """Size of a sentence as so many feature frames: a word is a quarter of a second of speech."""
    return 25 * len(sentence.split())
