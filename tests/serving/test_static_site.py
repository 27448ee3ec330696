"""The page with a model in it: what is written, and that it understands in Chromium as Python."""

import base64
import contextlib
import functools
import http.server
import json
import os
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest

from atat import SpeechToSemantics
from atat import web as command_module
from atat.deployment.export import export
from atat.inference import confidence
from atat.models import exported_model
from atat.serving import onnxruntime_web, static_site
from atat.serving.session import Session
from atat.synthesis import engines
from tests.toy_calibration import toy_confidence

# A directory with its files, where npm has no network.
RUNTIME_ENV = "ATAT_ONNXRUNTIME_WEB"
SIMILAR = {"abs": 1e-2}  # of scores; two builds of onnxruntime in float32
OPEN = """const { InBrowser } = await import(new URL("browser/in-browser.js", location));
const model = new InBrowser(new URL("model/", location).href, () => {});
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));"""
FILES = """async ({ files, nbest }) => {
  %s
  const results = [];
  for (const file of files) {
    results.push(await model.understandFile(new File([bytes(file)], "x"), nbest));
  }
  return results;
}"""
TEXTS = """async ({ texts, nbest }) => {
  %s
  return Promise.all(texts.map((text) => model.understandText(text, nbest)));
}"""
STREAM = """async ({ samples, rate, size }) => {
  %s
  const events = [];
  const whole = new Int16Array(bytes(samples).buffer);
  return new Promise(async (resolve, reject) => {
    const onClose = (trouble) => (trouble ? reject(trouble) : resolve(events));
    const onEvent = (event) => events.push(event);
    const stream = await model.openStream({ rate, nbest: 1 }, onEvent, onClose);
    for (let at = 0; at < whole.length; at += size) stream.send(whole.subarray(at, at + size));
    stream.end();
  });
}"""


@pytest.fixture(scope="module")
def exported(toy_experiment, tmp_path_factory):
    """A calibrated toy model, in float32."""
    exp = shutil.copytree(toy_experiment, tmp_path_factory.mktemp("calibrated") / "exp")
    confidence.save(toy_confidence(SpeechToSemantics.load(exp)), exp)
    out = tmp_path_factory.mktemp("exported") / "kitchen"
    export(exp, out, "float32")
    return out


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    """A directory with onnxruntime-web."""
    if RUNTIME_ENV in os.environ:
        return Path(os.environ[RUNTIME_ENV])
    directory = tmp_path_factory.mktemp("onnxruntime-web")
    try:
        onnxruntime_web.copy(directory)
    except (FileNotFoundError, ValueError) as e:
        pytest.skip(f"no onnxruntime-web here: {e}")
    return directory


@pytest.fixture(scope="module")
def model(exported):
    return SpeechToSemantics.load(exported)


@pytest.fixture(scope="module")
def utterance():
    """Speech between silences: float32, 16 kHz."""
    import soxr

    engine = engines.load("espeak")
    samples, rate = engine.speak("turn on the kitchen light", engine.voices()[0])
    quiet = np.zeros(16000, np.float32)
    speech = 0.5 * soxr.resample(samples.astype(np.float32), rate, 16000)
    return np.concatenate([quiet, speech, quiet, quiet])


class Files(http.server.SimpleHTTPRequestHandler):
    """A directory, as `python -m http.server` serves it."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address(exported, runtime, tmp_path_factory):
    """Where a plain web server has the page, below its root."""
    root = tmp_path_factory.mktemp("root")
    static_site.write(exported, root / "below" / "site", runtime)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Files, directory=str(root))
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/below/site/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory, utterance):
    """A browser whose microphone hears the utterance, again and again."""
    import soundfile

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    file = tmp_path_factory.mktemp("microphone") / "utterance.wav"
    soundfile.write(file, utterance, 16000, "PCM_16")
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options += [f"--use-file-for-fake-audio-capture={file}", "--no-sandbox", "--disable-gpu"]
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def page(chromium, address):
    """The page, opened at the width of a phone; its errors are the attribute `errors`."""
    with contextlib.closing(
        chromium.new_context(viewport={"width": 390, "height": 800})
    ) as context:
        context.set_default_timeout(60_000)
        page = context.new_page()
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.on("console", lambda m: page.errors.append(m.text) if m.type == "error" else None)
        page.goto(address)
        yield page


def encoded(data):
    return base64.b64encode(data).decode()


def same(got, expected):
    """Whether an answer of the page is Python's, as far as rounding lets it."""
    assert got["duration_s"] == expected["duration_s"]
    near = ("score", "confidence", "slot_confidence")
    for key in expected.keys() - {"seconds", "duration_s", "nbest", "unknown", *near}:
        assert got[key] == expected[key], key
    assert list(got["unknown"]) == list(expected["unknown"])
    for key in near:
        assert got[key] == (expected[key] and pytest.approx(expected[key], **SIMILAR)), key
    assert [r["semantics"] for r in got["nbest"]] == [r["semantics"] for r in expected["nbest"]]
    for one, other in zip(got["nbest"], expected["nbest"], strict=True):
        assert one["slots"] == other["slots"] and one["intent"] == other["intent"]


