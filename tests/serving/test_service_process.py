"""The service as a process: it starts, says where, and ends when it is told to."""

import json
import os
import signal
import socket
import subprocess
import sys
from http.client import HTTPConnection

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from atat.serve import main
from atat.serving import service_process
from atat.serving.http_server import create_app
from atat.serving.service_settings import ServiceSettings
from tests.serving.running import FakeModel, FakeSession

COMMAND = [sys.executable, "-m", "atat.serve", "--port", "0"]
TOKEN = "correct-horse-battery"
# A model that needs no training, and that understands when a line comes through standard input.
FAKE = """
import sys
from atat.serving import service_process
from atat.serving.http_server import create_app
from atat.serving.service_settings import ServiceSettings
from tests.serving.running import FakeModel, FakeSession

class Waiting(FakeModel):
    def predict(self, *arguments, **options):
        print("understanding", flush=True)
        sys.stdin.readline()
        return super().predict(*arguments, **options)

listening = service_process.listen("127.0.0.1", 0)
print(listening.getsockname()[1], flush=True)
service_process.run(create_app(Waiting(), ServiceSettings(), FakeSession), listening)
print("ended", flush=True)
"""


def start(*command):
    return subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "ATAT_TOKEN": TOKEN},
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_running_requests_are_finished_and_streams_told_before_it_ends(number):
    process = start(sys.executable, "-c", FAKE)
    try:
        port = int(process.stdout.readline())
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/understand", b"good", {"content-type": "audio/wav"})
        assert process.stdout.readline() == "understanding\n"
        with connect(f"ws://127.0.0.1:{port}/v1/stream") as stream:
            process.send_signal(number)
            with pytest.raises(ConnectionClosed) as closed:
                stream.recv(timeout=60)
            assert closed.value.rcvd.code == 1012
        process.stdin.write("\n")
        process.stdin.flush()
        response = connection.getresponse()
        assert response.status == 200 and json.loads(response.read())["intent"] == "turnOn"
        connection.close()
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out, err) == (0, "ended\n", "")
    finally:
        process.kill()
        process.wait()


def test_a_trained_model_is_served_and_ends(toy_experiment, toy_wavs):
    process = start(*COMMAND, "--model", str(toy_experiment))
    try:
        said = process.stdout.readline()
        assert said.startswith("atat.serve: http://127.0.0.1:") and "(with a token)" in said
        port = int(said.split("http://127.0.0.1:")[1].split()[0])
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        headers = {"content-type": "audio/wav"}
        answers = []
        for more in ({}, {"authorization": f"Bearer {TOKEN}"}):
            body = toy_wavs["anna-0"].read_bytes()
            connection.request("POST", "/v1/understand", body, headers | more)
            response = connection.getresponse()
            answers.append((response.status, json.loads(response.read())))
            connection.close()
        assert answers[0][0] == 401
        assert answers[1][0] == 200 and answers[1][1]["slots"] == {"room": "kitchen"}
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (0, "atat.serve: ended\n")
        lines = [line.split(" ", 2)[2] for line in err.splitlines()]
        assert [line.rpartition(" 200 ")[0] or line[:9] for line in lines] == [
            "POST othe",
            "POST /v1/understand",
        ]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "host 0.0.0.0: expected a token"),
        (["--host", "192.0.2.7", "--token", "short"], "token: got 5 characters"),
        (["--port", "70000"], "got --port 70000"),
        (["--max_mb", "-1"], "max_mb: got -1.0"),
        (["--max_mb", "inf"], "max_mb: got inf"),
        (["--max_mb", "1e-9"], "less than a byte"),
        (["--max_duration_s", "nan"], "max_duration_s: got nan"),
        (["--num_threads", "1000000"], "num_threads: got 1000000, expected 1 to"),
        (["--allow_host", "http://example.org"], "allowed_hosts: got 'http://example.org'"),
        (["--max_sessions", "0"], "got '0', expected a whole number"),
        ([], "no-such"),
    ],
)
def test_what_would_not_do_is_one_line_and_exit_code_2(
    command, monkeypatch, tmp_path, arguments, said
):
    monkeypatch.delenv("ATAT_TOKEN", raising=False)
    code, out, err = command(main, "--model", tmp_path / "no-such", *(arguments or ["--port", "0"]))
    assert (code, out) == (2, "") and said in err and err.count("\n") == 1


def test_an_address_that_is_taken_is_one_line(command, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = command(main, "--model", tmp_path, "--port", port)
    assert code == 1 and f"127.0.0.1:{port}: cannot listen there" in err and err.count("\n") == 1


def test_a_stream_that_waits_for_us_is_not_cut_for_want_of_a_pong():
    """uvicorn's ping would be answered behind audio that is not read before it is understood."""
    app = create_app(FakeModel(), ServiceSettings(), FakeSession)
    assert service_process.server(app).config.ws_ping_interval is None


def test_answers_are_not_held_back_by_nagle():
    with service_process.listen("localhost", 0) as listening:
        assert listening.proto == socket.IPPROTO_TCP  # asyncio looks at this
        assert service_process.address_of(listening).startswith("http://")


def test_names_that_are_no_host_are_refused():
    with pytest.raises(OSError, match=r"192.0.2.7:0: cannot listen there"):
        service_process.listen("192.0.2.7", 0)


def test_help_needs_neither_torch_nor_fastapi():
    heavy = "import sys, atat.serve; print({'torch', 'fastapi', 'uvicorn'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True)
    assert done.stdout == "set()\n"


def test_the_serving_wing_needs_no_torch():
    modules = "http_server, service_process, session, web_page, example_sentences"
    imported = f"import sys; from atat.serving import {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", imported], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr
