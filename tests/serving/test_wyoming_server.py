"""The Wyoming server, asked over loopback by the package's own client."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from atat.inference.result import Result

pytest.importorskip("wyoming")

from wyoming.asr import Transcribe, Transcript
from wyoming.audio import AudioChunk, AudioStart, AudioStop
from wyoming.client import AsyncTcpClient
from wyoming.error import Error
from wyoming.info import Describe, Info, SelectProgram
from wyoming.intent import Entity, Intent, NotRecognized, Recognize
from wyoming.ping import Ping, Pong
from wyoming.pipeline import PipelineStage, RunPipeline

from atat import wyoming as wyoming_command
from atat.serving import wyoming_input
from atat.serving.wyoming_server import Service, WyomingServer, address, is_loopback

PATIENCE_S = 60  # far above what anything here takes
LIGHT = Result(
    "turnOn", {"room": "kitchen"}, "turnOn( turn on the room( kitchen )room )turnOn", 0.0
)
NOTHING = Result(None, {}, "turnOn( turn )turnOn", 0.0, "the confidence 0.1 is below 0.5")


class FakeModel:
    """Understands everything as `result`, and keeps what it got."""

    def __init__(self, result=LIGHT):
        self.result, self.heard, self.texts, self.options = result, [], [], []
        self.goes_on = threading.Event()
        self.goes_on.set()

    def extract_features(self, samples, rate, max_duration_s):
        self.heard.append((samples, rate))
        if not len(samples):
            raise ValueError("no samples")
        return samples

    def predict(self, recordings, threshold, **options):
        assert self.goes_on.wait(PATIENCE_S)
        self.options.append(options | {"threshold": threshold})
        if options == {"task": "asr", "constraint": "none"}:
            return [Result(None, {}, "turn under kitchen", 0.0) for _ in recordings]
        return [self.result for _ in recordings]

    def predict_texts(self, texts, **options):
        self.texts += texts
        if not texts[0].split():
            raise ValueError("text '': has no words")
        named = (
            replace(self.result, slots={"text": texts[0]}) if self.result.intent else self.result
        )
        return [named]


def talk(service, ask):
    """What a client gets: `ask(port)` while a server of `service` runs."""

    async def run():
        server = WyomingServer(service)
        port = await server.start("127.0.0.1", 0)
        try:
            return await asyncio.wait_for(ask(port), PATIENCE_S)
        finally:
            await server.stop()

    return asyncio.run(run())


async def answers(port, *asked, until=None):
    """Events that follow what was asked, up to the type `until`, or the end."""
    async with AsyncTcpClient("127.0.0.1", port) as client:
        for one in asked:
            await client.write_event(one.event())
        found = []
        while (event := await client.read_event()) is not None:
            found.append(event)
            if event.type == until:
                break
        return found


def speech(samples, rate=16000, width=2, channels=1, size=3200):
    """Events of an utterance of raw bytes."""
    yield Transcribe(language="en")
    yield AudioStart(rate=rate, width=width, channels=channels)
    for first in range(0, len(samples), size):
        yield AudioChunk(rate, width, channels, samples[first : first + size])
    yield AudioStop()


SECOND = bytes(32000)


def test_describe_names_an_asr_and_an_intent_model():
    async def ask(port):
        asked = [
            SelectProgram("atat"),  # left alone
            Ping("x"),
            Describe(),
        ]
        pong, info = await answers(port, *asked, until="info")
        return Pong.from_event(pong), Info.from_event(info)

    pong, info = talk(Service(FakeModel(), name="kitchen", version="1.2"), ask)
    assert pong.text == "x"
    (asr,), (intent,) = info.asr, info.intent
    for program in (asr, intent):
        (model,) = program.models
        assert (
            program.installed
            and model.installed
            and program.version == "1.2"
            and program.attribution.url
        )
        assert (model.name, model.languages) == ("kitchen", ["en"])


@pytest.fixture(scope="module")
def toy_model(toy_experiment):
    from atat import SpeechToSemantics

    return SpeechToSemantics.load(toy_experiment)


def test_home_assistant_gets_words_of_speech_and_their_intent(toy_model, toy_wavs):
    """As its integration asks: a connection for the speech, another one for the words."""
    import soundfile

    samples, rate = soundfile.read(toy_wavs["anna-1"], dtype="int16")
    expected = toy_model(toy_wavs["anna-1"])

    async def ask(port):
        (event,) = await answers(port, *speech(samples.tobytes(), rate), until="transcript")
        words = Transcript.from_event(event).text
        typed = Transcript(words, context={"conversation_id": "7"})
        (event,) = await answers(port, typed, until="intent")
        return words, Intent.from_event(event)

    words, intent = talk(Service(toy_model), ask)
    assert words == "turn on the living room lights"
    assert (intent.name, intent.entities) == ("turnOn", [Entity("room", "living room")])
    assert (expected.intent, expected.slots) == ("turnOn", {"room": "living room"})
    assert intent.context == {"conversation_id": "7"}


def test_text_is_recognized_or_not_with_the_reason(toy_model):
    async def ask(port):
        found = []
        for text in ("Set the volume to ten percent!", "what is the weather", "", "a" * 1001):
            async with AsyncTcpClient("127.0.0.1", port) as client:
                await client.write_event(Recognize(text).event())
                found.append(await client.read_event())
        return found

    volume, *others = talk(Service(toy_model), ask)
    assert Intent.from_event(volume) == Intent("setVolume", [Entity("level", "ten")])
    reasons = [NotRecognized.from_event(event).text for event in others]
    assert all(reasons) and "no words" in reasons[1] and "1001 characters" in reasons[2]


def test_an_intent_follows_its_transcript_where_the_pipeline_goes_on_to_it():
    pipeline = RunPipeline(PipelineStage.ASR, PipelineStage.INTENT)

    def ask(port):
        return answers(port, pipeline, *speech(SECOND), until="intent")

    model = FakeModel()
    words, intent = talk(Service(model), ask)
    assert Transcript.from_event(words).text == "turn on the kitchen"
    assert Intent.from_event(intent) == Intent("turnOn", [Entity("room", "kitchen")])
    assert not model.texts  # from the speech itself


@pytest.mark.parametrize(
    ("transcripts", "words"), [("semantics", ""), ("asr", "turn under kitchen")]
)
def test_words_that_are_not_understood_are_withheld_unless_asked_for(transcripts, words):
    model = FakeModel(NOTHING)
    service = Service(model, transcripts=transcripts, threshold=0.5, options={"beam": 2})
    (event,) = talk(service, lambda port: answers(port, *speech(SECOND), until="transcript"))
    assert Transcript.from_event(event).text == words
    assert model.options[0] == {"beam": 2, "threshold": 0.5}


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize(("channels", "rate"), [(1, 8000), (2, 48000)])
def test_samples_of_all_formats_reach_the_model_as_they_were(width, channels, rate):
    sine_N = 0.5 * np.sin(np.arange(rate // 10) / 7)
    wave_NC = np.stack([sine_N, -sine_N], axis=1)[:, :channels]
    whole = np.round(wave_NC * (2 ** (8 * width - 1) - 1)).astype("<i4")
    if width == 1:
        raw = (whole + 128).astype(np.uint8).tobytes()
    else:
        raw = whole.astype("<i4").reshape(-1, 1).view(np.uint8)[:, :width].tobytes()
    model = FakeModel()
    events = speech(raw, rate, width, channels, size=501)  # pieces that cut samples

    talk(Service(model), lambda port: answers(port, *events, until="transcript"))
    ((samples, got_rate),) = model.heard
    assert got_rate == rate and samples.dtype == np.float32
    assert samples.shape == (wave_NC[:, 0].shape if channels == 1 else wave_NC.shape)
    error = np.abs(samples.reshape(-1, channels) - wave_NC).max()
    assert error < 2.0 / 2 ** (8 * width - 1) + 1e-7


WIDE = {"rate": 192_000, "width": 4, "channels": 8, "size": 2**20 - 32}  # a second: 6 MB


@pytest.mark.parametrize(
    ("too_much", "reason"),
    [
        (list(speech(SECOND * 3)), "longer than 2 s"),
        (list(speech(bytes(9 * 2**20), **WIDE)), "more than 8 MiB"),
    ],
)
def test_speech_that_is_too_much_is_refused_and_the_next_understood(too_much, reason):
    async def ask(port):
        async with AsyncTcpClient("127.0.0.1", port) as client:
            found = []
            for events in (too_much, speech(SECOND)):
                for one in events:
                    await client.write_event(one.event())
                found.append(await client.read_event())
                while found[-1].type != "transcript":
                    found.append(await client.read_event())
            return found

    model = FakeModel()
    error, empty, words = talk(Service(model, max_duration_s=2), ask)
    assert reason in Error.from_event(error).text
    assert Transcript.from_event(empty).text == ""
    assert Transcript.from_event(words).text == "turn on the kitchen"
    assert [len(samples) for samples, _ in model.heard] == [16000]


def test_a_stream_without_an_end_is_cut_off():
    events = [one for one in speech(SECOND * 21, size=32000) if not isinstance(one, AudioStop)]
    found = talk(Service(FakeModel(), max_duration_s=2), lambda port: answers(port, *events))
    assert [Error.from_event(event).code for event in found] == ["too-long", "bad-event"]


def test_no_audio_is_no_words():
    for events in ([AudioStop()], list(speech(b"")), list(speech(b"\0"))):
        found = talk(
            Service(FakeModel()), lambda port, e=events: answers(port, *e, until="transcript")
        )
        assert Transcript.from_event(found[-1]).text == ""


def line(**fields):
    return json.dumps(fields).encode() + b"\n"


BIG = wyoming_input.MAX_PART_BYTES + 1
CHUNK = {"rate": 16000, "width": 2, "channels": 1}
GARBAGE = [
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(range(128, 256)) + b"\n",
    b"[" * 10_000 + b"\n",
    b"[1]\n",
    b'"describe"\n',
    b"{}\n",
    b"x" * (wyoming_input.MAX_LINE_BYTES + 1),
    line(type=7),
    line(type="recognize"),
    line(type="recognize", data=[]) + line(type="recognize", data=[1]),
    line(type="recognize", data={"text": 7}),
    line(type="audio-chunk", data=CHUNK, payload_length=BIG),
    line(type="audio-chunk", data=CHUNK, payload_length=-1),
    line(type="audio-chunk", data=CHUNK, payload_length="4"),
    line(type="audio-chunk", data=CHUNK, payload_length=10**400),
    line(type="describe", data_length=4) + b"[17]",
    line(type="describe", data_length=BIG),
    line(type="audio-start", data=CHUNK | {"rate": 0}),
    line(type="audio-start", data=CHUNK | {"rate": "16000"}),
    line(type="audio-start", data=CHUNK | {"channels": 10**9}),
    line(type="audio-start", data=CHUNK) + line(type="audio-chunk", data=CHUNK | {"rate": 8000}),
    line(type="run-pipeline", data={"start_stage": "asr", "end_stage": "wake"}),
    line(type="run-pipeline", data={"start_stage": "x", "end_stage": "y"}),
]


def test_garbage_is_refused_by_name_and_others_are_served():
    async def ask(port):
        found = []
        for garbage in GARBAGE:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(garbage)
            await writer.drain()
            found.append(await wyoming_input.read_event(reader))
            assert await wyoming_input.read_event(reader) is None  # closed
            writer.close()
        (event,) = await answers(port, Recognize("go"), until="intent")
        return found, event

    found, intent = talk(Service(FakeModel()), ask)
    for garbage, event in zip(GARBAGE, found, strict=True):
        assert Error.from_event(event).code == "bad-event", garbage[:60]
    assert Intent.from_event(intent).name == "turnOn"


@pytest.mark.parametrize(
    "sent", [b"", b'{"type": "desc', line(type="audio-chunk", data=CHUNK, payload_length=9) + b"1"]
)
def test_a_cut_connection_leaves_the_others_alone(sent, caplog):
    async def ask(port):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        await writer.drain()
        writer.close()
        (event,) = await answers(port, Recognize("go"), until="intent")
        return event

    assert Intent.from_event(talk(Service(FakeModel()), ask)).name == "turnOn"
    assert not [record for record in caplog.records if record.exc_info]


def test_clients_are_served_at_once_while_the_model_computes():
    model = FakeModel()
    model.goes_on.clear()

    async def ask(port):
        spoken = [asyncio.create_task(answers(port, *speech(SECOND), until="transcript"))]
        while not model.heard:
            await asyncio.sleep(0.005)
        await answers(port, Describe(), until="info")
        typed = await asyncio.gather(
            *(answers(port, Recognize(f"text {i}"), until="intent") for i in range(6))
        )
        assert not spoken[0].done()
        model.goes_on.set()
        ((words,),) = await asyncio.gather(*spoken)
        return words, [Intent.from_event(event).entities[0].value for (event,) in typed]

    if (os.cpu_count() or 1) == 1:
        pytest.skip("one processor: one thread computes")
    words, values = talk(Service(model), ask)
    assert Transcript.from_event(words).text == "turn on the kitchen"
    assert values == [f"text {i}" for i in range(6)]


def test_too_many_sessions_are_refused_until_one_ends():
    async def ask(port):
        async with AsyncTcpClient("127.0.0.1", port) as client:
            await client.write_event(Ping().event())
            await client.read_event()
            (refused,) = await answers(port)
        while (event := (await answers(port, Describe(), until="info"))[-1]).type == "error":
            await asyncio.sleep(0.005)
        return refused, event

    refused, _ = talk(Service(FakeModel(), max_sessions=1), ask)
    assert Error.from_event(refused).code == "busy"


def test_a_connection_without_events_is_closed():
    async def ask(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b'{"type": ')
        return await reader.read()

    assert talk(Service(FakeModel(), idle_s=0.05), ask) == b""


def test_what_is_being_understood_is_answered_when_the_server_ends():
    model = FakeModel()
    model.goes_on.clear()

    async def run():
        server = WyomingServer(Service(model, grace_s=2 * PATIENCE_S))
        port = await server.start("127.0.0.1", 0)
        reader, _ = await asyncio.open_connection("127.0.0.1", port)  # idle
        asked = asyncio.create_task(answers(port, *speech(SECOND)))
        while not model.heard:
            await asyncio.sleep(0.005)
        stopped = asyncio.create_task(server.stop())
        assert await reader.read() == b""
        model.goes_on.set()
        await stopped
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", port)
        return await asked

    (event,) = asyncio.run(asyncio.wait_for(run(), PATIENCE_S))
    assert Transcript.from_event(event).text == "turn on the kitchen"


@pytest.mark.parametrize("log_text", [False, True])
def test_words_are_logged_where_they_may_be(caplog, log_text):
    caplog.set_level("INFO", "atat.wyoming")
    model = FakeModel(replace(NOTHING, reason="the grammar has no word 'safe'"))
    service = Service(model, log_text=log_text)

    async def ask(port):
        await answers(port, Recognize("open the safe"), until="not-recognized")
        await answers(port, *speech(SECOND), until="transcript")

    talk(service, ask)
    said = [record.getMessage() for record in caplog.records if record.name == "atat.wyoming"]
    why = " (the grammar has no word 'safe')" if log_text else ""
    what = ("text of 13 characters", "speech of 1.0 s")
    assert said == [f"{one}: not understood{why}" for one in what]


def test_addresses():
    assert address("tcp://[::1]:10300") == ("::1", 10300)
    for wrong in (
        "127.0.0.1:1",
        "tcp://:1",
        "tcp://a",
        "udp://a:1",
        "tcp://a:x",
        "tcp://a:99999999",
    ):
        with pytest.raises(ValueError, match="expected tcp://HOST:PORT"):
            address(wrong)
    assert is_loopback("127.8.9.1") and not is_loopback("192.168.1.2") and not is_loopback("ha.lan")


def test_mistakes_of_the_command_are_one_line(command, tmp_path):
    for arguments, reason in [
        (
            ["--model", tmp_path, "--uri", "tcp://x"],
            "--uri: got 'tcp://x', expected tcp://HOST:PORT",
        ),
        (["--model", tmp_path / "none"], "none"),
    ]:
        code, _, err = command(wyoming_command.main, *arguments)
        assert code == 2 and reason in err and err.count("\n") == 1
    code, _, err = command(
        wyoming_command.main, "--model", tmp_path / "none", "--uri", "tcp://0.0.0.0:0"
    )
    assert code == 2 and "warning: tcp://0.0.0.0:0: the protocol has no authentication" in err


def test_the_command_serves_until_it_is_ended(toy_experiment):
    arguments = ["--model", str(toy_experiment), "--uri", "tcp://127.0.0.1:0", "--name", "toy"]
    process = subprocess.Popen(
        [sys.executable, "-m", "atat.wyoming", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        port = int(re.search(r"127.0.0.1:(\d+)", process.stdout.readline())[1])
        asked = answers(port, Recognize("set the volume to ten"), until="intent")
        (event,) = asyncio.run(asyncio.wait_for(asked, PATIENCE_S))
        assert Intent.from_event(event).name == "setVolume"
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0 and "text of 21 characters: setVolume" in err


def test_the_server_needs_neither_torch_nor_espnet():
    code = "import sys, atat.serving.wyoming_server; print({'torch', 'espnet2'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
