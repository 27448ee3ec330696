"""A tiny model, and its training over the toy corpus."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from atat.config.schema import Config, Source
from atat.models import checkpoint
from atat.training import launch, run_directory


def settings(**changes) -> Config:
    """A tiny model over the toy corpus, without augmentation."""
    c = Config()
    c.model.width, c.model.num_heads, c.model.front_channels = 32, 2, 4
    c.model.speech_layers = c.model.text_layers = c.model.decoder_layers = 1
    c.model.speech_ffn = c.model.text_ffn = c.model.decoder_ffn = 64
    c.model.subsampling, c.model.dropout = 4, 0.0
    c.augment.enabled = False
    c.train.sources = [Source("train", ["asr", "slu", "nlu"])]
    c.train.num_steps, c.train.num_epochs, c.train.batch_frames = 30, 3, 400
    c.train.text_batch, c.train.text_every, c.train.num_workers = 4, 1, 0
    c.train.learning_rate, c.train.label_smoothing = 5e-3, 0.0
    c.train.average_checkpoints = 1
    for name, value in changes.items():
        setattr(c.train, name, value)
    return c


def run(c: Config, root: Path, name: str, resume: bool = True) -> Path:
    exp = root / "exp" / name
    run_directory.prepare_experiment(c, root / "data", exp, resume)
    launch.train(c, root / "data", root / "dump", exp)
    return exp


def lines(exp: Path) -> list[dict]:
    return [json.loads(line) for line in (exp / "train.jsonl").read_text().splitlines()]


def weights(exp: Path) -> dict[str, torch.Tensor]:
    return load_file(exp / checkpoint.FILE)
