"""How ESPnet builds and trains the model: its task, trainer and checkpoints; our data."""

import argparse
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn
from torch.amp import GradScaler
from torch.optim import Optimizer

import atat.common.espnet_compat
from atat.config import config_file, schema
from atat.data.feature_store import read_cmvn
from atat.data.text_tokenization import text_tokenizer
from atat.data.tokenizer import Tokenizer
from atat.models import whisper
from atat.models.espnet_model import AtatModel, build
from atat.training import distributed, learning_rate, local_sgd, warm_start
from atat.training.batching import Batches, Epoch, IterFactory
from atat.training.collator import Batch
from atat.training.distributed import ALONE
from atat.training.learning_rate import Followers
from atat.training.preemption import EpochCheckpoint
from atat.training.train_log import TrainLog
from atat.training.training_data import TrainingData, validation_sources

with atat.common.espnet_compat.trainer_imports():
    from espnet2.tasks.abs_task import AbsTask
    from espnet2.torch_utils.set_all_random_seed import set_all_random_seed
    from espnet2.train.trainer import Trainer

if TYPE_CHECKING:
    from espnet2.schedulers.abs_scheduler import AbsScheduler
    from espnet2.train.distributed_utils import DistributedOption
    from espnet2.train.reporter import SubReporter
    from espnet2.train.trainer import TrainerOptions

atat.common.espnet_compat.make_checkpoints_safe()


class AtatTrainer(Trainer):
    """ESPnet's trainer, telling a `TrainLog` what happens."""

    log: TrainLog
    checkpoint: EpochCheckpoint
    on_epoch: Callable[[dict[str, Any]], None] | None = None  # gets the log's line (a tracker)
    world = ALONE  # place among the processes of the training
    sync_every: int | None = None  # steps between averages of the processes' parameters
    bfloat16_on_cpu = (
        False  # the products of the forward pass; ESPnet's own switch is of GPUs alone
    )

    @classmethod
    def run(
        cls,
        model: AtatModel,
        trainer_options: "TrainerOptions",
        distributed_option: "DistributedOption",
        **rest: Any,
    ) -> None:
        """ESPnet's hook: the training. Processes that have met share every batch, unless they are
        to average their parameters.

        Args: as ESPnet's task passes them.
        """
        if cls.bfloat16_on_cpu:
            in_bfloat16 = torch.autocast("cpu", dtype=torch.bfloat16)
            model.forward = in_bfloat16(model.forward)  # type: ignore[method-assign]
        if distributed.together() and cls.sync_every is None:
            model.share_batches()
            distributed_option = replace(
                distributed_option,
                distributed=True,
                dist_rank=cls.world.rank,
                dist_world_size=cls.world.size,
            )
        super().run(
            model=model,
            trainer_options=trainer_options,
            distributed_option=distributed_option,
            **rest,
        )

    @classmethod
    def train_one_epoch(
        cls,
        model: nn.Module,
        iterator: Epoch,
        optimizers: Sequence[Optimizer],
        schedulers: "Sequence[AbsScheduler | None]",
        scaler: GradScaler | None,
        reporter: "SubReporter",
        options: "TrainerOptions",
        **rest: Any,
    ) -> bool:
        """ESPnet's hook: the batches of an epoch, logged, and shared among processes; an epoch that
        a signal cut off goes on.

        Args: as ESPnet's trainer passes them.

        Returns:
            whether all steps were invalid (ESPnet then stops).
        """
        cls.log.begin(reporter.get_epoch())
        if cls.world.rank:  # dropout of its own
            set_all_random_seed(options.seed + reporter.get_epoch() + 2**20 * cls.world.rank)
        parts: dict[str, Any] = dict(optimizers=optimizers, schedulers=schedulers, scaler=scaler)
        parts["model"] = getattr(model, "module", model)
        cls.checkpoint.begin(parts, reporter, cls.sync_every or options.accum_grad)
        done = cls.checkpoint.position
        batches = iterator.rest(done)
        if cls.sync_every is not None:
            batches = local_sgd.averaged(batches, model, optimizers[0], cls.sync_every)
        batches = cls.log.watch(cls.checkpoint.rest(batches), done, len(iterator))
        invalid = super().train_one_epoch(
            model=model,
            iterator=cls._of_one_length(batches),
            optimizers=optimizers,
            schedulers=schedulers,
            scaler=scaler,
            reporter=reporter,
            options=options,
            **rest,
        )
        cls.log.trained(reporter)
        return invalid and not done

    @classmethod
    def validate_one_epoch(
        cls,
        model: nn.Module,
        iterator: Epoch,
        reporter: "SubReporter",
        options: "TrainerOptions",
        distributed_option: "DistributedOption",
    ) -> None:
        """ESPnet's hook after each epoch; its figures go to the log too."""
        batches: Iterable[Batch] = iterator
        if cls.sync_every is None:  # else the processes do not validate together
            batches = cls._of_one_length(cls.checkpoint.unless_stopped(iterator))
        super().validate_one_epoch(model, batches, reporter, options, distributed_option)
        cls.log.validated(reporter)
        if cls.on_epoch is not None:
            cls.on_epoch(cls.log.lines[-1])

    @classmethod
    def _of_one_length(cls, batches: Iterable[Batch]) -> Iterator[Batch]:
        """Pad the speech of processes that share a batch to the longest of them all: batch norm
        sees the padding."""
        for ids, batch in batches:
            if "speech" in batch and cls.sync_every is None:
                size = batch["speech"].size(1)
                (longest,) = distributed.largest(size)
                batch["speech"] = F.pad(batch["speech"], (0, 0, 0, int(longest) - size))
            yield ids, batch


