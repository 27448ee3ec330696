"""Examples of any kinds, mixed into batches: speech rows and text rows, a target a task.

ESPnet's stock data classes want every example to have the same keys; its official way round them is
an iterator factory of one's own (`iterator_type: task`). What a step trains on depends on the seed
and the number of the step only, so a resumed run sees what an uninterrupted one would have seen.
"""

# B sources (speech rows, then text rows), R targets, T frames, F mel bins, L tokens

import os
from collections.abc import Iterable, Iterator
from itertools import cycle, islice

import numpy as np
import torch
from torch import Tensor

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.common.seeds import rng
from atat.config.schema import Config
from atat.data.augmentation import Augmenter, active_frames
from atat.data.tokenizer import Tokenizer
from atat.models import whisper
from atat.training import frozen_states, word_masking
from atat.training.training_data import Examples, SpeechPart

from espnet2.iterators.abs_iter_factory import AbsIterFactory

LOW_STRENGTH = 0.3  # of augmentation, while alignments are being learned

Batch = tuple[list[str], dict[str, Tensor]]


class Batches:
    """Which examples each step takes, and the tensors they become.

    Args:
        examples: what there is.
        config: `train` for sizes, `augment` for training, `seed`.
        tokenizer: special symbols and task tokens.
        training: false goes through everything once, in order, without augmentation.
        rank: which of `train.num_processes`; each takes its share of every step.
    """

    def __init__(
        self,
        examples: Examples,
        config: Config,
        tokenizer: Tokenizer,
        *,
        training: bool,
        rank: int = 0,
    ):
        self.examples, self.config, self.tokenizer = examples, config, tokenizer
        self.training, self.rank = training, rank
        self.augmenter = Augmenter(config.augment, config.features)
        # Of a frozen encoder, in place of features: counted as the frames that they were made of.
        self.of_states = config.model.frozen_encoder is not None
        if self.of_states and "mlm" in examples.tasks:
            frozen_states.encoder_of(
                frozen_states.Base.of(config)
            )  # now: processes that make batches share it
        self.speech_index = [
            (p, u) for p, part in enumerate(examples.speech) for u in range(len(part.ids))
        ]
        self.speech_frames = np.array(
            [examples.speech[p].num_frames[u] for p, u in self.speech_index], dtype=np.int64
        )
        if self.of_states:
            self.speech_frames *= whisper.FRAMES_PER_STATE
        self.speech_rows = np.array(
            [self._num_rows(examples.speech[p], u) for p, u in self.speech_index], dtype=np.int64
        )
        self.text_index = [
            (p, u) for p, part in enumerate(examples.text) for u in range(len(part.ids))
        ]
        self.text_tokens = np.array([len(examples.text[p].targets[u]) for p, u in self.text_index])

    def steps(self, first: int, count: int) -> list[tuple[int, list[int], list[int]]]:
        """(number of the step, speech examples, text examples) of `count` steps from `first` on."""
        # Without speech every step is text; with speech, every `text_every`-th has some.
        every = self.config.train.text_every if self.speech_index else 1
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

    def validation(self) -> list[tuple[int, list[int], list[int]]]:
        """Everything once, in batches."""
        order = np.argsort(self.speech_frames, kind="stable")
        speech = self._pack(order, 4 * self.config.train.batch_frames)
        size = 4 * max(self.config.train.text_batch, 1)
        texts = [
            list(range(i, min(i + size, len(self.text_index))))
            for i in range(0, len(self.text_index), size)
        ]
        return [(0, batch, []) for batch in speech] + [(0, [], batch) for batch in texts]

    def collate(self, step: int, speech: list[int], text: list[int]) -> Batch:
        """The tensors of one step, as `AtatModel.forward` takes them."""
        ids: list[str] = []
        targets: list[tuple[int, int, np.ndarray]] = []  # source row, task token, target
        batch: dict[str, Tensor] = {}
        progress = step / self.config.train.num_steps
        ctc_alone = (
            self.training
            and self.config.model.ctc_weight > 0
            and progress < self.config.train.ctc_first_fraction
        )
        draw = rng(self.config.seed, "tasks", step, self.rank)
        if speech:
            feats, words = [], []
            for p, u in (self.speech_index[i] for i in speech):
                part = self.examples.speech[p]
                tasks = [] if ctc_alone else self._tasks_of(part, u, draw)
                for served in rows_of(tasks):
                    masked = "mlm" in served
                    ids.append(part.ids[u])
                    feats.append(
                        self._masked(part, u, step) if masked else self._features(part, u, step)
                    )
                    words.append(() if masked else part.words[u])  # CTC hears no masked words
                    for task in served:
                        token = self.tokenizer.task_ids[task]
                        targets.append((len(feats) - 1, token, part.targets[task][u]))
            batch |= self._speech_tensors(step, progress, feats)
            batch["words"], batch["words_lengths"] = _pad(words, self.tokenizer.pad)
        if text:
            sources = []
            for row, (p, u) in enumerate((self.text_index[i] for i in text), start=len(ids)):
                part = self.examples.text[p]
                ids.append(part.ids[u])
                sources.append(part.sources[u])
                targets.append((row, self.tokenizer.task_ids["nlu"], part.targets[u]))
            batch["text"], batch["text_lengths"] = _pad(sources, self.tokenizer.pad)
        batch["target"], batch["target_lengths"] = _pad(
            [t for *_, t in targets], self.tokenizer.pad
        )
        batch["target_source"] = torch.tensor([row for row, *_ in targets], dtype=torch.long)
        batch["target_task"] = torch.tensor([task for _, task, _ in targets], dtype=torch.long)
        return ids, batch

    def _tasks_of(self, part: SpeechPart, u: int, draw: np.random.Generator) -> list[str]:
        """The tasks that an utterance serves in this step."""
        able = part.tasks_of(u)
        if not self.training or self.config.train.tasks_per_utterance == "all" or len(able) < 2:
            return able
        weights = np.array([self.config.train.task_weights.get(task, 1.0) for task in able])
        return [able[draw.choice(len(able), p=weights / weights.sum())]]

    def _num_rows(self, part: SpeechPart, u: int) -> int:
        """Rows of speech that an utterance takes in a step, at most."""
        one = self.training and self.config.train.tasks_per_utterance == "one"
        return 1 if one or "mlm" not in part.targets else len(rows_of(part.tasks_of(u)))

    def _features(self, part: SpeechPart, u: int, step: int) -> Tensor:
        """Features or states; in training those of one of its copies, once it is not mild."""
        mild = step < self.config.augment.low_strength_fraction * self.config.train.num_steps
        if not part.copies or mild:
            return part.features(u)
        draw = rng(self.config.seed, "copies", step, part.ids[u])
        return part.features(u, int(draw.integers(len(part.copies) + 1)))

    def _masked(self, part: SpeechPart, u: int, step: int) -> Tensor:
        """Features or states with some words masked, other ones at every step; in validation
        always the same."""
        draw = rng(self.config.seed, "mlm", step, part.ids[u])
        features, train = self.config.features, self.config.train
        masked_TF = word_masking.masked_features(part.wavs[u], part.ticks[u], features, train, draw)
        if self.of_states:  # those that are kept have heard what is masked now
            masked_TF = frozen_states.encode(masked_TF, frozen_states.Base.of(self.config))
        return torch.from_numpy(masked_TF)

    def _speech_tensors(self, step: int, progress: float, feats: list[Tensor]) -> dict[str, Tensor]:
        lengths = torch.tensor([len(f) for f in feats])
        if self.of_states:  # they do not tell where speech is: a flat start takes all for speech
            active = torch.stack(
                [torch.zeros_like(lengths), lengths * whisper.FRAMES_PER_STATE], dim=1
            )
            active = active.float()
        else:
            active = torch.tensor([active_frames(f.numpy()) for f in feats], dtype=torch.float32)
        speech = torch.nn.utils.rnn.pad_sequence(feats, batch_first=True)
        flat_start = self.training and progress < self.config.train.flat_start_fraction
        if self.training and self.of_states:
            speech = self.augmenter.of_states(speech, lengths, self._generator(step))
        elif self.training:
            strength = LOW_STRENGTH if progress < self.config.augment.low_strength_fraction else 1.0
            speech, lengths, active = self.augmenter(
                speech, lengths, active, self._generator(step), strength
            )
        return {
            "speech": speech,
            "speech_lengths": lengths,
            "active": active,
            "flat_start": torch.tensor([flat_start]),
        }

    def _generator(self, step: int) -> torch.Generator:
        seed = int(rng(self.config.seed, "augment", step, self.rank).integers(2**62))
        return torch.Generator().manual_seed(seed)

    def _speech_passes(self) -> Iterator[list[list[int]]]:
        """Pass after pass: all utterances in batches of like length, in a new order each time."""
        number = 0
        while len(self.speech_index):
            draw = rng(self.config.seed, "batches", number)
            # Lengths with a little noise: like with like, but not always the same company.
            order = np.argsort(self.speech_frames * draw.uniform(0.9, 1.1, len(self.speech_frames)))
            batches = self._pack(order, self.config.train.batch_frames)
            yield self._in_steps(batches, draw)
            number += 1

    def _text_passes(self) -> Iterator[list[list[int]]]:
        """As `_speech_passes`; a batch has `text_batch` sentences."""
        size, number = self.config.train.text_batch, 0
        while len(self.text_index) and size:
            draw = rng(self.config.seed, "text", number)
            order = np.argsort(self.text_tokens * draw.uniform(0.9, 1.1, len(self.text_tokens)))
            batches = [order[i : i + size].tolist() for i in range(0, len(order), size)]
            yield self._in_steps(batches, draw)
            number += 1

    def _in_steps(self, batches: list[list[int]], draw: np.random.Generator) -> list[list[int]]:
        """Batches by length -> the steps in a new order, a batch for each process in each."""
        # The batches of a step are neighbours in length, since processes wait for the slowest; what
        # is missing to a whole step comes twice.
        size = self.config.train.num_processes
        batches = list(islice(cycle(batches), -(-len(batches) // size) * size))
        steps = [batches[i : i + size] for i in range(0, len(batches), size)]
        return [batch for i in draw.permutation(len(steps)) for batch in steps[i]]

    def _share(self, passes: Iterator[list[list[int]]], first: int, count: int) -> list[list[int]]:
        """This process's batches of steps `first` to `first + count`."""
        size = self.config.train.num_processes
        first, count = first * size, count * size
        taken: list[list[int]] = []
        for batches in passes:
            if first < len(batches):
                taken.extend(batches[first : first + count - len(taken)])
            first = max(first - len(batches), 0)
            if len(taken) == count:
                break
        return taken[self.rank :: size]

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


class IterFactory(AbsIterFactory):
    """ESPnet's interface: the batches of an epoch, made ahead by worker processes."""

    def __init__(self, batches: Batches, num_workers: int):
        self.batches, self.num_workers = batches, num_workers

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> Iterable[Batch]:
        """Epochs count from 1; an epoch is `num_steps / num_epochs` steps."""
        if self.batches.training:
            train = self.batches.config.train
            first = train.num_steps * (epoch - 1) // train.num_epochs
            last = train.num_steps * epoch // train.num_epochs
            plan = self.batches.steps(first, last - first)
        else:
            # The first process alone tells of it.
            plan = self.batches.validation()[: 1 if self.batches.rank else None]
        workers = self.num_workers if self.batches.training else 0
        return torch.utils.data.DataLoader(
            _Planned(self.batches, plan),
            batch_size=None,
            shuffle=False,
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            # Where it can be had, since it starts at once; the default depends on who started us.
            multiprocessing_context="fork" if workers and hasattr(os, "fork") else None,
        )


class _Planned(torch.utils.data.Dataset):
    def __init__(self, batches: Batches, plan: list[tuple[int, list[int], list[int]]]):
        self.batches, self.plan = batches, plan

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> Batch:
        return self.batches.collate(*self.plan[index])


def rows_of(tasks: list[str]) -> list[list[str]]:
    """The tasks of an utterance, by the row of speech that they hear: as it is, or masked.

    >>> rows_of(["asr", "slu", "mlm"]), rows_of(["mlm"]), rows_of([])
    ([['asr', 'slu'], ['mlm']], [['mlm']], [[]])
    """
    if "mlm" not in tasks:
        return [tasks]
    heard = [task for task in tasks if task != "mlm"]
    return [heard, ["mlm"]] if heard else [["mlm"]]


def _pad(sequences: list[np.ndarray], value: int) -> tuple[Tensor, Tensor]:
    """(B, L) int64 and lengths (B,); L is at least 1."""
    lengths = torch.tensor([len(s) for s in sequences], dtype=torch.long)
    out = torch.full((len(sequences), max([1, *lengths.tolist()])), value)
    for row, sequence in zip(out, sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(np.asarray(sequence, dtype=np.int64))
    return out, lengths
