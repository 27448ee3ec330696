"""The service's routes: with a model that needs no training, and with a trained one."""

import base64
import contextlib
import json
import logging
import socket
import threading
import time
from http.client import HTTPConnection

import numpy as np
import pytest
from starlette.testclient import TestClient, WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from atat import SpeechToSemantics
from atat.serving import stream_socket
from atat.serving.http_server import create_app
from atat.serving.service_settings import ServiceSettings
from atat.serving.session import Event, Session
from tests.serving.running import FakeModel, FakeSession, running, wait_until

BASE = "http://127.0.0.1:8000"
STREAM = "ws://127.0.0.1:8000/v1/stream"
TOKEN = "correct-horse-battery-1"  # its base64 is padded
PCM = {"content-type": "audio/L16;rate=16000"}
FILE = {"content-type": "audio/wav"}


@pytest.fixture
def model():
    return FakeModel()


def service(model, **settings):
    app = create_app(model, ServiceSettings(**settings), FakeSession)
    return TestClient(app, base_url=BASE, raise_server_exceptions=True)


@pytest.fixture
def client(model):
    with service(model) as client:
        yield client


def refused(response, status):
    """The one line that a client is told."""
    assert response.status_code == status, response.text
    assert response.json().keys() == {"error"} and "Traceback" not in response.text
    (line,) = response.json()["error"].splitlines()
    return line


# Files, PCM and text


@pytest.mark.parametrize(
    "content_type", ["audio/wav", "AUDIO/flac; codecs=x", "application/octet-stream", "video/webm"]
)
def test_a_file_as_the_body_is_understood(client, model, content_type):
    answer = client.post("/v1/understand", content=b"good", headers={"content-type": content_type})
    assert answer.status_code == 200 and answer.json()["slots"] == {"room": "kitchen"}
    assert answer.json()["is_understood"] and answer.json()["score"] == -0.5
    assert answer.json()["nbest"][1]["score"] is None  # JSON has no infinity
    assert model.heard == [(b"good", None, None)]


def test_a_file_of_a_form_is_understood_with_options(client, model):
    query = "nbest=3&threshold=0.25&beam=8&constraint=grammar&ctc_weight=0.5&task=asr"
    answer = client.post(f"/v1/understand?{query}", files={"sound": ("a.wav", b"good")})
    assert answer.status_code == 200
    options = {"nbest": 3, "beam": 8, "constraint": "grammar", "ctc_weight": 0.5, "task": "asr"}
    assert model.options == [(0.25, options)]


@pytest.mark.parametrize(
    ("kind", "order", "shape"),
    [
        ("audio/L16;rate=8000", "<i2", (4,)),
        ("audio/l16; Rate=8000; channels=2", "<i2", (2, 2)),
        ('audio/L16;rate="8000";endianness=big-endian', ">i2", (4,)),
    ],
)
def test_raw_pcm_is_understood(client, model, kind, order, shape):
    samples = np.array([1, -2, 300, -32768])
    body = samples.astype(order).tobytes()
    answer = client.post("/v1/understand", content=body, headers={"content-type": kind})
    assert answer.status_code == 200
    ((heard, rate, _),) = model.heard
    assert heard.dtype == np.int16 and rate == 8000
    assert heard.tolist() == samples.reshape(shape).tolist()


def test_a_text_gives_a_result_and_a_list_gives_a_list(client, model):
    one = client.post("/v1/text?nbest=2", json={"text": "a b"}).json()
    assert one["semantics"] == "turnOn( a b )turnOn"
    several = client.post("/v1/text", json={"text": ["a b", "c"]}).json()
    assert [result["semantics"] for result in several] == [
        one["semantics"],
        "turnOn( c )turnOn",
    ]
    assert model.options == [(None, {"nbest": 2}), (None, {"nbest": 1})]


# What cannot be used


