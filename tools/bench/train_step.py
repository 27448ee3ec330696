#!/usr/bin/env python3
"""A training step of ours against ESPnet's hybrid CTC/attention model of equal size: CPU time, as a
table.

Forward, backward, clipping and AdamW, on one random batch and one thread, a step by each in turn.
Equal are encoder, decoder, vocabulary, batch and targets (a transcript an utterance); the fronts
are each one's own. A row of ours is in mixed precision, which pays where a CPU has instructions for
bfloat16.
"""

# B utterances, T frames, F mel bins, L tokens

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import atat.common.espnet_compat  # noqa: F401  (before espnet2)
from atat.common import cli
from atat.common.text_table import align
from atat.config import config_file
from atat.config.schema import Config
from atat.data.tokenizer import Tokenizer
from atat.inference import threads
from atat.models.espnet_model import build

CONF = Path(__file__).resolve().parents[2] / "conf"
SIZES = ("tiny", "paper")
NUM_UTTERANCES = 8
TOKENS_PER_S = 4
# ESPnet's front, and how many frames are one state after it.
ESPNET_FRONTS = {8: "conv2d8", 4: "conv2d"}
OURS = "ours"
MIXED = "ours, train.use_amp"  # products in bfloat16


def espnet_model(config: Config, tokenizer: Tokenizer, subsampling: int) -> nn.Module:
    """ESPnet's model with layers as the configuration's."""
    from espnet2.asr.ctc import CTC
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    from espnet2.asr.encoder.transformer_encoder import TransformerEncoder
    from espnet2.asr.espnet_model import ESPnetASRModel

    c = config.model
    encoder_sizes = dict(
        input_size=config.features.num_mel_bins,
        output_size=c.width,
        attention_heads=c.num_heads,
        linear_units=c.speech_ffn,
        num_blocks=c.speech_layers,
        dropout_rate=c.dropout,
        positional_dropout_rate=c.dropout,
        attention_dropout_rate=c.dropout,
        input_layer=ESPNET_FRONTS[subsampling],
    )
    if c.speech_encoder == "conformer":
        encoder = ConformerEncoder(
            **encoder_sizes,
            macaron_style=True,
            rel_pos_type="latest",
            pos_enc_layer_type="rel_pos",
            selfattention_layer_type="rel_selfattn",
            cnn_module_kernel=c.conformer_kernel,
        )
    else:
        encoder = TransformerEncoder(**encoder_sizes)
    decoder = TransformerDecoder(
        vocab_size=len(tokenizer),
        encoder_output_size=c.width,
        attention_heads=c.num_heads,
        linear_units=c.decoder_ffn,
        num_blocks=c.decoder_layers,
        dropout_rate=c.dropout,
        positional_dropout_rate=c.dropout,
    )
    return ESPnetASRModel(
        vocab_size=len(tokenizer),
        token_list=["<blank>", *tokenizer.symbols[1:-1], "<sos/eos>"],
        frontend=None,
        specaug=None,
        normalize=None,
        preencoder=None,
        encoder=encoder,
        postencoder=None,
        decoder=decoder,
        ctc=CTC(odim=len(tokenizer), encoder_output_size=c.width),
        joint_network=None,
        ctc_weight=0.3 if c.ctc_weight > 0 else 0.0,
        lsm_weight=config.train.label_smoothing,
        report_cer=False,
        report_wer=False,
    )


def stepper(model: nn.Module, batch: dict[str, Tensor], config: Config) -> Callable[[], float]:
    """A function that does one step and returns the CPU seconds it took."""
    model.train()
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=config.train.weight_decay)

    def step() -> float:
        begin = time.process_time()
        loss, *_ = model(**batch)
        loss.sum().backward()
        nn.utils.clip_grad_norm_(parameters, config.train.grad_clip)
        optimizer.step()
        optimizer.zero_grad()
        return time.process_time() - begin

    return step


