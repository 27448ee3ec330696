"""The page with a model in it: static files, for which nothing has to run on the server.

index.html      of atat/serving/page, with the model in place of a service
page/           the part that a service's page has too
browser/        features, search and confidence in JavaScript (atat/serving/browser)
model/          the networks in ONNX, and model.json: what JavaScript has to know of the model
onnxruntime/    onnxruntime-web
"""

import base64
import json
import re
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from atat.common.files import atomic_directory, refuse_others
from atat.common.text_table import align
from atat.config.tasks import TASKS, token_of
from atat.data.tokenizer import Tokenizer
from atat.grammar.grammar import Grammar
from atat.inference import constraints
from atat.inference.predictor import SpeechToSemantics
from atat.inference.typed_text import DETERMINERS, FILLERS, OPENINGS
from atat.models import exported_model
from atat.serving import onnxruntime_web
from atat.serving.example_sentences import ExampleSentences
from atat.serving.voice_activity import MODEL_FILE, RATE_HZ

HERE = Path(__file__).resolve().parent
FORMAT = 1
INDEX = Path("model/model.json")
WRITTEN = ("index.html", "page", "browser", "model", "onnxruntime")
SHARED = ("app.js", "reading.js", "microphone.js", "capture-worklet.js", "style.css", "icon.svg")
NETWORKS = ("speech.onnx", "memory.onnx", "step.onnx", MODEL_FILE)
TEXT = "text.onnx"  # where there is one
NUM_EXAMPLES = 60
FEATURES = (  # settings that JavaScript's features have
    *("kind", "num_mel_bins", "frame_length_ms", "frame_shift_ms", "sample_rate_hz"),
    *("min_duration_s", "max_duration_s", "trim_db", "level_db"),
)


def write(model_dir: Path, out: Path, runtime: Path | None = None) -> str:
    """Write the page of a model.

    Args:
        model_dir: as `atat.export` wrote it.
        out: the directory; one that this function wrote, with nothing else in it, is replaced.
        runtime: files of onnxruntime-web; None: npm fetches them.

    Returns:
        A table of what a browser loads.

    Raises:
        FileNotFoundError, ValueError: there is no such model, it cannot run in a browser, `out` is
            something else or has something else in it, or there is no onnxruntime-web.
    """
    if not exported_model.is_exported(model_dir):
        raise ValueError(
            f"{model_dir}: is not an exported model; python -m atat.export makes one of an "
            "experiment"
        )
    if out.exists() and not (out / INDEX).is_file():
        raise ValueError(f"{out}: is there and not such a page; expected a new directory")
    refuse_others(out, WRITTEN, "such a page")
    model = SpeechToSemantics.load(model_dir)
    _check(model, model_dir)
    with atomic_directory(out) as site:
        (site / "page").mkdir()
        for name in SHARED:
            shutil.copyfile(HERE / "page" / name, site / "page" / name)
        shutil.copytree(HERE / "browser", site / "browser")
        (site / "index.html").write_text(_index_page(), encoding="utf-8")
        (site / "model").mkdir()
        networks = [name for name in (*NETWORKS, TEXT) if (model_dir / name).is_file()]
        for name in networks:
            shutil.copyfile(model_dir / name, site / "model" / name)
        sizes = {name: (model_dir / name).stat().st_size for name in networks}
        network = exported_model.read_index(model_dir)["network"]
        network = {key: network[key] for key in ("has_ctc", "max_positions")}
        about = {"format": FORMAT, "files": sizes, "network": network}
        about |= describe(model, model_dir.resolve().name)
        (site / INDEX).write_text(json.dumps(about), encoding="utf-8")
        (site / "onnxruntime").mkdir()
        onnxruntime_web.copy(site / "onnxruntime", runtime)
    return _table(out)