@pytest.mark.parametrize(
    ("request_", "status", "said"),
    [
        (dict(content=b"noise", headers=FILE), 422, "not audio that can be read: b'nois'"),
        (dict(content=b"", headers=FILE), 422, "not audio"),
        (dict(content=b"", headers=PCM), 422, "got 0 bytes"),
        (dict(content=b"odd", headers=PCM), 422, "got 3 bytes"),
        (dict(content=b"good", headers={"content-type": "audio/L16"}), 422, "rate=16000"),
        (dict(content=b"good", headers={"content-type": "audio/L16;rate=x"}), 422, "rate 'x'"),
        (dict(content=b"good", headers={"content-type": "audio/L16;rate=-1"}), 422, "rate '-1'"),
        (
            dict(content=b"good", headers={"content-type": "audio/L16;rate=1;endianness=x"}),
            422,
            "'x'",
        ),
        (dict(content=b"good"), 415, "got content type ''"),
        (dict(content=b"good", headers={"content-type": "text/html"}), 415, "'text/html'"),
        (dict(content=b"good", headers=FILE | {"content-encoding": "gzip"}), 415, "'gzip'"),
        (dict(data={"file": "a path"}, files={}), 415, "application/x-www-form-urlencoded"),
        (dict(files={"file": (None, b"a path")}), 422, "without a file"),
        (dict(files={"a": ("a", b"good"), "b": ("b", b"good")}), 400, "Too many files"),
        (
            dict(content=b"--x", headers={"content-type": "multipart/form-data"}),
            400,
            "boundary",
        ),
        (dict(content=b"good" + bytes(2**20), headers=FILE), 413, "more than 1 MiB"),
        (dict(files={"file": ("a", b"good" + bytes(2**20))}), 413, "more than 1 MiB"),
        (
            dict(content=iter([b"good", bytes(2**20)]), headers=FILE),  # no Content-Length
            413,
            "more than 1 MiB",
        ),
    ],
)
def test_what_is_no_audio_is_refused(model, request_, status, said):
    with service(model, max_mb=1) as client:
        assert said in refused(client.post("/v1/understand", **request_), status)
    assert model.heard == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("nbest=0", "nbest: got '0'"),
        ("nbest=9", "nbest: got '9'"),  # of each, 4 times as many are looked for
        ("beam=1000", "beam"),
        ("threshold=2", "threshold"),
        ("threshold=nan", "threshold"),
        ("constraint=free", "constraint: got 'free'"),
        ("task=sing", "task: got 'sing'"),
        ("max_length=9", "max_length: got '9': no such option here"),
        ("nbst=2", "nbst: got '2': no such option here; did you mean 'nbest'?"),
    ],
)
def test_options_that_do_not_exist_are_refused(client, query, said):
    answer = client.post(f"/v1/understand?{query}", content=b"good", headers=FILE)
    assert said in refused(answer, 422)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 422),
        (b"[" * 100_000, 422),
        (b"\xff", 422),
        (b'"text"', 422),
        (b'{"text": 1}', 422),
        (b'{"text": [1]}', 422),
        (b'{"text": []}', 422),
        (b'{"text": "a", "more": 1}', 422),
        (json.dumps({"text": ["a"] * 65}).encode(), 422),
        (json.dumps({"text": "a" * 1001}).encode(), 422),
        (json.dumps({"text": "a" * 2**20}).encode(), 413),  # not parsed
    ],
)
def test_what_is_no_text_is_refused(client, body, status):
    headers = {"content-type": "application/json"}
    line = refused(client.post("/v1/text", content=body, headers=headers), status)
    assert status != 413 or line == "got more than 1 MiB, the limit of JSON"
    assert "text/plain" in refused(
        client.post("/v1/text", content=body, headers={"content-type": "text/plain"}), 415
    )


@pytest.mark.parametrize(
    ("query", "num", "said"),
    [
        ("nbest=8", 8, None),
        ("nbest=8", 9, "got 9 texts with nbest 8, expected at most 64 of both multiplied; ask for"),
        ("nbest=2", 64, "got 64 texts with nbest 2, expected at most 64"),
        ("beam=32", 32, None),
        ("beam=32", 33, "got 33 texts with beam 32, expected at most 1024"),
        ("beam=16", 64, None),
    ],
)
def test_one_request_of_texts_costs_no_more_than_it_may(client, model, query, num, said):
    answer = client.post(f"/v1/text?{query}", json={"text": ["a"] * num})
    if said is None:
        assert len(answer.json()) == num
    else:
        assert said in refused(answer, 422) and not model.options


