"""A trained network on onnxruntime: without torch, in a fraction of the time it takes to start."""

# N past positions of all hypotheses, H heads, G layers; other letters as in network.py and decoder

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.inference.beam_search import MAX_LENGTH
from atat.inference.network import Encoded, padded
from atat.inference.onnx_graph import Graph
from atat.models import exported_model

if TYPE_CHECKING:
    from atat.models.espnet_model import AtatModel

# A graph each: speech to memory, text to memory, CTC's posteriors to memory, memory to the keys and
# values that the decoder attends to, and one step of the decoder.
SPEECH, TEXT, POSTERIORS, MEMORY, STEP = (
    f"{name}.onnx" for name in ("speech", "text", "posteriors", "memory", "step")
)
# What each gives; one without CTC lacks the scores.
SHAPES = {
    SPEECH: ("BSD", "BS", "BSV"),
    TEXT: ("BSD", "BS"),
    POSTERIORS: ("BSD", "BS"),
    MEMORY: ("GBHSW", "GBHSW"),
    STEP: ("BKV", "GBHNW", "GBHNW"),
}
# What the index says of a network, and of which types.
ABOUT = {
    "has_ctc": (bool,),
    "num_parameters": (int,),
    "max_positions": (int, type(None)),
}
# And what it may say: `reads_ctc` before 0.3.
MAY_SAY = {
    "left_out": (dict,),
    "ctc_tasks": (list,),
    "reads_ctc": (bool,),
    "reads_from": (int, type(None)),
    "width": (int,),
}
LOWEST = np.finfo(np.float32).min  # as `atat.models.decoder` masks


@dataclass(frozen=True)
class OnnxState:
    """As `atat.models.decoder.DecoderState`, layers stacked.

    Attributes:
        position: tokens that every hypothesis has taken.
        keys, values: (G, B, H, N, D / H).
        lineage: (B, 1, K, N), 0 where a key is of a hypothesis' past, else LOWEST.
        memory_keys, memory_values: (G, B, H, T, D / H).
        memory_bias: (B, 1, 1, T); of a decoder that reads, (B, 1, K, T).
        reads: whether it does.
    """

    position: int
    keys: np.ndarray
    values: np.ndarray
    lineage: np.ndarray
    memory_keys: np.ndarray
    memory_values: np.ndarray
    memory_bias: np.ndarray
    reads: bool = False

    def select(self, parent_BK: np.ndarray) -> "OnnxState":
        """As `beam_search.CachedState.select`."""
        rows_B1 = np.arange(len(parent_BK))[:, None]
        chosen = replace(self, lineage=self.lineage[rows_B1, 0, parent_BK][:, None])
        if self.reads:
            bias = self.memory_bias[rows_B1, 0, parent_BK][:, None]
            chosen = replace(chosen, memory_bias=bias)
        return chosen

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

    def __init__(
        self,
        memory: Graph,
        step: Graph,
        max_length: int | None,
        vocab_size: int,
        reads_from: int | None = None,
    ) -> None:
        """
        Args:
            memory: graph from encoder states to the keys and values of cross-attention.
            step: graph from the last tokens and the state to the next log-probabilities.
            max_length: positions that were learned; None: any.
            vocab_size: number of tokens.
            reads_from: as of `atat.models.decoder.Decoder`.
        """
        self._reads_from = reads_from
        self._memory, self._step, self._max_length = memory, step, max_length
        self._vocab_size = vocab_size

    def start(self, memory_BTD: np.ndarray, mask_BT: np.ndarray, num_hyps: int) -> OnnxState:
        """As `beam_search.AutoregressiveDecoder.start`."""
        if self._reads_from is not None:
            memory_BTD = np.pad(memory_BTD, ((0, 0), (1, 0), (0, 0)))
            mask_BT = np.pad(mask_BT, ((0, 0), (1, 0)))
        batch, num_states, _ = memory_BTD.shape
        keys, values = self._memory.run({"memory": memory_BTD}, B=batch, S=num_states)
        num_layers, _, num_heads, _, width = keys.shape
        empty = np.zeros((num_layers, batch, num_heads, 0, width), np.float32)
        lineage = np.zeros((batch, 1, num_hyps, 0), np.float32)
        bias = np.where(mask_BT, np.float32(0), LOWEST)[:, None, None]
        reads = self._reads_from is not None
        if reads:
            bias = bias.repeat(num_hyps, axis=2)
        return OnnxState(0, empty, empty, lineage, keys, values, bias, reads)

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
        bias = state.memory_bias
        if state.reads:
            nothing_T = np.where(np.arange(bias.shape[-1]) > 0, LOWEST, np.float32(0))
            reads_BK = token_BK == self._reads_from
            bias = np.where(reads_BK[:, None, :, None], nothing_T, bias)
        num_layers, _, num_heads, num_past, width = state.keys.shape
        log_probs_BKV, keys, values = self._step.run(
            {
                "token": token_BK,
                "position": np.array(state.position, np.int64),
                "keys": state.keys,
                "values": state.values,
                "lineage": lineage,
                "memory_keys": state.memory_keys,
                "memory_values": state.memory_values,
                "memory_bias": bias,
            },
            **{"B": batch, "K": num_hyps, "V": self._vocab_size, "G": num_layers, "H": num_heads},
            **{"N": num_past + num_hyps, "W": width},
        )
        return log_probs_BKV, OnnxState(
            state.position + 1,
            keys,
            values,
            lineage,
            state.memory_keys,
            state.memory_values,
            bias,
            state.reads,
        )


