"""All that a caller may give as audio is the same audio, or named in one line."""

import datetime
import io
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from atat.data import audio, download
from atat.inference import audio_arguments

RATE = 16000
SAMPLES = (0.5 * np.sin(np.arange(RATE) / 9)).astype(np.float32)
INT16 = np.round(SAMPLES * 32768).astype(np.int16)


def read(source, **options):
    return audio_arguments.read(source, RATE, 30.0, **options)


@pytest.fixture
def path(tmp_path):
    soundfile.write(tmp_path / "a.wav", INT16, RATE)
    return tmp_path / "a.wav"


INPUTS = {
    "str": str,
    "pathlib.Path": Path,
    "bytes of a file": Path.read_bytes,
    "bytearray of a file": lambda path: bytearray(path.read_bytes()),
    "file open for reading": lambda path: path.open("rb"),
    "io.BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "object with read alone": lambda path: SimpleNamespace(read=io.BytesIO(path.read_bytes()).read),
    "NumPy (rate, samples), as gradio": lambda path: (RATE, INT16),
    "NumPy (samples, rate), as librosa": lambda path: (INT16 / 32768, RATE),
    "(samples (1, n), rate), as torchaudio": lambda path: (torch.tensor(INT16 / 32768)[None], RATE),
    "(rate, samples) with NumPy's rate": lambda path: (np.int64(RATE), INT16),
    "{'array', 'sampling_rate'}, as datasets": lambda path: {
        "path": None,
        "array": INT16 / 32768,
        "sampling_rate": RATE,
    },
    "{'raw', 'sampling_rate'}, as transformers": lambda path: {
        "raw": INT16 / 32768,
        "sampling_rate": RATE,
    },
    "{'bytes', 'path'}, as datasets undecoded": lambda path: {
        "bytes": path.read_bytes(),
        "path": "a.wav",
    },
    "{'path'}, as datasets undecoded": lambda path: {"bytes": None, "path": str(path)},
    "decoder with get_all_samples, as torchcodec": lambda path: SimpleNamespace(
        get_all_samples=lambda: SimpleNamespace(
            data=torch.tensor(INT16 / 32768)[None], sample_rate=RATE
        )
    ),
}


def supported(what, how="read"):
    return pytest.mark.supports("Python inputs", what, how)


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=supported(kind)) for kind in INPUTS])
def test_inputs_of_every_kind_are_the_same_audio(kind, path):
    assert np.array_equal(read(INPUTS[kind](path)), INT16.astype(np.float32) / 32768)


ARRAYS = {
    "int16 (n,)": INT16,
    "int16 (n, 1)": INT16[:, None],
    "int16 (1, n)": INT16[None],
    "int16 (n, 2)": np.stack([INT16, INT16], 1),
    "int16 (2, n)": np.stack([INT16, INT16]),
    "int32 (n,)": INT16.astype(np.int32) * 65536,
    "float64 (n,)": INT16 / 32768,
    "float32 (1, n)": (INT16 / np.float32(32768))[None],
    "not contiguous": np.stack([INT16, INT16], 1)[:, 0],
}


@pytest.mark.parametrize("library", ["numpy", "torch"])
@pytest.mark.parametrize("kind", ARRAYS)
def test_arrays_and_tensors_of_every_shape_are_the_same_audio(kind, library):
    array = ARRAYS[kind] if library == "numpy" else torch.tensor(ARRAYS[kind])
    assert np.array_equal(read(array, sample_rate=RATE), INT16.astype(np.float32) / 32768)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: t.requires_grad_(), marks=supported("tensor with gradients")),
        pytest.param(lambda t: t.to(torch.bfloat16), marks=supported("bfloat16 tensor")),
        pytest.param(lambda t: t.half(), marks=supported("float16 tensor")),
    ],
)
def test_tensors_as_models_have_them_are_read(change):
    samples = read(change(torch.tensor(SAMPLES)), sample_rate=RATE)
    assert np.abs(samples - SAMPLES).max() < 2e-3


