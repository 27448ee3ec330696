"""An exported directory: as good as the experiment, without torch, and refused when damaged."""

import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from atat import SpeechToSemantics, decode, restore, score
from atat import export as command_module
from atat import parse as parse_module
from atat.deployment.export import export
from atat.inference import confidence
from atat.models import exported_model
from tests.toy_calibration import GRAMMAR_OPTIONS, toy_confidence

# What only training needs; importing one of them is an error in the process below.
OF_TRAINING = (
    *("torch", "espnet", "espnet2", "transformers", "safetensors", "scipy", "matplotlib", "onnx"),
    *("kaldiio", "jiwer", "jinja2", "tqdm", "librosa", "h5py", "av"),
)
ALONE = f"""
import json, sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OF_TRAINING}:
            raise ImportError(f"{{name}} is for training")

sys.meta_path.insert(0, Blocked())
from atat import SpeechToSemantics
model = SpeechToSemantics.load(sys.argv[1])
results = model(sys.argv[2:], nbest=2) + model(text=["turn on the kitchen lights", "go away"])
print(json.dumps([r.to_dict() for r in results]))
"""


@pytest.fixture(scope="module")
def calibrated(toy_experiment, tmp_path_factory):
    exp = shutil.copytree(toy_experiment, tmp_path_factory.mktemp("calibrated") / "exp")
    (exp / "about.json").write_text('{"hypothesis": "frame"}')
    confidence.save(toy_confidence(SpeechToSemantics.load(exp)), exp)
    return exp


@pytest.fixture(scope="module", params=["float32", "int8"])
def exported(request, calibrated, tmp_path_factory):
    out = tmp_path_factory.mktemp("exported") / request.param
    table = export(calibrated, out, request.param)
    assert "step.onnx" in table and "left out" not in table
    return out


@pytest.fixture
def model_dir(exported, tmp_path):
    return shutil.copytree(exported, tmp_path / "model")


def same(got, expected, is_exact):
    assert (got.intent, got.slots) == (expected.intent, expected.slots)
    assert (got.semantics, got.accepted, got.reason) == (
        expected.semantics,
        expected.accepted,
        expected.reason,
    )
    tolerance = {"abs": 1e-3} if is_exact else {"abs": 1.0}
    assert got.score == pytest.approx(expected.score, **tolerance)
    if expected.confidence is not None:
        assert got.confidence == pytest.approx(expected.confidence, **tolerance)
    if is_exact:
        assert [r.semantics for r in got.nbest] == [r.semantics for r in expected.nbest]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"nbest": 3, "beam": 4},
        GRAMMAR_OPTIONS,
        {"constraint": "none", "ctc_weight": 0.5},
        {"task": "asr"},
    ],
)
def test_results_are_those_of_the_experiment(calibrated, exported, toy_wavs, options):
    wavs = list(toy_wavs.values())
    models = [SpeechToSemantics.load(exp) for exp in (exported, calibrated)]
    for got, expected in zip(*(model(wavs, **options) for model in models), strict=True):
        same(got, expected, exported.name == "float32")


def test_typed_text_is_understood_as_by_the_experiment(calibrated, exported):
    texts = ["turn on the kitchen lights", "set the volume to ten percent", "sing a song"]
    models = [SpeechToSemantics.load(exp) for exp in (exported, calibrated)]
    for got, expected in zip(*(model(text=texts) for model in models), strict=True):
        same(got, expected, exported.name == "float32")


def test_it_runs_without_what_training_needs(exported, calibrated, toy_wavs, tmp_path):
    wavs = [str(path) for path in toy_wavs.values()]
    run = subprocess.run(
        [sys.executable, "-c", ALONE, exported, *wavs], capture_output=True, text=True, cwd=tmp_path
    )
    assert run.returncode == 0, run.stderr
    expected = SpeechToSemantics.load(calibrated)(wavs)
    assert [r["semantics"] for r in json.loads(run.stdout)[:4]] == [r.semantics for r in expected]


def test_what_exact_match_compares_goes_with_it(exported, calibrated):
    assert (exported / "about.json").read_bytes() == (calibrated / "about.json").read_bytes()


def test_it_has_the_grammar_compiled_and_a_voice_activity_detector(exported, monkeypatch):
    model = SpeechToSemantics.load(exported)
    monkeypatch.setattr("atat.inference.constraints.from_grammar", None)
    model.options(constraint="grammar")
    assert (exported / "vad.onnx").stat().st_size > 1e6


def test_a_model_without_a_voice_activity_detector_is_said_to_have_none(
    calibrated, tmp_path, monkeypatch
):
    monkeypatch.setattr("atat.deployment.export._add_voice_activity", lambda directory: None)
    said = export(calibrated, tmp_path / "model", "float32")
    assert "left out: vad.onnx: silero-vad is not installed" in said


