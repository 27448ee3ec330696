"""Streams in JavaScript have the events of Python's session."""

from types import SimpleNamespace

import numpy as np

from atat.config.schema import FeaturesConfig
from atat.serving import session
from atat.serving.session import Session
from atat.serving.voice_activity import FRAME_S, Endpointer

SESSION = """
const { Session } = await import("./session.js");
return Promise.all(data.map(async ({ probabilities, size, numSamples }) => {
  let frame = 0;
  const model = {
    about: { features: { max_duration_s: 2 } },
    wordsSoFar: async (samples) => `${Math.floor(samples.length / 6000)}`,
    understand: async (samples) => samples.length,
    network: { run: async () => [{ data: [probabilities[frame++]] }, { data: [], dims: [] }] },
  };
  const session = new Session(model, { rate: 16000, nbest: 1 });
  const events = [];
  for (let at = 0; at < numSamples; at += size) {
    events.push(...(await session.accept(new Int16Array(Math.min(size, numSamples - at)))));
  }
  return [...events, ...(await session.finish())];
}));
"""


class CountingModel:
    """The result of an utterance is its length."""

    settings = SimpleNamespace(features=FeaturesConfig(max_duration_s=2.0))

    def extract_features(self, samples, rate, max_duration_s):
        return len(samples)

    def predict(self, recordings, threshold, **options):
        return recordings


def test_a_session_has_pythons_events(run, monkeypatch):
    monkeypatch.setattr(
        session, "words_so_far", lambda model, samples_N, *about: f"{len(samples_N) // 6000}"
    )
    rng, given = np.random.default_rng(8), []
    for size in (300, 512, 2000, 7777):
        speaks = np.repeat(rng.random(40) < 0.6, rng.integers(5, 40, 40))
        probabilities = np.clip(speaks * 0.6 + rng.uniform(0, 0.4, len(speaks)), 0, 1).tolist()
        num_samples = 512 * (len(probabilities) - 1) + 100  # the last is a part
        given.append({"probabilities": probabilities, "size": size, "numSamples": num_samples})
    kinds = set()
    for case, events in zip(given, run(SESSION, given), strict=True):
        probability = iter(case["probabilities"])
        python = Session(CountingModel(), voice_activity=lambda frame_N, p=probability: next(p))
        expected = python.accept(np.zeros(case["numSamples"], np.int16)) + python.finish()
        got = [(e["kind"], e["time_s"], e.get("words", ""), e.get("result")) for e in events]
        assert got == [(e.kind, e.time_s, e.words, e.result) for e in expected]
        kinds |= {e.kind for e in expected}
    assert kinds == {"speech", "words", "result", "too_long"}


def test_an_utterance_that_the_model_cannot_take_does_not_end_the_stream(run):
    body = SESSION.replace(
        "async (samples) => samples.length,",
        "async () => { throw new RangeError('too short'); },",
    )
    probabilities = ([0.9] * 10 + [0.0] * 30) * 2
    given = [{"probabilities": probabilities, "size": 512, "numSamples": 512 * 80}]
    (events,) = run(body, given)
    results = [event["result"] for event in events if event["kind"] == "result"]
    assert [(r["reason"], r["error"], r["intent"]) for r in results] == [
        ("too short", "too short", None)
    ] * 2


def test_speech_begins_and_ends_where_python_has_it(run):
    rng = np.random.default_rng(3)
    likely = np.repeat(rng.random(60) < 0.5, 10) * 0.7
    probabilities = np.clip(likely + rng.uniform(0, 0.45, len(likely)), 0, 1)
    found = run(
        """const { Endpointer } = await import("./session.js");
        const endpointer = new Endpointer();
        return data.map((p) => [endpointer.accept(p), endpointer.begin, endpointer.end]);""",
        probabilities.tolist(),
    )
    endpointer = Endpointer(pause_s=0.6)
    expected = [
        [endpointer.accept(p), endpointer.begin, endpointer.end] for p in probabilities.tolist()
    ]
    assert found == expected and sum(kind == "end" for kind, *_ in found) > 3
    assert FRAME_S == 0.032
