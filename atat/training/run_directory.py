"""The directory of an experiment before its training: checked, resumed or begun anew."""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from atat.common.files import atomic_write, check_zip
from atat.common.json_file import read_json
from atat.common.provenance import environment
from atat.config import config_file
from atat.config.schema import Config
from atat.config.stage_inputs import learned
from atat.data import kaldi_dir, text_tokenization
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint
from atat.models.experiment_files import ABOUT, CONFIDENCE, TEXT_ENCODER
from atat.semantics import tag_nesting
from atat.training.model_size import num_parameters

if TYPE_CHECKING:
    from atat.training.warm_start import Start

# Where a trained model, or an unfinished training, waits until what replaces it is trained.
PREVIOUS, UNFINISHED = ".previous", ".unfinished"
# Checkpoints: after an epoch (ESPnet's name), and in the middle of one.
AFTER_EPOCH, WITHIN_EPOCH = "checkpoint.pth", "within_epoch.pth"
# What belongs to one training; the model comes first: without it the rest is an unfinished one.
OF_TRAINING = (
    *(checkpoint.FILE, checkpoint.EARLIER_FILE, CONFIDENCE, "train.jsonl", "checkpoints"),
    *("config.yaml", "env.json", ABOUT),
    *("tokenizer", "grammar.yaml", "nesting.json", TEXT_ENCODER),
)


def prepare_experiment(settings: Config, data: Path, exp: Path, resume: bool) -> str:
    """Bring the experiment's directory into the state from which training goes on.

    Args:
        settings: of the experiment; `flat_start_fraction` and `ctc_first_fraction` may become 0.
        data: directory of the splits and the tokenizer.
        exp: directory of the experiment.
        resume: go on from checkpoints of the same settings and data.

    Returns:
        "resumed" when checkpoints of the same settings and data are there and training is not
        finished, else "started" (a trained model waits in PREVIOUS, an unfinished training in
        UNFINISHED). Where the start has a trained CTC, `settings` lose the phases that
        teach it.

    Raises:
        FileNotFoundError, ValueError: something does not fit; nothing has been changed then.
    """
    from atat.training.training_data import taught_skeletons, validation_sources

    checkpoints = exp / "checkpoints"
    kept = any((checkpoints / name).is_file() for name in (AFTER_EPOCH, WITHIN_EPOCH))
    unfinished = kept and not checkpoint.is_trained(exp)
    tokenizer = Tokenizer.load(data / "tokenizer")
    # What cannot be used shows before anything is removed.
    start = find_start(settings, tokenizer, exp)
    if start and start.counts["ctc"][0]:  # what it has learned already
        settings.train.flat_start_fraction = settings.train.ctc_first_fraction = 0.0
    check_whisper(settings, tokenizer)
    text_tokenization.text_tokenizer(settings.model, tokenizer)
    validation_sources(settings, data)
    size = num_parameters(settings, tokenizer)
    sources, seed = settings.train.sources, settings.seed
    nested = tag_nesting.of(taught_skeletons(sources, data, tokenizer, seed))
    splits = dict.fromkeys(source.split for source in settings.train.sources)
    about: dict[str, object] = {"data": kaldi_dir.fingerprint(data / split for split in splits)}
    about["num_parameters"] = size  # the same settings may have made another model before
    if start:
        about["init_from"] = start.summary()
    same = resume and unfinished and _is_same(exp, settings, tokenizer, about)
    if checkpoint.is_trained(exp):
        set_aside(exp)
    elif not same:
        set_aside(exp, UNFINISHED)
    checkpoints.mkdir(parents=True, exist_ok=True)
    config_file.save(settings, exp / "config.yaml")
    tokenizer.save(exp / "tokenizer")
    # What a search may be held to: the sentences of the grammar, or tags nested as in training.
    if (data / "grammar.yaml").is_file():
        with atomic_write(exp / "grammar.yaml") as file:
            file.write((data / "grammar.yaml").read_text(encoding="utf-8"))
    tag_nesting.save(nested, exp)
    if (data / ABOUT).is_file():
        with atomic_write(exp / ABOUT) as file:
            file.write((data / ABOUT).read_text(encoding="utf-8"))
    if settings.model.text_encoder == "pretrained":
        text_tokenization.keep_description(settings.model, exp / TEXT_ENCODER)
    about |= environment(settings.seed)
    if start:
        print("\n".join([start.account(), *start.tests_met(settings, data)]))
    with atomic_write(exp / "env.json") as file:
        json.dump(about, file, indent=1)
    return "resumed" if same else "started"