@pytest.mark.parametrize("nbest", [1, 3])
def test_recordings_are_understood_as_by_python(page, model, toy_wavs, nbest):
    paths = list(toy_wavs.values())
    given = {"files": [encoded(path.read_bytes()) for path in paths], "nbest": nbest}
    found = page.evaluate(FILES % OPEN, given)
    for path, got in zip(paths, found, strict=True):
        same(got, model(path, nbest=nbest).to_dict())
    assert {r["intent"] for r in found} == {"turnOn", "setVolume"}
    assert all(r["confidence"] > 0.5 for r in found)


def test_typed_sentences_are_understood_as_by_python(page, model):
    texts = ["Turn on the living room lights!", "set the volume to ten"]
    *found, refused = page.evaluate(TEXTS % OPEN, {"texts": [*texts, "sing a song"], "nbest": 1})
    for text, got in zip(texts, found, strict=True):
        same(got, model(text=text).to_dict())
    expected = model(text="sing a song").to_dict()
    assert refused["reason"] == expected["reason"] and refused["accepted"] is False
    assert refused["unknown"] == list(expected["unknown"]) != []
    assert refused["nbest"][0]["semantics"] == expected["nbest"][0]["semantics"]


def test_a_stream_has_pythons_events(page, model, utterance):
    samples = np.round(utterance * 32767).astype("<i2")
    given = {"samples": encoded(samples.tobytes()), "rate": 16000, "size": 700}
    found = page.evaluate(STREAM % OPEN, given)
    session = Session(model, partial_words=False)
    expected = [*session.accept(samples), *session.finish()]
    assert [e.kind for e in expected] == ["speech", "result"]
    told = [e for e in found if e["kind"] != "words"]
    assert [(e["kind"], e["time_s"]) for e in told] == [(e.kind, e.time_s) for e in expected]
    same(told[1]["result"], expected[1].result.to_dict())


def test_the_page_hears_opens_recordings_and_reads_what_is_typed(page, toy_wavs):
    page.wait_for_selector("#model:has-text('kitchen: 0.1 M parameters, in this browser')")
    page.keyboard.press("Space")
    page.wait_for_selector("#result:visible")
    assert "s of audio" in page.inner_text("#result .facts")
    with page.expect_file_chooser() as chooser:
        page.click("#open")
    chooser.value.set_files(str(toy_wavs["anna-2"]))
    page.wait_for_selector("#words:has-text('set the volume to ten percent')")
    assert page.inner_text("#result .verdict strong") == "setVolume"
    page.locator("#example-list button", has_text="kitchen").first.click()
    page.wait_for_function("document.querySelector('#result strong').textContent === 'turnOn'")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("nav").count() == 0 and page.errors == []


def test_what_cannot_be_used_is_said_in_words(page, chromium, address):
    page.wait_for_selector("#examples:visible")
    with page.expect_file_chooser() as chooser:
        page.click("#open")
    chooser.value.set_files({"name": "notes.txt", "mimeType": "text/plain", "buffer": b"milk"})
    page.wait_for_selector("#error:has-text('notes.txt is no audio that this browser reads')")
    page.context.route("**/step.onnx", lambda route: route.fulfill(status=404))
    page.reload()
    page.wait_for_selector("#error:has-text('step.onnx: the server answered 404')")
    page.fill("#text", "turn on")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:has-text('answered 404')")


