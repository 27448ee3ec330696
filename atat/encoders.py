"""The two ways in: speech frames and text tokens become states of one width for one decoder."""

# B batch, F mel bins, T feature frames, S encoder frames after subsampling, L text tokens, D width

import math

import torch
from torch import Tensor, nn

import atat.espnet_compat  # noqa: F401  (before espnet2)
from atat.config import ModelConfig
from atat.decoder import sinusoids


def length_mask(lengths_B: Tensor, max_length: int) -> Tensor:
    """(B, max_length) bool, true where position < length."""
    return torch.arange(max_length, device=lengths_B.device) < lengths_B[:, None]


class SpeechFront(nn.Module):
    """Two 2-D convolutions, each halving time and frequency, and a projection.

    Paper, section 3.2: "2-layer 2-D CNN with max-pooling". `pooling="max"` is that; "stride" lets
    the convolution take every second position and costs a quarter. `subsampling=8` adds a 1-D
    convolution that halves time again (not in the paper: many more updates a minute).
    """

    def __init__(self, num_bins: int, channels: int, width: int, pooling: str, subsampling: int):
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
        for convolution in self.convolutions:
            x = convolution(x).relu()
            halved_B = (lengths_B + 1) // 2
            # What a convolution writes into the padding must not reach the next one, nor the pool.
            kept_B = lengths_B if convolution.stride == (1, 1) else halved_B
            x = self.pool(x * length_mask(kept_B, x.size(2))[:, None, :, None])
            lengths_B = halved_B
        x = self.project(x.transpose(1, 2).flatten(2))
        return _halve(self.halve, x, lengths_B) if self.halve is not None else (x, lengths_B)


class StateFront(nn.Module):
    """Takes the states of a frozen encoder, one for four frames, to the width of ours."""

    def __init__(self, num_states: int, width: int, subsampling: int, dropout: float):
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

    def __init__(self, num_bins: int, c: ModelConfig):
        super().__init__()
        if c.speech_base is not None:
            self.front = StateFront(c.speech_base_width, c.width, c.subsampling, c.dropout)
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
                f"model.speech_encoder: got '{c.speech_encoder}', expected conformer, transformer "
                "or whisper"
            )
        self.absolute_positions = c.speech_encoder == "transformer"
        self.dropout = nn.Dropout(c.dropout)
        # ESPnet's convolution module reads over the end of an utterance into the padding; the mask
        # there makes an utterance's states the same whatever it is batched with.
        self._valid_B1S: Tensor | None = None
        for module in self.layers.modules():
            if hasattr(module, "depthwise_conv"):
                module.depthwise_conv.register_forward_pre_hook(
                    lambda _, inputs: (inputs[0] * self._valid_B1S,)
                )

    def forward(self, speech_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised features (B, T, F) -> states (B, S, D) and mask (B, S), true for frames."""
        x, lengths_B = self.front(speech_BTF, lengths_B)
        mask_BS = length_mask(lengths_B, x.size(1))
        if self.absolute_positions:
            x = self.dropout(x + sinusoids(0, x.size(1), x.size(2), x))
        self._valid_B1S = mask_BS[:, None].to(x.dtype)
        x, _, _ = self.layers(x, lengths_B, masks=~mask_BS)
        return x, mask_BS


class TextEncoder(nn.Module):
    """A small Transformer over the decoder's own token embeddings."""

    def __init__(self, c: ModelConfig):
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
        x, _, _ = self.layers(self.dropout(x), lengths_B, masks=~mask_BL)
        return x, mask_BL


class PretrainedTextEncoder(nn.Module):
    """A Hugging Face encoder (BERT in the paper) and a linear map to the decoder's width.

    Args:
        pretrained: model name or local directory, as `transformers` takes it.
        with_weights: false builds the same architecture with random weights, to be filled from a
            checkpoint of ours.
    """

    def __init__(self, pretrained: str, width: int, frozen: bool, with_weights: bool = True):
        super().__init__()
        from transformers import AutoConfig, AutoModel

        try:
            if with_weights:
                self.encoder = AutoModel.from_pretrained(pretrained)
            else:
                self.encoder = AutoModel.from_config(AutoConfig.from_pretrained(pretrained))
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
