"""Training with ESPnet's trainer, in one process or several, and the model that it leaves."""

import contextlib
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path

from atat.common import cli
from atat.common.advice import rerun
from atat.common.files import check_zip, locked_directory
from atat.config import config_file, stage_inputs, unused_settings
from atat.config.schema import Config, TrainConfig
from atat.data import feature_store
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint, experiment_files
from atat.training import distributed, frozen_states, trackers
from atat.training.distributed import ALONE, World
from atat.training.run_directory import (
    AFTER_EPOCH,
    PREVIOUS,
    UNFINISHED,
    WITHIN_EPOCH,
    prepare_experiment,
    put_back,
)
from atat.training.signals import StopSignal
from atat.training.train_log import TrainLog


def check_gpu(num_gpus: int) -> None:
    """Raise ValueError where more GPUs are wanted than torch finds."""
    import torch

    if num_gpus > (there := torch.cuda.device_count()):
        found = f"{there} GPUs" if there else "no GPU"
        raise ValueError(
            f"train.num_gpus: got {num_gpus}, expected {there}: torch finds {found} here"
        )


def lacks_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the CPU is known to have no instructions for products of bfloat16."""
    try:
        flags = cpuinfo.read_text(encoding="utf-8", errors="replace").split()
    except OSError:  # not Linux
        return False
    return not {"avx512_bf16", "amx_bf16", "bf16"} & set(flags)  # the last is ARM's


def run(
    settings: Config,
    data: Path,
    dump: Path,
    exp: Path,
    resume: bool,
    named: Collection[str] = (),
) -> None:
    """Train an experiment from the features and labels that there are, and say so.

    Started by torchrun, this is one of its processes, and the first of them prepares. Otherwise
    this process starts those that the settings want.

    Args:
        settings: of the experiment, resolved.
        data: directory of stages 1 and 3.
        dump: that of stage 2.
        exp: that of the experiment.
        resume: go on from an unfinished training of the same settings.
        named: settings that the user has named; one without effect is said.

    Raises:
        ValueError, FileNotFoundError: what is given does not fit together, or training diverged. A
            model that was trained here before, or an unfinished training, is there again then, as
            it was. BlockingIOError: another training works there. SystemExit: with
            exit code 75, after SIGTERM or SIGUSR1.
    """
    world = distributed.of_environment()
    check_gpu(settings.train.num_gpus)
    trackers.check(settings.train.trackers)
    if world is None and settings.train.num_nodes > 1:
        raise ValueError(
            f"train.num_nodes: got {settings.train.num_nodes}, expected 1, or a launcher on every "
            "node: torchrun --nnodes ... -m atat.train ... (docs/distributed.md)"
        )
    with StopSignal().caught():
        if world is not None and world.rank > 0:
            dump = Path(distributed.meet(world, settings.train.num_gpus))
            _work(config_file.load_resolved(exp / "config.yaml"), data, dump, exp, world)
            return
        with locked_directory(exp, "another training"):
            shutil.rmtree(exp / UNFINISHED, ignore_errors=True)  # of one that was killed
            was_trained = checkpoint.is_trained(exp)
            try:
                _run(settings, data, dump, exp, resume, named, world)
            except cli.MISTAKES:
                if not checkpoint.is_trained(exp):
                    if was_trained:
                        put_back(exp)
                    elif (exp / UNFINISHED).is_dir():
                        put_back(exp, UNFINISHED)
                raise
            for place in (PREVIOUS, UNFINISHED):
                shutil.rmtree(exp / place, ignore_errors=True)


def _run(
    settings: Config,
    data: Path,
    dump: Path,
    exp: Path,
    resume: bool,
    named: Collection[str],
    world: World | None,
) -> None:
    """Prepare and train, as the first process of all or the one that starts them."""

    def prepare() -> str:
        nonlocal dump
        t, num_jobs = settings.train, distributed.per_node(settings.train)
        feature_store.recipe_kind(dump)  # a damaged file shows before anything is set aside
        state = prepare_experiment(settings, data, exp, resume)
        for line in unused_settings.notes(settings, named, stage_inputs.EXPERIMENT_STAGES[4]):
            print(line, file=sys.stderr)
        if t.use_amp and t.num_gpus == 0 and lacks_bfloat16():
            print(
                "train.use_amp: this CPU has no instructions for bfloat16 (avx512_bf16 or "
                "amx_bf16), so that training is slower with it than without",
                file=sys.stderr,
            )
        dump = feature_store.of_kind(data, dump, settings.features, num_jobs)
        if settings.model.frozen_encoder is not None:
            splits = list(dict.fromkeys(t.spoken_splits + t.valid_splits))
            dump = frozen_states.cached_states(
                data, dump, settings, splits, num_jobs, t.spoken_splits
            )
        print(f"training '{exp.name}' {state}: {t.num_steps} steps -> {exp}", flush=True)
        return str(dump)

    if world is None:
        prepare()
        train(settings, data, dump, exp)
    else:
        distributed.meet(world, settings.train.num_gpus, prepare)
        _work(settings, data, dump, exp, world)
        finish(exp / "checkpoints" / "valid.acc.ave.pth", exp)
    print(f"trained: {checkpoint.model_path(exp)}")


def train(settings: Config, data: Path, dump: Path, exp: Path) -> None:
    """Run ESPnet's trainer over the experiment and write the model of the averaged weights.

    Args:
        settings: of the experiment, as `exp` has them.
        data: directory of the splits.
        dump: that of their features or cached states.
        exp: directory that `prepare_experiment` has made ready.

    Raises:
        ValueError: the settings do not fit the data, or training diverged.
    """
    if distributed.per_node(settings.train) == 1:
        try:
            _work(settings, data, dump, exp, ALONE)
        except RuntimeError as e:
            if "DataLoader worker" not in str(e):
                raise
            raise ChildProcessError(distributed.DIED) from e
    else:
        distributed.launch(settings.train, _one_of_several, (settings, data, dump, exp))
    finish(exp / "checkpoints" / "valid.acc.ave.pth", exp)


def _one_of_several(settings: Config, data: Path, dump: Path, exp: Path) -> None:
    world = distributed.of_environment()
    assert world is not None  # `distributed.launch` has said
    with StopSignal().caught():
        distributed.meet(world, settings.train.num_gpus, lambda: str(dump))
        _work(settings, data, dump, exp, world)


def _work(settings: Config, data: Path, dump: Path, exp: Path, world: World) -> None:
    """Train as one of the processes that have met, or alone."""
    import torch

    from atat.training.espnet_task import AtatTask, AtatTrainer
    from atat.training.preemption import EpochCheckpoint

    t = settings.train
    torch.set_num_threads(t.num_threads)
    checkpoints = exp / "checkpoints"
    # ESPnet logs through the root logger; its lines go to a file, ours to the terminal.
    logging.basicConfig(
        filename=os.devnull if world.rank else checkpoints / "espnet.log",
        level=logging.INFO,
        format="%(asctime)s %(message)s",
    )
    AtatTrainer.world = world
    apart = world.size > 1 and t.sync == "parameters"
    AtatTrainer.sync_every = t.sync_every if apart else None
    AtatTrainer.bfloat16_on_cpu = t.use_amp and t.num_gpus == 0
    AtatTrainer.log = TrainLog(exp / "train.jsonl", settings, quiet=world.rank > 0)
    stop = StopSignal()
    AtatTrainer.checkpoint = EpochCheckpoint(checkpoints / WITHIN_EPOCH, stop, AtatTrainer.log)
    args = AtatTask.get_parser().parse_args([])
    for name, value in espnet_options(settings).items():
        if not hasattr(args, name):
            raise AttributeError(f"ESPnet has no option '{name}'")
        setattr(args, name, value)
    args.output_dir, args.resume = str(checkpoints), True
    of_no_use = tempfile.TemporaryDirectory()  # what others than the first would write
    if apart and world.rank > 0:
        args.output_dir, args.best_model_criterion = of_no_use.name, []
        if (checkpoints / AFTER_EPOCH).is_file():
            shutil.copy(checkpoints / AFTER_EPOCH, of_no_use.name)
    args.experiment_dir, args.data_dir, args.dump_dir = str(exp), str(data), str(dump)
    args.distributed = False  # as far as the task goes; the trainer is told otherwise
    watching = [] if world.rank else t.trackers
    if "wandb" in watching:
        vars(args).update(trackers.wandb_options(exp))
    mlflow = trackers.mlflow_run(exp) if "mlflow" in watching else contextlib.nullcontext()
    try:
        with of_no_use, stop.caught(), stop.between_steps(), mlflow as AtatTrainer.on_epoch:
            AtatTask.main_worker(args)
    finally:
        distributed.part()


def espnet_options(settings: Config) -> dict[str, object]:
    """Our training settings in ESPnet's terms."""
    t = settings.train
    scheduler_conf: dict[str, object]
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
                "pct_start": _warmup_share(t),
                "cycle_momentum": False,
            },
        )
    optim_conf: dict[str, object] = {"lr": rate, "betas": tuple(t.betas)}
    if optim == "adamw":
        # One kernel for all parameters: a seventh of a small model's step on a CPU otherwise.
        optim_conf |= {"weight_decay": t.weight_decay, "fused": True}
    return {
        "seed": settings.seed,
        "iterator_type": "task",
        "valid_iterator_type": "task",
        "max_epoch": t.num_epochs,
        "ngpu": min(t.num_gpus, 1),  # of a process
        "unused_parameters": True,  # a step may have no text
        "accum_grad": t.accum_grad,
        "use_amp": t.use_amp and t.num_gpus > 0,
        "optim": optim,
        "optim_conf": optim_conf,
        "scheduler": scheduler,
        "scheduler_conf": scheduler_conf,
        "grad_clip": t.grad_clip,
        # ESPnet would average none of more than there are.
        "keep_nbest_models": min(t.average_checkpoints, t.num_epochs),
        "best_model_criterion": [("valid", "acc", "max")],
        "use_matplotlib": False,
        "use_tensorboard": True,
        "num_att_plot": 0,
        "log_interval": 100,
    }