def test_no_route_and_no_method_are_one_line(client):
    refused(client.get("/v2"), 404)
    refused(client.get("/v1/text"), 405)


def test_an_error_of_ours_tells_the_client_nothing_and_the_log_no_words(client, caplog):
    with caplog.at_level(logging.INFO, "atat.serving"):
        line = refused(client.post("/v1/text", json={"text": "boom secret"}), 500)
    assert "internal error" in line and "secret" not in line
    assert "predict_texts" in caplog.text and "RuntimeError" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("log_text", [False, True])
def test_what_was_said_is_logged_where_it_may_be(model, caplog, log_text):
    with (
        service(model, log_text=log_text) as client,
        caplog.at_level(logging.INFO, "atat.serving"),
    ):
        client.post("/v1/text", json={"text": "open the safe"})
    assert "POST /v1/text 200" in caplog.text
    assert ("open the safe" in caplog.text) is log_text


# Who may ask


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"authorization": f"Bearer {TOKEN}"}, 200),
        ({"authorization": f"bearer  {TOKEN} "}, 200),
        ({"authorization": f"Bearer {TOKEN}x"}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": b"Bearer \xff\xfe"}, 401),
        ({"authorization": f"Basic {TOKEN}"}, 401),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/v1/examples"])
def test_a_token_is_asked_for(model, headers, status, path):
    with service(model, token=TOKEN) as client:
        answer = client.get(path, headers=headers)
        assert answer.status_code == status
        if status == 401:
            assert answer.headers["www-authenticate"] == "Bearer" and refused(answer, 401)
        # The page must load, to ask for it.
        assert client.get("/").status_code == client.get("/health").status_code == 200
        assert client.get("/health").json()["needs_token"]


@pytest.mark.parametrize(
    ("protocols", "is_taken"),
    [
        (["atat", "token." + base64.urlsafe_b64encode(TOKEN.encode()).decode().rstrip("=")], True),
        (["atat", "token." + base64.urlsafe_b64encode(b"another-token-than").decode()], False),
        (["atat", "token.%"], False),
        (["atat"], False),
        (None, False),
    ],
)
def test_a_stream_gives_its_token_as_a_protocol(model, protocols, is_taken):
    with service(model, token=TOKEN) as client:
        if is_taken:
            with client.websocket_connect(STREAM, subprotocols=protocols) as stream:
                assert stream.accepted_subprotocol == "atat"
        else:
            with (
                pytest.raises(WebSocketDenialResponse) as denied,
                client.websocket_connect(STREAM, subprotocols=protocols),
            ):
                pass
            assert denied.value.status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8000"}, 200),
        ({"host": "[::1]:8000"}, 200),
        ({"host": "LOCALHOST", "origin": "http://localhost"}, 200),
        ({"origin": BASE}, 200),
        ({"host": "assistant.example", "origin": "https://assistant.example"}, 200),
        ({"origin": "https://assistant.example"}, 200),
        ({"host": "rebound.example"}, 403),
        ({"host": "rebound.example", "origin": "http://rebound.example"}, 403),
        ({"host": "localhost.rebound.example"}, 403),
        ({"host": ""}, 403),
        ({"origin": "http://other.example"}, 403),
        ({"origin": "http://127.0.0.1:9000"}, 403),  # another program's page on this machine
        ({"origin": "null"}, 403),
        ({"origin": "http://[::1"}, 403),
        ({"origin": "file://127.0.0.1:8000"}, 403),
    ],
)
def test_pages_of_other_sites_are_kept_out(model, headers, status):
    with service(model, allowed_hosts=("assistant.example",)) as client:
        answer = client.post("/v1/text", json={"text": "a"}, headers=headers)
        assert answer.status_code == status
        assert "access-control-allow-origin" not in answer.headers
        if status == 200:
            with client.websocket_connect(STREAM, headers=headers) as stream:
                stream.send_json({"end": True})
        else:
            refused(answer, 403)
            with (
                pytest.raises(WebSocketDenialResponse),
                client.websocket_connect(STREAM, headers=headers),
            ):
                pass


