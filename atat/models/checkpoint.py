"""The file of a trained model, `model.safetensors`: its weights, and a header that says whose.

The header has the file's format, the fingerprint of the tokenizer that the model was trained with,
and the sizes of the model (`settings.model`, as JSON). Models of earlier versions (`model.pth`) are
read too. Stage 4 writes the file; whoever uses a model reads it here, and nothing that could be a
random model in disguise gets through.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from atat.common.files import atomic_write
from atat.config.schema import ModelConfig
from atat.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn

FILE = "model.safetensors"
EARLIER_FILE = "model.pth"  # a pickle: {"format": 1, "tokenizer": fingerprint, "model": weights}
FORMAT = "2"
EARLIER_FORMAT = 1
# Parts of a model by their names in earlier versions.
EARLIER_PARTS = {"speech_base.": "frozen_encoder.", "bridge_": "residual_"}
AGAIN = "rerun stage 4"


def model_path(exp_dir: Path) -> Path:
    """The file of an experiment's model; where nothing is trained, the one that will be written."""
    for name in (FILE, EARLIER_FILE):
        if (exp_dir / name).is_file():
            return exp_dir / name
    return exp_dir / FILE


def is_trained(exp_dir: Path) -> bool:
    """Whether an experiment has a finished model."""
    return model_path(exp_dir).is_file()


def check_experiment(exp_dir: Path) -> None:
    """Raise FileNotFoundError with what to do when there is no finished model."""
    if not exp_dir.is_dir():
        raise FileNotFoundError(f"{exp_dir}: no such experiment directory; ./run.sh trains one")
    if not is_trained(exp_dir):
        if (exp_dir / "checkpoints" / "checkpoint.pth").is_file():
            raise FileNotFoundError(
                f"{exp_dir / FILE}: training has not finished; "
                "`./run.sh --stage 4` in its recipe goes on from the last checkpoint"
            )
        raise FileNotFoundError(
            f"{exp_dir / FILE}: nothing is trained here; `./run.sh --stage 4` in a recipe "
            "trains a model"
        )


def digest(exp_dir: Path) -> str:
    """Hexadecimal digest of an experiment's weights: what was measured belongs to one model."""
    with model_path(exp_dir).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write(
    weights: "dict[str, torch.Tensor]", config: ModelConfig, tokenizer: Tokenizer, exp_dir: Path
) -> None:
    """Write the model of an experiment in place of any that was there.

    Args:
        weights: state dict of `AtatModel`, any floating type.
        config: `settings.model`, kept in the header.
        tokenizer: the one it was trained with; its fingerprint is kept in the header.
        exp_dir: the experiment's directory.
    """
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "model": json.dumps(asdict(config)),
    }
    # Tensors of their own: the file has no two names for one.
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    with atomic_write(exp_dir / FILE, "wb") as file:
        file.write(save(own, header))
    (exp_dir / EARLIER_FILE).unlink(missing_ok=True)


def read_weights(path: Path, tokenizer: Tokenizer) -> "dict[str, torch.Tensor]":
    """The weights in a model file, of this format or an earlier one.

    Raises:
        ValueError: it is not a model of stage 4 that was trained with this tokenizer, is empty, or
            has values that are not finite.
    """
    import torch

    if path.name == EARLIER_FILE:
        fingerprint, weights = _read_earlier(path)
    else:
        fingerprint, weights = _read(path)
    if fingerprint != tokenizer.fingerprint:
        raise ValueError(
            f"{path}: was trained with another vocabulary than {path.parent / 'tokenizer'}; {AGAIN}"
        )
    if not weights:
        raise ValueError(f"{path}: holds no weights (an empty average); {AGAIN}")
    for name, value in weights.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(f"{path}: '{name}' has values that are not finite; {AGAIN}")
    return weights


def _read(path: Path) -> "tuple[str, dict[str, torch.Tensor]]":
    """Fingerprint and weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as e:
        raise ValueError(f"{path}: not a model file, or a truncated one ({e}); {AGAIN}") from e
    if not {"format", "tokenizer"} <= header.keys():
        raise ValueError(f"{path}: not a model that stage 4 wrote; {AGAIN}")
    if header["format"] != FORMAT:
        raise ValueError(f"{path}: got format {header['format']}, expected {FORMAT}; {AGAIN}")
    return header["tokenizer"], weights


def _read_earlier(path: Path) -> "tuple[str, dict[str, torch.Tensor]]":
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises a dozen kinds for files that are cut or not its own
        reason = str(e).strip().splitlines()[0][:80] if str(e).strip() else type(e).__name__
        raise ValueError(f"{path}: not a model file ({reason}); {AGAIN}") from e
    if not isinstance(content, dict) or not {"format", "tokenizer", "model"} <= content.keys():
        raise ValueError(f"{path}: not a model that stage 4 wrote; {AGAIN}")
    if content["format"] != EARLIER_FORMAT:
        raise ValueError(
            f"{path}: got format {content['format']}, expected {EARLIER_FORMAT}; {AGAIN}"
        )
    return content["tokenizer"], {_as_now(k): value for k, value in content["model"].items()}


def _as_now(name: str) -> str:
    for old, new in EARLIER_PARTS.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def fill(model: "nn.Module", weights: "dict[str, torch.Tensor]", path: Path) -> None:
    """Load all the weights into the model.

    Args:
        model: an `AtatModel` of the same settings.
        weights: as `read_weights` gives them.
        path: of their file, for the message.

    Raises:
        ValueError: names or shapes differ.
    """
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        got, want = (tuple(d[name].shape) if name in d else "nothing" for d in (weights, expected))
        if got != want:
            raise ValueError(
                f"{path}: '{name}': got {got}, expected {want}: config.yaml and {path.name} are of "
                f"different models; {AGAIN}"
            )
    model.load_state_dict(weights)
