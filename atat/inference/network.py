"""What `SpeechToSemantics` computes with: a trained network, whichever library runs it.

Everything that crosses this line is NumPy's, float32; `torch_network` and `onnx_network` are the
two sides of it.
"""

# B utterances, T feature frames, F mel bins, S memory positions, D width, V vocabulary, L tokens

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from atat.inference.beam_search import AutoregressiveDecoder
from atat.inference.length_batches import batches

if TYPE_CHECKING:
    from atat.models.espnet_model import AtatModel

# Decoder memory (B, S, D), its mask (B, S), and CTC's log-softmax outputs (B, S, V) or None.
Encoded = tuple[np.ndarray, np.ndarray, np.ndarray | None]


class Network(Protocol):
    """A trained AT-AT network."""

    @property
    def decoder(self) -> AutoregressiveDecoder[Any]:
        """The one that all tasks share."""

    @property
    def has_ctc(self) -> bool:
        """Whether speech has CTC scores."""

    @property
    def ctc_tasks(self) -> tuple[str, ...]:
        """The tasks of speech that go by CTC's posteriors (`model.ctc_to_text_share`)."""

    @property
    def max_tokens(self) -> int:
        """Most tokens of an output: as many positions as the decoder knows, or `MAX_LENGTH`."""

    @property
    def num_parameters(self) -> int:
        """Of all parts."""

    @property
    def device(self) -> str:
        """What computes, for people to read."""

    @property
    def model(self) -> "AtatModel":
        """Torch's, for training and export. Raises ValueError where there is none."""

    def encode_speech(self, feats: Sequence[np.ndarray]) -> Encoded:
        """Encode a batch of log mel features, float32 (T, F) each."""

    def encode_text(self, tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """Memory (B, L, D) and mask (B, L) of a batch of sentences, token ids each."""

    def encode_posteriors(
        self, ctc_BSV: np.ndarray, mask_BS: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Memory and mask that the text encoder makes of CTC's posteriors, for `ctc_tasks`."""


def encode_in_parts(network: Network, feats: Sequence[np.ndarray], max_frames: int) -> Encoded:
    """As `Network.encode_speech`, but on a CPU so many utterances at a time as its caches hold.

    Args:
        network: encodes.
        feats: log mel features, float32 (T, F) each.
        max_frames: padded frames of a part that has more than one utterance.
    """
    parts = list(batches([len(feats_TF) for feats_TF in feats], max_frames))
    if len(parts) < 2 or network.device != "cpu":
        return network.encode_speech(feats)
    found = {}
    for part in parts:
        memory_BSD, mask_BS, ctc_BSV = network.encode_speech([feats[i] for i in part])
        for row, i in enumerate(part):
            is_real_S = mask_BS[row]
            ctc_SV = None if ctc_BSV is None else ctc_BSV[row, is_real_S]
            found[i] = memory_BSD[row, is_real_S], ctc_SV
    memories, ctcs = zip(*(found[i] for i in range(len(feats))), strict=True)
    memory_BSD, lengths_B = padded(memories)
    mask_BS = np.arange(memory_BSD.shape[1]) < lengths_B[:, None]
    return memory_BSD, mask_BS, padded(ctcs)[0] if network.has_ctc else None


def padded(arrays: Sequence[np.ndarray], value: float = 0) -> tuple[np.ndarray, np.ndarray]:
    """Arrays that differ in their first dimension as one, and their lengths, int64 (B,).

    >>> padded([np.array([1, 2]), np.array([3])])
    (array([[1, 2],
           [3, 0]]), array([2, 1]))
    """
    lengths_B = np.array([len(array) for array in arrays])
    shape = (len(arrays), max(lengths_B), *arrays[0].shape[1:])
    batch = np.full(shape, value, arrays[0].dtype)
    for row, array in zip(batch, arrays, strict=True):
        row[: len(array)] = array
    return batch, lengths_B