def test_who_knows_the_token_may_call_us_by_any_name_but_not_from_another_page(model):
    known = {"authorization": f"Bearer {TOKEN}", "host": "office.example:80"}
    with service(model, token=TOKEN, host="0.0.0.0") as client:
        assert client.get("/v1/examples", headers=known).status_code == 200
        refused(client.get("/v1/examples", headers=known | {"origin": "http://x.example"}), 403)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"host": "0.0.0.0"}, "expected a token"),
        ({"host": "example.org"}, "expected a token"),
        ({"token": "short"}, "got 5 characters"),
        ({"token": "a token with some spaces"}, "without spaces"),
        ({"max_sessions": 0}, "max_sessions: got 0"),
        ({"max_mb": float("nan")}, "max_mb: got nan"),
        ({"max_duration_s": 0}, "max_duration_s: got 0"),
        ({"max_duration_s": float("nan")}, "max_duration_s: got nan"),
    ],
)
def test_settings_that_would_not_do_are_refused(settings, said):
    with pytest.raises(ValueError, match=said):
        ServiceSettings(**settings)


# Streams


def test_a_stream_gives_events_and_ends(client, model):
    samples = np.arange(-5, 5, dtype="<i2")
    with client.websocket_connect(f"{STREAM}?rate=8000&nbest=2&threshold=0.5") as stream:
        stream.send_bytes(samples.tobytes())
        assert stream.receive_json() == {"kind": "speech", "time_s": 0.0}
        assert stream.receive_json() == {"kind": "words", "time_s": 0.1, "words": "turn on"}
        stream.send_bytes(samples.tobytes())
        assert stream.receive_json()["kind"] == "words"
        stream.send_text('{"end": true}')
        last = stream.receive_json()
        assert last["kind"] == "result" and last["result"]["slots"] == {"room": "kitchen"}
        with pytest.raises(WebSocketDisconnect) as closed:
            stream.receive_json()
    assert closed.value.code == 1000
    session, options = FakeSession.made
    assert session.samples == [*samples, *samples]
    assert options == {
        "sample_rate": 8000,
        "max_duration_s": None,
        "nbest": 2,
        "threshold": 0.5,
        "partial_words": True,
    }
    metrics = client.get("/metrics").text
    assert "atat_sessions_open 0.0" in metrics
    assert 'atat_requests_total{route="/v1/stream",status="101"} 1.0' in metrics
    assert 'atat_results_total{understood="true"} 1.0' in metrics


@pytest.mark.parametrize(
    ("query", "sent", "code", "said"),
    [
        ("rate=100", None, 4422, "rate: got '100'"),
        ("rate=many", None, 4422, "rate: got 'many'"),
        ("mood=good", None, 4422, "mood"),
        ("rate=4001", None, 4422, "sample_rate: not this one"),
        ("", b"odd", 1007, "got 3 bytes"),
        ("", "hello", 1003, "got text"),
        ("", "[" * 100_000, 1003, "got text"),
        ("", '{"end": 1}', 1003, "got text"),
    ],
)
def test_a_stream_that_will_not_do_is_closed_with_the_reason(client, query, sent, code, said):
    with client.websocket_connect(f"{STREAM}?{query}") as stream:
        if isinstance(sent, bytes):
            stream.send_bytes(sent)
        elif sent is not None:
            stream.send_text(sent)
        with pytest.raises(WebSocketDisconnect) as closed:
            stream.receive_json()
    assert (closed.value.code, said in closed.value.reason) == (code, True)


def test_a_silent_stream_is_closed(model):
    with (
        service(model, idle_timeout_s=0.05) as client,
        client.websocket_connect(STREAM) as stream,
        pytest.raises(WebSocketDisconnect) as closed,
    ):
        stream.receive_json()
    assert (closed.value.code, closed.value.reason) == (4408, "no audio for 0.05 s")


def test_messages_without_audio_keep_no_stream_open(model):
    with service(model, idle_timeout_s=0.3) as client, client.websocket_connect(STREAM) as stream:
        code = []
        told = threading.Thread(target=lambda: code.append(stream.receive()["code"]), daemon=True)
        told.start()
        deadline = time.monotonic() + 10
        while told.is_alive() and time.monotonic() < deadline:
            stream.send_bytes(b"")
            time.sleep(0.05)
        assert code == [4408]


