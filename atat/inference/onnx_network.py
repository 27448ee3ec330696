"""A trained network on onnxruntime: without torch, in a fraction of the time it takes to start."""

# N past positions of all hypotheses, H heads, G layers; other letters as in network.py and decoder

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.inference.network import Encoded, padded
from atat.models import exported_model

if TYPE_CHECKING:
    import onnxruntime

    from atat.models.espnet_model import AtatModel

# A graph each: speech to memory, text to memory, CTC's posteriors to memory, memory to the keys and
# values that the decoder attends to, and one step of the decoder.
SPEECH, TEXT, POSTERIORS, MEMORY, STEP = (
    f"{name}.onnx" for name in ("speech", "text", "posteriors", "memory", "step")
)
LOWEST = np.finfo(np.float32).min  # as `atat.models.decoder` masks


@dataclass(frozen=True)
class OnnxState:
    """As `atat.models.decoder.DecoderState`, layers stacked.

    Attributes:
        position: tokens that every hypothesis has taken.
        keys, values: (G, B, H, N, D / H).
        lineage: (B, 1, K, N), 0 where a key is of a hypothesis' past, else LOWEST.
        memory_keys, memory_values: (G, B, H, T, D / H).
        memory_bias: (B, 1, 1, T).
    """

    position: int
    keys: np.ndarray
    values: np.ndarray
    lineage: np.ndarray
    memory_keys: np.ndarray
    memory_values: np.ndarray
    memory_bias: np.ndarray

    def select(self, parent_BK: np.ndarray) -> "OnnxState":
        """As `beam_search.CachedState.select`."""
        rows_B1 = np.arange(len(parent_BK))[:, None]
        return replace(self, lineage=self.lineage[rows_B1, 0, parent_BK][:, None])

    def select_utterances(self, index_B: np.ndarray) -> "OnnxState":
        """As `beam_search.CachedState.select_utterances`."""
        return replace(
            self,
            keys=self.keys[:, index_B],
            values=self.values[:, index_B],
            lineage=self.lineage[index_B],
            memory_keys=self.memory_keys[:, index_B],
            memory_values=self.memory_values[:, index_B],
            memory_bias=self.memory_bias[index_B],
        )


class OnnxDecoder:
    """The decoder as `beam_search.AutoregressiveDecoder`."""

    def __init__(self, memory: "onnxruntime.InferenceSession", step: Any, max_length: int | None):
        """
        Args:
            memory, step: sessions of the two graphs.
            max_length: positions that were learned; None: any.
        """
        self._memory, self._step, self._max_length = memory, step, max_length

    def start(self, memory_BTD: np.ndarray, mask_BT: np.ndarray, num_hyps: int) -> OnnxState:
        """As `beam_search.AutoregressiveDecoder.start`."""
        keys, values = self._memory.run(None, {"memory": memory_BTD})
        num_layers, batch, num_heads, _, width = keys.shape
        empty = np.zeros((num_layers, batch, num_heads, 0, width), np.float32)
        lineage = np.zeros((batch, 1, num_hyps, 0), np.float32)
        bias = np.where(mask_BT, np.float32(0), LOWEST)[:, None, None]
        return OnnxState(0, empty, empty, lineage, keys, values, bias)

    def step(self, token_BK: np.ndarray, state: OnnxState) -> tuple[np.ndarray, OnnxState]:
        """As `beam_search.AutoregressiveDecoder.step`."""
        if self._max_length is not None and state.position >= self._max_length:
            raise ValueError(
                f"got a sequence of {state.position + 1} tokens, expected at most "
                f"{self._max_length}: the decoder has learned no more positions"
            )
        batch, num_hyps = token_BK.shape
        itself = np.where(np.eye(num_hyps, dtype=bool), np.float32(0), LOWEST)
        lineage = np.concatenate((state.lineage, itself[None, None].repeat(batch, 0)), -1)
        log_probs_BKV, keys, values = self._step.run(
            None,
            {
                "token": token_BK,
                "position": np.array(state.position, np.int64),
                "keys": state.keys,
                "values": state.values,
                "lineage": lineage,
                "memory_keys": state.memory_keys,
                "memory_values": state.memory_values,
                "memory_bias": state.memory_bias,
            },
        )
        return log_probs_BKV, OnnxState(
            state.position + 1,
            keys,
            values,
            lineage,
            state.memory_keys,
            state.memory_values,
            state.memory_bias,
        )


