"""The tensors of a step: features augmented or masked, targets a task, padded.

What a step looks like depends on the seed and the number of the step only.
"""

# B sources (speech rows, then text rows), R targets, T frames, F mel bins, L tokens

import numpy as np
import torch
from torch import Tensor

from atat.common.seeds import rng
from atat.config.schema import Config
from atat.data.augmentation import Augmenter, active_frames
from atat.data.tokenizer import Tokenizer
from atat.models import whisper
from atat.training import frozen_states, word_masking
from atat.training.training_data import SpeechPart, TrainingData, rows_of

LOW_STRENGTH = 0.3  # of augmentation, while alignments are being learned

Batch = tuple[list[str], dict[str, Tensor]]


class Collator:
    """Makes a batch, as `AtatModel.forward` takes it, of the examples of a step.

    Args:
        examples: what there is.
        config: `augment` for training, `train` for its phases, `seed`.
        tokenizer: special symbols and task tokens.
        training: false makes no augmentation, and every utterance serves all its tasks.
        rank: of the training process; each augments in its own way.
    """

    def __init__(
        self,
        examples: TrainingData,
        config: Config,
        tokenizer: Tokenizer,
        *,
        training: bool,
        rank: int = 0,
    ):
        self.examples, self.config, self.tokenizer = examples, config, tokenizer
        self.training, self.rank = training, rank
        self.augmenter = Augmenter(config.augment, config.features)
        self.of_states = config.model.frozen_encoder is not None
        if self.of_states and "mlm" in examples.tasks:  # now: processes that make batches share it
            frozen_states.encoder_of(frozen_states.WhichEncoder.of(config))

    def __call__(self, step: int, speech: list[int], text: list[int]) -> Batch:
        """The ids of the sources, and the tensors of one step.

        Args:
            step: its number, from 0; which phase of training it belongs to follows from it.
            speech: indices of `examples.speech_index`; text: of `examples.text_index`.
        """
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
            for p, u in (self.examples.speech_index[i] for i in speech):
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
            chosen = (self.examples.text_index[i] for i in text)
            for row, (p, u) in enumerate(chosen, start=len(ids)):
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
            masked_TF = frozen_states.encode(masked_TF, frozen_states.WhichEncoder.of(self.config))
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


def _pad(sequences: list[np.ndarray], value: int) -> tuple[Tensor, Tensor]:
    """(B, L) int64 and lengths (B,); L is at least 1."""
    lengths = torch.tensor([len(s) for s in sequences], dtype=torch.long)
    out = torch.full((len(sequences), max([1, *lengths.tolist()])), value)
    for row, sequence in zip(out, sequences, strict=True):
        row[: len(sequence)] = torch.from_numpy(np.asarray(sequence, dtype=np.int64))
    return out, lengths