def describe(model: SpeechToSemantics, name: str) -> dict[str, Any]:
    """What JavaScript has to know of a model beside its networks, as plain values.

    Args:
        model: exported.
        name: for people to read.
    """
    features = asdict(model.settings.features)
    options = model.options("slu")
    confidence = model.confidence
    if confidence is not None:  # it is what audio is decoded with
        assert confidence.options.items() <= asdict(options).items()
    size = f"{model.network.num_parameters / 1e6:.1f} M parameters"
    return {
        "about": f"{name}: {size}, in this browser",
        "features": {key: features[key] for key in FEATURES},
        "options": asdict(options),
        "text_options": asdict(model.options("nlu")),
        "vocabulary": _vocabulary(model.tokenizer, model.settings.model.shared_semantics_token),
        "nesting": None
        if model.nested is None
        else {label: sorted(inside) for label, inside in model.nested.items()},
        "confidence": None if confidence is None else _regression(asdict(confidence)),
        "examples": ExampleSentences(model.grammar).draw(NUM_EXAMPLES),
        **_grammar(model),
    }


def _check(model: SpeechToSemantics, directory: Path) -> None:
    """Raise ValueError for what a browser cannot do."""
    rate = model.settings.features.sample_rate_hz
    if rate != RATE_HZ:
        raise ValueError(f"{directory}: features.sample_rate_hz is {rate}, expected {RATE_HZ}")
    if "slu" in model.network.ctc_tasks:
        raise ValueError(
            f"{directory}: speech is understood by CTC's posteriors (model.ctc_to_text_share: 1), "
            "which the page cannot do; `atat.serve` can"
        )
    if model.settings.model.transcript_first:
        raise ValueError(
            f"{directory}: writes what is said before its semantics (model.transcript_first), "
            "which the page cannot do; `atat.serve` can"
        )
    for name in NETWORKS:
        if not (directory / name).is_file():
            raise ValueError(
                f"{directory / name}: is not there; export the model again where the package "
                "silero-vad is installed"
            )


def _vocabulary(tokenizer: Tokenizer, shared_semantics_token: bool) -> dict[str, Any]:
    """Symbols, and the ids of those that mean more than themselves."""
    special = {name: getattr(tokenizer, name) for name in ("blank", "pad", "unk", "eos")}
    return {
        "symbols": tokenizer.symbols,
        "tags": sorted(tokenizer.tag_ids),
        "tasks": {
            task: tokenizer.task_ids[token_of(task, shared_semantics_token)] for task in TASKS
        },
        "first_piece": tokenizer.pieces.start,
        **special,
    }


def _regression(confidence: dict[str, Any]) -> dict[str, Any]:
    """The part of a confidence that gives probabilities."""
    kept = ("names", "mean", "scale", "weights", "bias", "threshold")
    return {key: confidence[key] for key in kept}


def _grammar(model: SpeechToSemantics) -> dict[str, Any]:
    """The grammar for typed text, its written values, and its acceptor of tokens; None without."""
    if model.grammar is None:
        return {"grammar": None, "written": None, "acceptor": None}
    grammar = Grammar.load(model.grammar)
    words = grammar.automaton(with_tags=True)
    acceptor = constraints.make(model.tokenizer, "grammar", True, model.grammar)
    assert isinstance(acceptor, constraints.Table)
    arrays = {
        name: base64.b64encode(part.astype("<i4").tobytes()).decode()
        for name, part in acceptor.arrays().items()
    }
    return {
        "grammar": {
            "start": words.start,
            "final": np.asarray(words.final, bool).tolist(),
            "arcs": [list(arcs.items()) for arcs in words.arcs],
            "others": sorted(DETERMINERS | set(" ".join((*FILLERS, *OPENINGS)).split())),
        },
        "written": {"values": grammar.written_values, "fixed": grammar.fixed_slots},
        "acceptor": {"start": acceptor.start, **arrays},
    }


def _index_page() -> str:
    """The service's, with addresses that hold below any directory, and without its API."""
    page = (HERE / "page" / "index.html").read_text(encoding="utf-8")
    page = page.replace('"/page/main.js"', '"browser/main.js"').replace('"/page/', '"page/')
    return re.sub(r" *<nav>.*?</nav>\n", "", page, flags=re.DOTALL)


def _table(site: Path) -> str:
    """What is in the directory."""
    sizes = {path.relative_to(site): path.stat().st_size for path in site.rglob("*.*")}
    large = sorted(sizes, key=lambda path: sizes[path], reverse=True)[:6]
    rows = [["file", "MB"], *([str(path), f"{sizes[path] / 1e6:.2f}"] for path in large)]
    return align([*rows, ["all", f"{sum(sizes.values()) / 1e6:.2f}"]])