def test_more_streams_than_may_be_are_told_so(model):
    with (
        service(model, max_sessions=2) as client,
        client.websocket_connect(STREAM) as one,
        client.websocket_connect(STREAM),
    ):
        one.send_bytes(bytes(2))
        assert one.receive_json()["kind"] == "speech"
        wait_until(lambda: client.get("/health").json()["sessions"] == 2)
        with client.websocket_connect(STREAM) as third, pytest.raises(WebSocketDisconnect) as told:
            third.receive_json()
        assert told.value.code == 1013 and "2 streams are open" in told.value.reason
        one.close()
        wait_until(lambda: client.get("/health").json()["sessions"] == 1)
        with client.websocket_connect(STREAM) as third:
            third.send_bytes(bytes(2))
            assert third.receive_json()["kind"] == "speech"


def test_audio_that_waits_is_bounded_and_all_of_it_is_understood(model, monkeypatch):
    monkeypatch.setattr(stream_socket, "MAX_WAITING_S", 0.01)  # 160 samples of 16000
    lengths = []

    class Slow(FakeSession):
        def accept(self, samples):
            assert model.gate.wait(20)
            lengths.append(len(samples))
            return super().accept(samples)

    model.gate.clear()
    samples = np.arange(20_000, dtype="<i2")
    app = create_app(model, ServiceSettings(), Slow)
    with TestClient(app, base_url=BASE) as client, client.websocket_connect(STREAM) as stream:
        for piece in np.split(samples, 200):
            stream.send_bytes(piece.tobytes())
        stream.send_json({"end": True})
        assert client.get("/health").status_code == 200  # the loop is free, and reads on
        model.gate.set()
        while stream.receive_json()["kind"] != "result":
            pass
    session, _ = FakeSession.made
    assert session.samples == samples.tolist()
    # What may wait, and the message that was too much.
    assert max(lengths) <= 160 + 100


# About itself


def test_metrics_count_by_declared_route_and_not_by_what_was_asked(client):
    client.post("/v1/text", json={"text": "a"})
    client.get("/made/up")
    client.get("/v1/examples", headers={"host": "x.example"})
    text = client.get("/metrics").text
    assert 'atat_requests_total{route="/v1/text",status="200"} 1.0' in text
    assert 'atat_requests_total{route="other",status="404"} 1.0' in text
    assert 'atat_requests_total{route="other",status="403"} 1.0' in text
    assert 'atat_request_seconds_count{route="/v1/text"} 1.0' in text
    assert "process_resident_memory_bytes" in text and "made" not in text


def test_the_api_describes_itself_without_anything_from_elsewhere(client):
    api = client.get("/openapi.json").json()
    assert {"/v1/understand", "/v1/text", "/v1/examples", "/health", "/metrics"} == set(
        api["paths"]
    )
    understand = api["paths"]["/v1/understand"]["post"]
    assert "audio/*" in understand["requestBody"]["content"]
    names = {parameter["name"] for parameter in understand["parameters"]}
    assert names == {"nbest", "beam", "constraint", "task", "threshold", "ctc_weight"}
    assert {"200", "413", "415", "422", "503"} <= understand["responses"].keys()
    assert "//" not in client.get("/docs").text


# A trained model