@pytest.fixture
def files(tmp_path):
    """In place of onnxruntime-web."""
    (tmp_path / "package" / "dist").mkdir(parents=True)
    for name in onnxruntime_web.FILES:
        (tmp_path / "package" / "dist" / name).write_text(name)
    return tmp_path / "package"


def test_a_page_is_written_whole_and_over_its_like_alone(exported, files, tmp_path, command):
    site = tmp_path / "site"
    for _ in range(2):
        code, said, error = command(
            command_module.main, "--model", exported, "--out", site, "--onnxruntime_web", files
        )
        assert (code, error) == (0, "") and f"--directory {site}" in said
    page = (site / "index.html").read_text()
    assert 'src="browser/main.js"' in page and 'href="page/style.css"' in page
    assert '"/' not in page and "nav" not in page
    for name in static_site.NETWORKS:
        assert (site / "model" / name).read_bytes() == (exported / name).read_bytes()
    about = json.loads((site / "model" / "model.json").read_text())
    assert about["options"]["constraint"] == "grammar" and about["confidence"]["names"]
    assert len(about["examples"]) == 8 and set(about["files"]) >= set(static_site.NETWORKS)
    other = tmp_path / "mine"
    other.mkdir()
    code, _, error = command(command_module.main, "--model", exported, "--out", other)
    assert code == 2 and error.count("\n") == 1 and "is there and not such a page" in error


@pytest.mark.parametrize("name", [".git", "CNAME"])
def test_what_stands_beside_a_page_is_kept(exported, files, tmp_path, name):
    site = tmp_path / "site"
    static_site.write(exported, site, files)
    (site / name).mkdir()
    with pytest.raises(ValueError, match=rf"has {name}, which is not of such a page and would be"):
        static_site.write(exported, site, files)
    assert (site / name).is_dir()


def test_models_that_no_browser_runs_are_refused(exported, toy_experiment, tmp_path, files):
    out = tmp_path / "site"
    with pytest.raises(ValueError, match=r"is not an exported model; python -m atat\.export"):
        static_site.write(toy_experiment, out, files)
    without = shutil.copytree(exported, tmp_path / "without")
    (without / "vad.onnx").unlink()
    index = json.loads((without / "model.json").read_text())
    del index["files"]["vad.onnx"]
    (without / "model.json").write_text(json.dumps(index))
    (without / "confidence.json").unlink()
    exported_model.write_index(without, {k: index[k] for k in ("precision", "network")})
    with pytest.raises(ValueError, match=r"vad\.onnx: is not there; export the model again"):
        static_site.write(without, out, files)
    index["network"]["ctc_tasks"] = ["asr", "mlm", "slu", "nlu"]
    reads = shutil.copytree(exported, tmp_path / "reads")
    exported_model.write_index(reads, {k: index[k] for k in ("precision", "network")})
    with pytest.raises(ValueError, match=r"by CTC's posteriors .* `atat\.serve` can"):
        static_site.write(reads, out, files)
    (files / "dist" / onnxruntime_web.FILES[1]).unlink()
    with pytest.raises(FileNotFoundError, match=r"threaded\.wasm: is not there, expected onnxrun"):
        static_site.write(exported, out, files)
    assert not out.exists()


def test_onnxruntime_web_comes_as_it_was_published_or_not_at_all(tmp_path, monkeypatch):
    archive = tmp_path / "archive.tgz"
    archive.write_bytes(b"abc")
    right = base64.b64encode(bytes.fromhex(ABC_SHA512)).decode()
    onnxruntime_web.check(archive, f"sha512-{right}")
    with pytest.raises(ValueError, match=r"archive\.tgz: got integrity sha512-3a81.*--onnxruntime"):
        onnxruntime_web.check(archive)
    npm = tmp_path / "npm"
    npm.write_text(f"#!/bin/sh\necho abc > onnxruntime-web-{onnxruntime_web.VERSION}.tgz\n")
    npm.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(ValueError, match="got integrity"):
        onnxruntime_web.copy(tmp_path)
    npm.write_text("#!/bin/sh\necho no network >&2\nexit 1\n")
    with pytest.raises(ValueError, match=r"could not fetch .* \(no network\); or give a directory"):
        onnxruntime_web.copy(tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(FileNotFoundError, match="comes by npm, which is not there"):
        onnxruntime_web.copy(tmp_path)


# FIPS 180-2, appendix C.1
ABC_SHA512 = (
    "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a"
    "2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
)
