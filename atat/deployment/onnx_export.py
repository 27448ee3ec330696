"""The parts of a trained network as ONNX graphs, as `atat.inference.onnx_network` runs them."""

# Letters as in atat/inference/network.py and onnx_network.py

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from atat.inference import onnx_network
from atat.inference.torch_network import TorchNetwork
from atat.models.decoder import Decoder, DecoderState
from atat.models.espnet_model import AtatModel

OPSET = 17
# Sizes of the inputs that graphs are traced with; all of these may differ afterwards. No two are
# equal, nor 1: the tracer would take one for the other, or for a constant.
BATCH, HYPS, FRAMES, STATES, PAST, TOKENS = 2, 3, 57, 19, 6, 5


class ModelPart(nn.Module):
    """A way through a model."""

    def __init__(self, model: AtatModel) -> None:
        super().__init__()
        self.model = model


class Speech(ModelPart):
    """Features to memory, mask and CTC's scores."""

    def forward(self, speech_BTF: Tensor, lengths_B: Tensor) -> tuple[Tensor, ...]:
        """As `AtatModel.encode_speech`, without what is None."""
        found = self.model.encode_speech(speech_BTF, lengths_B)
        return tuple(part for part in found if part is not None)


class Text(ModelPart):
    """Source tokens to memory and mask."""

    def forward(self, token_BL: Tensor, lengths_B: Tensor) -> tuple[Tensor, ...]:
        """As `AtatModel.encode_text`."""
        return self.model.encode_text(token_BL, lengths_B)


class Posteriors(ModelPart):
    """CTC's posteriors to memory and mask."""

    def forward(self, ctc_BSV: Tensor, mask_BS: Tensor) -> tuple[Tensor, ...]:
        """As `AtatModel.encode_posteriors`."""
        return self.model.encode_posteriors(ctc_BSV, mask_BS, trim=False)


class DecoderPart(nn.Module):
    """A way through a decoder."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self.decoder = decoder


class Memory(DecoderPart):
    """Memory to the keys and values that all layers attend to."""

    def forward(self, memory_BTD: Tensor) -> tuple[Tensor, Tensor]:
        """(G, B, H, T, D / H) each."""
        keys, values = self.decoder.memory_projections(memory_BTD)
        return torch.stack(keys), torch.stack(values)


class Step(DecoderPart):
    """One step of the decoder; inputs and outputs as of `onnx_network.OnnxDecoder.step`."""

    def forward(
        self,
        token_BK: Tensor,
        position: Tensor,
        keys: Tensor,
        values: Tensor,
        lineage: Tensor,
        memory_keys: Tensor,
        memory_values: Tensor,
        memory_bias: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Log-probabilities (B, K, V), and the keys and values of past and present."""
        state = DecoderState(
            position,
            tuple(keys),
            tuple(values),
            lineage,
            tuple(memory_keys),
            tuple(memory_values),
            memory_bias,
        )
        log_probs, all_keys, all_values = self.decoder.attend(token_BK, state, lineage)
        return log_probs, torch.stack(all_keys), torch.stack(all_values)


