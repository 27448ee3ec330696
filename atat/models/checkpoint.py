"""The file of a trained model, `model.pth`: {"format", "tokenizer": fingerprint, "model": weights}.

Stage 4 writes it; whoever uses a model reads it here, and nothing that could be a random model in
disguise gets through.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from atat.data.tokenizer import Tokenizer

if TYPE_CHECKING:
    import torch
    from torch import nn

FORMAT = 1


def check_experiment(exp_dir: Path) -> None:
    """Raise FileNotFoundError with what to do when there is no finished model."""
    if not exp_dir.is_dir():
        raise FileNotFoundError(f"{exp_dir}: no such experiment directory; ./run.sh trains one")
    if not (exp_dir / "model.pth").is_file():
        if (exp_dir / "checkpoints" / "checkpoint.pth").is_file():
            raise FileNotFoundError(
                f"{exp_dir / 'model.pth'}: training has not finished; "
                "`./run.sh --stage 4` in its recipe goes on from the last checkpoint"
            )
        raise FileNotFoundError(
            f"{exp_dir / 'model.pth'}: nothing is trained here; `./run.sh --stage 4` in a recipe "
            "trains a model"
        )


def digest(exp_dir: Path) -> str:
    """Tells the weights of an experiment from others: what was measured belongs to one model."""
    with (exp_dir / "model.pth").open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def read_weights(path: Path, tokenizer: Tokenizer) -> "dict[str, torch.Tensor]":
    """The weights in a model file.

    Raises:
        ValueError: it is not a model of stage 4 that was trained with this tokenizer, is empty, or
            has values that are not finite.
    """
    import torch

    again = "rerun stage 4"
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as e:  # torch raises a dozen kinds for files that are cut or not its own
        reason = str(e).strip().splitlines()[0][:80] if str(e).strip() else type(e).__name__
        raise ValueError(f"{path}: not a model file ({reason}); {again}") from e
    if not isinstance(content, dict) or not {"format", "tokenizer", "model"} <= content.keys():
        raise ValueError(f"{path}: not a model that stage 4 wrote; {again}")
    if content["format"] != FORMAT:
        raise ValueError(f"{path}: got format {content['format']}, expected {FORMAT}; {again}")
    if content["tokenizer"] != tokenizer.fingerprint:
        raise ValueError(
            f"{path}: was trained with another vocabulary than {path.parent / 'tokenizer'}; {again}"
        )
    weights = content["model"]
    if not weights:
        raise ValueError(f"{path}: holds no weights (an empty average); {again}")
    for name, value in weights.items():
        if not torch.isfinite(value.float()).all():
            raise ValueError(f"{path}: '{name}' has values that are not finite; {again}")
    return weights


def fill(model: "nn.Module", weights: "dict[str, torch.Tensor]", path: Path) -> None:
    """Put all the weights into the model. Raises ValueError when names or shapes differ."""
    expected = model.state_dict()
    for name in sorted(expected.keys() | weights.keys()):
        got, want = (tuple(d[name].shape) if name in d else "nothing" for d in (weights, expected))
        if got != want:
            raise ValueError(
                f"{path}: '{name}': got {got}, expected {want}: config.yaml and model.pth are of "
                "different models; rerun stage 4"
            )
    model.load_state_dict(weights)
