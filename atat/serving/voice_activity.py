"""Voice activity: how probable it is that somebody speaks, for every 32 ms of a stream.

The network is silero-vad's (MIT), by onnxruntime; its package carries the file, and an exported
model may carry a copy. https://github.com/snakers4/silero-vad
"""

# N samples, P probabilities

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import onnxruntime

RATE_HZ = 16000
HOP = 512  # samples of a frame: 32 ms, what the network was trained on
FRAME_S = HOP / RATE_HZ
CONTEXT = 64  # samples before a frame that the network reads too
# silero-vad's own thresholds: above one is speech; once it has begun, down to the other.
SPEECH, STILL_SPEECH = 0.5, 0.35
ONSET_FRAMES = 3  # in a row that begin speech: a click is shorter than a tenth of a second
PACKAGE, FILE = "silero_vad", "data/silero_vad_16k_op15.onnx"
MODEL_FILE = "vad.onnx"  # of an exported model: the same network


class VoiceActivity:
    """The detector over one stream, frame by frame; several share the network itself."""

    def __init__(self, path: str | Path | None = None) -> None:
        """
        Args:
            path: of the network, an ONNX file; None: that of the package silero-vad.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is not silero's network for 16 kHz.
        """
        self._network = _network(str(packaged() if path is None else Path(path)))
        self._context_N = np.zeros(CONTEXT, np.float32)
        self._state = np.zeros((2, 1, 128), np.float32)

    def __call__(self, frame_N: np.ndarray) -> float:
        """The probability that somebody speaks in the next frame of the stream, 0 to 1.

        Args:
            frame_N: float32 (HOP,) within [-1, 1], at 16 kHz.
        """
        joined_N = np.concatenate([self._context_N, frame_N])
        inputs = {"input": joined_N[None], "state": self._state, "sr": np.array(RATE_HZ)}
        output, self._state = self._network.run(None, inputs)
        self._context_N = joined_N[-CONTEXT:]
        return float(output[0, 0])


class Endpointer:
    """Where speech begins and ends, by the probabilities of a stream's frames.

    Attributes:
        in_speech: whether it has begun and not ended.
        num_frames: that were accepted.
        begin: the first frame of the speech that was last found.
        end: the frame after the last one of it, so far.
    """

    def __init__(self, pause_s: float) -> None:
        """
        Args:
            pause_s: without speech, after which it has ended.
        """
        self.pause_frames = max(round(pause_s / FRAME_S), 1)
        self.in_speech = False
        self.num_frames = self.begin = self.end = 0
        self._in_a_row = 0

    def accept(self, probability: float) -> str | None:
        """Take the next frame: "begin" or "end", where that is noticed with it, else None.

        >>> endpointer = Endpointer(pause_s=2 * FRAME_S)
        >>> [endpointer.accept(p) for p in (0.9, 0.9, 0.9, 0.4, 0.1, 0.2)]
        [None, None, 'begin', None, None, 'end']
        >>> endpointer.begin, endpointer.end
        (0, 4)
        """
        self.num_frames += 1
        if self.in_speech:
            in_pause = self.end < self.num_frames - 1
            if probability >= (SPEECH if in_pause else STILL_SPEECH):
                self.end = self.num_frames
            elif self.num_frames - self.end >= self.pause_frames:
                self.in_speech, self._in_a_row = False, 0
                return "end"
            return None
        self._in_a_row = self._in_a_row + 1 if probability >= SPEECH else 0
        if self._in_a_row < ONSET_FRAMES:
            return None
        self.in_speech = True
        self.begin, self.end = self.num_frames - ONSET_FRAMES, self.num_frames
        return "begin"


def packaged() -> Path:
    """The file in the package silero-vad, which is not imported: that would import torch.

    Raises:
        FileNotFoundError: it is not installed.
    """
    spec = importlib.util.find_spec(PACKAGE)
    for directory in (spec and spec.submodule_search_locations) or []:
        if (path := Path(directory) / FILE).is_file():
            return path
    found = "none" if spec is None else "another version of it"
    raise FileNotFoundError(
        "voice activity needs silero-vad's network: an exported model carries it (vad.onnx), and "
        f"so does the package, of which {found} is here: pip install 'silero-vad>=6'"
    )


@functools.cache
def _network(path: str) -> "onnxruntime.InferenceSession":
    import onnxruntime

    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: no such file, expected silero-vad's ONNX")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1  # 0.2 ms of work
    options.log_severity_level = 3  # errors
    try:
        network = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime's own classes, which differ between versions
        raise ValueError(f"{path}: not a network that onnxruntime reads ({e})") from e
    if {given.name for given in network.get_inputs()} != {"input", "state", "sr"}:
        names = ", ".join(given.name for given in network.get_inputs())
        raise ValueError(f"{path}: takes {names}, expected silero-vad's network (input, state, sr)")
    return network
