"""Training with ESPnet's trainer, in one process or several, and the model that it leaves."""

import contextlib
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

from atat.common import cli
from atat.common.files import check_zip, locked_directory
from atat.config import config_file
from atat.config.schema import Config
from atat.data import feature_store
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint, experiment_files
from atat.training import frozen_states, trackers
from atat.training.run_directory import PREVIOUS, UNFINISHED, prepare_experiment, put_back
from atat.training.train_log import TrainLog

DIED = (
    "a process of the training died (out of memory, killed, or a crash in a C library): the same "
    "command goes on from the last epoch"
)


def check_gpu(num_gpus: int) -> None:
    """Raise ValueError where a GPU is wanted and torch finds none."""
    import torch

    if num_gpus and not torch.cuda.is_available():
        raise ValueError(f"train.num_gpus: got {num_gpus}, expected 0: torch finds no GPU here")


def run(settings: Config, data: Path, dump: Path, exp: Path, resume: bool) -> None:
    """Train an experiment from the features and labels that there are, and say so.

    Args:
        data, dump, exp: directories of stages 1 and 3, of stage 2, and of the experiment.
        resume: go on from an unfinished training of the same settings.

    Raises:
        ValueError, FileNotFoundError: what is given does not fit together, or training diverged. A
            model that was trained here before, or an unfinished training, is there again then, as
            it was. BlockingIOError: another training works there.
    """
    check_gpu(settings.train.num_gpus)
    trackers.check(settings.train.trackers)
    with locked_directory(exp, "another training"):
        shutil.rmtree(exp / UNFINISHED, ignore_errors=True)  # of one that was killed
        was_trained = checkpoint.is_trained(exp)
        try:
            _run(settings, data, dump, exp, resume)
        except cli.MISTAKES:
            if not checkpoint.is_trained(exp):
                if was_trained:
                    put_back(exp)
                elif (exp / UNFINISHED).is_dir():
                    put_back(exp, UNFINISHED)
            raise
        for place in (PREVIOUS, UNFINISHED):
            shutil.rmtree(exp / place, ignore_errors=True)


def _run(settings: Config, data: Path, dump: Path, exp: Path, resume: bool) -> None:
    t = settings.train
    feature_store.recipe_kind(dump)  # a damaged file shows before anything is set aside
    state = prepare_experiment(settings, data, exp, resume)
    dump = feature_store.of_kind(data, dump, settings.features, t.num_processes)
    if settings.model.frozen_encoder is not None:
        splits = list(dict.fromkeys(t.spoken_splits + t.valid_splits))
        dump = frozen_states.cached_states(
            data, dump, settings, splits, t.num_processes, t.spoken_splits
        )
    print(f"training '{exp.name}' {state}: {t.num_steps} steps -> {exp}")
    train(settings, data, dump, exp)
    print(f"trained: {checkpoint.model_path(exp)}")


def train(settings: Config, data: Path, dump: Path, exp: Path) -> None:
    """Run ESPnet's trainer over the experiment and write the model of the averaged weights.

    Args:
        settings: of the experiment, as `exp` has them.
        data, dump: directories of the splits, and of their features or cached states.
        exp: directory that `prepare_experiment` has made ready.

    Raises:
        ValueError: the settings do not fit the data, or training diverged.
    """
    num_processes = settings.train.num_processes
    if num_processes == 1:
        try:
            _work(0, settings, data, dump, exp, None)
        except RuntimeError as e:
            if "DataLoader worker" not in str(e):
                raise
            raise ChildProcessError(DIED) from e
    else:
        with tempfile.TemporaryDirectory() as meeting:
            for rank in range(1, num_processes):
                Path(meeting, str(rank)).mkdir()
                if (exp / "checkpoints" / "checkpoint.pth").is_file():
                    shutil.copy(exp / "checkpoints" / "checkpoint.pth", Path(meeting, str(rank)))
            _spawn(num_processes, (settings, data, dump, exp, meeting), Path(meeting) / "mistake")
    finish(exp / "checkpoints" / "valid.acc.ave.pth", exp)


def _spawn(num_processes: int, args: tuple, mistake: Path) -> None:
    """Train in several processes, each with a trainer of its own (see `local_sgd`)."""
    import torch

    if sys.platform == "linux":
        # They talk over the loopback device: this machine's other networks are not asked.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        if (reason := no_loopback()) is not None:
            raise ValueError(
                f"train.num_processes: got {num_processes}, which talk over the loopback device, "
                f"and that does not work here ({reason}): `ip link set lo up`, or set it to 1"
            )
    # When one fails it says that it ends the others; the user sees why instead.
    logging.getLogger("torch.multiprocessing.spawn").setLevel(logging.ERROR)
    try:
        torch.multiprocessing.spawn(_work, args, nprocs=num_processes)
    except torch.multiprocessing.ProcessRaisedException as e:
        if mistake.is_file():
            number, text = json.loads(mistake.read_text(encoding="utf-8"))
            raise (ValueError(text) if number is None else OSError(number, text)) from e
        raise
    except torch.multiprocessing.ProcessExitedException as e:
        raise ChildProcessError(DIED) from e