class OnnxNetwork:
    """An exported network as `network.Network`; each graph is loaded when it is first used.

    What computes raises ValueError where a graph is not what it should be.
    """

    def __init__(
        self,
        directory: Path,
        about: dict[str, Any],
        device: str,
        num_threads: int,
        vocab_size: int,
    ) -> None:
        """
        Args:
            directory: of the exported model.
            about: the network's entry in its index.
            device: cpu or cuda.
            num_threads: of each graph.
            vocab_size: number of tokens.
        """
        self._directory, self._about, self._vocab_size = directory, about, vocab_size
        self.device, self._num_threads = device, num_threads
        self.has_ctc: bool = about["has_ctc"]
        # Exported before 0.3, `reads_ctc` says whether nlu does.
        earlier = ["nlu"] if about.get("reads_ctc") else []
        self.ctc_tasks: tuple[str, ...] = tuple(about.get("ctc_tasks", earlier))
        self.num_parameters: int = about["num_parameters"]
        self._graphs: dict[str, Graph] = {}

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles: graphs are loaded again."""
        state = {k: v for k, v in self.__dict__.items() if k != "decoder"}
        return state | {"_graphs": {}}

    @property
    def model(self) -> "AtatModel":
        """None is there: an exported network is not torch's.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self._directory}: is exported and cannot be trained on or changed")

    @property
    def max_tokens(self) -> int:
        """As `Network.max_tokens`."""
        positions = self._about["max_positions"]
        return MAX_LENGTH if positions is None else positions - 1

    @cached_property
    def decoder(self) -> OnnxDecoder:
        """The one that all tasks share."""
        max_length = self._about["max_positions"]
        graphs = self._graph(MEMORY), self._graph(STEP)
        reads_from = self._about.get("reads_from")
        return OnnxDecoder(*graphs, max_length, self._vocab_size, reads_from)

    def encode_speech(self, feats: Sequence[np.ndarray]) -> Encoded:
        """As `Network.encode_speech`."""
        speech_BTF, lengths_B = padded([np.asarray(f, np.float32) for f in feats])
        inputs = {"speech": speech_BTF, "lengths": lengths_B}
        found = self._graph(SPEECH).run(inputs, B=len(feats), V=self._vocab_size)
        return found[0], found[1].astype(bool), found[2] if self.has_ctc else None

    def encode_text(self, tokens: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
        """As `Network.encode_text`."""
        if self._about.get("reads_from") is not None:
            nothing = np.zeros((len(tokens), 1, self._about["width"]), np.float32)
            return nothing, np.ones((len(tokens), 1), bool)
        token_BL, lengths_B = padded([np.array(ids, np.int64) for ids in tokens])
        inputs = {"token": token_BL, "lengths": lengths_B}
        memory, mask = self._graph(TEXT).run(inputs, B=len(tokens))
        return memory, mask.astype(bool)

    def encode_posteriors(
        self, ctc_BSV: np.ndarray, mask_BS: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Network.encode_posteriors`."""
        inputs = {"ctc": ctc_BSV, "mask": mask_BS}
        memory, mask = self._graph(POSTERIORS).run(inputs, B=len(ctc_BSV))
        return memory, mask.astype(bool)

    def _graph(self, name: str) -> Graph:
        if name not in self._graphs:
            path = self._directory / name
            if not path.is_file():
                reason = self._about.get("left_out", {}).get(name, "it was not exported")
                raise ValueError(f"{path}: is not there: {reason}")
            provider = "CUDAExecutionProvider" if self.device == "cuda" else "CPUExecutionProvider"
            shapes = SHAPES[name][: 3 if self.has_ctc else 2]
            if name == STEP:
                shapes = SHAPES[name]
            self._graphs[name] = Graph(path, shapes, self._num_threads, provider)
        return self._graphs[name]


def load(
    directory: Path,
    vocab_size: int,
    device: str = "cpu",
    num_threads: int = 1,
    transcript_first: bool = False,
) -> OnnxNetwork:
    """The network of an exported model.

    Args:
        directory: checked by `exported_model.check`.
        vocab_size: number of tokens of its tokenizer.
        device: cpu, cuda, or auto: cuda where onnxruntime has it.
        num_threads: 1 or more.
        transcript_first: `model.transcript_first`.

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
    about, path = index.get("network"), directory / exported_model.FILE
    if not isinstance(about, dict):
        raise ValueError(f"{path}: has no 'network'; {exported_model.AGAIN}")
    for name, kinds in (ABOUT | MAY_SAY).items():
        if name not in about and name in MAY_SAY:
            continue
        if name not in about:
            raise ValueError(f"{path}: its 'network' lacks '{name}'; {exported_model.AGAIN}")
        if type(about[name]) not in kinds:
            got = str(about[name])[:80]
            raise ValueError(f"{path}: 'network': {name} is {got}; {exported_model.AGAIN}")
    if transcript_first and about.get("reads_from") is None:
        raise ValueError(
            f"{path}: 'network' lacks 'reads_from': its outputs have no <nlu> between what is said "
            "and what it means; train the experiment again, then export it"
        )
    return OnnxNetwork(directory, about, device, num_threads, vocab_size)
