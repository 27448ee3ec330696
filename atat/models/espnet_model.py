"""AT-AT (Rongali et al. 2021): speech and text rows of one batch, one decoder, a task token each.

A batch has speech rows and text rows; each goes through its encoder, and all targets, of whatever
task, go through one shared decoder that is told the task by its first token. So what the decoder
learns from text it can use for speech (paper, section 3).
"""

# B sources (speech rows, then text rows), R targets, F mel bins, T feature frames, S memory
# positions, L tokens, N tokens of words, D width, V vocabulary

import math
from collections.abc import Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.config.schema import Config, ModelConfig
from atat.config.tasks import TASKS
from atat.data.augmentation import ACTIVE_DB, NATS_PER_DB
from atat.data.bpe_pieces import WORD_START
from atat.data.tokenizer import Tokenizer
from atat.models import ctc, losses, shared_batch, whisper
from atat.models.decoder import Decoder
from atat.models.encoders import (
    PretrainedTextEncoder,
    SpeechEncoder,
    StateAdapter,
    TextEncoder,
    length_mask,
)

from espnet2.torch_utils.device_funcs import force_gatherable
from espnet2.train.abs_espnet_model import AbsESPnetModel

# Frames quieter than this below an utterance's loudest are lifted to it: rendered speech has
# digital silence (log of nothing), which no microphone ever gives.
FLOOR_DB = 60.0