def test_int8_is_smaller(calibrated, tmp_path):
    sizes = []
    for precision in ("float32", "int8"):
        export(calibrated, tmp_path / precision, precision)
        # Of a model so small, the rest of a graph weighs more than its products.
        sizes.append((tmp_path / precision / "step.onnx").stat().st_size)
    assert sizes[1] < sizes[0]


def test_commands_export_and_parse(calibrated, toy_wavs, tmp_path, command):
    out = tmp_path / "model"
    out.mkdir()  # empty: nothing is lost
    code, said, error = command(command_module.main, "--exp", calibrated, "--out", out)
    assert (code, error) == (0, "") and f"--exp {out} FILE" in said
    code, said, error = command(parse_module.main, "--exp", out, toy_wavs["anna-0"])
    assert (code, error) == (0, "") and json.loads(said)["intent"] == "turnOn"
    # Again, over its own; never over something else.
    assert command(command_module.main, "--exp", calibrated, "--out", out)[0] == 0
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("mine")
    code, _, error = command(command_module.main, "--exp", calibrated, "--out", tmp_path / "mine")
    assert code == 2 and error.count("\n") == 1 and "not an exported model" in error
    assert (tmp_path / "mine" / "file").read_text() == "mine"
    code, _, error = command(command_module.main, "--exp", out, "--out", tmp_path / "x")
    assert code == 2 and "exported already" in error
    code, _, error = command(command_module.main, "--exp", tmp_path, "--out", tmp_path / "x")
    assert code == 2 and "nothing is trained here" in error


def test_an_exported_model_is_decoded_and_scored_like_an_experiment(model_dir, toy_data, command):
    data, dump = toy_data
    where = ["--exp", model_dir, "--data", data]
    code, _, error = command(decode.main, *where, "--dump", dump, "--run", "test")
    assert (code, error) == (0, "")
    code, said, error = command(score.main, *where)
    assert (code, error) == (0, "") and "EM Hyp" in said
    scores = json.loads((model_dir / "decode_test" / "scores.json").read_text())
    assert scores["em_hyp"]["k"] == scores["em_hyp"]["n"] == 4
    assert SpeechToSemantics.load(model_dir)  # what stands beside it now is no damage


def test_an_exported_model_is_not_restored_but_exported_again(model_dir, command):
    code, said, error = command(restore.main, "--exp", model_dir)
    assert (code, error) == (0, "") and "all is as it was left" in said
    (model_dir / "config.yaml").write_text("seed: 2\n")
    code, _, error = command(restore.main, "--exp", model_dir)
    assert code == 2 and "export it again" in error and error.count("\n") == 1


@pytest.mark.parametrize("name", [".git", "exp"])
def test_what_stands_beside_an_exported_model_is_kept(model_dir, name):
    (model_dir / name).mkdir()
    with pytest.raises(ValueError, match=rf"has {name}, which is not of a model and would be"):
        export(model_dir / "exp", model_dir)
    assert (model_dir / name).is_dir()


def test_a_missing_package_is_named(calibrated, tmp_path, monkeypatch):
    find = command_module.__spec__.loader  # any
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "onnx" else find)
    with pytest.raises(ValueError, match=r"needs the package onnx: pip install 'WHEEL\[export\]'"):
        export(calibrated, tmp_path / "x")


def change(path: Path, **changes) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def without_an_entry(d: Path) -> None:
    index = json.loads((d / exported_model.FILE).read_text())
    del index["network"]["has_ctc"]
    change(d / exported_model.FILE, network=index["network"])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: (d / "step.onnx").unlink(), r"step\.onnx: got nothing, expected \d+ bytes"),
        (lambda d: (d / "step.onnx").write_bytes(b""), r"step\.onnx: got 0 bytes, expected"),
        (lambda d: flip(d / "speech.onnx"), r"speech\.onnx: is not as it was exported"),
        (lambda d: flip(d / "config.yaml"), r"config\.yaml: is not as it was exported"),
        (lambda d: (d / "posteriors.onnx").write_bytes(b"x"), r"posteriors\.onnx: is not of this"),
        (lambda d: (d / "model.json").write_text("{"), r"model\.json: damaged"),
        (lambda d: (d / "model.json").write_text("[]"), r"model\.json: damaged"),
        (lambda d: (d / "model.json").write_text("[" * 90_000), r"model\.json: damaged"),
        (lambda d: (d / "model.json").write_bytes(b" " * 2_000_000), r"more than 1000000 bytes"),
        (lambda d: change(d / "model.json", format=2), r"got format 2, expected 1"),
        (
            lambda d: change(
                d / "model.json", files={"../../etc/passwd": {"bytes": 1, "sha256": ""}}
            ),
            r"names '\.\./\.\./etc/passwd', which is outside",
        ),
        (without_an_entry, r"its 'network' lacks 'has_ctc'"),
        (lambda d: change(d / "model.json", network=[]), r"has no 'network'"),
        (lambda d: (d / "model.json").unlink(), r"model\.json: is not there, and networks are"),
    ],
)
def test_a_damaged_directory_is_one_line(model_dir, damage, said):
    damage(model_dir)
    with pytest.raises((ValueError, FileNotFoundError), match=said) as caught:
        SpeechToSemantics.load(model_dir)
    assert "\n" not in str(caught.value) and str(model_dir) in str(caught.value)
    assert "stage 4" not in str(caught.value)


