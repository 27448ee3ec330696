"""Whisper's encoder (Radford et al. 2022), trained or frozen, and warm start from its weights.

The encoder takes speech of any length: it was trained on windows of 30 seconds, but positions can
be cut to what there is. What is loaded of a checkpoint: the encoder, and, with `model.decoder:
whisper`, the decoder too, the embedding cut down to our vocabulary.
"""

# B batch, F mel bins, T feature frames, S encoder frames, D width, L tokens

import math
import re
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from atat.config.schema import ModelConfig
from atat.data import bpe_pieces
from atat.data.bpe_pieces import BYTE_SPACE, WORD_START
from atat.data.tokenizer import SPECIALS, Tokenizer
from atat.models import whisper_checkpoint
from atat.models.attention import attend
from atat.models.decoder import Layer, sinusoids
from atat.models.encoders import length_mask
from atat.models.whisper_checkpoint import Checkpoint

MAX_FRAMES = 1500  # of the encoder: 30 s
FRAMES_PER_STATE = 4  # feature frames to one state of a frozen encoder
SUBSAMPLING = 2  # feature frames to one of the encoder
MAX_TOKENS = 448  # of the decoder
HEAD_WIDTH = 64  # of all sizes of Whisper
RANGE_LOG10 = 8.0  # features reach so far below the loudest: 80 dB

EMBEDDING = "decoder.embedding.weight"

# The marks that Whisper's vocabulary has in place of ours.
SAME_PART = {"<eos>": "<|endoftext|>"}
TASK_START = "<|startoftranscript|>"  # every task token starts as it
NEW_ROW_STD = 0.1  # of a row's own deviation: tells apart rows that start alike


