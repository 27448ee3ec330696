"""The tensors of a step: features augmented or masked, targets a task, padded.

What a step looks like depends on the seed and the number of the step only. Processes that share it
make the same rows, whichever of them takes which.
"""

# B sources (speech rows, then text rows), R targets, T frames, F mel bins, L tokens

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from atat.common.seeds import rng
from atat.config.schema import Config
from atat.data.augmentation import Augmenter, active_frames
from atat.data.tokenizer import Tokenizer
from atat.models import whisper
from atat.training import frozen_states, text_noise, word_masking
from atat.training.distributed import ALONE, World
from atat.training.training_data import SpeechPart, TrainingData, rows_of

GROUP = 32  # rows of speech that are augmented together: what one process does for another
LOW_STRENGTH = 0.3  # of augmentation, while alignments are being learned

Batch = tuple[list[str], dict[str, Tensor]]


class Row(NamedTuple):
    """A row of speech: an utterance, as it is or masked, the tasks that it serves, and the words
    that CTC hears."""

    part: SpeechPart
    u: int
    tasks: list[str]
    words: Sequence[int] | np.ndarray


def share(num_rows: int, world: World) -> tuple[int, int]:
    """Which rows of a batch a process takes: the first, and the one after its last.

    All have as many frames, padding included, so like numbers take like time.

    >>> [share(5, World(rank, 2)) for rank in (0, 1)]
    [(0, 2), (2, 5)]
    """
    return num_rows * world.rank // world.size, num_rows * (world.rank + 1) // world.size