class OnnxNetwork:
    """An exported network as `network.Network`; each graph is loaded when it is first used."""

    def __init__(self, directory: Path, about: dict[str, Any], device: str, num_threads: int):
        """
        Args:
            directory: of the exported model.
            about: the network's entry in its index.
            device: cpu or cuda.
            num_threads: of each session.
        """
        self._directory, self._about = directory, about
        self.device, self._num_threads = device, num_threads
        self.has_ctc: bool = about["has_ctc"]
        # Exported before 0.3, `reads_ctc` says whether nlu does.
        earlier = ["nlu"] if about.get("reads_ctc") else []
        self.ctc_tasks: tuple[str, ...] = tuple(about.get("ctc_tasks", earlier))
        self.num_parameters: int = about["num_parameters"]
        self._sessions: dict[str, onnxruntime.InferenceSession] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: sessions are opened again."""
        state = {k: v for k, v in self.__dict__.items() if k != "decoder"}
        return state | {"_sessions": {}}

    @property
    def model(self) -> "AtatModel":
        """None is there: an exported network is not torch's.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self._directory}: is exported and cannot be trained on or changed")

    @cached_property
    def decoder(self) -> OnnxDecoder:
        """The one that all tasks share."""
        max_length = self._about["max_positions"]
        return OnnxDecoder(self._session(MEMORY), self._session(STEP), max_length)

    def encode_speech(self, feats: Sequence[np.ndarray]) -> Encoded:
        """As `Network.encode_speech`."""
        speech_BTF, lengths_B = padded([np.asarray(f, np.float32) for f in feats])
        found = self._session(SPEECH).run(None, {"speech": speech_BTF, "lengths": lengths_B})
        return found[0], found[1], found[2] if self.has_ctc else None

    def encode_text(self, tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """As `Network.encode_text`."""
        token_BL, lengths_B = padded([np.array(ids, np.int64) for ids in tokens])
        memory, mask = self._session(TEXT).run(None, {"token": token_BL, "lengths": lengths_B})
        return memory, mask

    def encode_posteriors(
        self, ctc_BSV: np.ndarray, mask_BS: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Network.encode_posteriors`."""
        memory, mask = self._session(POSTERIORS).run(None, {"ctc": ctc_BSV, "mask": mask_BS})
        return memory, mask

    def _session(self, name: str) -> "onnxruntime.InferenceSession":
        if name not in self._sessions:
            import onnxruntime

            path = self._directory / name
            if not path.is_file():
                reason = self._about.get("left_out", {}).get(name, "it was not exported")
                raise ValueError(f"{path}: is not there: {reason}")
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = self._num_threads
            options.inter_op_num_threads = 1
            # The export has optimised it.
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 3  # errors
            provider = "CUDAExecutionProvider" if self.device == "cuda" else "CPUExecutionProvider"
            try:
                session = onnxruntime.InferenceSession(path, options, providers=[provider])
            except Exception as e:  # of a dozen kinds, as many as a file can be wrong
                raise ValueError(f"{path}: {str(e).splitlines()[0][:200]}") from e
            self._sessions[name] = session
        return self._sessions[name]


def load(directory: Path, device: str = "cpu", num_threads: int = 1) -> OnnxNetwork:
    """The network of an exported model.

    Args:
        directory: checked by `exported_model.check`.
        device: cpu, cuda, or auto: cuda where onnxruntime has it.
        num_threads: 1 or more.

    Raises:
        ValueError: a device that onnxruntime does not have, or an index that lacks something.
    """
    import onnxruntime

    index = exported_model.read_index(directory)
    has_cuda = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device == "auto":
        device = "cuda" if has_cuda else "cpu"
    if device not in ("cpu", "cuda") or (device == "cuda" and not has_cuda):
        expected = "cpu or cuda" if has_cuda else "cpu (this onnxruntime has no CUDA)"
        raise ValueError(f"device: got '{device}', expected {expected}")
    try:
        return OnnxNetwork(directory, index["network"], device, num_threads)
    except (KeyError, TypeError) as e:
        path = directory / exported_model.FILE
        raise ValueError(f"{path}: its 'network' lacks {e}; {exported_model.AGAIN}") from e