class WhisperEncoder(nn.Module):
    """Two 1-D convolutions, the second halving time, and Transformer layers.

    Args:
        num_bins: F.
        width, num_heads, ffn, num_layers: D, H, inner width of the feed-forward, depth
            (tiny: 384, 6, 1536, 4; base: 512, 8, 2048, 6).
        dropout: probability.
        num_frozen: so many layers, and the convolutions before them, are not trained; 0 trains all.
    """

    def __init__(
        self,
        num_bins: int,
        width: int,
        num_heads: int,
        ffn: int,
        num_layers: int,
        dropout: float,
        num_frozen: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= num_frozen <= num_layers:
            raise ValueError(
                f"model.speech_frozen_layers: got {num_frozen}, expected 0 to {num_layers} "
                "(model.speech_layers)"
            )
        self.conv1 = nn.Conv1d(num_bins, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.positions = nn.Parameter(sinusoids(0, MAX_FRAMES, width, torch.zeros(())))
        self.positions.requires_grad_(False)  # as Whisper's own training left them
        self.layers = nn.ModuleList(
            Layer(width, num_heads, ffn, dropout, nn.GELU) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        frozen = [self.conv1, self.conv2, *self.layers[:num_frozen]] if num_frozen else []
        if num_frozen == num_layers:
            frozen.append(self.norm)
        for module in frozen:
            module.requires_grad_(False)

    def forward(self, speech_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features (B, T, F) -> states (B, S, D) and mask (B, S), S = ceil(T / 2)."""
        longest = int(lengths_B.max())
        if (longest + 1) // 2 > MAX_FRAMES:
            raise ValueError(
                f"got {longest} frames of speech, expected at most {2 * MAX_FRAMES}: Whisper's "
                "encoder knows 30 s (features.max_duration_s)"
            )
        mask_BT = length_mask(lengths_B, speech_BTF.size(1))
        x = F.gelu(self.conv1(speech_BTF.transpose(1, 2)))
        # What a convolution writes into the padding must not reach the next one.
        x = F.gelu(self.conv2(x * mask_BT[:, None])).transpose(1, 2)
        mask_BS = length_mask((lengths_B + 1) // 2, x.size(1))
        x = x + self.positions[: x.size(1)]
        attended_B11S = mask_BS[:, None, None]
        for layer in self.layers:
            queries, keys, values = layer.self_projections(x)
            mixed = attend(queries, keys, values, attended_B11S)
            x = layer.feed_forward(layer.add_self(x, mixed))
        return self.norm(x), mask_BS


class FrozenEncoder(nn.Module):
    """Whisper's encoder, frozen: a state for every four frames of features.

    Args:
        num_bins, width, num_layers: F, D and depth, as of `WhisperEncoder`.
    """

    def __init__(self, num_bins: int, width: int, num_layers: int) -> None:
        super().__init__()
        self.encoder = WhisperEncoder(
            num_bins, width, width // HEAD_WIDTH, 4 * width, num_layers, 0.0, num_layers
        )
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, speech_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Log mel power (B, T, F) -> states (B, S, D) and lengths (B,), S = ceil(T / 4)."""
        states_BSD, mask_BS = self.encoder(normalize(speech_BTF, lengths_B), lengths_B)
        # The mean of every two; of the last one alone where their number is odd.
        sum_BSD, count_BS1 = (
            _pair_sums(states_BSD * mask_BS[..., None]),
            _pair_sums(mask_BS[..., None].long()),
        )
        return sum_BSD / count_BS1.clamp(min=1), (
            lengths_B + FRAMES_PER_STATE - 1
        ) // FRAMES_PER_STATE


def _pair_sums(x_BSD: Tensor) -> Tensor:
    """(B, ceil(S / 2), D); by slices, which an exported graph takes at any length."""
    return x_BSD[:, ::2] + F.pad(x_BSD, (0, 0, 0, 1))[:, 1::2]


def start_base(base: FrozenEncoder, source: str) -> None:
    """Load the encoder of a Whisper checkpoint.

    Args:
        base: the frozen encoder to fill.
        source: as `whisper_checkpoint.load` takes it.

    Raises:
        ValueError: there is no such checkpoint, or its sizes differ.
    """
    checkpoint = whisper_checkpoint.load(source)
    given = {
        name.replace("speech_encoder.", "encoder."): value
        for name, value in checkpoint.weights.items()
        if name.startswith("speech_encoder.")
    }
    state = base.state_dict()
    width = len(checkpoint.weights["speech_encoder.norm.bias"])
    depth = checkpoint.depth("speech_encoder")
    sizes = f"model.frozen_encoder_width={width} model.frozen_encoder_layers={depth}"
    _compare(f"model.frozen_encoder: {checkpoint.name}", given, state, sizes)
    if not any(value.is_meta for value in state.values()):
        base.load_state_dict(given)


def normalize(speech_BTF: Tensor, lengths_B: Tensor) -> Tensor:
    """Whisper's scale of log mel power (Radford et al. 2022, section 2.2), 0 in the padding.

    Nothing is further below the loudest than 80 dB; a decade of power is a quarter.

    Args:
        speech_BTF: natural logarithm of power, float.
        lengths_B: int64, how many frames of each are real.
    """
    mask_BT1 = length_mask(lengths_B, speech_BTF.size(1))[..., None]
    power_BTF = speech_BTF / math.log(10.0)
    loudest_B11 = power_BTF.masked_fill(~mask_BT1, -math.inf).amax(dim=(1, 2), keepdim=True)
    return (torch.maximum(power_BTF, loudest_B11 - RANGE_LOG10) + 4.0) / 4.0 * mask_BT1


def start(model: nn.Module, c: ModelConfig, tokenizer: Tokenizer) -> None:
    """Warm-start an `AtatModel` from `c.speech_pretrained`, and note the parameters in
    `model.pretrained` and `model.from_whisper`. Arguments and errors as of `match`."""
    found, state = match(model, c, tokenizer), model.state_dict()
    with torch.no_grad():
        for name, value in found.weights.items():
            state[name].copy_(value)
        if c.decoder == "whisper" and c.text_encoder == "transformer" and not c.transcript_first:
            # The decoder attends to what has the mean and the scale of Whisper's states.
            for name, value in found.memory_norm.items():
                state[f"text_encoder.layers.after_norm.{name}"].copy_(value)
    given = {
        name: found.rows_K if name == EMBEDDING else None
        for name, _ in model.named_parameters()
        if name in found.weights
    }
    model.pretrained |= given
    model.from_whisper |= given


class Found(NamedTuple):
    """What a checkpoint has for a model.

    Attributes:
        weights: by the name of the parameter.
        rows_K: of the embedding, those that are a symbol's of Whisper's own; the others begin near
            symbols of a like meaning.
        memory_norm: weight and bias of the norm that the encoder's states come out of.
    """

    weights: dict[str, Tensor]
    rows_K: Tensor
    memory_norm: dict[str, Tensor]


def match(model: nn.Module, c: ModelConfig, tokenizer: Tokenizer) -> Found:
    """What `c.speech_pretrained` has for an `AtatModel`.

    The weights of the encoder, of the decoder, or of both: whichever is Whisper's in `c`. Where the
    model has fewer layers, it gets the checkpoint's first and last and some between.

    Args:
        model: the `AtatModel`; it may be on the device `meta`.
        c: its settings.
        tokenizer: its vocabulary, which the decoder's embedding is cut to.

    Raises:
        ValueError: there is no such checkpoint, its sizes differ, or the model has no place for it.
    """
    parts = []
    assert c.speech_pretrained is not None  # else nobody asks
    if c.speech_encoder == "whisper":
        parts.append("speech_encoder")
    if c.decoder == "whisper":
        parts.append("decoder")
    if not parts:
        raise ValueError(
            f"model.speech_pretrained: got {c.speech_pretrained} for model.speech_encoder "
            f"{c.speech_encoder} and model.decoder {c.decoder}, expected whisper for one or both"
        )
    checkpoint = whisper_checkpoint.load(c.speech_pretrained)
    state = model.state_dict()
    given = {
        place: value
        for name, value in checkpoint.weights.items()
        if name.split(".")[0] in parts and (place := _place(name, model, checkpoint))
    }
    rows_K = torch.zeros(0, dtype=torch.long)
    if EMBEDDING in given:
        given[EMBEDDING], rows_K = _embedding(given[EMBEDDING], checkpoint.vocabulary, tokenizer)
    wanted = {name: value for name, value in state.items() if name.split(".")[0] in parts}
    wanted.pop("decoder.output_bias", None)  # Whisper has none
    _compare(f"model.speech_pretrained: {checkpoint.name}", given, wanted, checkpoint.sizes)
    norm = {name: checkpoint.weights[f"speech_encoder.norm.{name}"] for name in ("weight", "bias")}
    return Found(given, rows_K, norm)


def _compare(what: str, given: dict[str, Tensor], wanted: dict[str, Tensor], sizes: str) -> None:
    """Raise ValueError where names or shapes differ; `sizes` are those that would do."""
    for name in sorted(wanted.keys() | given.keys()):
        got, want = (tuple(d[name].shape) if name in d else "nothing" for d in (given, wanted))
        if got != want:
            raise ValueError(
                f"{what} has {got} for '{name}', the model {want}; expected the checkpoint's "
                f"sizes: {sizes}"
            )


def _place(name: str, model: nn.Module, checkpoint: Checkpoint) -> str | None:
    """Where a tensor of the checkpoint belongs; None if its layer is left out."""
    found = re.match(r"(speech_encoder|decoder)\.layers\.(\d+)\.(.*)", name)
    if not found:
        return name
    part, number, rest = found[1], int(found[2]), found[3]
    depth = checkpoint.depth(part)
    kept = spread(depth, len(getattr(model, part).layers))
    return f"{part}.layers.{kept.index(number)}.{rest}" if number in kept else None


def spread(depth: int, count: int) -> list[int]:
    """Which of `depth` layers to keep as `count`: first, last, and even steps between.

    >>> spread(6, 3), spread(4, 4), spread(6, 1)
    ([0, 2, 5], [0, 1, 2, 3], [0])
    """
    if count >= depth:
        return list(range(depth))
    return [i * (depth - 1) // max(count - 1, 1) for i in range(count)]


def _embedding(
    rows_VD: Tensor, vocabulary: list[str], tokenizer: Tokenizer
) -> tuple[Tensor, Tensor]:
    """A row for each of our symbols: Whisper's own where it has the symbol, else the mean of the
    rows of its parts (of a tag: of the words in its name) and a little noise. And which are its
    own."""
    index = bpe_pieces.index(vocabulary)
    generator = torch.Generator().manual_seed(0)
    noise_std = NEW_ROW_STD * float(rows_VD.std(dim=1).mean())
    ours, own = [], []
    for i, symbol in enumerate(tokenizer.symbols):
        parts = _parts(symbol, tokenizer, index)
        row = rows_VD[parts].mean(dim=0) if parts else torch.zeros(rows_VD.size(1))
        is_mark = symbol.startswith("<") and symbol not in SAME_PART
        if len(parts) == 1 and not is_mark and symbol not in tokenizer.tags:
            own.append(i)
        else:
            row = row + noise_std * torch.randn(row.shape, generator=generator)
        ours.append(row)
    return torch.stack(ours), torch.tensor(own)


def _parts(symbol: str, tokenizer: Tokenizer, index: dict[str, int]) -> list[int]:
    """Whisper's tokens that our symbol is made of; none for what it knows nothing of."""
    if symbol in SAME_PART:
        names = [SAME_PART[symbol]]
    elif symbol in SPECIALS:
        names = []
    elif symbol.startswith("<"):
        names = [TASK_START]
    elif symbol in tokenizer.tags:
        words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+|\d+", symbol)
        names = [BYTE_SPACE + word.lower() for word in words]
    else:
        starts = symbol.startswith(WORD_START)
        names = [(BYTE_SPACE if starts else "") + symbol.removeprefix(WORD_START)]
    return [index[part] for name in names for part in _longest_parts(name, index)]


def _longest_parts(name: str, index: dict[str, int]) -> list[str]:
    """Cut a name into pieces of the vocabulary, the longest first; what it lacks is left out.

    >>> _longest_parts("lattes", {"latt": 0, "es": 1, "l": 2})
    ['latt', 'es']
    """
    parts, begin = [], 0
    while begin < len(name):
        ends = (e for e in range(len(name), begin, -1) if name[begin:e] in index)
        end = next(ends, None)
        if end is not None:
            parts.append(name[begin:end])
        begin = end or begin + 1
    return parts