def _warmup_share(t: TrainConfig) -> float:
    """`train.warmup_fraction`; torch's OneCycleLR divides by zero where it is exactly one step."""
    is_one_step = t.warmup_fraction * (t.num_steps + 1) == 1
    return t.warmup_fraction * (1 + 1e-6) if is_one_step else t.warmup_fraction


def finish(averaged: Path, exp: Path) -> None:
    """Check the averaged weights and write them as the model, tied to its tokenizer; what was kept
    in case that the last epoch does not end is removed.

    Raises:
        ValueError: the average is missing, empty, or not a number somewhere.
    """
    import torch

    if not averaged.is_file() or averaged.stat().st_size == 0:
        raise ValueError(f"{averaged}: training left no averaged model; {rerun(4)}")
    check_zip(averaged)
    weights = torch.load(averaged, map_location="cpu", weights_only=True)
    if not weights:
        raise ValueError(f"{averaged}: the averaged model is empty; {rerun(4)}")
    for name, value in weights.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(
                f"{averaged}: '{name}' is not finite: training diverged; lower train.learning_rate"
            )
    settings = config_file.load_resolved(exp / "config.yaml")
    tokenizer = Tokenizer.load(exp / "tokenizer")
    checkpoint.write(weights, settings.model, tokenizer, exp, experiment_files.read(exp))
    (exp / "checkpoints" / WITHIN_EPOCH).unlink(missing_ok=True)
