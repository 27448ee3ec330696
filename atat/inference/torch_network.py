"""A trained network on torch, on a CPU or a GPU."""

# B utterances, K hypotheses each; other letters as in atat/inference/network.py

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from atat.config.schema import Config
from atat.config.tasks import TASKS
from atat.data.tokenizer import Tokenizer
from atat.inference import devices
from atat.inference.beam_search import MAX_LENGTH
from atat.inference.network import Encoded, padded
from atat.models.checkpoint import fill, model_path, read_weights
from atat.models.decoder import DecoderState
from atat.models.espnet_model import AtatModel, build
from atat.models.experiment_files import TEXT_ENCODER


class StepwiseDecoder(Protocol):
    """What takes one token a step: `atat.models.decoder.Decoder`, or one with a prompt."""

    def start(self, memory_BTD: Tensor, mask_BT: Tensor, num_hyps: int) -> DecoderState:
        """As `Decoder.start`."""

    def step(self, token_BK: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """As `Decoder.step`."""


@dataclass(frozen=True)
class TorchState:
    """The decoder's state, as `beam_search.CachedState`."""

    state: DecoderState
    device: torch.device

    def select(self, parent_BK: np.ndarray) -> "TorchState":
        """As `beam_search.CachedState.select`."""
        return TorchState(self.state.select(self._tensor(parent_BK)), self.device)

    def select_utterances(self, index_B: np.ndarray) -> "TorchState":
        """As `beam_search.CachedState.select_utterances`."""
        return TorchState(self.state.select_utterances(self._tensor(index_B)), self.device)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self.device)


class TorchDecoder:
    """A decoder as `beam_search.AutoregressiveDecoder`."""

    def __init__(self, decoder: StepwiseDecoder, device: torch.device) -> None:
        self.decoder, self.device = decoder, device

    @torch.inference_mode()
    def start(self, memory_BTD: np.ndarray, mask_BT: np.ndarray, num_hyps: int) -> TorchState:
        """As `beam_search.AutoregressiveDecoder.start`."""
        memory, mask = (torch.from_numpy(x).to(self.device) for x in (memory_BTD, mask_BT))
        return TorchState(self.decoder.start(memory, mask, num_hyps), self.device)

    @torch.inference_mode()
    def step(self, token_BK: np.ndarray, state: TorchState) -> tuple[np.ndarray, TorchState]:
        """As `beam_search.AutoregressiveDecoder.step`."""
        token = torch.from_numpy(token_BK).to(self.device)
        log_probs_BKV, after = self.decoder.step(token, state.state)
        return log_probs_BKV.float().numpy(force=True), TorchState(after, self.device)


class TorchNetwork:
    """An `AtatModel` as `network.Network`."""

    def __init__(self, model: AtatModel) -> None:
        self.model = model.eval()

    @property
    def decoder(self) -> TorchDecoder:
        """The one that all tasks share."""
        return TorchDecoder(self.model.decoder, self._device)

    @property
    def has_ctc(self) -> bool:
        """Whether speech has CTC scores."""
        return self.model.ctc is not None

    @property
    def ctc_tasks(self) -> tuple[str, ...]:
        """As `Network.ctc_tasks`."""
        share = self.model.config.ctc_to_text_share
        return TASKS if share == 1 else ("nlu",) if share > 0 else ()

    @property
    def max_tokens(self) -> int:
        """As `Network.max_tokens`."""
        positions = self.model.decoder.positions
        return MAX_LENGTH if positions is None else len(positions) - 1

    @property
    def num_parameters(self) -> int:
        """Of all parts."""
        return sum(p.numel() for p in self.model.parameters())

    @property
    def device(self) -> str:
        """As torch names it."""
        return str(self._device)

    @property
    def _device(self) -> torch.device:
        return self.model.cmvn_mean_F.device

    @torch.inference_mode()
    def encode_speech(self, feats: Sequence[np.ndarray]) -> Encoded:
        """As `Network.encode_speech`."""
        memory, mask, ctc = self.model.encode_speech(*self._batch(feats))
        return _array(memory), _array(mask), None if ctc is None else _array(ctc)

    @torch.inference_mode()
    def encode_text(self, tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """As `Network.encode_text`."""
        arrays = [np.array(ids, np.int64) for ids in tokens]
        memory, mask = self.model.encode_text(*self._batch(arrays, self.model.pad))
        return _array(memory), _array(mask)

    @torch.inference_mode()
    def encode_posteriors(
        self, ctc_BSV: np.ndarray, mask_BS: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Network.encode_posteriors`."""
        ctc, mask = (torch.from_numpy(x).to(self._device) for x in (ctc_BSV, mask_BS))
        memory, mask = self.model.encode_posteriors(ctc, mask)
        return _array(memory), _array(mask)

    def _batch(self, arrays: Sequence[np.ndarray], value: float = 0) -> tuple[Tensor, Tensor]:
        batch, lengths_B = (torch.from_numpy(x) for x in padded(arrays, value))
        return batch.to(self._device), lengths_B.to(self._device)


def _array(tensor: Tensor) -> np.ndarray:
    if tensor.is_floating_point():
        tensor = tensor.float()
    return tensor.numpy(force=True)


def load(
    exp_dir: Path,
    settings: Config,
    tokenizer: Tokenizer,
    device: str,
    num_threads: int | None = None,
) -> TorchNetwork:
    """The network of an experiment that stage 4 finished.

    Args:
        exp_dir: directory of the experiment.
        settings: its own; the directory of a pretrained text encoder is noted in them.
        tokenizer: its own.
        device: as `devices.place` takes it.
        num_threads: of torch, in the whole process; None leaves them as they are.

    Raises:
        ValueError: its files do not belong together, or torch cannot use the device.
    """
    if num_threads is not None:
        torch.set_num_threads(num_threads)
    if (exp_dir / TEXT_ENCODER).is_dir():
        settings.model.text_pretrained = str(exp_dir / TEXT_ENCODER)
    path = model_path(exp_dir)
    weights = read_weights(path, tokenizer)
    model = build(settings, tokenizer, load_pretrained=False)
    fill(model, weights, path)
    devices.place(model, device)
    return TorchNetwork(model)
