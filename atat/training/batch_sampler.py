"""Which examples each step of training takes: speech and text mixed, like lengths together.

What a step trains on depends on the seed and the number of the step only, so a resumed run sees
what an uninterrupted one would have seen. With `train.accum_grad` an update takes several steps.
"""

from collections.abc import Iterator
from itertools import cycle, islice

import numpy as np

from atat.common.seeds import rng
from atat.config.schema import Config
from atat.models import whisper
from atat.training.distributed import ALONE, World
from atat.training.training_data import SpeechPart, TrainingData, rows_of

Step = tuple[int, list[int], list[int]]  # its number, speech examples, text examples


class MixedBatchSampler:
    """The steps of training, and the batches of validation, as indices of examples.

    Args:
        examples: what there is; indices are those of `examples.speech_index` and `text_index`.
        config: `train` for sizes, `seed`.
        training: whether an utterance may serve one of its tasks a step (`tasks_per_utterance`).
        world: place among the processes that have batches of their own; a step has one of each.
    """

    def __init__(
        self, examples: TrainingData, config: Config, *, training: bool, world: World = ALONE
    ):
        self.config, self.training, self.world = config, training, world
        speech = [(examples.speech[p], u) for p, u in examples.speech_index]
        self.speech_frames = np.array([part.num_frames[u] for part, u in speech], dtype=np.int64)
        if config.model.frozen_encoder is not None:  # states, counted as what they were made of
            self.speech_frames *= whisper.FRAMES_PER_STATE
        self.speech_rows = np.array([self._num_rows(part, u) for part, u in speech], dtype=np.int64)
        texts = [(examples.text[p], u) for p, u in examples.text_index]
        self.text_tokens = np.array([len(part.targets[u]) for part, u in texts], dtype=np.int64)

    def steps(self, first: int, count: int) -> list[Step]:
        """(number of the step, speech examples, text examples) of `count` steps from `first` on."""
        # Without speech every step is text; with speech, every `text_every`-th has some.
        every = self.config.train.text_every if len(self.speech_frames) else 1
        speech = self._share(self._speech_passes(), first, count)
        text_first, text_last = (-(-n // every) for n in (first, first + count))
        texts = self._share(self._text_passes(), text_first, text_last - text_first)
        plan = []
        for i in range(count):
            step = first + i
            text = []
            if texts and step % every == 0:
                text = texts[step // every - text_first]
            plan.append((step, speech[i] if speech else [], text))
        return [entry for entry in plan if entry[1] or entry[2]]

    def validation(self) -> list[Step]:
        """Everything once, in batches."""
        order = np.argsort(self.speech_frames, kind="stable")
        speech = self._pack(order, 4 * self.config.train.batch_frames)
        size = 4 * max(self.config.train.text_batch, 1)
        texts = [
            list(range(i, min(i + size, len(self.text_tokens))))
            for i in range(0, len(self.text_tokens), size)
        ]
        return [(0, batch, []) for batch in speech] + [(0, [], batch) for batch in texts]

    def _num_rows(self, part: SpeechPart, u: int) -> int:
        """Rows of speech that an utterance takes in a step, at most."""
        one = self.training and self.config.train.tasks_per_utterance == "one"
        return 1 if one or "mlm" not in part.targets else len(rows_of(part.tasks_of(u)))

    def _speech_passes(self) -> Iterator[list[list[int]]]:
        """Pass after pass: all utterances in batches of like length, in a new order each time."""
        number = 0
        while len(self.speech_frames):
            draw = rng(self.config.seed, "batches", number)
            # Lengths with a little noise: like with like, but not always the same company.
            order = np.argsort(self.speech_frames * draw.uniform(0.9, 1.1, len(self.speech_frames)))
            batches = self._pack(order, self.config.train.batch_frames)
            yield self._in_steps(batches, draw)
            number += 1

    def _text_passes(self) -> Iterator[list[list[int]]]:
        """As `_speech_passes`; a batch has `text_batch` sentences."""
        size, number = self.config.train.text_batch, 0
        while len(self.text_tokens) and size:
            draw = rng(self.config.seed, "text", number)
            order = np.argsort(self.text_tokens * draw.uniform(0.9, 1.1, len(self.text_tokens)))
            batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
            yield self._in_steps(batches, draw)
            number += 1

    def _in_steps(self, batches: list[list[int]], draw: np.random.Generator) -> list[list[int]]:
        """Batches by length -> the steps in a new order, a batch for each process in each."""
        # The batches of a step are neighbours in length, since processes wait for the slowest; what
        # is missing to a whole step comes twice.
        size = self.world.size
        batches = list(islice(cycle(batches), -(-len(batches) // size) * size))
        steps = [batches[i : i + size] for i in range(0, len(batches), size)]
        return [batch for i in draw.permutation(len(steps)) for batch in steps[i]]

    def _share(self, passes: Iterator[list[list[int]]], first: int, count: int) -> list[list[int]]:
        """This process's batches of steps `first` to `first + count`."""
        size = self.world.size
        first, count = first * size, count * size
        taken: list[list[int]] = []
        for batches in passes:
            if first < len(batches):
                taken.extend(batches[first : first + count - len(taken)])
            first = max(first - len(batches), 0)
            if len(taken) == count:
                break
        return taken[self.world.rank :: size]

    def _pack(self, order: np.ndarray, max_frames: int) -> list[list[int]]:
        """Cut an order into batches of at most `max_frames`, padding included, or one utterance."""
        batches: list[list[int]] = []
        longest = num_rows = 0
        for i in order.tolist():
            longest = max(longest, int(self.speech_frames[i]))
            num_rows += int(self.speech_rows[i])
            if not batches or longest * num_rows > max_frames:
                batches.append([])
                longest, num_rows = int(self.speech_frames[i]), int(self.speech_rows[i])
            batches[-1].append(i)
        return batches
