"""The page's JavaScript against Python: the same numbers and hypotheses on the same input."""

# B utterances, K hypotheses, T frames, V vocabulary

import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest

from atat import SpeechToSemantics
from atat.config.schema import Config, FeaturesConfig
from atat.data import audio, filter_bank
from atat.data.tokenizer import Tokenizer
from atat.grammar.grammar import Grammar
from atat.inference import constraints
from atat.inference.beam_search import Hypothesis, search
from atat.inference.ctc_prefix_score import log_likelihood
from atat.inference.options import SearchOptions
from atat.inference.search_results import result_of
from atat.semantics.text_normalization import normalize
from atat.serving import session, static_site
from atat.serving.session import Session
from atat.serving.voice_activity import FRAME_S, Endpointer
from tests.serving.javascript import javascript

GRAMMAR = """
context:
  expressions:
    turnOn:
      - turn on the $room:room [light, lights]
    setVolume:
      - set the volume to $level:level (percent)
  slots:
    room: [kitchen, living room]
    level: [ten, twenty]
"""
SEQUENCES = [
    "turnOn( turn on the room( living room )room light )turnOn",
    "turnOn( turn on the room( kitchen )room lights )turnOn",
    "setVolume( set the volume to level( ten )level percent )setVolume",
    "setVolume( set the volume to level( twenty )level )setVolume",
]
NESTING = {"": {"turnOn", "setVolume"}, "turnOn": {"room"}, "setVolume": {"level", "room"}}
NESTING |= {"room": set(), "level": {"level"}}
EXACT = 1e-3  # of log mel and of scores, which Python has in float32


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """As `javascript`, of one copy of the modules."""
    directory = tmp_path_factory.mktemp("javascript")
    return lambda body, data: javascript(directory, body, data)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Without a network, which these tests do not need."""
    path = tmp_path_factory.mktemp("grammar") / "grammar.yaml"
    path.write_text(GRAMMAR)
    network = SimpleNamespace(has_ctc=True, num_parameters=0, device="cpu")
    tokenizer = Tokenizer.train(SEQUENCES, vocab_size=60)
    return SpeechToSemantics(network, tokenizer, Config(), path, NESTING)


@pytest.fixture(scope="module")
def about(model):
    """What the page knows of the toy model."""
    return static_site.describe(model, "toy")


def spoken(rng, seconds=2.0):
    """Noise, quiet, and amid it louder bursts on a constant offset."""
    samples = rng.normal(0, 0.003, int(16000 * seconds)) + 0.01
    for _ in range(3):
        start, length = rng.integers(0, len(samples)), int(rng.integers(300, 9000))
        samples[start : start + length] += rng.normal(0, 0.2, len(samples[start : start + length]))
    return samples.astype(np.float32)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"kind": "whisper"},
        {"num_mel_bins": 40, "frame_length_ms": 20.0, "frame_shift_ms": 7.5},
        {"trim_db": 35.0, "level_db": -20.0},
        {"kind": "whisper", "trim_db": 35.0, "level_db": -20.0},
    ],
)
def test_features_are_pythons(run, changes):
    settings, rng = FeaturesConfig(**changes), np.random.default_rng(1)
    recordings = [spoken(rng), rng.uniform(-1, 1, 5003).astype(np.float32)]
    found = run(
        """const { extract } = await import("./features.js");
        return data.recordings.map((x) => extract(floats(x), data.settings));""",
        {"recordings": [x.tolist() for x in recordings], "settings": asdict(settings)},
    )
    for samples, got in zip(recordings, found, strict=True):
        expected_TF = filter_bank.extract(samples, settings)
        assert got["numFrames"] == len(expected_TF)
        got_TF = np.array(got["values"]).reshape(expected_TF.shape)
        np.testing.assert_allclose(got_TF, expected_TF, rtol=0, atol=EXACT)


def test_speech_is_found_where_python_finds_it(run):
    rng = np.random.default_rng(2)
    recordings = [spoken(rng, seconds) for seconds in (0.05, 0.4, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0)]
    recordings.append(np.zeros(8000, np.float32))
    found = run(
        """const { activeRange } = await import("./active-range.js");
        return data.map((x) => activeRange(floats(x), 16000, 35));""",
        [x.tolist() for x in recordings],
    )
    expected = [list(audio.active_range(x, 16000, 35.0)) for x in recordings]
    assert found == expected and any(start > 0 for start, _ in expected)


def test_silence_and_what_is_too_short_have_no_features(run):
    said = run(
        """const { extract } = await import("./features.js");
        const { NoSpeech } = await import("./active-range.js");
        return [16000, 1000].map((num) => {
          try { extract(new Float32Array(num), data); }
          catch (error) { return [error instanceof NoSpeech, error.message]; }
        });""",
        asdict(FeaturesConfig(level_db=-20.0)),
    )
    with pytest.raises(audio.NoSpeechError) as silent:
        filter_bank.extract(np.zeros(16000, np.float32), FeaturesConfig(level_db=-20.0))
    assert said[0] == [True, str(silent.value)]
    assert said[1][0] is False and "0.063 s long, expected 0.1 s" in said[1][1]


@pytest.mark.parametrize("rate", [44100, 48000, 8000])
def test_a_stream_is_resampled_whatever_its_pieces(run, rate):
    time = np.arange(rate // 2) / rate
    tones = sum(np.sin(2 * np.pi * hz * time + hz) for hz in (100, 1000, 3000)) * 0.2
    got = run(
        """const { Resampler, joined } = await import("./resampler.js");
        const resampler = new Resampler(data.rate, 16000);
        const pieces = [];
        for (let start = 0; start < data.x.length; start += 701) {
          pieces.push(resampler.accept(floats(data.x.slice(start, start + 701))));
        }
        return joined([...pieces, resampler.finish()]);""",
        {"rate": rate, "x": tones.tolist()},
    )
    time = np.arange(8000) / 16000
    expected = sum(np.sin(2 * np.pi * hz * time + hz) for hz in (100, 1000, 3000)) * 0.2
    assert len(got) == 8000
    np.testing.assert_allclose(got[500:-500], expected[500:-500], atol=2e-3)


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

    def hear(self, samples, rate, max_duration_s):
        return len(samples)

    def understand(self, recordings, threshold, **options):
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


class TableDecoder:
    """Log-probabilities by position and last token; the state is the position."""

    def __init__(self, log_probs_LVV):
        self.log_probs_LVV = log_probs_LVV

    def start(self, memory_BTD, mask_BT, num_hyps):
        return Position(0)

    def step(self, token_BK, state):
        return self.log_probs_LVV[state.number % len(self.log_probs_LVV), token_BK], Position(
            state.number + 1
        )


class Position:
    def __init__(self, number):
        self.number = number

    def select(self, parent_BK):
        return self

    def select_utterances(self, index_B):
        return self


SEARCH = """
const { search } = await import("./search.js");
const { acceptorOf } = await import("./constraints.js");
const { CtcPrefixScorer } = await import("./ctc.js");
const { about, cases } = data;
const { symbols, eos, blank } = about.vocabulary;
const V = symbols.length;
return Promise.all(cases.map(({ logProbs, ctc, silent, constraint, ...options }) => {
  const steps = logProbs.map((rows) => rows.map(floats));
  const decoder = {
    start: () => 0,
    select: (parents, position) => position,
    async step(tokens, position) {
      const rows = tokens.flatMap((token) => [...steps[position % steps.length][token]]);
      return { logProbs: Float32Array.from(rows), state: position + 1 };
    },
  };
  const scorer = ctc && new CtcPrefixScorer(floats(ctc), V, { blank, eos, silent });
  const acceptor = acceptorOf(about, constraint);
  return search(decoder, { ...options, eos, ctc: scorer, acceptor });
}));
"""


def log_softmax(x):
    x = x - x.max(-1, keepdims=True)
    return (x - np.log(np.exp(x).sum(-1, keepdims=True))).astype(np.float32)


def cases(rng, vocab_size, first_token, tags):
    """Options of searches, with scores that leave no ties and now and then none at all."""
    for number in range(24):
        log_probs_LVV = log_softmax(rng.normal(0, 3, (3, vocab_size, vocab_size)))
        log_probs_LVV[rng.random(log_probs_LVV.shape) < 0.05] = -np.inf
        weight = [0.0, 0.3, 1.0][number % 3]
        # By CTC alone, all that is impossible would be equal.
        num_frames = 40 if weight == 1 else int(rng.integers(1, 12))
        ctc_TV = log_softmax(rng.normal(0, 4, (num_frames, vocab_size)))
        yield {
            "logProbs": log_probs_LVV,
            "ctc": ctc_TV if weight else None,
            "ctcWeight": weight,
            "silent": tags if weight < 1 else [],  # neither would they differ
            "constraint": ["grammar", "well_formed", "none", "well_formed"][number % 4],
            "beam": int(rng.integers(1, 6)),
            "nbest": int(rng.integers(1, 6)),
            "maxLength": int(rng.integers(1, 14)),
            "lengthBonus": [0.0, 0.0, 0.4, -0.2, 0.0][number % 5],
            "firstToken": first_token,
        }


def as_json(array):
    if array is None:
        return None
    return np.where(np.isneginf(array), None, array.astype(object)).tolist()


def test_search_finds_pythons_hypotheses_on_random_scores(run, about, model):
    tokenizer, rng = model.tokenizer, np.random.default_rng(4)
    size, first = len(tokenizer), tokenizer.task_ids["slu"]
    banned = sorted({tokenizer.blank, tokenizer.pad, tokenizer.unk, *tokenizer.task_ids.values()})
    given = list(cases(rng, size, first, sorted(tokenizer.tag_ids)))
    sent = [c | {"banned": banned, "logProbs": as_json(c["logProbs"])} for c in given]
    for case in sent:
        case["ctc"] = None if case["ctc"] is None else case["ctc"].ravel().tolist()
    found = run(SEARCH, {"about": about, "cases": sent})
    num_found = 0
    for case, got in zip(given, found, strict=True):
        acceptor = None
        if case["constraint"] == "grammar":
            acceptor = constraints.make(tokenizer, "grammar", True, model.grammar)
        elif case["constraint"] == "well_formed":
            acceptor = constraints.WellFormed(tokenizer, NESTING)
        ctc_TV = case["ctc"]
        (expected,) = search(
            TableDecoder(case["logProbs"]),
            np.zeros((1, 1, 1), np.float32),
            np.ones((1, 1), bool),
            np.array([first]),
            eos=tokenizer.eos,
            beam=case["beam"],
            nbest=case["nbest"],
            max_length=case["maxLength"],
            banned=banned,
            acceptor=acceptor,
            ctc_log_probs_BTV=None if ctc_TV is None else ctc_TV[None],
            ctc_mask_BT=None if ctc_TV is None else np.ones((1, len(ctc_TV)), bool),
            ctc_weight=case["ctcWeight"],
            ctc_silent_tokens=case["silent"],
            length_bonus=case["lengthBonus"],
        )
        assert [tuple(h["tokens"]) for h in got] == [h.tokens for h in expected]
        for h, e in zip(got, expected, strict=True):
            assert h["score"] == pytest.approx(e.score, abs=EXACT)
        num_found += len(expected)
    assert num_found > 40


def test_ctc_gives_words_their_likelihood(run):
    rng = np.random.default_rng(5)
    ctc_TV = log_softmax(rng.normal(0, 2, (9, 6)))
    labels = [[], [3], [3, 3], [1, 2, 3], [5, 5, 5, 5, 5], [1] * 6]
    found = run(
        """const { CtcPrefixScorer } = await import("./ctc.js");
        const scorer = new CtcPrefixScorer(floats(data.ctc), 6, { blank: 0, eos: 4, silent: [] });
        return data.labels.map((labels) => scorer.logLikelihood(labels));""",
        {"ctc": ctc_TV.ravel().tolist(), "labels": labels},
    )
    expected = log_likelihood(
        np.repeat(ctc_TV[None], len(labels), 0), np.ones((len(labels), 9), bool), labels
    )
    assert [x is None for x in found] == np.isneginf(expected).tolist() == [False] * 5 + [True]
    np.testing.assert_allclose(found[:5], expected[:5], atol=EXACT)


def test_tokens_are_pythons_either_way(run, about, model):
    rng = np.random.default_rng(6)
    letters = "abeghiklmnorstuvwy'\u00e9"
    words = ["".join(rng.choice(list(letters), rng.integers(1, 9))) for _ in range(200)]
    words += ["turn on the kitchen lights", "set volume", "to", "ten", "twenty", "percent"]
    sequences = [rng.integers(2, len(model.tokenizer), 12).tolist() for _ in range(200)]
    encoded, decoded = run(
        """const { Tokenizer } = await import("./tokenizer.js");
        const tokenizer = new Tokenizer(data.vocabulary);
        const encode = (x) => tokenizer.encode(x), decode = (x) => tokenizer.decode(x);
        return [data.words.map(encode), data.ids.map(decode)];""",
        {"vocabulary": about["vocabulary"], "words": words, "ids": sequences},
    )
    assert encoded == [model.tokenizer.encode(word) for word in words]
    assert decoded == [model.tokenizer.decode(ids) for ids in sequences]


def test_results_are_pythons_of_any_hypotheses(run, about, model):
    rng, tokenizer = np.random.default_rng(7), model.tokenizer
    grammar = Grammar.load(model.grammar)
    written = {"level": {"ten": "10", "twenty": "20"}}
    grammar._written = written
    parts = [
        "turnOn(",
        ")turnOn",
        "room( kitchen )room",
        "level( ten )level",
        "level( twenty )level",
    ]
    parts += ["light", "room(", ")room", "room( living level( ten )level room )room"]
    lists = []
    for number in range(60):
        drawn = [[str(p) for p in rng.choice(parts, rng.integers(0, 4))] for _ in range(6)]
        if number % 3:
            drawn = [
                ["turnOn(", *(p for p in d if " " in p or p == "light"), ")turnOn"] for d in drawn
            ]
        lists.append([" ".join(d) for d in drawn if d] or ["light"])
    found = run(
        """const { read, resultOf } = await import("./result.js");
        return data.lists.flatMap((list) => [null, data.written].map((written) => {
          const about = { doubt: list.length % 2 ? "unsure" : null, accepted: false };
          return resultOf(list.map((semantics, i) => read(semantics, -i)), 3, written, about);
        }));""",
        {"lists": lists, "written": written},
    )
    expected = []
    for sequences in lists:
        hypotheses = [
            Hypothesis(tuple(tokenizer.encode(s)), -float(i)) for i, s in enumerate(sequences)
        ]
        for of_grammar in (None, grammar):
            about = {"doubt": "unsure" if len(sequences) % 2 else None, "accepted": False}
            options = SearchOptions(nbest=3)
            result = result_of(hypotheses, options, tokenizer, of_grammar, about)
            expected.append(json.loads(json.dumps(result.to_dict())))
    kinds = set()
    for got, wanted in zip(found, expected, strict=True):
        for one in (got, wanted, *got["nbest"], *wanted["nbest"]):  # how it is said is Python's
            one["reason"] = one["reason"] and one["reason"].split(":")[0]
        assert got == wanted
        kinds.add((got["reason"], got["spoken_slots"] is None, len(got["nbest"])))
    assert len(kinds) > 5


def test_typed_sentences_are_parsed_by_the_grammar(run, about, model):
    texts = [
        "Turn on the kitchen lights!",
        "set the volume to ten",
        "set the volume to ten percent",
    ]
    texts += [
        "set the volume",
        "turn on the telly",
        "  Turn\u00a0ON the living-room, light ",
        "X-ray",
    ]
    texts += ["it\u2019s 'quoted'"]
    normal, readings, why = run(
        """const { TypedText, normalize } = await import("./typed-text.js");
        const typed = new TypedText(data.grammar), normal = data.texts.map(normalize);
        const readings = normal.map((x) => typed.readings(x));
        return [normal, readings, normal.map((x) => typed.whyNot(x))];""",
        {"grammar": about["grammar"], "texts": texts},
    )
    assert normal == [normalize(text, "-") for text in texts]
    grammar = Grammar.load(model.grammar)
    assert readings == [grammar.readings(text) for text in normal] and sum(map(len, readings)) == 3
    assert why[4] == model.typed.why_not(texts[4]) == "the grammar has no word 'telly'"
