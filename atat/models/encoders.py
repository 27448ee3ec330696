"""The speech and the text encoder, whose states have one width, for one decoder."""

# B batch, F mel bins, T feature frames, S encoder frames after subsampling, L text tokens, D width

import math
from typing import Any

import torch
from torch import Tensor, nn

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.config.schema import ModelConfig
from atat.models.attention import attend
from atat.models.decoder import Layer, sinusoids


def length_mask(lengths_B: Tensor, max_length: int) -> Tensor:
    """(B, max_length) bool, true where position < length."""
    return torch.arange(max_length, device=lengths_B.device) < lengths_B[:, None]


class SpeechFront(nn.Module):
    """Two 2-D convolutions, each halving time and frequency, and a projection.

    Paper, section 3.2: "2-layer 2-D CNN with max-pooling". `pooling="max"` is that; "stride" lets
    the convolution take every second position and costs a quarter. `subsampling=8` adds a 1-D
    convolution that halves time again (not in the paper: many more updates a minute).

    Args:
        num_bins: F.
        channels: of either convolution.
        width: D.
        pooling: max or stride.
        subsampling: 4 or 8.

    Raises:
        ValueError: another pooling or subsampling.
    """

    def __init__(
        self, num_bins: int, channels: int, width: int, pooling: str, subsampling: int
    ) -> None:
        super().__init__()
        if pooling not in ("max", "stride"):
            raise ValueError(f"model.front: got '{pooling}', expected 'max' or 'stride'")
        if subsampling not in (4, 8):
            raise ValueError(f"model.subsampling: got {subsampling}, expected 4 or 8")
        stride = 2 if pooling == "stride" else 1
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, channels, 3, stride=stride, padding=1) for inputs in (1, channels)
        )
        # ceil_mode: the same number of frames as a stride of 2 gives.
        self.pool = nn.MaxPool2d(2, ceil_mode=True) if pooling == "max" else nn.Identity()
        self.project = nn.Linear(channels * math.ceil(math.ceil(num_bins / 2) / 2), width)
        self.halve = nn.Conv1d(width, width, 5, stride=2, padding=2) if subsampling == 8 else None

    def forward(self, speech_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (B, S, D) and the lengths (B,), S = ceil(T / subsampling)."""
        x = speech_BTF[:, None]
        if not self.training:
            # On CPUs the first convolution and the pool then take a tenth of the time; gradients
            # of wide convolutions take longer.
            x = x.to(memory_format=torch.channels_last)
        for convolution in self.convolutions:
            x = convolution(x)
            halved_B = (lengths_B + 1) // 2
            # What a convolution writes into the padding must not reach the next one, nor the pool.
            kept_B = lengths_B if convolution.stride == (1, 1) else halved_B
            # The rectifier after the pool is the same, of a quarter as many numbers.
            x = self.pool(x * length_mask(kept_B, x.size(2))[:, None, :, None]).relu()
            lengths_B = halved_B
        x = self.project(x.transpose(1, 2).flatten(2))
        return _halve(self.halve, x, lengths_B) if self.halve is not None else (x, lengths_B)


class StateFront(nn.Module):
    """Projects the states of a frozen encoder, one for four frames, to the width of ours.

    Args:
        num_states: their width.
        width: D.
        subsampling: 4, or 8, with a convolution that halves time.
        dropout: probability.

    Raises:
        ValueError: another subsampling.
    """

    def __init__(self, num_states: int, width: int, subsampling: int, dropout: float) -> None:
        super().__init__()
        if subsampling not in (4, 8):
            raise ValueError(f"model.subsampling: got {subsampling}, expected 4 or 8")
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(num_states, width)
        self.halve = nn.Conv1d(width, width, 5, stride=2, padding=2) if subsampling == 8 else None

    def forward(self, states_BSD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Returns (B, S', width) and the lengths (B,)."""
        x = self.project(self.dropout(states_BSD))
        return _halve(self.halve, x, lengths_B) if self.halve is not None else (x, lengths_B)


def _halve(convolution: nn.Conv1d, x_BSD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
    """Half as many states, the padding kept out."""
    x = x_BSD * length_mask(lengths_B, x_BSD.size(1))[..., None]
    return convolution(x.relu().transpose(1, 2)).transpose(1, 2), (lengths_B + 1) // 2


class SpeechEncoder(nn.Module):
    """Front and ESPnet's Transformer or Conformer layers."""

    def __init__(self, num_bins: int, c: ModelConfig) -> None:
        super().__init__()
        self.front: StateFront | SpeechFront
        if c.frozen_encoder is not None:
            self.front = StateFront(c.frozen_encoder_width, c.width, c.subsampling, c.dropout)
        else:
            self.front = SpeechFront(num_bins, c.front_channels, c.width, c.front, c.subsampling)
        common = dict(
            input_size=c.width,
            output_size=c.width,
            attention_heads=c.num_heads,
            linear_units=c.speech_ffn,
            num_blocks=c.speech_layers,
            dropout_rate=c.dropout,
            input_layer=None,
        )
        if c.speech_encoder == "conformer":
            from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

            self.layers = ConformerEncoder(
                **common,
                positional_dropout_rate=c.dropout,
                macaron_style=True,
                rel_pos_type="latest",
                cnn_module_kernel=c.conformer_kernel,
            )
        elif c.speech_encoder == "transformer":
            from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

            self.layers = TransformerEncoder(**common)
        else:
            raise ValueError(
                f"model.speech_encoder: got '{c.speech_encoder}', expected conformer, transformer, "
                "adapter or whisper"
            )
        self.absolute_positions = c.speech_encoder == "transformer"
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, speech_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features (B, T, F) -> states (B, S, D) and mask (B, S), true for frames.

        The layers are ESPnet's, what is done with them is not: theirs keep the attention of a call
        on the module, where another thread finds it, and their convolution reads over the end of an
        utterance into the padding. Here an utterance's states are the same whatever it is batched
        with and whoever else uses the model.
        """
        x, lengths_B = self.front(speech_BTF, lengths_B)
        mask_BS = length_mask(lengths_B, x.size(1))
        if self.absolute_positions:
            x = self.dropout(x + sinusoids(0, x.size(1), x.size(2), x))
            for layer in self.layers.encoders:
                x = _transformer_layer(layer, x, mask_BS)
        else:
            x = self.dropout(x * math.sqrt(x.size(2)))
            positions_1PD = self.dropout(_relative_positions(x))
            for layer in self.layers.encoders:
                x = _conformer_layer(layer, x, mask_BS, positions_1PD)
        return self.layers.after_norm(x), mask_BS


class StateAdapter(nn.Module):
    """Transformer layers on a frozen encoder's states, which start as the identity.

    For a decoder that was trained on these very states (`model.decoder: whisper`): what it knows of
    them holds at the first step, and what training adds is a correction.

    Args:
        c: `width` is that of the states, `speech_layers`, `speech_ffn` and `num_heads` the layers'.

    Raises:
        ValueError: there is no frozen encoder, or its states are of another width or rate.
    """

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        if c.frozen_encoder is None or c.width != c.frozen_encoder_width or c.subsampling != 4:
            raise ValueError(
                "model.speech_encoder: adapter stands on a frozen encoder's states as they are; "
                f"expected model.frozen_encoder, model.width {c.frozen_encoder_width} (got "
                f"{c.width}) and model.subsampling 4 (got {c.subsampling})"
            )
        layers = [
            Layer(c.width, c.num_heads, c.speech_ffn, c.dropout, nn.GELU)
            for _ in range(c.speech_layers)
        ]
        for layer in layers:
            for last in (layer.self_out, layer.ffn[-1]):
                for parameter in last.parameters():
                    nn.init.zeros_(parameter)
        self.layers = nn.ModuleList(layers)

    def forward(self, states_BSD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """States (B, S, D) -> states (B, S, D) and mask (B, S), true where one is real."""
        mask_BS = length_mask(lengths_B, states_BSD.size(1))
        x = states_BSD
        for layer in self.layers:
            queries, keys, values = layer.self_projections(x)
            mixed = attend(queries, keys, values, mask_BS[:, None, None])
            x = layer.feed_forward(layer.add_self(x, mixed))
        return x, mask_BS


# ESPnet's layers have no types.


def _transformer_layer(layer: Any, x: Tensor, mask_BS: Tensor) -> Tensor:
    """One layer of ESPnet's Transformer encoder (Vaswani et al. 2017, norms first)."""
    x = x + layer.dropout(_attend(layer.self_attn, layer.norm1(x), mask_BS))
    return x + layer.dropout(layer.feed_forward(layer.norm2(x)))


def _conformer_layer(layer: Any, x: Tensor, mask_BS: Tensor, positions_1PD: Tensor) -> Tensor:
    """One layer of ESPnet's Conformer (Gulati et al. 2020, section 2.4)."""
    half = layer.ff_scale
    x = x + half * layer.dropout(layer.feed_forward_macaron(layer.norm_ff_macaron(x)))
    x = x + layer.dropout(_attend(layer.self_attn, layer.norm_mha(x), mask_BS, positions_1PD))
    x = x + layer.dropout(_convolve(layer.conv_module, layer.norm_conv(x), mask_BS))
    x = x + half * layer.dropout(layer.feed_forward(layer.norm_ff(x)))
    return layer.norm_final(x)


def _attend(
    attention: Any, x: Tensor, mask_BS: Tensor, positions_1PD: Tensor | None = None
) -> Tensor:
    """Self-attention, with relative positions (Dai et al. 2019, appendix B) where there are some.

    Args:
        attention: ESPnet's, whose parameters are used.
        x: (B, S, D).
        mask_BS: true where a state is real.
        positions_1PD: `_relative_positions` of x; None: attention by content alone.
    """
    queries, keys, values = attention.forward_qkv(x, x, x)  # (B, H, S, D / H)
    if positions_1PD is None:
        dropout = attention.dropout.p if attention.training else 0.0
        mixed = attend(queries, keys, values, mask_BS[:, None, None], dropout=dropout)
    else:
        offsets = attention.linear_pos(positions_1PD).view(1, -1, attention.h, attention.d_k)
        by_content = (queries + attention.pos_bias_u[:, None]) @ keys.transpose(-2, -1)
        by_offset = (queries + attention.pos_bias_v[:, None]) @ offsets.permute(0, 2, 3, 1)
        scores_BHSS = (by_content + attention.rel_shift(by_offset)) / math.sqrt(attention.d_k)
        scores_BHSS = scores_BHSS.masked_fill(~mask_BS[:, None, None], -math.inf)
        mixed = attention.dropout(scores_BHSS.softmax(dim=-1)) @ values
    return attention.linear_out(mixed.transpose(1, 2).flatten(2))


def _convolve(module: Any, x_BSD: Tensor, mask_BS: Tensor) -> Tensor:
    """ESPnet's convolution module, with nothing of the padding in it."""
    x = nn.functional.glu(module.pointwise_conv1(x_BSD.transpose(1, 2)), dim=1)
    x = module.depthwise_conv(x * mask_BS[:, None])
    return module.pointwise_conv2(module.activation(module.norm(x))).transpose(1, 2)


def _relative_positions(x: Tensor) -> Tensor:
    """Sinusoids of the offsets S - 1 to 1 - S of one position from another, (1, 2 S - 1, D)."""
    size, width = x.size(1), x.size(2)
    rate_D = torch.exp(torch.arange(0, width, 2, device=x.device) * (-math.log(1e4) / width))
    offset_P = torch.arange(size - 1, -size, -1, device=x.device, dtype=torch.float32)
    angle_PD = offset_P[:, None] * rate_D
    return torch.stack([angle_PD.sin(), angle_PD.cos()], dim=-1).flatten(1)[None].to(x.dtype)


class TextEncoder(nn.Module):
    """A small Transformer over the decoder's own token embeddings."""

    def __init__(self, c: ModelConfig) -> None:
        super().__init__()
        from espnet2.asr.encoder.transformer_encoder import TransformerEncoder

        self.layers = TransformerEncoder(
            input_size=c.width,
            output_size=c.width,
            attention_heads=c.num_heads,
            linear_units=c.text_ffn,
            num_blocks=c.text_layers,
            dropout_rate=c.dropout,
            input_layer=None,
        )
        self.dropout = nn.Dropout(c.dropout)

    def forward(self, embedded_BLD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Embedded tokens (B, L, D) -> states (B, L, D) and mask (B, L)."""
        mask_BL = length_mask(lengths_B, embedded_BLD.size(1))
        x = embedded_BLD + sinusoids(0, embedded_BLD.size(1), embedded_BLD.size(2), embedded_BLD)
        x = self.dropout(x)
        for layer in self.layers.encoders:
            x = _transformer_layer(layer, x, mask_BL)
        return self.layers.after_norm(x), mask_BL


class PretrainedTextEncoder(nn.Module):
    """A Hugging Face encoder (BERT in the paper) and a linear map to the decoder's width.

    Args:
        pretrained: model name or local directory, as `transformers` takes it.
        with_weights: false builds the same architecture with random weights, to be filled from a
            checkpoint of ours.
    """

    def __init__(
        self, pretrained: str, width: int, frozen: bool, with_weights: bool = True
    ) -> None:
        super().__init__()
        from transformers import AutoConfig, AutoModel

        try:
            # Code that comes with a model is never run, and nobody is asked whether to.
            if with_weights:
                self.encoder = AutoModel.from_pretrained(pretrained, trust_remote_code=False)
            else:
                sizes = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
                make: Any = AutoModel.from_config  # has no types
                self.encoder = make(sizes, trust_remote_code=False)
        except (OSError, ValueError) as e:
            raise ValueError(
                f"model.text_pretrained: cannot load '{pretrained}' ({str(e).splitlines()[0]}); "
                "give a local directory, or a name that Hugging Face knows while there is a network"
            ) from e
        self.frozen = frozen
        self.encoder.requires_grad_(not frozen)
        self.project = nn.Linear(self.encoder.config.hidden_size, width)

    def forward(self, token_BL: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Token ids of the encoder's own tokenizer (B, L) -> states (B, L, D) and mask (B, L)."""
        mask_BL = length_mask(lengths_B, token_BL.size(1))
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            states = self.encoder(input_ids=token_BL, attention_mask=mask_BL.long())
        return self.project(states.last_hidden_state), mask_BL