class AtatTask(AbsTask):
    """ESPnet's task: which model, which data.

    Beside ESPnet's own options it has `--experiment_dir` (with config.yaml and tokenizer/),
    `--data_dir` and `--dump_dir`.
    """

    num_optimizers = 1
    class_choices_list = ()
    trainer = AtatTrainer

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """ESPnet's hook: the options of the class's docstring."""
        group = parser.add_argument_group("AT-AT")
        group.add_argument("--experiment_dir", type=str, help="has config.yaml and tokenizer/")
        group.add_argument("--data_dir", type=str, help="stage 1 and 3 wrote it")
        group.add_argument("--dump_dir", type=str, help="stage 2 wrote it")
        parser.set_defaults(required=["output_dir", "experiment_dir", "data_dir", "dump_dir"])

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> AtatModel:
        """ESPnet's hook: the model of the experiment's settings, with CMVN, pretrained weights and
        those of a warm start.
        """
        settings, tokenizer = _load(args)
        model = build(settings, tokenizer)
        cmvn = read_cmvn(Path(args.dump_dir))
        model.set_cmvn(cmvn["mean"], cmvn["std"])
        if settings.model.frozen_encoder is not None:
            assert model.frozen_encoder is not None
            whisper.start_base(model.frozen_encoder, settings.model.frozen_encoder)
        if settings.model.speech_pretrained is not None:
            whisper.start(model, settings.model, tokenizer)
        if settings.train.init_from is not None:
            warm_start.match(model, settings, tokenizer).fill(model)
        return model

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: AtatModel) -> list[Optimizer]:
        """ESPnet's hook; warm-started parameters get their learning-rate factors (section 3.4)."""
        optimizers = super().build_optimizers(args, model)
        train, parameters = _load(args)[0].train, dict(model.named_parameters())
        followers = [
            Followers([(parameters[name], rows) for name, rows in given.items()], schedule)
            for given, schedule in (
                (model.pretrained, train.pretrained_schedule),
                (model.from_whisper, learning_rate.always(train.whisper_factor)),
            )
            if given and schedule
        ]
        if followers:
            learning_rate.follow(optimizers[0], *followers)
        return optimizers

    @classmethod
    def build_task_iter_factory(
        cls, args: argparse.Namespace, iter_options: object, mode: str
    ) -> IterFactory:
        """ESPnet's hook: the mixed batches.

        Args:
            args: options of the task.
            iter_options: ESPnet's, not used.
            mode: "train", or "valid".
        """
        settings, tokenizer = _load(args)
        training = mode == "train"
        sources = settings.train.sources
        if not training:
            sources = validation_sources(settings, Path(args.data_dir))
        examples = TrainingData(
            sources,
            Path(args.data_dir),
            Path(args.dump_dir),
            tokenizer,
            text_tokenizer(settings.model, tokenizer),
            settings.seed,
            settings.features.allow_drops,
            settings.augment.copies if training else 0,
            settings.train.ctm,
            settings.model.transcript_first,
        )
        world = cls.trainer.world
        place = "together" if cls.trainer.sync_every is None else "apart"
        batches = Batches(examples, settings, tokenizer, training=training, **{place: world})
        notes = list(examples.notes)
        if training and place == "together":
            notes += batches.sampler.starving(world.size)
        for note in notes if world.rank == 0 else ():
            print(note, file=sys.stderr)
        return IterFactory(batches, settings.train.num_workers)

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """ESPnet's hook: what every batch has (`AtatModel.forward`)."""
        return ("target", "target_source", "target_task")

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """ESPnet's hook: what only batches with speech, or with text, have."""
        return ("speech", "text", "words", "active", "flat_start")

    @classmethod
    def build_collate_fn(cls, args: argparse.Namespace, train: bool) -> Callable[..., Any]:
        """ESPnet asks for one before it knows that the batches are ours; it is never called."""
        return list

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> None:
        """None: the collator prepares everything."""
        return None


def _load(args: argparse.Namespace) -> tuple[schema.Config, Tokenizer]:
    directory = Path(args.experiment_dir)
    return config_file.load_resolved(directory / "config.yaml"), Tokenizer.load(
        directory / "tokenizer"
    )