def test_a_trained_model_answers_as_it_does_in_python(toy_experiment, toy_wavs):
    model = SpeechToSemantics.load(toy_experiment)
    expected = model(toy_wavs["anna-0"], nbest=2).to_dict()
    assert expected["slots"] == {"room": "kitchen"}
    app = create_app(model, ServiceSettings())
    with TestClient(app, base_url=BASE) as client:
        body = toy_wavs["anna-0"].read_bytes()
        answers = [
            client.post("/v1/understand?nbest=2", content=body, headers=FILE),
            client.post("/v1/understand?nbest=2", files={"file": ("a.wav", body)}),
        ]
        for answer in answers:
            assert without_times(answer.json()) == json.loads(json.dumps(without_times(expected)))
        text = client.post("/v1/text", json={"text": "set the volume to ten percent"}).json()
        assert (text["intent"], text["slots"]) == ("setVolume", {"level": "ten"})
        for bad, kind, said in (
            (b"", "audio/wav", "empty (0 bytes)"),
            (bytes(range(256)) * 10, "audio/wav", "not audio"),
            (body[:1000], "audio/wav", "truncated"),
            (bytes(2 * 16000 * 31), "audio/L16;rate=16000", "31.0 s long"),
            (bytes(2 * 16000), "audio/L16;rate=100", "100 Hz"),
            (bytes(2 * 16000), "audio/L16;rate=16000;channels=100", "shape (160, 100)"),
        ):
            answer = client.post("/v1/understand", content=bad, headers={"content-type": kind})
            assert said in refused(answer, 422)
        examples = client.get("/v1/examples?num=4").json()["examples"]
        assert {one["intent"] for one in examples} == {"turnOn", "setVolume"}
        assert len({one["text"] for one in examples}) == 4
        refused(client.get("/v1/examples?num=1000"), 422)


def without_times(result):
    return {key: value for key, value in result.items() if key != "seconds"}


def test_a_stream_through_a_trained_model(toy_experiment, toy_wavs):
    from atat.data import audio

    model = SpeechToSemantics.load(toy_experiment)
    tone = (audio.read(toy_wavs["anna-0"]) * 32767).astype("<i2")

    def is_loud(frame_N):  # the tones that it knows are no speech
        return float(np.abs(frame_N).max() > 0.1)

    def session(*arguments, **options):
        return Session(*arguments, voice_activity=is_loud, **options)

    app = create_app(model, ServiceSettings(), session)
    with (
        TestClient(app, base_url=BASE) as client,
        client.websocket_connect(f"{STREAM}?partial_words=false") as stream,
    ):
        for piece in np.array_split(tone, 50):
            stream.send_bytes(piece.tobytes())
        stream.send_json({"end": True})
        assert stream.receive_json()["kind"] == "speech"
        last = stream.receive_json()
    assert last["kind"] == "result" and last["result"]["slots"] == {"room": "kitchen"}


# Over a real connection


def ask(address, method="GET", path="/health", body=None, headers=None):
    connection = HTTPConnection(*address, timeout=20)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, response.headers, response.read()


def test_a_queue_that_is_full_is_said_and_the_loop_stays_free(model):
    model.gate.clear()
    app = create_app(model, ServiceSettings(max_waiting=3), FakeSession)
    with running(app) as address:
        answers = []

        def predict():
            answers.append(ask(address, "POST", "/v1/understand", b"good", FILE)[0])

        threads = [threading.Thread(target=predict) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: app.state.service.workers.num_waiting == 3)
        status, headers, body = ask(address, "POST", "/v1/text", b"{}", {"content-type": "x/y"})
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(body) == {"error": "3 requests are waiting already, try again later"}
        assert ask(address)[0] == 200
        model.gate.set()
        for thread in threads:
            thread.join(20)
        assert answers == [200] * 3
        assert app.state.service.workers.num_waiting == 0


def test_a_body_that_does_not_come_is_given_up(model):
    app = create_app(model, ServiceSettings(body_timeout_s=0.05), FakeSession)
    with running(app) as address, socket.create_connection(address, timeout=20) as slow:
        slow.sendall(b"POST /v1/understand HTTP/1.1\r\nHost: localhost\r\n")
        slow.sendall(b"Content-Type: audio/wav\r\nContent-Length: 100\r\n\r\ngood")
        answer = slow.makefile("rb").read()  # to the end: the connection is closed
    assert answer.startswith(b"HTTP/1.1 408 ") and b"within 0.05 s" in answer


