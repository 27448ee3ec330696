"""The file of a trained model, `model.safetensors`: its weights, and a header that says whose.

The header has the file's format, the fingerprint of the tokenizer that the model was trained with,
the sizes of the model (`settings.model`, as JSON), copies of the small files that a training leaves
beside it (experiment_files.py), and a checksum of all that and the weights. Models of earlier
versions (`model.pth`) are read too. Stage 4 writes the file; whoever uses a model reads it here,
and nothing that could be a random model in disguise gets through.
"""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from atat.common.advice import TRAIN_AGAIN
from atat.common.files import atomic_write, check_zip
from atat.common.json_file import WRONG_JSON
from atat.config.schema import ModelConfig
from atat.data.tokenizer import Tokenizer
from atat.models import experiment_files, exported_model

if TYPE_CHECKING:
    import torch
    from torch import nn

FILE = "model.safetensors"
EARLIER_FILE = "model.pth"  # a pickle: {"format": 1, "tokenizer": fingerprint, "model": weights}
FORMAT = "2"
EARLIER_FORMAT = 1
# Parts of a model by their names in earlier versions.
EARLIER_PARTS = {"speech_base.": "frozen_encoder.", "bridge_": "residual_"}
AGAIN = TRAIN_AGAIN
MAX_NAMED = 3  # models that may be meant


def model_path(exp_dir: Path) -> Path:
    """The file of an experiment's model; where nothing is trained, the one that will be written."""
    for name in (FILE, EARLIER_FILE):
        if (exp_dir / name).is_file():
            return exp_dir / name
    return exp_dir / FILE


def is_trained(exp_dir: Path) -> bool:
    """Whether an experiment has a finished model."""
    return model_path(exp_dir).is_file()


def last_written(exp_dir: Path) -> Path:
    """The file that a model, trained or exported, ends with: what is older is of another one."""
    if exported_model.is_exported(exp_dir):
        return exp_dir / exported_model.FILE
    return model_path(exp_dir)


def check_experiment(exp_dir: Path) -> None:
    """Look, without torch, whether an experiment, or an exported model, can be used.

    Raises:
        FileNotFoundError: there is no finished model. ValueError: a file beside it is not as its
            training left it. Both say what to do.
    """
    if not exp_dir.is_dir():
        meant = models_near(exp_dir) or "./run.sh trains one"
        raise FileNotFoundError(f"{exp_dir}: no such experiment directory; {meant}")
    if exported_model.is_exported(exp_dir):
        exported_model.check(exp_dir)
        return
    if any(exp_dir.glob("*.onnx")):
        path = exp_dir / exported_model.FILE
        raise FileNotFoundError(f"{path}: is not there, and networks are; {exported_model.AGAIN}")
    if not is_trained(exp_dir):
        if (exp_dir / "checkpoints" / "checkpoint.pth").is_file():
            raise FileNotFoundError(
                f"{exp_dir / FILE}: training has not finished; "
                "`./run.sh --stage 4` in its recipe goes on from the last checkpoint"
            )
        if meant := models_below(exp_dir):
            raise FileNotFoundError(f"{exp_dir}: nothing is trained here; {meant}")
        raise FileNotFoundError(
            f"{exp_dir / FILE}: nothing is trained here; `./run.sh` trains one (stage 4)"
        )
    if (exp_dir / FILE).is_file():
        experiment_files.check(exp_dir, experiment_files.copies(read_header(exp_dir / FILE)))


def models_below(exp_dir: Path) -> str:
    """Whether another directory is meant: names the models that are below one, "" for none.

    A directory of experiments is easily given for an experiment, as is a recipe's.
    """
    return _did_you_mean(exp_dir, exp_dir, ("[!.]*", "[!.]*/[!.]*", "[!.]*/exp*/[!.]*"))


def models_near(exp_dir: Path) -> str:
    """As `models_below`, of a directory that is not there: names the models that are near it."""
    there = next((place for place in exp_dir.parents if place.is_dir()), exp_dir)
    places = ("[!.]*", "exp*/[!.]*", "[!.]*/exp*/[!.]*", "egs/*/exp*/[!.]*")
    return _did_you_mean(exp_dir, there, places)


def _did_you_mean(asked: Path, top: Path, places: Iterable[str]) -> str:
    """Names models at some places below a directory, first those that are called as was asked."""
    names = (FILE, EARLIER_FILE, exported_model.FILE)
    found = {path.parent for at in places for name in names for path in top.glob(f"{at}/{name}")}
    likely = sorted(found, key=lambda path: (path.name != asked.name, path))[:MAX_NAMED]
    return f"did you mean {' or '.join(map(str, likely))}?" if likely else ""


