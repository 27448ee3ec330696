"""The one decoder that all tasks share: a Transformer whose first input is the task token.

Two ways through the same weights: `forward` for training (teacher forcing, all positions at once)
and `start`/`step` for beam search (one token for every hypothesis, keys and values cached).
"""

# B utterances, K hypotheses each, R rows (a row is one target of one task), T memory frames,
# L target positions, D width, H heads, V vocabulary

import functools
import math
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atat.models.attention import attend


@dataclass(frozen=True)
class DecoderState:
    """Cached keys and values, between the steps of beam search.

    Those of all hypotheses of an utterance stand in the order in which they were made and are never
    moved: which of them are a hypothesis' own past is in `lineage`. So going on from other
    hypotheses copies one small matrix.

    Attributes:
        position: number of tokens that every hypothesis has taken (a tensor in a traced step).
        keys, values: per layer, (B, H, N, D / H), N keys of all hypotheses and steps.
        lineage: (B, 1, K, N), 0 where a key is of a hypothesis' past, the lowest number elsewhere.
        memory_keys, memory_values: per layer, (B, H, T, D / H); one copy an utterance.
        memory_bias: (B, 1, 1, T), 0 where there is memory, the lowest number in the padding; of a
            decoder that reads (`Decoder.reads_from`), (B, 1, K, T): each hypothesis' own.
        reads: whether it does.
    """

    position: int | Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    lineage: Tensor
    memory_keys: tuple[Tensor, ...]
    memory_values: tuple[Tensor, ...]
    memory_bias: Tensor
    reads: bool = False

    def select(self, parent_BK: Tensor) -> "DecoderState":
        """As `beam_search.CachedState.select`; there may be more or fewer hypotheses."""
        chosen = replace(self, lineage=_chosen(self.lineage, parent_BK))
        if self.reads:
            chosen = replace(chosen, memory_bias=_chosen(self.memory_bias, parent_BK))
        return chosen

    def select_utterances(self, index_B: Tensor) -> "DecoderState":
        """As `beam_search.CachedState.select_utterances`."""
        return replace(
            self,
            keys=tuple(k[index_B] for k in self.keys),
            values=tuple(v[index_B] for v in self.values),
            lineage=self.lineage[index_B],
            memory_keys=tuple(k[index_B] for k in self.memory_keys),
            memory_values=tuple(v[index_B] for v in self.memory_values),
            memory_bias=self.memory_bias[index_B],
        )


def _chosen(of_hyps: Tensor, parent_BK: Tensor) -> Tensor:
    """Rows of hypotheses, (B, 1, K, N), in another order."""
    index = parent_BK[:, None, :, None].expand(-1, -1, -1, of_hyps.size(-1))
    return of_hyps.gather(2, index)