def _work(
    rank: int, settings: Config, data: Path, dump: Path, exp: Path, meeting: str | None
) -> None:
    """One training process; `meeting` is a directory where several find each other."""
    import torch

    from atat.training.espnet_task import AtatTask, AtatTrainer

    if meeting is not None:
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()
    torch.set_num_threads(settings.train.num_threads)
    checkpoints = exp / "checkpoints"
    if meeting is not None:
        torch.distributed.init_process_group(
            "gloo",
            init_method=f"file://{meeting}/store",
            rank=rank,
            world_size=settings.train.num_processes,
        )
        AtatTrainer.sync_every = settings.train.sync_every
        if rank > 0:  # goes on from the first one's checkpoint; what it writes is of no use
            checkpoints = Path(meeting, str(rank))
    # ESPnet logs through the root logger; its lines go to a file, ours to the terminal.
    logging.basicConfig(
        filename=checkpoints / "espnet.log" if rank == 0 else os.devnull,
        level=logging.INFO,
        format="%(asctime)s %(message)s",
    )
    AtatTrainer.log = TrainLog(exp / "train.jsonl", settings, quiet=rank > 0)
    args = AtatTask.get_parser().parse_args([])
    for name, value in espnet_options(settings).items():
        if not hasattr(args, name):
            raise AttributeError(f"ESPnet has no option '{name}'")
        setattr(args, name, value)
    args.output_dir, args.resume = str(checkpoints), True
    args.experiment_dir, args.data_dir, args.dump_dir = str(exp), str(data), str(dump)
    args.rank, args.distributed = rank, False
    if rank > 0:
        args.best_model_criterion = []  # the first process alone keeps and averages models
    watching = settings.train.trackers if rank == 0 else []
    if "wandb" in watching:
        vars(args).update(trackers.wandb_options(exp))
    mlflow = trackers.mlflow_run(exp) if "mlflow" in watching else contextlib.nullcontext()
    try:
        with mlflow as AtatTrainer.on_epoch:
            AtatTask.main_worker(args)
    except (ValueError, OSError) as e:
        if meeting is not None:  # for the process that the user sees
            number, text = getattr(e, "errno", None), getattr(e, "strerror", None) or str(e)
            Path(meeting, "mistake").write_text(json.dumps([number, text]), encoding="utf-8")
        raise


def no_loopback() -> str | None:
    """Why processes of this machine cannot reach one another; None where they can."""
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.connect(server.getsockname())
    except OSError as e:
        return e.strerror
    return None


def _end_with(parent: int) -> None:
    """Leave when the process that started this one is gone: if that was killed, nobody else would
    say so, and a second training would meet this one's checkpoints."""
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(cli.FAILED)


def espnet_options(settings: Config) -> dict[str, object]:
    """Our training settings in ESPnet's terms."""
    t = settings.train
    if t.schedule == "noam":
        # Vaswani et al. 2017, equation 3; ESPnet's class wants the model's width.
        optim = "adam"
        scheduler, scheduler_conf = (
            "noamlr",
            {"model_size": settings.model.width, "warmup_steps": t.noam_warmup_steps},
        )
        rate = t.noam_factor
    else:
        optim, rate = "adamw", t.learning_rate
        scheduler, scheduler_conf = (
            "onecyclelr",
            {
                "max_lr": t.learning_rate,
                "total_steps": t.num_steps + 1,
                "pct_start": t.warmup_fraction,
                "cycle_momentum": False,
            },
        )
    optim_conf = {"lr": rate, "betas": tuple(t.betas)}
    if optim == "adamw":
        # One kernel for all parameters: a seventh of a small model's step on a CPU otherwise.
        optim_conf |= {"weight_decay": t.weight_decay, "fused": True}
    return {
        "seed": settings.seed,
        "iterator_type": "task",
        "valid_iterator_type": "task",
        "max_epoch": t.num_epochs,
        "ngpu": t.num_gpus,
        "optim": optim,
        "optim_conf": optim_conf,
        "scheduler": scheduler,
        "scheduler_conf": scheduler_conf,
        "grad_clip": t.grad_clip,
        "keep_nbest_models": t.average_checkpoints,
        "best_model_criterion": [("valid", "acc", "max")],
        "use_matplotlib": False,
        "use_tensorboard": True,
        "num_att_plot": 0,
        "log_interval": 100,
    }


def finish(averaged: Path, exp: Path) -> None:
    """Check the averaged weights and write them as the model, tied to its tokenizer.

    Raises:
        ValueError: the average is missing, empty, or not a number somewhere.
    """
    import torch

    if not averaged.is_file() or averaged.stat().st_size == 0:
        raise ValueError(f"{averaged}: training left no averaged model; rerun stage 4")
    check_zip(averaged)
    weights = torch.load(averaged, map_location="cpu", weights_only=True)
    if not weights:
        raise ValueError(f"{averaged}: the averaged model is empty; rerun stage 4")
    for name, value in weights.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(
                f"{averaged}: '{name}' is not finite: training diverged; lower train.learning_rate"
            )
    settings = config_file.load_resolved(exp / "config.yaml")
    tokenizer = Tokenizer.load(exp / "tokenizer")
    checkpoint.write(weights, settings.model, tokenizer, exp, experiment_files.read(exp))