class AtatModel(AbsESPnetModel):
    """The joint model, in ESPnet's form: `forward(**batch) -> (loss, stats, weight)`.

    Args:
        c: sizes and switches.
        tokenizer: gives the vocabulary, the task tokens and the tags.
        num_bins: F, mel bins of the features.
        task_weights: factor of each task's loss; 1 where not named.
        label_smoothing: 0 to 1; paper: 0.1.
        tasks: those that statistics are kept of.
        load_pretrained: false leaves a Hugging Face encoder's weights to be filled later.

    Raises:
        ValueError: settings that do not go together.
    """

    def __init__(
        self,
        c: ModelConfig,
        tokenizer: Tokenizer,
        num_bins: int = 80,
        task_weights: dict[str, float] | None = None,
        label_smoothing: float = 0.1,
        tasks: Iterable[str] = TASKS,
        load_pretrained: bool = True,
    ) -> None:
        super().__init__()
        _check_parts(c)
        self.config = c
        self.blank, self.pad, self.eos = tokenizer.blank, tokenizer.pad, tokenizer.eos
        self.task_tokens = {tokenizer.task_ids[task]: task for task in tasks}
        self.task_ids = tokenizer.task_ids
        self.task_weights = {task: 1.0 for task in TASKS} | (task_weights or {})
        self.label_smoothing = label_smoothing
        # Whether several processes have the rows of a batch between them (`share_batches`).
        self.shared = False
        # Warm-started parameters (atat/training/warm_start.py): name -> rows, None for all.
        self.pretrained: dict[str, Tensor | None] = {}
        self.from_whisper: dict[str, Tensor | None] = {}  # some of these, by train.whisper_factor

        self.register_buffer("cmvn_mean_F", torch.zeros(num_bins))
        self.register_buffer("cmvn_std_F", torch.ones(num_bins))
        self.frozen_encoder = None
        if c.frozen_encoder is not None:
            self.frozen_encoder = whisper.FrozenEncoder(
                num_bins, c.frozen_encoder_width, c.frozen_encoder_layers
            )
        self.speech_encoder = _speech_encoder(num_bins, c)
        self.decoder = Decoder(
            len(tokenizer),
            c.width,
            c.num_heads,
            c.decoder_ffn,
            c.decoder_layers,
            c.dropout,
            num_positions=whisper.MAX_TOKENS if c.decoder == "whisper" else 0,
            reads_from=tokenizer.task_ids["nlu"] if c.transcript_first else None,
        )
        self.text_encoder = _text_encoder(c, load_pretrained)
        self.ctc = nn.Linear(c.width, len(tokenizer)) if c.ctc_weight > 0 else None
        if c.token_residual:
            self.residual_gain = nn.Parameter(torch.ones(()))
            self.residual_norm = nn.LayerNorm(c.width)
        characters = [len(symbol.removeprefix(WORD_START)) for symbol in tokenizer.symbols]
        self.register_buffer(
            "num_characters_V", torch.tensor(characters).clamp(min=1), persistent=False
        )

    @property
    def subsampling(self) -> int:
        """Feature frames a state of the speech encoder (and of CTC)."""
        whispers = self.config.speech_encoder == "whisper"
        return whisper.SUBSAMPLING if whispers else self.config.subsampling

    # Encoders

    def set_cmvn(self, mean_F: np.ndarray, std_F: np.ndarray) -> None:
        """Mean and standard deviation of the training features; saved with the weights."""
        self.cmvn_mean_F.copy_(torch.as_tensor(mean_F))
        self.cmvn_std_F.copy_(torch.as_tensor(std_F))

    def normalize(self, speech_BTF: Tensor, lengths_B: Tensor) -> Tensor:
        """Lift the floor, subtract the mean, divide by the deviation of the training data.

        The mean is that of the utterance's speech (`model.utterance_mean`), which takes the
        colour of microphone and voice away, or that of the training data. Whisper's encoder has
        its own way (`whisper.normalize`).
        """
        if self.config.speech_encoder == "whisper":
            return whisper.normalize(speech_BTF, lengths_B)
        mask_BT1 = length_mask(lengths_B, speech_BTF.size(1))[..., None]
        loudest_B11 = speech_BTF.masked_fill(~mask_BT1, -math.inf).amax(dim=(1, 2), keepdim=True)
        speech_BTF = torch.maximum(speech_BTF, loudest_B11 - FLOOR_DB * NATS_PER_DB)
        mean_F = self.cmvn_mean_F
        if self.config.utterance_mean:
            level_BT1 = speech_BTF.amax(dim=2, keepdim=True)
            active_BT1 = (level_BT1 > loudest_B11 - ACTIVE_DB * NATS_PER_DB) & mask_BT1
            mean_F = (speech_BTF * active_BT1).sum(dim=1, keepdim=True)
            mean_F = mean_F / active_BT1.sum(dim=1, keepdim=True)  # (B, 1, F)
        return (speech_BTF - mean_F) / self.cmvn_std_F * mask_BT1

    def encode_speech(
        self, speech_BTF: Tensor, lengths_B: Tensor
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log mel features -> decoder memory.

        Args:
            speech_BTF: float; with `model.frozen_encoder` its cached states do too, (B, S', D').
            lengths_B: int64, how many frames (or states) of each are real.

        Returns:
            memory (B, S, D), mask (B, S), CTC log probabilities (B, S, V) or None without CTC.
        """
        if self.frozen_encoder is None:
            speech_BTF = self.normalize(speech_BTF, lengths_B)
        elif speech_BTF.size(2) == len(self.cmvn_mean_F):
            speech_BTF, lengths_B = self.frozen_encoder(speech_BTF, lengths_B)
        states_BSD, mask_BS = self.speech_encoder(speech_BTF, lengths_B)
        if self.ctc is None:
            return states_BSD, mask_BS, None
        ctc_BSV = self.ctc(states_BSD).float().log_softmax(dim=-1)
        if self.config.token_residual:
            # Token embeddings, expected under the CTC posteriors. Detached: the decoder shall use
            # the posteriors, not bend them.
            posteriors_BSV = ctc_BSV.detach().exp()
            states_BSD = self._token_residual(
                states_BSD, posteriors_BSV @ self.decoder.embedding.weight
            )
        return states_BSD, mask_BS, ctc_BSV

    def encode_text(self, token_BL: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Source tokens -> decoder memory (B, L, D) and mask (B, L)."""
        if self.text_encoder is None:  # the words stand in the output, and nothing else is read
            nothing_B1D = self.cmvn_mean_F.new_zeros(len(token_BL), 1, self.config.width)
            return nothing_B1D, length_mask(lengths_B.clamp(max=1), 1)
        if self.config.text_encoder == "pretrained":
            return self.text_encoder(token_BL, lengths_B)
        return self._read(self.decoder.embedding(token_BL), lengths_B)

    def encode_posteriors(
        self, ctc_BSV: Tensor, mask_BS: Tensor, trim: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Feed CTC posteriors to the text encoder (`model.ctc_to_text_share`).

        A decoder that was trained on semantics with text alone cannot decode them from speech
        states, but from this (docs/log.md; not in the paper).

        Args:
            ctc_BSV: CTC's log-softmax outputs, float.
            mask_BS: bool, True where a state is real.
            trim: as of `ctc.collapse`.

        Returns:
            memory (B, N, D) and mask (B, N); N at most S. Where CTC emits blanks alone, one
            position.
        """
        # Detached, as for the token-embedding residual.
        collapsed_BNV, lengths_B = ctc.collapse(ctc_BSV.detach(), mask_BS, self.blank, trim)
        return self._read(collapsed_BNV @ self.decoder.embedding.weight, lengths_B.clamp(min=1))

    def _read(self, words_BLD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Embeddings of words -> the text encoder's memory and its mask."""
        assert self.text_encoder is not None  # else nothing is read by it
        states_BLD, mask_BL = self.text_encoder(words_BLD * math.sqrt(self.config.width), lengths_B)
        if self.config.token_residual:
            states_BLD = self._token_residual(states_BLD, words_BLD)
        return states_BLD, mask_BL

    def _some_by_posteriors(
        self, memory_BSD: Tensor, mask_BS: Tensor, ctc_BSV: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The memory, that of `encode_posteriors` for a share of the utterances
        (`model.ctc_to_text_share`)."""
        read_BND, read_BN = self.encode_posteriors(ctc_BSV, mask_BS)
        rest = memory_BSD.size(1) - read_BND.size(1)
        share = self.config.ctc_to_text_share
        chosen_B = torch.rand(len(memory_BSD), device=memory_BSD.device) < share
        memory_BSD = torch.where(
            chosen_B[:, None, None], F.pad(read_BND, (0, 0, 0, rest)), memory_BSD
        )
        return memory_BSD, torch.where(chosen_B[:, None], F.pad(read_BN, (0, rest)), mask_BS)

    def _token_residual(self, states: Tensor, words: Tensor) -> Tensor:
        """Token-embedding residual: LayerNorm(states + gain * words), so that speech and text look
        alike to the decoder (docs/log.md; not in the paper)."""
        gain = self.residual_gain * math.sqrt(self.config.width)
        return self.residual_norm(states + gain * words)

    # Training

    def share_batches(self) -> None:
        """Several processes, which have met, have the rows of a batch between them from now on."""
        self.shared = True
        shared_batch.share_statistics(self)

    def forward(
        self,
        target: Tensor,
        target_lengths: Tensor,
        target_source: Tensor,
        target_task: Tensor,
        speech: Tensor | None = None,
        speech_lengths: Tensor | None = None,
        text: Tensor | None = None,
        text_lengths: Tensor | None = None,
        words: Tensor | None = None,
        words_lengths: Tensor | None = None,
        active: Tensor | None = None,
        flat_start: Tensor | None = None,
        num_sources: Tensor | None = None,
        is_filler: Tensor | None = None,
        **_: object,
    ) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of a mixed batch.

        Args:
            target: int64 (R, L), token ids, padded.
            target_lengths: int64 (R,).
            target_source: int64 (R,), the source of each target: speech rows first, then text rows.
            target_task: int64 (R,), id of the task token.
            speech: float (B1, T, F), log mel features, or cached states (`encode_speech`), or None.
            speech_lengths: int64 (B1,).
            text: int64 (B2, L), source token ids, or None.
            text_lengths: int64 (B2,).
            words: int64 (B1, N), token ids that CTC is trained on.
            words_lengths: int64 (B1,), 0 where the words are not known.
            active: (B1, 2), first frame of speech and the frame after its last.
            flat_start: (1,), 1 during CTC's flat start (words spread evenly), 0 after it.
            num_sources: (1,), rows of all processes that share the batch; None: of this one.
            is_filler: (1,), 1 where the speech is there only because other processes have some.

        Returns:
            loss (1,), in processes that share a batch such that the mean over them has the batch's
            gradient; stats by name, (1,): losses, accuracies and greedy exact match, of the
            tasks that the batch has; weight (1,) = B, divided by the number of processes.
        """
        total = shared_batch.total if self.shared else torch.Tensor.detach
        memories, ctc_sum = [], None
        if self.shared and is_filler is not None:
            shared_batch.count_rows(self, not bool(is_filler.any()))
        if speech is not None:
            assert speech_lengths is not None
            memory, mask, ctc_BSV = self.encode_speech(speech, speech_lengths)
            states_B = mask.sum(dim=1)
            share = self.config.ctc_to_text_share
            if share == 1:
                assert ctc_BSV is not None  # the settings ask for it
                memory, mask = self.encode_posteriors(ctc_BSV, mask)
            elif share > 0 and self.training:
                assert ctc_BSV is not None
                memory, mask = self._some_by_posteriors(memory, mask, ctc_BSV)
            memories.append((memory, mask))
            if ctc_BSV is not None and words is not None:
                assert words_lengths is not None
                ctc_sum = self._ctc_loss(
                    ctc_BSV, states_B, words, words_lengths, active, flat_start
                )
        if text is not None:
            assert text_lengths is not None
            memories.append(self.encode_text(text, text_lengths))
        loss, stats = self._decoder_loss(
            memories, target, target_lengths, target_source, target_task, total
        )
        if ctc_sum is not None:
            loss_ctc, stats["loss_ctc"] = losses.mean(*ctc_sum, total)
            loss = loss + self.config.ctc_weight * loss_ctc
            stats["loss"] = stats["loss"] + self.config.ctc_weight * stats["loss_ctc"]
        weight = loss.new_tensor(sum(len(memory) for memory, _ in memories))
        if self.shared:
            # A process whose rows are there for the others' sake goes back through the encoders
            # too; not through more than one process with all rows does: what has no gradient is
            # left alone by the optimizer, what has one of zero is not.
            for kind, encoded in enumerate(memories):
                if ctc_sum is None or kind > 0:
                    loss = loss + 0.0 * encoded[0].sum()
            if not loss.requires_grad:  # nothing was read, and no target is here
                loss = loss + 0.0 * self.decoder.embedding.weight.sum()
            assert num_sources is not None
            num_processes = torch.distributed.get_world_size()
            loss, weight = loss * num_processes, num_sources.sum() / num_processes
        return force_gatherable((loss, stats, weight), loss.device)

    def _decoder_loss(
        self,
        memories: list[tuple[Tensor, Tensor]],
        target: Tensor,
        target_lengths: Tensor,
        target_source: Tensor,
        target_task: Tensor,
        total: losses.Total,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Cross-entropy of the targets, weighted by task, and statistics; as of `forward`."""
        bounds = losses.whole(target_task, self.eos)
        if self.config.transcript_first:
            bounds = losses.of_two_parts(target, target_task, bounds, self.task_ids)
        elif self.config.shared_semantics_token:
            slu, nlu = self.task_ids["slu"], self.task_ids["nlu"]
            bounds = bounds._replace(start_R=target_task.masked_fill(target_task == nlu, slu))
        found = losses.next_tokens(
            self.decoder,
            memories,
            target,
            target_lengths,
            target_source,
            bounds,
            pad=self.pad,
            label_smoothing=self.label_smoothing,
        )
        return losses.weighted_by_task(
            found, target_task, self.task_tokens, self.task_weights, total
        )

    def _ctc_loss(
        self,
        ctc_BSV: Tensor,
        states_B: Tensor,
        words: Tensor,
        words_lengths: Tensor,
        active: Tensor | None,
        flat_start: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """CTC's loss, or that of its flat start, and the count to divide it by; as of `forward`."""
        if flat_start is None or not bool(flat_start.any()):
            return losses.ctc_loss(ctc_BSV, states_B, words, words_lengths, self.blank)
        assert active is not None
        return losses.flat_start_loss(
            ctc_BSV,
            states_B,
            words,
            words_lengths,
            active / self.subsampling,
            self.num_characters_V,
            self.blank,
        )

    def collect_feats(
        self, speech: Tensor, speech_lengths: Tensor, **_: object
    ) -> dict[str, Tensor]:
        """ESPnet's hook for feature statistics: the features are the input."""
        return {"feats": speech, "feats_lengths": speech_lengths}


def _check_parts(c: ModelConfig) -> None:
    """Raise ValueError for parts that do not go together."""
    for name in ("token_residual", "ctc_to_text_share"):
        if getattr(c, name) > 0 and (c.ctc_weight <= 0 or c.text_encoder != "transformer"):
            raise ValueError(f"model.{name} needs ctc_weight > 0 and text_encoder transformer")


def _speech_encoder(num_bins: int, c: ModelConfig) -> nn.Module:
    if c.speech_encoder == "whisper":
        return whisper.WhisperEncoder(
            num_bins,
            c.width,
            c.num_heads,
            c.speech_ffn,
            c.speech_layers,
            c.dropout,
            c.speech_frozen_layers,
        )
    if c.speech_encoder == "adapter":
        return StateAdapter(c)
    return SpeechEncoder(num_bins, c)


def _text_encoder(c: ModelConfig, load_pretrained: bool) -> nn.Module | None:
    if c.transcript_first:
        return None
    if c.text_encoder == "transformer":
        return TextEncoder(c)
    assert c.text_pretrained is not None  # it has a tokenizer
    return PretrainedTextEncoder(c.text_pretrained, c.width, c.text_frozen, load_pretrained)


def build(config: Config, tokenizer: Tokenizer, load_pretrained: bool = True) -> AtatModel:
    """The model that a configuration describes, with initial weights.

    Args:
        config: of the recipe or an experiment.
        tokenizer: gives the vocabulary.
        load_pretrained: false leaves a Hugging Face encoder's weights to be filled later.

    Raises:
        ValueError: settings that do not go together.
    """
    c = config.model
    if c.frozen_encoder is not None and c.speech_encoder == "whisper":
        raise ValueError(
            f"model.frozen_encoder: got {c.frozen_encoder} below model.speech_encoder whisper, "
            "expected conformer or transformer above it"
        )
    takes_whisper = c.speech_encoder == "whisper" or c.frozen_encoder is not None
    if takes_whisper != (config.features.kind == "whisper"):
        raise ValueError(
            f"features.kind: got {config.features.kind} for model.speech_encoder "
            f"{c.speech_encoder} and model.frozen_encoder {c.frozen_encoder}, expected whisper "
            "where one of them is Whisper, and there alone"
        )
    return AtatModel(
        config.model,
        tokenizer,
        num_bins=config.features.num_mel_bins,
        task_weights=config.train.task_weights,
        label_smoothing=config.train.label_smoothing,
        tasks=sorted({task for source in config.train.sources for task in source.tasks}) or TASKS,
        load_pretrained=load_pretrained,
    )