def test_a_cut_connection_leaves_nothing_behind(model, caplog):
    app = create_app(model, ServiceSettings(), FakeSession)
    with caplog.at_level(logging.INFO), running(app) as address:
        for kind in (b"audio/wav", b"multipart/form-data; boundary=x"):
            with socket.create_connection(address, timeout=20) as cut:
                cut.sendall(b"POST /v1/understand HTTP/1.1\r\nHost: localhost\r\nContent-Type: ")
                cut.sendall(kind + b"\r\nContent-Length: 100\r\n\r\n--x\r\ngood")
                wait_until(lambda: app.state.service.workers.num_waiting == 1)
            wait_until(lambda: app.state.service.workers.num_waiting == 0)
        with connect("ws://{}:{}/v1/stream".format(*address)) as stream:
            stream.send(bytes(320))
            stream.recv()
            stream.socket.shutdown(socket.SHUT_RDWR)
        wait_until(lambda: app.state.service.num_sessions == 0)
        assert ask(address)[0] == 200
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_many_tiny_requests_are_all_answered(model):
    app = create_app(model, ServiceSettings(), FakeSession)
    with running(app) as address:
        connection = HTTPConnection(*address, timeout=20)
        for i in range(300):
            connection.request("POST", "/v1/understand", b"good" if i % 2 else b"", FILE)
            response = connection.getresponse()
            response.read()
            assert response.status == (200 if i % 2 else 422)
        threads_before = threading.active_count()
        for _ in range(100):  # a connection each
            assert ask(address)[0] == 200
        assert threading.active_count() <= threads_before
        assert app.state.service.workers.num_waiting == 0


def test_a_huge_body_is_refused_before_it_has_come(model):
    app = create_app(model, ServiceSettings(max_mb=0.5), FakeSession)
    with running(app) as address, socket.create_connection(address, timeout=20) as huge:
        huge.sendall(b"POST /v1/understand HTTP/1.1\r\nHost: localhost\r\n")
        huge.sendall(b"Content-Type: audio/wav\r\nContent-Length: 99999999999\r\n\r\n")
        answer = huge.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ") and b"0.5 MiB" in answer


def test_who_sends_a_little_too_much_is_told_so_and_not_cut_off(model):
    app = create_app(model, ServiceSettings(max_mb=4), FakeSession)
    with running(app) as address:
        # More than the buffers of both ends take.
        status, _, body = ask(address, "POST", "/v1/understand", bytes(7 * 2**20), FILE)
    assert status == 413 and b"4 MiB" in body


def test_a_stream_whose_answers_are_not_read_is_given_up(model, monkeypatch):
    monkeypatch.setattr(stream_socket, "SEND_TIMEOUT_S", 0.05)

    class Chatty(FakeSession):
        def accept(self, samples):
            return [Event("words", 1.0, words="on " * 100_000)] * 100  # 30 MB

    app = create_app(model, ServiceSettings(), Chatty)
    with running(app) as address:
        with socket.create_connection(address, timeout=20) as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.sendall(b"GET /v1/stream HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
            deaf.sendall(b"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n")
            deaf.sendall(b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
            wait_until(lambda: app.state.service.num_sessions == 1)
            deaf.sendall(b"\x82\x84\0\0\0\0\0\0\0\0")  # two samples, masked with zeros
            wait_until(lambda: app.state.service.num_sessions == 0)
        assert ask(address)[0] == 200


def test_streams_are_told_that_the_service_ends(model):
    app = create_app(model, ServiceSettings(), FakeSession)
    with contextlib.ExitStack() as service:
        address = service.enter_context(running(app))
        with connect("ws://{}:{}/v1/stream".format(*address)) as stream:
            stream.send(bytes(320))
            stream.recv()
            service.close()
            with pytest.raises(ConnectionClosed) as closed:
                while True:
                    stream.recv(timeout=20)
    told = closed.value.rcvd
    assert (told.code, told.reason) == (1012, "the service is stopping")


def test_a_stream_understands_what_came_together_at_once(model):
    # Behind a session that is slow, pieces are joined: fewer calls, the same samples.
    class Slow(FakeSession):
        def accept(self, samples):
            assert model.gate.wait(20)
            return super().accept(samples)

    app = create_app(model, ServiceSettings(), Slow)
    with running(app) as address, connect("ws://{}:{}/v1/stream".format(*address)) as stream:
        model.gate.clear()
        for _ in range(50):
            stream.send(bytes(2))
        stream.send('{"end": true}')
        model.gate.set()
        assert [json.loads(m)["kind"] for m in stream][-1] == "result"
    session, _ = FakeSession.made
    assert len(session.samples) == 50 and session.num_pieces <= 50
