"""A tiny model, and its training over the toy corpus."""

import json
import multiprocessing
import os
import socket
from pathlib import Path

import torch
from safetensors.torch import load_file

from atat.config.schema import Config, Source
from atat.models import checkpoint
from atat.training import launch, run_directory
from atat.training.collator import Collator


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


def run_on(num: int, c: Config, root: Path, name: str) -> list[int]:
    """Train in processes that a launcher has started; their exit codes."""
    server = multiprocessing.get_context("forkserver")
    server.set_forkserver_preload(["atat.training.espnet_task"])
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    processes = []
    for rank in range(num):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num, "MASTER_PORT": port}
        place |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo"}
        processes.append(server.Process(target=_one_of, args=(place, c, root, name)))
        processes[-1].start()
    for process in processes:
        process.join(300)
    return [process.exitcode for process in processes]


def stop_at(step: int, number: int) -> None:
    """Have this process get a signal when it makes the batch of a step, once."""
    make = Collator.__call__
    sent = []

    def made(self, which, *examples):
        if self.training and which == step and not sent:
            sent.append(number)
            os.kill(os.getpid(), number)
        return make(self, which, *examples)

    Collator.__call__ = made


def _one_of(place: dict[str, object], c: Config, root: Path, name: str) -> None:
    os.environ |= {key: str(value) for key, value in place.items()}
    log = os.open(root / f"{name}.{place['RANK']}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    stop = root / "stop"  # where a test wants a signal: process, step and number of it
    if stop.is_file():
        rank, step, number = map(int, stop.read_text().split())
        if rank == place["RANK"]:
            stop_at(step, number)
    launch.run(c, root / "data", root / "dump", root / "exp" / name, True)
