"""One graph of an exported network: what it gives is held against what it should give.

A checksum says that a file is as somebody wrote it, not that it is a network: one that another tool
has changed, or one of a stranger, gives other outputs, of other shapes, or fails while it computes.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from atat.models import exported_model

# Sizes of an output: letters stand for those that several dimensions share, "_" for any.
Shapes = Sequence[str]


class Graph:
    """A graph that onnxruntime computes, loaded.

    Args:
        path: of the file, which messages name.
        shapes: of the outputs, in order: a letter a dimension, as "BSD".
        num_threads: 1 or more.
        provider: onnxruntime's name of what computes.

    Raises:
        ValueError: it is not a graph that onnxruntime loads, or has another number of outputs.
    """

    def __init__(self, path: Path, shapes: Shapes, num_threads: int, provider: str) -> None:
        import onnxruntime

        self._path, self._shapes = path, shapes
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        # The export has optimised it.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4  # what is fatal; errors are raised
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=[provider])
        except Exception as e:  # of a dozen kinds, as many as a file can be wrong
            raise self._error(e) from e
        num = len(self._session.get_outputs())
        if num != len(shapes):
            raise self._error(f"got {num} outputs, expected {len(shapes)}")

    def run(self, inputs: Mapping[str, np.ndarray], **sizes: int) -> list[np.ndarray]:
        """The outputs.

        Args:
            inputs: by name.
            sizes: letter -> the size that dimensions of that letter have.

        Raises:
            ValueError: it cannot compute, or what it gives has other shapes, or NaN or infinity in
                the first output.
        """
        try:
            found: list[np.ndarray] = self._session.run(None, dict(inputs))
        except Exception as e:  # as above; ValueError of inputs that it does not have
            raise self._error(e) from e
        for number, (output, letters) in enumerate(zip(found, self._shapes, strict=True), 1):
            shape = output.shape if isinstance(output, np.ndarray) else None
            wanted = [sizes.get(letter) for letter in letters]
            if shape is None or len(shape) != len(wanted):
                raise self._error(f"output {number} has the shape {shape}, expected {letters}")
            for letter, size in zip(letters, shape, strict=True):
                if letter != "_" and size != sizes.setdefault(letter, max(size, 1)):
                    expected = [sizes.get(letter, "any") for letter in letters]
                    raise self._error(
                        f"output {number} has the shape {list(shape)}, expected {expected}"
                    )
        first = found[0]
        # Minus infinity is the logarithm of nothing.
        if first.dtype.kind != "f" or np.isnan(first).any() or np.isposinf(first).any():
            raise self._error("gives numbers that are NaN, infinite or no floats")
        return found

    def _error(self, what: object) -> ValueError:
        line = " ".join(str(what).split())[:200]
        return ValueError(f"{self._path}: {line}; {exported_model.AGAIN}")
