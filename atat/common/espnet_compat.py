"""Import this before `espnet2`: it lets ESPnet load here and keeps its checkpoints whole.

ESPnet 202511 (Python 3.11) and 202611 (3.12 and 3.13) import torchaudio (which does not load beside
a CPU build of torch), g2p_en (which tries a download) and omniio (202611; 60 MB) at module level,
though nothing here uses them. Stand-ins take their place only where the real ones do not load.
"""

import contextlib
import datetime
import importlib
import importlib.machinery
import io
import os
import sys
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from atat.common.files import atomic_write, check_zip, remove_leftovers

UNUSED_BY_US = ("torchaudio", "g2p_en", "omniio")
# What the trainer imports for adapters of wav2vec 2.0 and for plots of a TTS model's attention,
# and the name that it takes from each; with it comes most of transformers, and numba.
SLOW_AND_UNUSED = {
    "transformers.models.wav2vec2.modeling_wav2vec2": None,  # ESPnet does without it
    "espnet2.gan_tts.jets.alignments": "AlignmentModule",
}
# Where ESPnet prints that an optional CUDA kernel is missing: in 202611, in 202511.
ATTENTION = (
    "espnet2.legacy.nets.pytorch_backend.transformer.attention",
    "espnet.nets.pytorch_backend.transformer.attention",
)


class StandIn(types.ModuleType):
    """A module with nothing in it but the name that ESPnet takes from one when it is imported."""

    kaldi = None


def put_stand_ins() -> list[str]:
    """Put an empty module in place of each unused package that does not load; their names."""
    replaced = []
    for name in UNUSED_BY_US:
        if name in sys.modules:
            continue
        # g2p_en downloads data when imported, so the installed one is not tried either.
        if name != "g2p_en":
            try:
                importlib.import_module(name)
                continue
            except (ImportError, OSError, RuntimeError):
                pass
        module = StandIn(name, "Stand-in: the real package is not used by AT-AT.")
        module.__spec__ = importlib.machinery.ModuleSpec(name, loader=None)
        sys.modules[name] = module
        replaced.append(name)
    return replaced


@contextlib.contextmanager
def trainer_imports() -> Iterator[None]:
    """Within it, ESPnet's trainer and task are imported in 3 s of CPU time (torch's, most of it)
    instead of 8.

    What is imported afterwards gets the real modules that were left out here.
    """
    left_out = [name for name in SLOW_AND_UNUSED if name not in sys.modules]
    for name in left_out:
        module: Any = None
        if taken := SLOW_AND_UNUSED[name]:
            module = StandIn(name)
            setattr(module, taken, type(taken, (), {}))  # of which nothing is an instance
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]


def save_aside(obj: Any, path: str | os.PathLike[str]) -> None:
    """`torch.save` to a temporary name, then rename: a kill leaves the old file or the new one.

    ESPnet saves `checkpoint.pth` before `<epoch>epoch.pth`; a kill between the two would resume
    after an epoch whose weights the averaging misses. So the epoch's weights are written first.
    """
    path = Path(path)
    if path.name == "checkpoint.pth":
        save_aside(obj["model"], path.with_name(f"{obj['reporter']['epoch']}epoch.pth"))
        obj = obj | {"reporter": _plain(obj["reporter"])}
        remove_leftovers(path)
    with atomic_write(path, "wb") as file:
        try:
            torch.save(obj, file)
        except RuntimeError as e:
            # After a full disk torch's writer fails again, while it closes, and says less.
            if isinstance(e.__context__, OSError):
                raise e.__context__ from None
            raise


def load_weights_only(
    path: str | os.PathLike[str],
    map_location: str | torch.device | None = None,
    weights_only: bool = True,
) -> Any:
    """`torch.load` that runs no code from the file, whatever the caller asks for.

    Raises:
        ValueError: the file is damaged.
    """
    del weights_only
    check_zip(path)
    return torch.load(path, map_location=map_location, weights_only=True)


def _plain(value: object) -> object:
    """ESPnet's statistics as plain numbers: a weights-only load refuses numpy's and timedelta."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    return value.item() if isinstance(value, np.generic | np.ndarray | torch.Tensor) else value


class _SafeTorch(types.ModuleType):
    """torch as ESPnet's trainer sees it: saving is atomic, loading reads weights only."""

    save = staticmethod(save_aside)
    load = staticmethod(load_weights_only)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def make_checkpoints_safe() -> None:
    """Give ESPnet's trainer and model averaging the safe `save` and `load`."""
    # By full name: espnet2.main_funcs exports a function under the name of its module.
    for name in ("espnet2.train.trainer", "espnet2.main_funcs.average_nbest_models"):
        module: Any = importlib.import_module(name)
        module.torch = _SafeTorch("torch")
        if hasattr(module, "safe_torch_load"):  # 202611, which may ask a terminal for consent
            module.safe_torch_load = load_weights_only


put_stand_ins()
# ESPnet prints that an optional CUDA kernel is missing (202511 on standard output, 202611 on
# standard error), and its trainer uses an old name of torch's autocast: neither tells a user
# anything, and one would spoil `atat.parse`.
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    for _name in ATTENTION:
        with contextlib.suppress(ModuleNotFoundError):
            importlib.import_module(_name)
            break
# A statistic of a task that a stretch of training does not have is meant to be not a number.
warnings.filterwarnings("ignore", message="No valid stats found")
warnings.filterwarnings("ignore", category=FutureWarning, module=r"espnet2\.")
warnings.filterwarnings("ignore", message="NoamLR is deprecated")  # it is the paper's schedule
