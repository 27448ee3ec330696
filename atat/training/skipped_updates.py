"""Updates that a training leaves out, since their loss or gradient is no finite number.

ESPnet's trainer skips such an update and says so in its log alone (espnet2/train/trainer.py). Here
they are counted, for a line an epoch that a user sees, and a rule says when that is too much.
"""

import logging

MESSAGE = "Skipping updating the model"  # of the trainer's warning
# A scaler of float16 finds its scale by a few of them at the start.
MAX_SHARE, MAX_COUNT = 0.1, 10


class SkippedUpdates(logging.Handler):
    """Counts them, by the trainer's warnings to the root logger."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Look at one line of the log."""
        self._count += MESSAGE in record.getMessage()

    def take(self, epoch: int, num_updates: int) -> int:
        """The number since the last time.

        Args:
            epoch: that has ended.
            num_updates: that it was to have.

        Raises:
            ValueError: they are more than MAX_SHARE of the epoch, and more than MAX_COUNT.
        """
        count, self._count = self._count, 0
        if count > max(MAX_SHARE * num_updates, min(MAX_COUNT, num_updates - 1)):
            raise ValueError(
                f"epoch {epoch}: the loss or gradient of {count} of {num_updates} updates is no "
                "finite number: training diverged; lower train.learning_rate"
            )
        return count


COUNTER = SkippedUpdates()  # of this process


def count() -> SkippedUpdates:
    """Begin to count, once a process."""
    logging.getLogger().addHandler(COUNTER)  # a handler is added once
    return COUNTER
