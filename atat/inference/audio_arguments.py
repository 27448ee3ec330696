"""What a caller may give as audio: files, addresses, arrays, and what other libraries give."""

# N samples, C channels

import io
import numbers
import os
from collections.abc import Mapping
from typing import IO, TYPE_CHECKING, Any, TypeAlias

import numpy as np
import soxr

from atat.data import audio, download

if TYPE_CHECKING:
    import torch

AudioSource: TypeAlias = (
    "str | os.PathLike[str] | bytes | IO[bytes] | np.ndarray | torch.Tensor | Mapping[str, Any]"
    " | tuple[Any, Any]"
)


def read(
    source: "AudioSource",
    sample_rate_hz: int,
    max_duration_s: float,
    sample_rate: float | None = None,
    allow_url: bool = False,
) -> np.ndarray:
    """Read audio of any kind.

    Args:
        source: one of

            - a path, the bytes of a file, a file open for binary reading;
            - an address (http, https), if `allow_url`;
            - samples, an array or a tensor: (N,), (N, C), (1, N) or (2, N), floats within [-1, 1]
              or int8, int16, int32 at full scale;
            - samples with their rate in Hz: `(rate, samples)` as gradio gives them, `(samples,
              rate)` as librosa and torchaudio do;
            - a mapping as Hugging Face's data sets and pipelines have it: "array" or "raw" with
              "sampling_rate", or "bytes" or "path"; or their decoder (`get_all_samples`).
        sample_rate_hz: of the result.
        max_duration_s: longer audio is refused.
        sample_rate: in Hz, of samples that come without one.
        allow_url: addresses are fetched, at most 64 MiB in 30 s.

    Returns:
        float32 (N',) within [-1, 1].

    Raises:
        ValueError, OSError: it cannot be used; the message names it (`name_of`).
        audio.NoSpeechError: the same, where its channels cancel each other out.
    """
    name = name_of(source)
    try:
        return _read(name, source, sample_rate_hz, max_duration_s, sample_rate, allow_url)
    except OSError as e:
        what = "no such file" if isinstance(e, FileNotFoundError) else e.strerror or str(e)
        raise type(e)(f"{name}: {what[:1].lower()}{what[1:]}") from e
    except ValueError as e:
        kind = audio.NoSpeechError if isinstance(e, audio.NoSpeechError) else ValueError
        raise kind(f"{name}: {str(e).removeprefix(f'{name}: ')}") from e


def name_of(source: Any) -> str:
    """What messages call a source: its path or address, else what it is.

    >>> name_of("a.wav"), name_of(b"RIFF"), name_of((16000, np.zeros(9)))
    ('a.wav', 'bytes', 'samples')
    """
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return "bytes"
    if isinstance(source, Mapping):
        return str(source.get("path") or "samples")
    if hasattr(source, "read"):
        return str(getattr(source, "name", "audio"))
    return "samples"


def is_with_rate(source: Any) -> bool:
    """Whether a tuple is one input, samples and their rate in any order, and not several inputs."""
    if not isinstance(source, tuple) or len(source) != 2:
        return False
    return sorted(map(_is_rate, source)) == [False, True] and any(map(_is_array, source))


def _read(
    name: str,
    source: Any,
    sample_rate_hz: int,
    max_duration_s: float,
    sample_rate: float | None,
    allow_url: bool,
) -> np.ndarray:
    if isinstance(source, Mapping):
        source, sample_rate = _of_mapping(source, sample_rate)
    elif is_with_rate(source):
        sample_rate, source = source if _is_rate(source[0]) else source[::-1]
    elif hasattr(source, "get_all_samples"):
        decoded = source.get_all_samples()
        source, sample_rate = decoded.data, decoded.sample_rate

    if download.is_url(source):
        if not allow_url:
            raise ValueError("an address, which is fetched with allow_url=True alone")
        source = download.fetch(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return audio.read(io.BytesIO(source), sample_rate_hz, max_duration_s, name)
    if isinstance(source, str | os.PathLike):
        return audio.read(os.fsdecode(source), sample_rate_hz, max_duration_s)
    if hasattr(source, "read"):
        return audio.read(source, sample_rate_hz, max_duration_s)
    if not _is_array(source):
        raise ValueError(
            f"got {type(source).__name__}, expected an audio file's path, its bytes, an open file, "
            "or samples as an array with their rate"
        )
    if sample_rate is None:
        raise ValueError("got samples without sample_rate, expected their rate in Hz")
    samples_N = audio.to_mono_16k(_as_numpy(source), sample_rate, max_duration_s)
    if sample_rate_hz != audio.SAMPLE_RATE_HZ:
        samples_N = soxr.resample(samples_N, audio.SAMPLE_RATE_HZ, sample_rate_hz)
    return samples_N


def _of_mapping(source: Mapping[str, Any], sample_rate: float | None) -> tuple[Any, float | None]:
    """Samples or a file of a mapping, and the samples' rate."""
    for key in ("array", "raw"):
        if source.get(key) is not None:
            return np.asarray(source[key]), source.get("sampling_rate", sample_rate)
    for key in ("bytes", "path"):
        if source.get(key) is not None:
            return source[key], None
    raise ValueError(
        f"got a mapping with {sorted(map(str, source))}, expected array and sampling_rate, bytes, "
        "or path"
    )


def _is_rate(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _is_array(value: Any) -> bool:
    return hasattr(value, "__array__") and len(getattr(value, "shape", ())) > 0


def _as_numpy(array: Any) -> np.ndarray:
    if hasattr(array, "detach"):  # a tensor, perhaps with gradients or on another device
        array = array.detach().cpu()
        # NumPy has no bfloat16.
        array = array.float() if array.is_floating_point() else array
    return np.asarray(array)
