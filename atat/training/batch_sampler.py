"""Which examples each step of training takes: speech and text mixed, like lengths together.

What a step trains on depends on the seed and the number of the step only, so a resumed run sees
what an uninterrupted one would have seen. With `train.accum_grad` an update takes several steps.
"""

from bisect import bisect_right
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
    ) -> None:
        self.config, self.training, self.world = config, training, world
        nothing = np.empty(0, dtype=np.int64)
        frames = [part.num_frames for part in examples.speech]
        self.speech_frames = np.concatenate([nothing, *frames])
        if config.model.frozen_encoder is not None:  # states, counted as what they were made of
            self.speech_frames *= whisper.FRAMES_PER_STATE
        rows = [self._num_rows(part) for part in examples.speech]
        self.speech_rows = np.concatenate([nothing, *rows])
        tokens = [part.lengths_U for part in examples.text]
        self.text_tokens = np.concatenate([nothing, *tokens])
        # Steps before each pass, as far as it is known: a pass need not be planned to be left out.
        self._before: dict[str, list[int]] = {"speech": [0], "text": [0]}

    def steps(self, first: int, count: int) -> list[Step]:
        """(number of the step, speech examples, text examples) of `count` steps from `first` on."""
        # Without speech every step is text; with speech, every `text_every`-th has some.
        every = self.config.train.text_every if len(self.speech_frames) else 1
        speech = self._share("speech", first, count)
        text_first, text_last = (-(-n // every) for n in (first, first + count))
        texts = self._share("text", text_first, text_last - text_first)
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
        size = 4 * self.config.train.text_batch
        texts = [
            list(range(i, min(i + size, len(self.text_tokens))))
            for i in range(0, len(self.text_tokens), size)
        ]
        return [(0, batch, []) for batch in speech] + [(0, [], batch) for batch in texts]

    def starving(self, num_processes: int) -> list[str]:
        """A line where so many processes share batches of fewer utterances, as their mean length
        says."""
        size = self.config.train.batch_frames
        mean = self.speech_frames.mean() if len(self.speech_frames) else 0.0
        if num_processes == 1 or size >= num_processes * mean:
            return []
        return [
            f"train.batch_frames: {size} a step, of all {num_processes} processes together, are "
            f"{size / mean:.1f} utterances of {mean:.0f} frames: some of them have none, give more"
        ]

    def _num_rows(self, part: SpeechPart) -> np.ndarray:
        """Rows of speech that each utterance takes in a step, at most."""
        num = len(part.ids)
        one = self.training and self.config.train.tasks_per_utterance == "one"
        if one or "mlm" not in part.targets:
            return np.ones(num, dtype=np.int64)
        return np.array([len(rows_of(part.tasks_of(u))) for u in range(num)], dtype=np.int64)

    def _speech_pass(self, number: int) -> list[list[int]]:
        """All utterances in batches of like length, in an order of this pass."""
        if not len(self.speech_frames):
            return []
        draw = rng(self.config.seed, "batches", number)
        # Lengths with a little noise: like with like, but not always the same company.
        order = np.argsort(self.speech_frames * draw.uniform(0.9, 1.1, len(self.speech_frames)))
        batches = self._pack(order, self.config.train.batch_frames)
        return self._in_steps(batches, draw)

    def _text_pass(self, number: int) -> list[list[int]]:
        """As `_speech_pass`; a batch has `text_batch` sentences."""
        size = self.config.train.text_batch
        if not len(self.text_tokens):
            return []
        draw = rng(self.config.seed, "text", number)
        order = np.argsort(self.text_tokens * draw.uniform(0.9, 1.1, len(self.text_tokens)))
        batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
        return self._in_steps(batches, draw)

    def _in_steps(self, batches: list[list[int]], draw: np.random.Generator) -> list[list[int]]:
        """Batches by length -> the steps in a new order, a batch for each process in each."""
        # The batches of a step are neighbours in length, since processes wait for the slowest; what
        # is missing to a whole step comes twice.
        size = self.world.size
        batches = list(islice(cycle(batches), -(-len(batches) // size) * size))
        steps = [batches[i : i + size] for i in range(0, len(batches), size)]
        return [batch for i in draw.permutation(len(steps)) for batch in steps[i]]

    def _share(self, kind: str, first: int, count: int) -> list[list[int]]:
        """This process's batches of steps `first` to `first + count`."""
        planned = self._speech_pass if kind == "speech" else self._text_pass
        before, size = self._before[kind], self.world.size
        first, count = first * size, count * size
        number = bisect_right(before, first) - 1
        taken: list[list[int]] = []
        while len(taken) < count:
            batches = planned(number)
            if not batches:
                break
            if number + 1 == len(before):
                before.append(before[number] + len(batches))
            begin = max(first - before[number], 0)
            taken += batches[begin : begin + count - len(taken)]
            number += 1
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