def batches(config: Config, tokenizer: Tokenizer, seed: int) -> tuple[dict, dict, float]:
    """The same batch as ours and as ESPnet's, and its seconds of audio, padding left out."""
    rng = np.random.default_rng(seed)
    longest = config.train.batch_frames // NUM_UTTERANCES
    lengths_B = torch.from_numpy(rng.integers(longest // 2, longest + 1, NUM_UTTERANCES))
    lengths_B[0] = longest
    speech_BTF = torch.from_numpy(
        rng.normal(size=(NUM_UTTERANCES, longest, config.features.num_mel_bins)).astype(np.float32)
    )
    seconds_B = lengths_B * config.features.frame_shift_ms / 1000
    num_tokens_B = (seconds_B * TOKENS_PER_S).long().clamp(min=1)
    first = max(tokenizer.task_ids.values()) + 1
    token_BL = torch.from_numpy(
        rng.integers(first, len(tokenizer) - 1, (NUM_UTTERANCES, int(num_tokens_B.max())))
    )
    is_padding_BL = torch.arange(token_BL.size(1)) >= num_tokens_B[:, None]
    speech = {"speech": speech_BTF, "speech_lengths": lengths_B}
    padded_BL = token_BL.masked_fill(is_padding_BL, tokenizer.pad)
    ours = speech | {
        "target": padded_BL,
        "target_lengths": num_tokens_B,
        "target_source": torch.arange(NUM_UTTERANCES),
        "target_task": torch.full((NUM_UTTERANCES,), tokenizer.task_ids["asr"]),
        "words": padded_BL,
        "words_lengths": num_tokens_B,
    }
    theirs = speech | {
        "text": token_BL.masked_fill(is_padding_BL, -1),
        "text_lengths": num_tokens_B,
    }
    return ours, theirs, float(seconds_B.sum())


def drawn_tokenizer(vocab_size: int, seed: int) -> Tokenizer:
    """Of random words."""
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    rng = np.random.default_rng(seed)
    words = ["".join(rng.choice(letters, rng.integers(3, 9))) for _ in range(vocab_size)]
    return Tokenizer.train(words, vocab_size=vocab_size)


def measure(config: Config, num_steps: int, seed: int) -> str:
    """The table of a model's size."""
    config.model.text_encoder = "transformer"  # takes no part
    tokenizer = drawn_tokenizer(config.tokenizer.vocab_size, seed)
    ours, theirs, seconds = batches(config, tokenizer, seed)
    torch.manual_seed(seed)
    models = {OURS: build(config, tokenizer), MIXED: build(config, tokenizer)}
    in_bfloat16 = torch.autocast("cpu", dtype=torch.bfloat16)
    models[MIXED].forward = in_bfloat16(models[MIXED].forward)
    for subsampling, front in ESPNET_FRONTS.items():
        models[f"ESPnet, {front}"] = espnet_model(config, tokenizer, subsampling)
    steps = {
        name: stepper(model, ours if name in (OURS, MIXED) else theirs, config)
        for name, model in models.items()
    }
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(num_steps + 1):
        for name, step in steps.items():
            found = step()
            if number:  # the first one warms up
                times[name].append(found)
    rows = [["model", "M parameters", "CPU ms a step", "audio s / CPU s", "its time / ours"]]
    for name, model in models.items():
        ratios = np.array(times[name]) / times[OURS]
        rows.append(
            [
                name,
                f"{sum(p.numel() for p in _used(model)) / 1e6:.1f}",
                f"{1000 * np.mean(times[name]):.0f}",
                f"{seconds / np.mean(times[name]):.1f}",
                f"{np.median(ratios):.2f}",
            ]
        )
    about = f"{NUM_UTTERANCES} utterances, {seconds:.1f} s, {num_steps} steps"
    return f"{config.model.subsampling}x subsampling, {about}\n{align(rows)}"


def _used(model: nn.Module) -> list[nn.Parameter]:
    """Parameters that a step of speech trains: not those of a text encoder."""
    return [p for name, p in model.named_parameters() if not name.startswith("text_encoder.")]


def main() -> None:
    parser = cli.parser(__doc__)
    add = parser.add_argument
    add("--sizes", nargs="+", choices=SIZES, default=["tiny"], help="of conf/ (paper: minutes)")
    add("--num_steps", type=cli.positive_int, default=20, help="of each")
    add("--seed", type=int, default=1)
    args = parser.parse_args()
    threads.limit(1)
    torch.set_num_threads(1)
    for size in args.sizes:
        config = config_file.load([CONF / f"model_{size}.yaml"])
        print(f"{size}, {measure(config, args.num_steps, args.seed)}", flush=True)


if __name__ == "__main__":
    cli.run(main)