def _is_same(exp: Path, settings: Config, tokenizer: Tokenizer, about: dict[str, object]) -> bool:
    """Whether an unfinished training is of these settings and data, and whole; what is damaged of
    it is said."""
    try:
        for name in ("config.yaml", "env.json"):
            if not (exp / name).is_file():
                return False
        same = (
            learned(config_file.load_resolved(exp / "config.yaml")) == learned(settings)
            and Tokenizer.load(exp / "tokenizer").fingerprint == tokenizer.fingerprint
            and _origin(exp) == about
        )
        if same:
            for path in sorted((exp / "checkpoints").glob("*.pth")):
                # ESPnet's other names for some of them; and what can be done without.
                if not path.is_symlink() and path.name != WITHIN_EPOCH:
                    check_zip(path)
    except (ValueError, FileNotFoundError) as e:
        print(f"the training in {exp} cannot go on and starts anew: {e}", file=sys.stderr)
        return False
    return same


def set_aside(exp: Path, place: str = PREVIOUS) -> None:
    """Move what belongs to the training of an experiment to PREVIOUS or UNFINISHED."""
    shutil.rmtree(exp / place, ignore_errors=True)
    names = [name for name in OF_TRAINING if (exp / name).exists()]
    for name in names:
        (exp / place).mkdir(exist_ok=True)
        os.replace(exp / name, exp / place / name)


def put_back(exp: Path, place: str = PREVIOUS) -> None:
    """Undo `set_aside`, and what a training has written since."""
    for name in reversed(OF_TRAINING):
        if (exp / name).is_dir():
            shutil.rmtree(exp / name)
        else:
            (exp / name).unlink(missing_ok=True)
        if (exp / place / name).exists():
            os.replace(exp / place / name, exp / name)
    (exp / place).rmdir()


def check_whisper(settings: Config, tokenizer: Tokenizer) -> None:
    """Raise ValueError where `model.speech_pretrained`, `.frozen_encoder` or copies of its
    states cannot be had."""
    c, copies = settings.model, settings.augment.copies
    if copies and (copies < 0 or c.frozen_encoder is None or not settings.augment.enabled):
        raise ValueError(
            f"augment.copies: got {copies}, expected 0: more are for model.frozen_encoder, with "
            "augment.enabled (all others augment anew at every step)"
        )
    if c.speech_pretrained is None and c.frozen_encoder is None:
        return
    import torch

    from atat.models import whisper
    from atat.models.espnet_model import build

    with torch.device("meta"):
        model = build(settings, tokenizer, load_pretrained=False)
    if c.speech_pretrained is not None:
        whisper.match(model, c, tokenizer)
    if c.frozen_encoder is not None:
        assert model.frozen_encoder is not None
        whisper.start_base(model.frozen_encoder, c.frozen_encoder)


def find_start(settings: Config, tokenizer: Tokenizer, exp: Path) -> "Start | None":
    """What `train.init_from` gives the experiment; None where it is not set.

    Raises:
        FileNotFoundError, ValueError: it cannot be started from; nothing has been changed then.
    """
    from atat.training import learning_rate

    learning_rate.check(settings.train.pretrained_schedule)
    if settings.train.init_from is None:
        return None
    if Path(settings.train.init_from).resolve() == exp.resolve():
        raise ValueError(f"train.init_from: {exp} cannot start from itself; give another --exp")
    import torch

    from atat.models.espnet_model import build
    from atat.training import warm_start

    with torch.device("meta"):
        model = build(settings, tokenizer, load_pretrained=False)
    return warm_start.match(model, settings, tokenizer)


def _origin(exp: Path) -> dict[str, object]:
    """What the training in `exp` learns from, started from and how large it is, as `env.json` has
    it."""
    about = read_json(exp / "env.json")
    return {name: about[name] for name in ("data", "init_from", "num_parameters") if name in about}