def test_a_rate_is_the_one_that_comes_with_the_samples():
    assert len(read((SAMPLES, 8000), sample_rate=RATE)) == 2 * RATE
    assert len(audio_arguments.read((SAMPLES, RATE), 8000, 30.0)) == RATE / 2


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (SAMPLES, "samples: got samples without sample_rate"),
        ({"array": SAMPLES}, "samples: got samples without sample_rate"),
        ({"audio": SAMPLES}, r"samples: got a mapping with \['audio'\], expected array"),
        (3.5, "samples: got float, expected an audio file's path"),
        (None, "samples: got NoneType"),
        ((SAMPLES, 2), "samples: a sample rate of 2 Hz, expected 4000 to 192000 Hz"),
        ((SAMPLES[:, None, None], RATE), "samples: got samples of shape"),
        ((np.zeros((3, RATE)), RATE), "give several recordings as a list"),
        (b"", r"bytes: empty \(0 bytes\)"),
        (b"not audio at all" * 9, "bytes: not audio that can be read"),
        (io.StringIO("text"), r"audio: reading gives str, expected bytes \(open it with 'rb'\)"),
        ("https://example.org/a.wav", r"^https://example\.org/a\.wav: an address, which is fet"),
        ("a\0b.wav", "embedded null byte"),
        ("x" * 5000, "file name too long"),
        ("missing.wav", "^missing.wav: no such file$"),
        ("/", "^/: is a directory$"),
        ("/dev/null/a.wav", "not a directory"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_line(source, said):
    with pytest.raises((ValueError, OSError), match=said) as raised:
        read(source)
    assert "\n" not in str(raised.value)


def test_a_link_to_itself_is_named(tmp_path):
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    with pytest.raises(OSError, match=r"loop\.wav: too many levels of symbolic links"):
        read(tmp_path / "loop.wav")


def test_channels_that_cancel_are_no_speech_by_name():
    with pytest.raises(audio.NoSpeechError, match=r"^samples: no speech"):
        read((np.stack([SAMPLES, -SAMPLES]), RATE))


def test_two_inputs_are_not_one_with_its_rate():
    for pair in ((SAMPLES, SAMPLES), ("a.wav", "b.wav"), [SAMPLES, RATE], (True, SAMPLES)):
        assert not audio_arguments.is_with_rate(pair)
    assert not audio_arguments.is_with_rate((SAMPLES, RATE, RATE))


class Server(BaseHTTPRequestHandler):
    """A web server with a sound, a detour to it, and what a client must not swallow."""

    def do_GET(self):
        if self.path in ("/file", "/away"):
            self.send_response(302)
            self.send_header("Location", "file:///etc/hostname" if self.path == "/file" else "/a")
            self.end_headers()
            return
        self.send_response(404 if self.path == "/none" else 200)
        self.end_headers()
        content = io.BytesIO()
        soundfile.write(content, INT16, RATE, format="WAV")
        try:
            if self.path == "/endless":
                while True:
                    self.wfile.write(bytes(2**16))
            if self.path == "/slow":
                while True:
                    self.wfile.write(b"R")
                    self.server.wait.wait(0.05)
            self.wfile.write(content.getvalue())
        except OSError:
            pass

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def address():
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.wait = threading.Event()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.supports("Python inputs", "http and https address", "fetched with allow_url=True")
def test_an_address_is_fetched_when_asked_for(address, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    for path in ("/a", "/away"):
        assert len(read(f"{address}{path}", allow_url=True)) == RATE
    with pytest.raises(ValueError, match=f"^{address}/a: an address"):
        read(f"{address}/a")
    with pytest.raises(ValueError, match=f"^{address}/none: cannot be had: HTTP 404"):
        read(f"{address}/none", allow_url=True)
    with pytest.raises(ValueError, match=f"^{address}/file: cannot be had"):
        read(f"{address}/file", allow_url=True)


def test_an_address_has_limits_of_size_and_time(address, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(ValueError, match="/endless: larger than 1 MiB"):
        download.fetch(f"{address}/endless", max_bytes=2**20)
    begin = datetime.datetime.now()
    with pytest.raises(ValueError, match=r"/slow: not there within 0\.3 s"):
        download.fetch(f"{address}/slow", timeout_s=0.3)
    assert (datetime.datetime.now() - begin).total_seconds() < 5
    with pytest.raises(ValueError, match="cannot be had"):
        download.fetch("http://127.0.0.1:1/a", timeout_s=1)
