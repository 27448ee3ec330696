"""An experiment as one directory that runs without torch: see `atat.models.exported_model`."""

import contextlib
import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path

from atat.common import cli
from atat.common.files import atomic_directory, refuse_others
from atat.common.text_table import align
from atat.deployment import onnx_export
from atat.grammar.grammar import Grammar
from atat.inference import confidence, constraints, hub, model_card
from atat.inference.predictor import SpeechToSemantics
from atat.models import experiment_files, exported_model
from atat.serving import voice_activity

PRECISIONS = ("int8", "float32")
COPIED = ("config.yaml", "grammar.yaml", "nesting.json", experiment_files.ABOUT, "tokenizer")
# Products with weights. Convolutions stay float32: in integers they are slower (docs/log.md).
QUANTIZED = ["MatMul", "Gemm", "Gather"]


def export(exp: Path, out: Path, precision: str = "int8") -> str:
    """Write the model of an experiment, with all that its use needs.

    Args:
        exp: an experiment that stage 4 finished.
        out: the directory; one that an export wrote is replaced.
        precision: of the products with weights: int8 (dynamic, a scale a channel) or float32.

    Returns:
        A table of what was written.

    Raises:
        FileNotFoundError, ValueError: there is no such model, `out` is something else, or a package
            of the extra `export` is missing.
    """
    _check(exp, out, precision)
    model = SpeechToSemantics.load(exp)
    with atomic_directory(out) as directory:
        network = onnx_export.export(model.model, directory)
        for path in sorted(directory.glob("*.onnx")):
            if precision == "int8":
                _quantize(path)
            optimize(path)
        for name in COPIED:
            if (exp / name).is_dir():
                shutil.copytree(exp / name, directory / name)
            elif (exp / name).is_file():
                shutil.copyfile(exp / name, directory / name)
        _compile_grammar(model, directory)
        _add_voice_activity(directory)
        about = {"precision": precision, "network": network}
        exported_model.write_index(directory, about)  # whose digest the confidence is of
        if model.confidence is not None:
            confidence.save(model.confidence, directory)
        exported_model.write_index(directory, about)
        # Not in the index: whoever publishes the model may write on in it.
        text = model_card.card(exp, name=out.resolve().name, precision=precision)
        (directory / model_card.FILE).write_text(text, encoding="utf-8")
    left_out = dict(network["left_out"])
    if not (out / voice_activity.MODEL_FILE).is_file():
        left_out[voice_activity.MODEL_FILE] = (
            "silero-vad is not installed (pip install silero-vad), for streams"
        )
    return _table(out, left_out)


def _check(exp: Path, out: Path, precision: str) -> None:
    """Raise ValueError where `export` cannot begin; arguments as there."""
    if precision not in PRECISIONS:
        raise ValueError(f"precision: got '{precision}', expected {' or '.join(PRECISIONS)}")
    if exported_model.is_exported(exp):
        raise ValueError(f"{exp}: is exported already; expected an experiment")
    is_empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not is_empty and not exported_model.is_exported(out):
        raise ValueError(f"{out}: is there and not an exported model; expected a new directory")
    own = {Path(name).parts[0] for name in hub.model_files(out)}
    own |= {path.name for path in out.glob("decode_*")}  # of atat.decode
    refuse_others(out, own, "a model")
    for package in ("onnx", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f"exporting needs the package {package}: {cli.how_to_install('export')}"
            )


def _quantize(path: Path) -> None:
    """Weights of products in int8, in place; what is no product with weights stays as it is."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    temporary = path.with_suffix(".tmp")
    with onnx_export.quiet():
        quantize_dynamic(
            path,
            temporary,
            op_types_to_quantize=QUANTIZED,
            per_channel=True,
            # Unsigned: products of signed weights saturate where a processor has AVX2 and no VNNI.
            weight_type=QuantType.QUInt8,
            extra_options={"MatMulConstBOnly": True},
        )
    temporary.replace(path)


def optimize(path: Path) -> None:
    """Fuse what can be fused, in place: done once here, not at every start."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # What holds on every processor.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path.with_suffix(".tmp"))
    options.log_severity_level = 3  # errors
    onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    path.with_suffix(".tmp").replace(path)


def _compile_grammar(model: SpeechToSemantics, directory: Path) -> None:
    """The grammar's acceptors, so that nobody builds them again."""
    if model.grammar is None:
        return
    for with_tags in (True, False):
        accept = constraints.from_grammar(Grammar.load(model.grammar), model.tokenizer, with_tags)
        accept.save(directory / constraints.compiled_name(with_tags))


def _add_voice_activity(directory: Path) -> None:
    """Copy silero-vad's model, where its package is."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(voice_activity.packaged(), directory / voice_activity.MODEL_FILE)


def _table(out: Path, left_out: dict[str, str]) -> str:
    """What is in the directory, and what is not."""
    size: Callable[[Path], int] = lambda path: path.stat().st_size  # noqa: E731
    files = sorted((p for p in out.rglob("*") if p.is_file()), key=size, reverse=True)
    rows = [["file", "MB"]]
    rows += [[str(p.relative_to(out)), f"{size(p) / 1e6:.2f}"] for p in files if size(p) > 5000]
    rows.append(["all", f"{sum(map(size, files)) / 1e6:.2f}"])
    lines = [align(rows), *(f"left out: {name}: {why}" for name, why in left_out.items())]
    return "\n".join(lines)