class Collator:
    """Makes a batch, as `AtatModel.forward` takes it, of the examples of a step.

    Args:
        examples: what there is.
        config: `augment` for training, `train` for its phases, `seed`.
        tokenizer: special symbols and task tokens.
        training: false makes no augmentation, and every utterance serves all its tasks.
        rank: of a process that has batches of its own; each augments in its own way.
        world: place among the processes that have the rows of a batch between them.
    """

    def __init__(
        self,
        examples: TrainingData,
        config: Config,
        tokenizer: Tokenizer,
        *,
        training: bool,
        rank: int = 0,
        world: World = ALONE,
    ) -> None:
        self.examples, self.config, self.tokenizer = examples, config, tokenizer
        self.training, self.rank, self.world = training, rank, world
        self.augmenter = Augmenter(config.augment, config.features)
        self.of_states = config.model.frozen_encoder is not None
        if self.of_states and "mlm" in examples.tasks:  # now: processes that make batches share it
            frozen_states.encoder_of(frozen_states.WhichEncoder.of(config))

    def __call__(self, step: int, speech: list[int], text: list[int]) -> Batch:
        """The ids of the sources, and the tensors of one step.

        Args:
            step: its number, from 0; which phase of training it belongs to follows from it.
            speech: indices of `examples.speech_index`.
            text: indices of `examples.text_index`.
        """
        progress = self._progress(step)
        rows = self._rows(step, progress, speech)
        begin, end = share(len(rows), self.world)
        text_begin, text_end = share(len(text), self.world)
        is_filler = bool(rows) and begin == end
        ids: list[str] = []
        targets: list[tuple[int, int, np.ndarray]] = []  # source row, task token, target
        batch: dict[str, Tensor] = {}
        if rows:
            # A process without speech has a row of it too, of which nothing counts: it takes part
            # in the batch's statistics, and in the way back.
            own = [rows[0]._replace(tasks=[], words=())] if is_filler else rows[begin:end]
            for number, row in enumerate(own):
                ids.append(row.part.ids[row.u])
                for task in row.tasks:
                    token = self.tokenizer.task_ids[task]
                    targets.append((number, token, row.part.target(task, row.u)))
            place = (0, 1) if is_filler else (begin, end)
            batch |= self._speech_tensors(step, progress, rows, *place)
            batch["words"], batch["words_lengths"] = _pad(
                [row.words for row in own], self.tokenizer.pad
            )
        if text:
            sources = []
            own_text = text[text_begin:text_end]
            for number, (p, u) in enumerate(
                self.examples.text_index[own_text or text[:1]].tolist(), start=len(ids)
            ):
                part = self.examples.text[p]
                ids.append(part.ids[u])
                sources.append(self._read(part.sources[u], step, part.ids[u]))
                if own_text:
                    targets.append((number, self.tokenizer.task_ids["nlu"], part.target(u)))
            batch["text"], batch["text_lengths"] = _pad(sources, self.tokenizer.pad)
        batch["target"], batch["target_lengths"] = _pad(
            [t for *_, t in targets], self.tokenizer.pad
        )
        batch["target_source"] = torch.tensor([row for row, *_ in targets], dtype=torch.long)
        batch["target_task"] = torch.tensor([task for _, task, _ in targets], dtype=torch.long)
        batch["num_sources"] = torch.tensor([len(rows) + len(text)])
        batch["is_filler"] = torch.tensor([is_filler])
        return ids, batch

    def _read(self, source_L: np.ndarray, step: int, key: str) -> np.ndarray:
        """A sentence as the text encoder gets it: in training, with mistakes."""
        augment = self.config.augment
        if not (self.training and augment.enabled and augment.text_noise):
            return source_L
        draw = rng(self.config.seed, "text noise", step, key)
        return text_noise.noisy(source_L, augment.text_noise, self.tokenizer.pieces, draw)

    def _progress(self, step: int) -> float:
        """Share of the training that is over, 0 to 1."""
        train = self.config.train
        return step // train.accum_grad / train.num_steps

    def _rows(self, step: int, progress: float, speech: list[int]) -> list[Row]:
        """The rows of speech of a step, of all processes that share it."""
        ctc_alone = (
            self.training
            and self.config.model.ctc_weight > 0
            and progress < self.config.train.ctc_first_fraction
        )
        draw = rng(self.config.seed, "tasks", step, self.rank)
        rows = []
        for p, u in self.examples.speech_index[speech].tolist():
            part = self.examples.speech[p]
            tasks = [] if ctc_alone else self._tasks_of(part, u, draw)
            # CTC hears no masked words.
            rows += [
                Row(part, u, served, () if "mlm" in served else part.words(u))
                for served in rows_of(tasks)
            ]
        return rows

    def _tasks_of(self, part: SpeechPart, u: int, draw: np.random.Generator) -> list[str]:
        """The tasks that an utterance serves in this step."""
        able = part.tasks_of(u)
        if not self.training or self.config.train.tasks_per_utterance == "all" or len(able) < 2:
            return able
        weights = np.array([self.config.train.task_weights.get(task, 1.0) for task in able])
        if not weights.any():  # those that have a weight are not its own
            return able
        return [able[draw.choice(len(able), p=weights / weights.sum())]]

    def _features(self, part: SpeechPart, u: int, step: int) -> Tensor:
        """Features or states; in training those of one of its copies, once it is not mild."""
        mild = self._progress(step) < self.config.augment.low_strength_fraction
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
            masked_TF = frozen_states.encode(masked_TF, frozen_states.WhichEncoder.of(self.config))
        return torch.from_numpy(masked_TF)

    def _speech_tensors(
        self, step: int, progress: float, rows: list[Row], begin: int, end: int
    ) -> dict[str, Tensor]:
        """Features or states of some rows, augmented, and where in them speech is.

        Rows are augmented in groups, always the same of a step: a row's noise may be another row's
        speech.
        """
        size = GROUP if self.training and self.config.augment.enabled else 1
        speech: list[Tensor] = []
        lengths: list[Tensor] = []
        active: list[Tensor] = []
        for number in range(begin // size, -(-end // size)):
            first = number * size
            taken = slice(max(begin - first, 0), end - first)
            made = self._group(step, progress, rows[first : first + size], number)
            speech += made[0][taken]
            lengths.append(made[1][taken])
            active.append(made[2][taken])
        flat_start = self.training and progress < self.config.train.flat_start_fraction
        return {
            "speech": torch.nn.utils.rnn.pad_sequence(speech, batch_first=True),
            "speech_lengths": torch.cat(lengths),
            "active": torch.cat(active),
            "flat_start": torch.tensor([flat_start]),
        }

    def _group(
        self, step: int, progress: float, rows: list[Row], number: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Features or states (B, T, F), lengths (B,) and where in them speech is (B, 2)."""
        feats = [
            (self._masked if "mlm" in row.tasks else self._features)(row.part, row.u, step)
            for row in rows
        ]
        lengths = torch.tensor([len(f) for f in feats])
        if self.of_states:  # they do not tell where speech is: a flat start takes all for speech
            active = torch.stack(
                [torch.zeros_like(lengths), lengths * whisper.FRAMES_PER_STATE], dim=1
            )
            active = active.float()
        else:
            active = torch.tensor([active_frames(f.numpy()) for f in feats], dtype=torch.float32)
        speech = torch.nn.utils.rnn.pad_sequence(feats, batch_first=True)
        if self.training and self.of_states:
            speech = self.augmenter.of_states(speech, lengths, self._generator(step, number))
        elif self.training:
            strength = LOW_STRENGTH if progress < self.config.augment.low_strength_fraction else 1.0
            speech, lengths, active = self.augmenter(
                speech, lengths, active, self._generator(step, number), strength
            )
        return speech, lengths, active

    def _generator(self, step: int, group: int) -> torch.Generator:
        names = (step, self.rank, *([group] if group else []))
        seed = int(rng(self.config.seed, "augment", *names).integers(2**62))
        return torch.Generator().manual_seed(seed)


def _pad(sequences: Sequence[Sequence[int] | np.ndarray], value: int) -> tuple[Tensor, Tensor]:
    """(B, L) int64 and lengths (B,); L is at least 1."""
    lengths = torch.tensor([len(s) for s in sequences], dtype=torch.long)
    out = torch.full((len(sequences), max([1, *lengths.tolist()])), value)
    for row, sequence in zip(out, sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(np.asarray(sequence, dtype=np.int64))
    return out, lengths