class Layer(nn.Module):
    """Self-attention and feed-forward, each with layer norm before it.

    Args:
        width, num_heads, ffn: D, H, inner width of the feed-forward.
        dropout: probability.
        activation: class of the feed-forward's.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        ffn: int,
        dropout: float,
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.self_norm = nn.LayerNorm(width)
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = nn.Sequential(
            nn.Linear(width, ffn), activation(), nn.Dropout(dropout), nn.Linear(ffn, width)
        )
        self.dropout = nn.Dropout(dropout)

    def heads(self, x: Tensor) -> Tensor:
        """Split into heads: (..., L, D) -> (..., H, L, D / H)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(-2, -3)

    def self_projections(self, x: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values of (..., L, D), normalised here: (..., H, L, D / H) each."""
        projected = _linear(self.self_qkv, _norm(self.self_norm, x))
        by_head = projected.unflatten(-1, (3, self.num_heads, -1))  # (..., L, 3, H, D / H)
        return tuple(part.transpose(-2, -3) for part in by_head.unbind(-3))

    def add_self(self, x: Tensor, mixed: Tensor) -> Tensor:
        """Add self-attention's `mixed` values (..., H, L, D / H), projected, to x (..., L, D)."""
        return x + self.drop(_linear(self.self_out, mixed.transpose(-2, -3).flatten(-2)))

    def feed_forward(self, x: Tensor) -> Tensor:
        """Add the feed-forward of x, (..., L, D), to it."""
        inner: Any = self.ffn  # else mypy takes each for any module
        first, activation, dropout, last = inner
        x_inner = activation.forward(_linear(first, _norm(self.ffn_norm, x)))
        if self.training:
            x_inner = dropout(x_inner)
        return x + self.drop(_linear(last, x_inner))

    def drop(self, x: Tensor) -> Tensor:
        """Dropout, while the model trains."""
        return self.dropout(x) if self.training else x


class DecoderLayer(Layer):
    """A layer that attends to the memory between its two parts.

    Args:
        width: D.
        others: as of `Layer`.
    """

    def __init__(self, width: int, *others: Any) -> None:
        super().__init__(width, *others)
        self.memory_norm = nn.LayerNorm(width)
        self.memory_q = nn.Linear(width, width)
        self.memory_kv = nn.Linear(width, 2 * width)
        self.memory_out = nn.Linear(width, width)

    def memory_projections(self, memory_BTD: Tensor) -> list[Tensor]:
        """Keys and values of the memory, (B, H, T, D / H) each."""
        return [self.heads(p) for p in self.memory_kv(memory_BTD).chunk(2, dim=-1)]

    def attend_memory(self, x: Tensor, keys: Tensor, values: Tensor, bias: Tensor) -> Tensor:
        """Add cross-attention to the memory.

        Args:
            x: (R, L, D); in beam search (B, K, D).
            keys: of the memory of each row of x, (R, H, T, D / H).
            values: as the keys.
            bias: (R, 1, 1 or L, T), added to the attention's logits: as `_bias` makes it.
        """
        queries = self.heads(_linear(self.memory_q, _norm(self.memory_norm, x)))
        mixed = attend(queries, keys, values, bias)
        return x + self.drop(_linear(self.memory_out, mixed.transpose(-2, -3).flatten(-2)))


class Decoder(nn.Module):
    """Transformer decoder over a vocabulary whose embedding is also the output matrix.

    Args:
        vocab_size: V, special symbols and task tokens included.
        width, num_heads, ffn, num_layers: D, H, inner width of the feed-forward, depth
            (paper: 256, 4, 2048, 6).
        dropout: probability.
        num_positions: 0: sinusoids say where a token stands, and its embedding is scaled by
            sqrt(D). Else so many positions are learned, embeddings are as they are and the
            feed-forward has GELU: the form of Whisper's decoder, which may then be loaded.
        reads_from: id of a token from which on an output attends to nothing but itself, so that
            what follows is the same whether the words before it were heard or given (not in the
            paper); None: it attends to the memory always.
    """

    def __init__(
        self,
        vocab_size: int,
        width: int,
        num_heads: int,
        ffn: int,
        num_layers: int,
        dropout: float,
        num_positions: int = 0,
        reads_from: int | None = None,
    ) -> None:
        super().__init__()
        self.reads_from = reads_from
        self.embedding = nn.Embedding(vocab_size, width)
        # With the factor sqrt(D) below, inputs have unit variance and tied outputs start small.
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.output_bias = nn.Parameter(torch.zeros(vocab_size))
        self.positions = None
        if num_positions:
            self.positions = nn.Parameter(torch.empty(num_positions, width).normal_(std=0.01))
        self.num_heads = num_heads
        activation = nn.GELU if num_positions else nn.ReLU
        self.layers = nn.ModuleList(
            DecoderLayer(width, num_heads, ffn, dropout, activation) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        token_RL: Tensor,
        memory_BTD: Tensor,
        mask_BT: Tensor,
        source_R: Tensor,
        wanted_RL: Tensor | None = None,
    ) -> Tensor:
        """Logits of every next token, or of those that are wanted.

        The output matrix is a small model's largest product, and most positions of a mixed batch
        are padding (transcripts are short, trees long): training spends nothing on those.

        Args:
            token_RL: int64, each row its task token and then the target; padding may be any id.
            memory_BTD: encoder states, float.
            mask_BT: bool, True where there is memory.
            source_R: int64, which memory row each target row attends to; several may share one.
            wanted_RL: bool, N positions of which logits are wanted; None: all.

        Returns:
            (R, L, V) float; with `wanted_RL`, (N, V), row by row.

        Raises:
            ValueError: more positions than were learned (`num_positions`).
        """
        x = self._embed(token_RL, 0)
        memory_BTD, bias = self._memory(memory_BTD, mask_BT)
        bias = bias[source_R]
        if self.reads_from is not None:
            reads_RL = (token_RL == self.reads_from).cumsum(dim=1) > 0
            bias = torch.where(reads_RL[:, None, :, None], _of_nothing(bias), bias)
        for layer in self.layers:
            queries, keys, values = layer.self_projections(x)
            x = layer.add_self(x, attend(queries, keys, values, is_causal=True))
            keys, values = layer.memory_projections(memory_BTD)
            x = layer.attend_memory(x, keys[source_R], values[source_R], bias)
            x = layer.feed_forward(x)
        return self._logits(x if wanted_RL is None else x[wanted_RL])

    def start(self, memory_BTD: Tensor, mask_BT: Tensor, num_hyps: int) -> DecoderState:
        """As `beam_search.AutoregressiveDecoder.start`: projects the memory, once an utterance."""
        memory_BTD, bias = self._memory(memory_BTD, mask_BT)
        memory_keys, memory_values = self.memory_projections(memory_BTD)
        batch, _, width = memory_BTD.shape
        empty = memory_BTD.new_zeros(batch, self.num_heads, 0, width // self.num_heads)
        return DecoderState(
            position=0,
            keys=(empty,) * len(self.layers),
            values=(empty,) * len(self.layers),
            lineage=memory_BTD.new_zeros(batch, 1, num_hyps, 0),
            memory_keys=memory_keys,
            memory_values=memory_values,
            memory_bias=bias if self.reads_from is None else bias.expand(-1, -1, num_hyps, -1),
            reads=self.reads_from is not None,
        )

    def _memory(self, memory_BTD: Tensor, mask_BT: Tensor) -> tuple[Tensor, Tensor]:
        """The memory and its bias. Of one that reads, its first position is nothing, which what
        follows `reads_from` attends to."""
        if self.reads_from is not None:
            memory_BTD, mask_BT = F.pad(memory_BTD, (0, 0, 1, 0)), F.pad(mask_BT, (1, 0))
        return memory_BTD, _bias(mask_BT, memory_BTD.dtype)

    def memory_projections(
        self, memory_BTD: Tensor
    ) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Keys and values of the memory, (B, H, T, D / H) for each layer."""
        projected = [layer.memory_projections(memory_BTD) for layer in self.layers]
        return tuple(keys for keys, _ in projected), tuple(values for _, values in projected)

    def step(self, token_BK: Tensor, state: DecoderState) -> tuple[Tensor, DecoderState]:
        """As `beam_search.AutoregressiveDecoder.step`; errors as of `forward`."""
        batch, num_hyps = token_BK.shape
        itself = _itself(num_hyps, state.lineage.dtype, state.lineage.device)
        lineage = torch.cat([state.lineage, itself.expand(batch, -1, -1, -1)], dim=-1)
        if state.reads:
            reads_BK = token_BK == self.reads_from
            bias = torch.where(
                reads_BK[:, None, :, None], _of_nothing(state.memory_bias), state.memory_bias
            )
            state = replace(state, memory_bias=bias)
        log_probs_BKV, keys, values = self.attend(token_BK, state, lineage)
        return log_probs_BKV, DecoderState(
            state.position + 1,
            tuple(keys),
            tuple(values),
            lineage,
            state.memory_keys,
            state.memory_values,
            state.memory_bias,
            state.reads,
        )

    def attend(
        self, token_BK: Tensor, state: DecoderState, lineage: Tensor
    ) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """What a step computes.

        Args:
            token_BK: int64.
            state: before them.
            lineage: (B, 1, K, N), after them.

        Returns:
            Log-probabilities (B, K, V), and of every layer the keys and the values of all tokens.
        """
        x_BKD = self._embed(token_BK[..., None], state.position)[..., 0, :]
        all_keys, all_values = [], []
        for i, layer in enumerate(self.layers):
            # The K hypotheses are K queries to their utterance's one set of keys, here and below.
            queries, keys, values = layer.self_projections(x_BKD)  # (B, H, K, D / H)
            keys = torch.cat([state.keys[i], keys], dim=-2)
            values = torch.cat([state.values[i], values], dim=-2)
            mixed = attend(queries, keys, values, lineage)
            x_BKD = layer.add_self(x_BKD, mixed)
            x_BKD = layer.attend_memory(
                x_BKD, state.memory_keys[i], state.memory_values[i], state.memory_bias
            )
            x_BKD = layer.feed_forward(x_BKD)
            all_keys.append(keys)
            all_values.append(values)
        return self._logits(x_BKD).log_softmax(dim=-1), all_keys, all_values

    def _embed(self, token: Tensor, first_position: Any) -> Tensor:
        # An int; a tensor where a step is traced.
        width, last = self.embedding.embedding_dim, first_position + token.size(-1)
        x = F.embedding(token, self.embedding.weight)
        if self.positions is None:
            if token.size(-1) == 1 and isinstance(first_position, int):  # not while it is traced
                positions_LD = _sinusoid(first_position, width, x.dtype, x.device)
            else:
                positions_LD = sinusoids(first_position, token.size(-1), width, x)
            return self._drop(x * math.sqrt(width) + positions_LD)
        if last > len(self.positions):
            raise ValueError(
                f"got a sequence of {last} tokens, expected at most {len(self.positions)}: the "
                "decoder (model.decoder: whisper) has learned no more positions"
            )
        return self._drop(x + self.positions[first_position:last])

    def _drop(self, x: Tensor) -> Tensor:
        return self.dropout(x) if self.training else x

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(_norm(self.norm, x), self.embedding.weight, self.output_bias)


# A step of beam search is two hundred small operations. What nn.Module does around each call, and
# what is the same in every search, cost a third of it.
def _linear(layer: nn.Linear, x: Tensor) -> Tensor:
    return F.linear(x, layer.weight, layer.bias)


def _norm(layer: nn.LayerNorm, x: Tensor) -> Tensor:
    return torch.layer_norm(x, layer.normalized_shape, layer.weight, layer.bias, layer.eps)


@functools.lru_cache(maxsize=1024)
@torch.inference_mode(False)
def _sinusoid(position: int, width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """One row of `sinusoids`, (1, width)."""
    return sinusoids(position, 1, width, torch.empty(0, dtype=dtype, device=device))


@functools.lru_cache(maxsize=64)
@torch.inference_mode(False)
def _itself(num_hyps: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Lineage of each hypothesis' new token, (1, 1, K, K)."""
    return _bias(torch.eye(num_hyps, dtype=torch.bool, device=device), dtype).view(
        1, 1, num_hyps, num_hyps
    )


def _bias(mask_BT: Tensor, dtype: torch.dtype) -> Tensor:
    """Additive attention mask (B, 1, 1, T). The lowest number, not -inf: a row without memory
    must give some finite state, never NaN."""
    bias = torch.zeros(mask_BT.shape, dtype=dtype, device=mask_BT.device)
    return bias.masked_fill(~mask_BT, torch.finfo(dtype).min)[:, None, None, :]


def _of_nothing(bias: Tensor) -> Tensor:
    """The bias, of the same type, of one that attends to the first position alone: (T,)."""
    alone_T = torch.full_like(bias[0, 0, 0], torch.finfo(bias.dtype).min)
    alone_T[0] = 0.0
    return alone_T


def sinusoids(first: int, length: int, width: int, like: Tensor) -> Tensor:
    """Positional encoding by sinusoids (Vaswani et al. 2017, section 3.5).

    Args:
        first: position of the first row, 0 or more.
        length: rows.
        width: D, even.
        like: has the type and device of the result.

    Returns:
        (length, width), sines and cosines in turn.
    """
    position = torch.arange(first, first + length, device=like.device, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, width, 2, device=like.device) * (-math.log(10000.0) / width))
    angle = position[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(-2).to(like.dtype)