def export(model: AtatModel, directory: Path) -> dict[str, Any]:
    """Write the graphs of a model, float32.

    Args:
        model: trained, on the CPU.
        directory: exists.

    Returns:
        What `OnnxNetwork` needs to know of the network; graphs that could not be written are in its
        `left_out`, with the reason.
    """
    model = model.eval()
    left_out = {}
    speech = torch.randn(BATCH, FRAMES, len(model.cmvn_mean_F))
    lengths = torch.tensor([FRAMES, FRAMES - 8])
    outputs = ["memory", "mask", *(["ctc"] if model.ctc is not None else [])]
    _write(
        Speech(model),
        (speech, lengths),
        directory / onnx_network.SPEECH,
        {"speech": "BT", "lengths": "B"},
        dict.fromkeys(outputs, "BS"),
    )
    if model.config.text_encoder == "transformer":
        token = torch.randint(4, model.decoder.embedding.num_embeddings, (BATCH, TOKENS))
        _write(
            Text(model),
            (token, torch.tensor([TOKENS, TOKENS - 2])),
            directory / onnx_network.TEXT,
            {"token": "BL", "lengths": "B"},
            {"memory": "BL", "mask": "BL"},
        )
    elif model.config.text_encoder == "pretrained":
        left_out[onnx_network.TEXT] = (
            "a pretrained text encoder (model.text_encoder) has a tokenizer of its own, which only "
            "transformers runs; typed text needs the experiment itself"
        )
    if model.config.ctc_to_text_share > 0:
        num_symbols = model.decoder.embedding.num_embeddings
        ctc = torch.randn(BATCH, STATES, num_symbols).log_softmax(-1)
        _write(
            Posteriors(model),
            (ctc, torch.arange(STATES) < torch.tensor([[STATES], [STATES - 5]])),
            directory / onnx_network.POSTERIORS,
            {"ctc": "BS", "mask": "BS"},
            {"memory": "BS", "mask_": "BS"},
        )
    write_decoder(model.decoder, directory)
    positions = model.decoder.positions
    return {
        "has_ctc": model.ctc is not None,
        "ctc_tasks": list(TorchNetwork(model).ctc_tasks),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "max_positions": None if positions is None else len(positions),
        "reads_from": model.decoder.reads_from,
        "width": model.config.width,
        "left_out": left_out,
    }


def write_decoder(decoder: Decoder, directory: Path) -> None:
    """The two graphs of the decoder."""
    width, num_heads = decoder.embedding.embedding_dim, decoder.num_heads
    num_layers = len(decoder.layers)
    _write(
        Memory(decoder),
        (torch.randn(BATCH, STATES, width),),
        directory / onnx_network.MEMORY,
        {"memory": "BT"},
        {"keys": "_B_T", "values": "_B_T"},
    )

    def heads(length: int) -> Tensor:
        return torch.randn(num_layers, BATCH, num_heads, length, width // num_heads)

    _write(
        Step(decoder),
        (
            torch.randint(0, decoder.embedding.num_embeddings, (BATCH, HYPS)),
            torch.tensor(PAST // HYPS),
            heads(PAST),
            heads(PAST),
            torch.zeros(BATCH, 1, HYPS, PAST + HYPS),
            heads(STATES),
            heads(STATES),
            torch.zeros(BATCH, 1, 1 if decoder.reads_from is None else HYPS, STATES),
        ),
        directory / onnx_network.STEP,
        {
            "token": "BK",
            "position": "",
            "keys": "_B_N",
            "values": "_B_N",
            "lineage": "B_KM",
            "memory_keys": "_B_T",
            "memory_values": "_B_T",
            "memory_bias": "B__T" if decoder.reads_from is None else "B_KT",
        },
        {"log_probs": "BK", "new_keys": "_B_M", "new_values": "_B_M"},
    )


def _write(
    module: nn.Module,
    inputs: tuple[Tensor, ...],
    path: Path,
    input_axes: dict[str, str],
    output_axes: dict[str, str],
) -> None:
    """Trace a module and write its graph.

    Args:
        module: is left in evaluation mode.
        inputs: examples.
        path: of the graph.
        input_axes: name -> a letter for each dimension that may differ, _ for those that do not and
            stand before one.
        output_axes: the same of what comes out.
    """
    axes = {
        name: {i: letter for i, letter in enumerate(letters) if letter != "_"}
        for name, letters in (input_axes | output_axes).items()
    }
    with torch.no_grad(), quiet():
        torch.onnx.export(
            module.eval(),  # else all of it is left in training mode
            inputs,
            str(path),
            input_names=list(input_axes),
            output_names=list(output_axes),
            dynamic_axes=axes,
            opset_version=OPSET,
            # By tracing: torch.export refuses sizes that decide how to go on, and ESPnet's layers.
            dynamo=False,
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the advice of torch's tracer (of every size that it takes for a constant; the tests
    compare instead) and of onnxruntime's quantisation."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
