"""The page of a service, in Chromium with a fake microphone that plays a rendered utterance."""

import contextlib
import shutil

import numpy as np
import pytest

from atat.inference.result import Reading, Result
from atat.serving import session
from atat.serving.http_server import create_app
from atat.serving.service_settings import ServiceSettings
from atat.synthesis import engines
from tests.serving.running import FakeModel, FakeSession, running

TOKEN = "correct-horse-battery"
ORIGIN = "http://127.0.0.1:{1}"
GRAMMAR = """
context:
  expressions:
    turnOn: [turn on the $room:room light]
    turnOff: [turn off the $room:room light]
  slots:
    room: [kitchen, hall, bath, garage, "<img src=x>"]
"""


class Model(FakeModel):
    """Understands anything as two rooms; one of them is written otherwise than it is said."""

    def extract_features(self, source, sample_rate=None, max_duration_s=None):
        self.heard.append((source, sample_rate, max_duration_s))
        return source

    def predict(self, recordings, threshold=None, **options):
        assert not recordings or self.gate.wait(20)  # a session asks with none of them
        tree = "turnOn( turn on the room( kitchen )room and room( bath room )room light )turnOn"
        slots = {"room": ["kitchen", "bathroom"]}
        other = Reading("turnOff", {"room": "hall"}, tree.replace("turnOn", "turnOff"), -7.0)
        result = Result("turnOn", slots, tree, -0.5, duration_s=1.5, confidence=0.987)
        more = {"nbest": (result, other), "accepted": True, "slot_confidence": {"room": 0.99}}
        return [Result(**vars(result) | more) for _ in recordings]

    def predict_texts(self, texts, **options):
        if "sesame" in texts[0]:
            reading = Reading("open", {}, "open( sesame )open", -9.0)
            reason = "confidence 0.2, the threshold is 0.6"
            refused = {"reason": reason, "accepted": False, "confidence": 0.2, "nbest": (reading,)}
            return [Result(None, {}, "open( sesame )open", -9.0, **refused)]
        return super().predict_texts(texts, **options)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    """A browser whose microphone hears an utterance, again and again."""
    import soundfile

    path = shutil.which("chromium") or shutil.which("chromium-browser")
    if path is None:
        pytest.skip("no chromium here (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    engine = engines.load("espeak")
    samples, rate = engine.speak("turn on the kitchen light", engine.voices()[0])
    sound = np.concatenate([np.zeros(rate // 2), 0.5 * samples, np.zeros(2 * rate)])
    file = tmp_path_factory.mktemp("microphone") / "utterance.wav"
    soundfile.write(file, sound, rate, "PCM_16")
    options = ["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
    options += [f"--use-file-for-fake-audio-capture={file}", "--no-sandbox", "--disable-gpu"]
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@pytest.fixture
def opened(chromium):
    """Opens the page of an application: (page, its errors); all of it is closed in the end."""
    with contextlib.ExitStack() as stack:

        def opened(app, **options):
            address = stack.enter_context(running(app))
            context = stack.enter_context(contextlib.closing(chromium.new_context(**options)))
            context.set_default_timeout(20_000)
            page, errors = context.new_page(), []
            page.on("pageerror", lambda error: errors.append(str(error)))
            page.on("console", lambda m: errors.append(m.text) if m.type == "error" else None)
            page.goto(ORIGIN.format(*address))
            return page, errors

        yield opened


def grammar(tmp_path):
    path = tmp_path / "grammar.yaml"
    path.write_text(GRAMMAR.replace('"<img src=x>"', "cellar"))
    return path


def test_what_is_spoken_is_shown_as_words_and_as_a_tree(opened, monkeypatch):
    monkeypatch.setattr(session, "words_so_far", lambda *arguments: "turn on the")
    model = Model()
    model.gate.clear()  # no result before the words have been seen
    page, errors = opened(create_app(model, ServiceSettings()))
    page.keyboard.press("Space")
    page.wait_for_selector("#words.partial:has-text('turn on the')")
    assert page.get_attribute("#microphone", "aria-pressed") == "true"
    model.gate.set()
    page.wait_for_selector("#result:visible")
    assert page.inner_text("#result .verdict strong") == "turnOn"
    assert page.inner_text("#words") == "turn on the kitchen and bath room light"
    # The second value is written otherwise than it is said.
    leaves = page.locator("#result > .tree > li > ul > li").all_inner_texts()
    assert [" ".join(text.split()) for text in leaves] == [
        "room kitchen 99.0 %",
        "room bath room = bathroom 99.0 %",
    ]
    facts = page.inner_text("#result .facts")
    assert "98.7 %" in facts and "1.5 s of audio" in facts and "after the end" in facts
    page.click("#result summary")
    assert "turnOff" in page.inner_text("#result details ol")
    # The microphone is closed, and ready for the next.
    assert page.get_attribute("#microphone", "aria-pressed") == "false"
    assert page.inner_text("#microphone") == "Speak"
    ((samples, rate, _),) = model.heard
    assert rate == 16000 and 1.0 < len(samples) / rate < 5.0 and np.abs(samples).max() > 0.05
    assert errors == []


def test_a_second_press_ends_the_utterance(opened):
    app = create_app(Model(), ServiceSettings(), FakeSession)
    page, errors = opened(app)
    page.click("#microphone")
    page.wait_for_selector("#words:has-text('turn on')")
    page.click("#microphone")
    page.wait_for_selector("#result:visible")
    assert page.inner_text("#result .verdict strong") == "turnOn" and errors == []


SLOW = """openMs => {
    window.numClosed = 0;
    const delay = (name, ms, after) => {
        const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, name);
        Object.defineProperty(WebSocket.prototype, name, { set(told) {
            set.call(this, (event) => setTimeout(() => { told(event); after(); }, ms));
        } });
    };
    delay("onopen", openMs, () => {});
    delay("onclose", 500, () => window.numClosed++);
}"""


@pytest.mark.parametrize("open_ms", [0, 1500])
def test_a_stream_that_closes_late_does_not_end_the_next(opened, open_ms):
    page, errors = opened(create_app(Model(), ServiceSettings(), FakeSession))
    page.evaluate(SLOW, open_ms)
    page.click("#microphone")
    page.wait_for_selector("#words:has-text('turn on')")
    page.click("#microphone")
    page.wait_for_selector("#result:visible")
    page.click("#microphone")
    page.wait_for_function("() => window.numClosed === 1")
    assert page.inner_text("#status").startswith(("Opening", "Listening"))
    page.wait_for_selector("#microphone[aria-pressed=true]")
    page.wait_for_selector("#words:has-text('turn on')")
    page.click("#microphone")
    page.wait_for_selector("#result:not(.stale)")
    assert errors == []


def test_silence_is_said_to_be_nothing(opened):
    def deaf(*arguments, **options):
        return session.Session(*arguments, voice_activity=lambda frame_N: 0.0, **options)

    page, errors = opened(create_app(Model(), ServiceSettings(), deaf))
    page.click("#microphone")
    page.wait_for_selector("#microphone[aria-pressed=true]")
    page.click("#microphone")
    page.wait_for_selector("#status:has-text('Nothing was heard')")
    assert not page.is_visible("#result") and errors == []


def test_a_sentence_is_typed_or_taken_from_the_grammar(opened, tmp_path):
    model = Model()
    model.grammar = grammar(tmp_path)
    page, errors = opened(
        create_app(model, ServiceSettings()), viewport={"width": 390, "height": 800}
    )
    page.fill("#text", "<b>turn</b> on")
    page.keyboard.press("Enter")
    page.wait_for_selector("#result:visible")
    assert page.inner_text("#result .said") == "<b>turn</b> on"  # text, not markup
    chips = page.locator("#example-list button")
    first = chips.all_inner_texts()
    assert len(first) == 6 and all(text.startswith("turn o") for text in first)
    chips.first.click()
    page.wait_for_function(
        "text => document.querySelector('#result .said').textContent === text", arg=first[0]
    )
    page.click("#more-examples")
    page.wait_for_function(
        "text => document.querySelector('#example-list button').textContent !== text", arg=first[0]
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert errors == []


def test_what_is_refused_says_why_and_what_it_might_have_been(opened):
    page, _ = opened(create_app(Model(), ServiceSettings()))
    page.fill("#text", "open sesame")
    page.click("#text-form button[type=submit]")
    page.wait_for_selector("#result:visible")
    shown = page.inner_text("#result")
    assert "Not understood" in shown and "the threshold is 0.6" in shown and "sesame" in shown


def test_a_token_is_asked_for_once_and_opens_the_stream_too(opened):
    app = create_app(Model(), ServiceSettings(token=TOKEN), FakeSession)
    page, _ = opened(app)
    page.wait_for_selector("#token:focus")
    assert not page.is_visible("#error")
    page.fill("#token", "no header has a \u20ac")  # nor is the service to blame
    page.keyboard.press("Enter")
    assert page.evaluate("document.querySelector('#token').validity.patternMismatch")
    assert page.is_visible("#token-form") and not page.is_visible("#error")
    page.fill("#token", "wrong-wrong-wrong-wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:has-text('not its token')")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#error", state="hidden")
    page.wait_for_selector("#token-form", state="hidden")
    page.click("#microphone")
    page.wait_for_selector("#words:has-text('turn on')")
    page.click("#microphone")
    page.wait_for_selector("#result:visible")


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (
            "navigator.mediaDevices.getUserMedia = () => "
            "Promise.reject(new DOMException('', 'NotAllowedError'))",
            "is not allowed",
        ),
        (
            "navigator.mediaDevices.getUserMedia = () => "
            "Promise.reject(new DOMException('', 'NotFoundError'))",
            "No microphone was found",
        ),
        ("delete MediaDevices.prototype.getUserMedia", "gives pages no microphone"),
    ],
)
def test_a_microphone_that_cannot_be_had_is_said_in_words(opened, broken, said):
    page, _ = opened(create_app(Model(), ServiceSettings(), FakeSession))
    page.evaluate(f"() => {{ {broken} }}")
    page.click("#microphone")
    page.wait_for_selector(f"#error:has-text('{said}')")
    assert page.is_enabled("#microphone")


def test_a_service_that_is_gone_or_full_is_said_in_words(opened):
    app = create_app(Model(), ServiceSettings(max_sessions=1), FakeSession)
    page, _ = opened(app)
    app.state.service.num_sessions = 1
    page.click("#microphone")
    page.wait_for_selector("#error:has-text('1 streams are open')")
    app.state.service.num_sessions = 0
    page.context.set_offline(True)
    page.fill("#text", "turn on")
    page.keyboard.press("Enter")
    page.wait_for_selector("#error:has-text('does not answer')")


def test_the_api_is_described_on_a_page_of_our_own(opened):
    page, errors = opened(create_app(Model(), ServiceSettings()))
    page.click("text=API")
    page.wait_for_selector("h2:has-text('/v1/stream')")
    shown = page.inner_text("#routes")
    assert "POST/v1/understand" in shown.replace(" ", "") and "nbest: integer, 1 to 8" in shown
    assert errors == []


def test_trees_are_read_as_python_reads_them(opened):
    page, _ = opened(create_app(Model(), ServiceSettings()))
    read = """async text => {
        const reading = await import("/page/reading.js");
        const tree = reading.parseTree(text);
        return tree && [tree.label, reading.wordsOf(tree), tree.children.length];
    }"""
    whole = "IN:GET( the SL:WHAT( IN:FIND( nearest )IN:FIND )SL:WHAT one )IN:GET"
    assert page.evaluate(read, whole) == ["IN:GET", "the nearest one", 3]
    for broken in ("", "words alone", "a( b", "a( b )c", "a( )a b", "a( )a a( )a", ")a"):
        assert page.evaluate(read, broken) is None