def as_if_exported(d: Path) -> None:
    """Checksums that fit what the files are now."""
    index = json.loads((d / exported_model.FILE).read_text())
    about = {k: v for k, v in index.items() if k not in ("format", "files")}
    exported_model.write_index(d, about)
    with contextlib.suppress(ValueError):  # no JSON is what it is to be
        change(d / "confidence.json", model=exported_model.digest(d))
    exported_model.write_index(d, about)


def other_graph(name: str, change_graph) -> Callable[[Path], None]:
    def damage(d: Path) -> None:
        model = onnx.load(d / name)
        change_graph(model.graph)
        onnx.save(model, d / name)

    return damage


def other_arrays(**parts) -> Callable[[Path], None]:
    def damage(d: Path) -> None:
        path = d / "grammar_semantics.npz"
        with np.load(path) as arrays:
            np.savez(path, **dict(arrays) | parts)

    return damage


def swapped(graph) -> None:
    """Outputs in another order: each of the other's shape."""
    first, second = graph.output[0], graph.output[1]
    both = type(first).FromString(first.SerializeToString())
    first.CopyFrom(second)
    second.CopyFrom(both)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (other_graph("speech.onnx", lambda g: g.output.pop()), r"speech\.onnx: got 2 outputs"),
        (other_graph("speech.onnx", swapped), r"speech\.onnx: output 1 has the shape"),
        (other_graph("memory.onnx", lambda g: g.output.pop()), r"memory\.onnx: got 1 outputs"),
        (other_graph("step.onnx", swapped), r"step\.onnx: output 1 has the shape"),
        (lambda d: shutil.copy(d / "memory.onnx", d / "step.onnx"), r"step\.onnx: got 2 outputs"),
        (lambda d: shutil.copy(d / "text.onnx", d / "memory.onnx"), r"memory\.onnx: "),
        (other_arrays(_token=np.zeros(0, np.int64)), r"grammar_semantics\.npz: its parts"),
        (other_arrays(_target=np.array([9**9])), r"grammar_semantics\.npz: its parts"),
        (other_arrays(num_states=2**62), r"grammar_semantics\.npz: its parts"),
        (other_arrays(allowed=np.array(1)), r"grammar_semantics\.npz: its parts"),
        (other_arrays(_eos=np.array("x")), r"grammar_semantics\.npz: its parts"),
        (lambda d: (d / "nesting.json").write_text("[1]"), r"nesting\.json: expected lists"),
        (lambda d: (d / "confidence.json").write_text("{"), r"confidence\.json: damaged"),
        (lambda d: (d / "tokenizer" / "words.model").write_bytes(b"x"), r"are not a tokenizer"),
    ],
)
def test_what_fits_its_checksum_and_is_no_model_is_one_line(model_dir, toy_wavs, damage, said):
    damage(model_dir)
    as_if_exported(model_dir)
    with pytest.raises(ValueError, match=said) as caught:
        SpeechToSemantics.load(model_dir)(toy_wavs["anna-0"], **GRAMMAR_OPTIONS)
    message = str(caught.value)
    assert "\n" not in message and str(model_dir) in message
    assert "export it again" in message and "stage 4" not in message and "restore" not in message


def test_what_an_exported_model_cannot_do_is_said(model_dir):
    with pytest.raises(ValueError, match=r"device: got 'cuda', expected cpu"):
        SpeechToSemantics.load(model_dir, device="cuda")
    assert SpeechToSemantics.load(model_dir, device="auto").network.device == "cpu"
    with pytest.raises(ValueError, match="is exported and cannot be trained on"):
        _ = SpeechToSemantics.load(model_dir).model


def test_silence_is_no_intent(exported):
    result = SpeechToSemantics.load(exported)(np.zeros(16000, np.float32), sample_rate=16000)
    assert result.accepted is False or result.intent is None