def read_header(path: Path) -> dict[str, str]:
    """What a model file of this format says of itself, without its weights and without torch.

    Raises:
        ValueError: it is not a model that stage 4 wrote, or not as long as it says.
    """
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            if size > path.stat().st_size:
                raise ValueError("it ends within its header")
            about = json.loads(file.read(size))
        header = about.pop("__metadata__", None) or {}
        expected = 8 + size + max((one["data_offsets"][1] for one in about.values()), default=0)
        if (got := path.stat().st_size) != expected:
            raise ValueError(f"it has {got} bytes, expected {expected}")
    except WRONG_JSON as e:
        raise ValueError(f"{path}: not a model file, or a damaged one ({e}); {again(path)}") from e
    if not {"format", "tokenizer"} <= header.keys():
        raise ValueError(f"{path}: not a model that stage 4 wrote; {AGAIN}")
    return header


def again(path: Path) -> str:
    """What to do where the model file of an experiment is damaged."""
    return f"`python -m atat.restore --exp {path.parent}` puts back what can be, else {AGAIN}"


def digest(exp_dir: Path) -> str:
    """Hexadecimal digest of a model's weights: what was measured belongs to one model."""
    if exported_model.is_exported(exp_dir):
        return exported_model.digest(exp_dir)
    with model_path(exp_dir).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()[:16]


def write(
    weights: "dict[str, torch.Tensor]",
    config: ModelConfig,
    tokenizer: Tokenizer,
    exp_dir: Path,
    beside: Mapping[str, bytes] | None = None,
) -> None:
    """Write the model of an experiment in place of any that was there.

    Args:
        weights: state dict of `AtatModel`, any floating type.
        config: `settings.model`, kept in the header.
        tokenizer: the one it was trained with; its fingerprint is kept in the header.
        exp_dir: the experiment's directory.
        beside: the small files of the experiment, by name, which are to stay as they are.
    """
    from safetensors.torch import save

    header = {
        "format": FORMAT,
        "tokenizer": tokenizer.fingerprint,
        "model": json.dumps(asdict(config)),
    }
    if beside:
        header[experiment_files.KEY] = experiment_files.packed(beside)
    # Tensors of their own: the file has no two names for one.
    own = {name: value.detach().cpu().contiguous().clone() for name, value in weights.items()}
    header["crc32"] = _checksum(header, own)
    with atomic_write(exp_dir / FILE, "wb") as file:
        file.write(_in_order(save(own, header)))
    (exp_dir / EARLIER_FILE).unlink(missing_ok=True)


def _in_order(content: bytes) -> bytes:
    """A model file with its header in order: the library's own is in another each time, and what
    was measured of a model knows it by the digest of its file."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # the format wants the weights at a multiple of 8
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


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
        reason = f"not a model file, or a truncated one ({e})"
        raise ValueError(f"{path}: {reason}; {again(path)}") from e
    if not {"format", "tokenizer"} <= header.keys():
        raise ValueError(f"{path}: not a model that stage 4 wrote; {AGAIN}")
    if header["format"] != FORMAT:
        raise ValueError(f"{path}: got format {header['format']}, expected {FORMAT}; {AGAIN}")
    if header.get("crc32", got := _checksum(header, weights)) != got:
        raise ValueError(
            f"{path}: damaged: its checksum is {got}, expected {header['crc32']}; {again(path)}"
        )
    return header["tokenizer"], weights


def _checksum(header: dict[str, str], weights: "dict[str, torch.Tensor]") -> str:
    """CRC-32 of all that the file holds, but for the checksum itself."""
    import torch

    sizes = {name: list(value.shape) for name, value in weights.items()}
    about = {key: value for key, value in header.items() if key != "crc32"}
    checksum = zlib.crc32(json.dumps([about, sizes], sort_keys=True).encode())
    for name in sorted(weights):
        content = weights[name].reshape(-1).view(torch.uint8).numpy()
        checksum = zlib.crc32(content.data, checksum)
    return f"{checksum:08x}"


def check_file(path: Path) -> None:
    """Read a model file, whatever its tokenizer.

    Raises:
        ValueError: it is damaged, or not a model. FileNotFoundError: it is not there.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is not there; {AGAIN}")
    _read_earlier(path) if path.name == EARLIER_FILE else _read(path)


def _read_earlier(path: Path) -> "tuple[str, dict[str, torch.Tensor]]":
    import torch

    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if zipfile.is_zipfile(path):  # not the form of torch before 1.6
            check_zip(path)
    except Exception as e:  # torch raises a dozen kinds for files that are cut or not its own
        reason = str(e).strip().splitlines()[0][:80] if str(e).strip() else type(e).__name__
        raise ValueError(f"{path}: not a model file ({reason}); {AGAIN}") from e
    if not isinstance(content, dict) or not {"format", "tokenizer", "model"} <= content.keys():
        raise ValueError(f"{path}: not a model that stage 4 wrote; {AGAIN}")
    if content["format"] != EARLIER_FORMAT:
        raise ValueError(
            f"{path}: got format {content['format']}, expected {EARLIER_FORMAT}; {AGAIN}"
        )
    weights = content["model"]
    if not isinstance(weights, dict) or not all(map(torch.is_tensor, weights.values())):
        raise ValueError(f"{path}: its 'model' is not weights by name; {AGAIN}")
    return content["tokenizer"], {_as_now(k): value for k, value in weights.items()}


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
