"""Streams: the same events whatever the pieces, and the answers of whole files."""

import itertools
import shutil
import threading
import tracemalloc
import types
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import soxr

from atat.inference.result import Result
from atat.semantics import target_sequence
from atat.serving import voice_activity
from atat.serving.session import Session
from tests.conftest import SEQUENCES

RATE_HZ = 16000


def silence(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 5e-4, int(seconds * RATE_HZ)).astype(np.float32)


def tone(seconds):
    """What `loud` takes for speech."""
    return np.full(int(seconds * RATE_HZ), 0.5, np.float32)


def loud(frame_N):
    """Stands for the detector, where it does not matter what is speech."""
    return float(np.abs(frame_N).mean() > 0.1)


class FakeModel:
    """Its answer is what it was asked; it counts what its encoder would have encoded."""

    name = None
    tokenizer = types.SimpleNamespace(
        **{"blank": 0, "pad": 1, "unk": 2, "eos": 3, "tag_ids": {4}},
        decode=lambda ids: " ".join(map(str, ids)),
    )

    def __init__(self, max_duration_s=30.0, kind="kaldi", min_duration_s=0.1):
        self.settings = types.SimpleNamespace(
            features=types.SimpleNamespace(max_duration_s=max_duration_s, kind=kind)
        )
        self.min_duration_s, self.encoded_s, self.calls = min_duration_s, [], []

    def extract_features(self, samples_N, rate, max_duration_s):
        if len(samples_N) > max_duration_s * rate:
            raise ValueError("samples: longer than the limit")
        if len(samples_N) < self.min_duration_s * rate:
            raise ValueError("samples: 0.5 s long, expected 2 s")
        return types.SimpleNamespace(feats_TF=samples_N, reason=None)

    def predict(self, recordings, threshold=None, **options):
        self.calls.append((threshold, options))
        return [Result(None, {}, str(len(r.feats_TF)), None) for r in recordings]

    def encode_features(self, feats):
        num = len(feats[0]) // 16000 + 1
        self.encoded_s.append(len(feats[0]) / RATE_HZ)
        best_T = np.repeat([5 + n for n in range(num)], 3)
        best_T[::3], best_T[-1] = 0, 4  # blanks, a tag
        return None, np.ones((1, len(best_T)), bool), np.eye(40, dtype=np.float32)[best_T][None]


def run(session, samples_N, piece=1600):
    """All events of a stream in pieces of so many samples."""
    events = []
    for start in range(0, len(samples_N), piece):
        events += session.accept(samples_N[start : start + piece])
    return events + session.finish()


def faked(model=None, **options):
    return Session(model or FakeModel(), voice_activity=loud, **options)


def timeless(events):
    """Events whose results do not say how long they took."""
    return [replace(e, result=e.result and replace(e.result, seconds=0.0)) for e in events]


@pytest.fixture(scope="module")
def stream(samples):
    """Two of the sentences and a third, other pauses between them."""
    parts = [silence(1), samples[0], silence(0.5), samples[2], silence(2), samples[1]]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def whole(spoken_model, stream):
    """Its events, of one piece."""
    return timeless(run(Session(spoken_model), stream, len(stream)))


def test_a_stream_has_an_answer_for_each_utterance(whole):
    kinds = [event.kind for event in whole if event.kind != "words"]
    assert kinds == ["speech", "result"] * 3
    results = [event.result for event in whole if event.kind == "result"]
    assert [r.semantics for r in results] == [SEQUENCES[0], SEQUENCES[2], SEQUENCES[1]]
    assert results[0].slots == {"room": "kitchen"}


@pytest.mark.parametrize("piece_ms", [20, 37, 100, 200])
def test_the_size_of_pieces_changes_no_event(spoken_model, stream, whole, piece_ms):
    assert timeless(run(Session(spoken_model), stream, RATE_HZ * piece_ms // 1000)) == whole


@pytest.mark.parametrize("rate", [8000, 44100])
def test_a_stream_of_another_rate_is_resampled_as_its_file(spoken_model, samples, rate):
    signal_N = np.concatenate([silence(0.5), samples[1], silence(1)])
    resampled_N = soxr.resample(signal_N, RATE_HZ, rate)
    session = Session(spoken_model, sample_rate=rate, partial_words=False)
    first = timeless(run(session, resampled_N, rate // 27))
    again = Session(spoken_model, sample_rate=rate, partial_words=False)
    assert first == timeless(run(again, resampled_N, len(resampled_N)))
    same = Session(spoken_model, partial_words=False)
    back_N = soxr.resample(resampled_N, rate, RATE_HZ)
    assert first == timeless(run(same, back_N.astype(np.float32)))


def test_integers_are_as_floats(spoken_model, samples):
    integers_N = np.round(samples[0] * 32768).astype(np.int16)
    floats_N = integers_N.astype(np.float64) / 32768
    one, other = (
        timeless(run(Session(spoken_model, partial_words=False), x)) for x in (integers_N, floats_N)
    )
    assert one == other and one[-1].result.intent == "turnOn"


@pytest.mark.parametrize("around_s", [0.0, 0.4, 3.0])
def test_the_answer_is_that_of_the_whole_file(
    spoken_model, samples, recordings, tmp_path, around_s
):
    options = {"constraint": "none", "beam": 2}
    for number, samples_N in enumerate(samples):
        path = tmp_path / f"{number}.wav"
        noise_N = silence(around_s)
        soundfile.write(path, np.concatenate([noise_N, samples_N, noise_N]), RATE_HZ, "FLOAT")
        told = spoken_model(path, **options)
        events = run(Session(spoken_model, **options), soundfile.read(path, dtype="float32")[0])
        (heard,) = [event.result for event in events if event.kind == "result"]
        assert (heard.intent, heard.slots, heard.semantics) == (
            *(told.intent, told.slots),
            SEQUENCES[number],
        )
        # The noise is measured over less of it, and so the speech is cut a little otherwise.
        assert heard.score == pytest.approx(told.score, abs=1e-4 if around_s < 0.5 else 0.3)


def test_words_come_while_one_speaks(whole, spoken_model):
    said = [event.words for event in whole if event.kind == "words"]
    assert said and all(not target_sequence.tags(words) for words in said)
    known = {word for s in SEQUENCES for word in target_sequence.words(s).split()}
    assert sum(word in known for words in said for word in words.split()) > len(said)
    session = Session(spoken_model, partial_words=False)
    assert not any(event.kind == "words" for event in session.accept(silence(1)))


@pytest.mark.parametrize("kind", ["silence", "zeros", "hiss", "tone", "music"])
def test_without_speech_there_is_no_event(spoken_model, kind):
    time_N = np.arange(3 * RATE_HZ) / RATE_HZ
    pitches_N = 262 * 2 ** (np.floor(time_N * 4) % 5 / 5)
    signal_N = {
        "silence": silence(3),
        "zeros": np.zeros(3 * RATE_HZ),
        "hiss": 200 * silence(3),
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_N),
        "music": 0.3 * np.sin(2 * np.pi * np.cumsum(pitches_N) / RATE_HZ),
    }[kind]
    assert run(Session(spoken_model), signal_N) == []


def test_a_result_says_where_speech_was():
    signal_N = np.concatenate([silence(1), tone(2), silence(0.3), tone(1), silence(3), tone(1)])
    events = [event for event in run(faked(), signal_N) if event.kind != "words"]
    assert [event.kind for event in events] == ["speech", "result"] * 2
    times = [event.time_s for event in events]
    assert times == pytest.approx([1.0, 4.3, 7.3, 8.3], abs=0.04)
    # Half a second before it and the pause after it belong to it.
    assert int(events[1].result.semantics) == pytest.approx(4.4 * RATE_HZ, abs=800)
    assert int(events[3].result.semantics) == pytest.approx(1.5 * RATE_HZ, abs=800)


def test_an_utterance_is_cut_on_the_grid_of_feature_frames():
    model, starts = FakeModel(), []

    def predict(recordings, threshold=None, **options):
        starts.extend(round(float(r.feats_TF[0]) * 2**20) for r in recordings)
        return [Result(None, {}, "", None) for _ in recordings]

    model.predict = predict
    position_N = np.arange(8 * RATE_HZ) / 2**20  # which is exact in float32

    def in_turn(frame_N):
        return float(frame_N[0] * 2**20 % (2 * RATE_HZ) > RATE_HZ)

    session = Session(model, voice_activity=in_turn, partial_words=False)
    run(session, position_N.astype(np.float32))
    assert len(starts) == 4 and all(start % 160 == 0 for start in starts)
    assert np.diff(starts) == pytest.approx(2 * RATE_HZ, abs=512 + 160)
    assert starts[0] == pytest.approx(0.5 * RATE_HZ, abs=512 + 160)


def test_the_pause_is_a_setting():
    signal_N = np.concatenate([tone(1), silence(0.3), tone(1), silence(1)])
    for pause_s, num in ((0.2, 2), (0.4, 1)):
        events = run(faked(pause_s=pause_s, partial_words=False), signal_N)
        assert [event.kind for event in events] == ["speech", "result"] * num


def test_what_is_too_long_is_not_understood_and_the_stream_goes_on():
    signal_N = np.concatenate([silence(1), tone(9), silence(1), tone(1), silence(1)])
    model = FakeModel(max_duration_s=5.0)
    events = [event for event in run(faked(model), signal_N) if event.kind != "words"]
    assert [event.kind for event in events] == ["speech", "too_long", "speech", "result"]
    assert events[1].time_s == pytest.approx(0.5 + 5.0, abs=0.04)
    assert events[2].time_s == pytest.approx(11.0, abs=0.04)
    # As long as may be, with the pause after it: what of the pause is too much is left out.
    for given in ({"max_duration_s": 9.6}, {}):
        model = FakeModel(max_duration_s=9.6)
        events = [e for e in run(faked(model, **given), signal_N) if e.kind != "words"]
        assert [event.kind for event in events] == ["speech", "result"] * 2
        assert events[1].result.error is None


@pytest.mark.parametrize("model", [FakeModel(60.0, "whisper"), FakeModel(60.0)])
def test_the_limit_is_the_model_s(model):
    limit = 30.0 if model.settings.features.kind == "whisper" else 60.0
    assert faked(model).max_duration_s == limit
    assert faked(model, max_duration_s=45.0).max_duration_s == min(45.0, limit)


def test_speech_shorter_than_the_model_takes_has_a_reason():
    model = FakeModel(min_duration_s=2.0)
    signal_N = np.concatenate([tone(0.5), silence(1)])
    speech, result = run(faked(model), signal_N)
    assert (speech.kind, result.result.error) == ("speech", "samples: 0.5 s long, expected 2 s")
    assert not result.result.is_understood and result.result.reason == result.result.error


def test_the_end_of_the_stream_ends_speech():
    session = faked(partial_words=False)
    signal_N = np.concatenate([silence(1), tone(1.01)])
    (speech,) = session.accept(signal_N)
    (result,) = session.finish()
    assert result.time_s == pytest.approx(2.01, abs=1e-9)
    assert int(result.result.semantics) == pytest.approx(1.51 * RATE_HZ, abs=800)
    assert speech.kind == "speech" and session.finish() == []
    resampled = faked(sample_rate=48000, partial_words=False)
    _, result = run(resampled, np.repeat(signal_N, 3))  # what the resampler holds back counts
    assert result.time_s == pytest.approx(2.01, abs=1e-9)
    with pytest.raises(ValueError, match=r"after the end of the stream, expected a new session"):
        session.accept(signal_N)


def test_partial_words_are_encoded_a_bounded_number_of_times():
    model, seconds = FakeModel(), 25
    session = faked(model)
    events = run(session, np.concatenate([silence(1), tone(seconds), silence(1)]))
    words = [event for event in events if event.kind == "words"]
    assert words[0].words == "5" and words[-1].words.startswith("5 6 7 8 9")
    gaps_s = np.diff(model.encoded_s)
    assert gaps_s.min() >= 0.299 and model.encoded_s[0] < 1.0
    assert sum(model.encoded_s) < 7 * seconds
    model = FakeModel()
    run(faked(model, pause_s=5.0), np.concatenate([tone(0.5), silence(5)]))
    assert len(model.encoded_s) == 2  # the last of them in the pause
    texts = [event.words for event in words]
    assert all(one != other for one, other in itertools.pairwise(texts))


def test_a_model_without_ctc_gives_no_words():
    class Without(FakeModel):
        def encode_features(self, feats):
            super().encode_features(feats)
            return None, None, None

    model = Without()
    events = run(faked(model), np.concatenate([tone(3), silence(1)]))
    assert [event.kind for event in events] == ["speech", "result"]
    assert len(model.encoded_s) == 1  # and is not asked again


def test_long_silence_costs_constant_memory():
    session, piece_N = faked(), silence(10)
    session.accept(piece_N)
    tracemalloc.start()
    for _ in range(6):
        assert session.accept(piece_N) == []
    size, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 100_000 and peak < 1_000_000


def test_tiny_and_empty_pieces_are_taken():
    signal_N = np.concatenate([silence(0.1), tone(0.3), silence(0.7)])[:10_000]
    want = run(faked(), signal_N, len(signal_N))
    assert run(faked(), signal_N, 1) == want and len(want) == 3
    session = faked()
    assert session.accept(np.zeros(0, np.int16)) == session.accept(np.zeros(0)) == []
    assert run(session, signal_N) == want
    assert faked().finish() == []


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (np.array([0.0, np.nan]), "NaN or infinite"),
        (np.array([np.inf]), "NaN or infinite"),
        (np.zeros((10, 2)), r"shape \(10, 2\), expected mono"),
        (np.zeros((1, 10)), r"shape \(1, 10\), expected mono"),
        (np.float32(0.5), "expected mono"),
        (np.zeros(4, np.int32), "type int32, expected int16 or floats"),
        (np.zeros(4, np.uint16), "type uint16"),
        (np.zeros(4, bool), "type bool"),
        (b"1234", "expected mono"),
        (["a"], "type <U1"),
        (None, "expected mono"),
        (np.array([12000.0]), "up to 1.2e.04, expected -1 to 1"),
    ],
)
def test_other_samples_are_refused_and_change_nothing(samples, message):
    signal_N = np.concatenate([tone(0.5), silence(1)])
    session = faked()
    events = session.accept(signal_N[:5000])
    with pytest.raises(ValueError, match=message):
        session.accept(samples)
    assert events + session.accept(signal_N[5000:]) + session.finish() == run(faked(), signal_N)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_rate": 0}, "a sample rate of 0 Hz, expected 4000 to 192000 Hz"),
        ({"sample_rate": -16000}, "sample rate"),
        ({"sample_rate": float("nan")}, "sample rate"),
        ({"sample_rate": True}, "sample_rate: got True"),
        ({"sample_rate": "16000"}, "sample_rate: got '16000'"),
        ({"pause_s": 0}, "pause_s: got 0, expected seconds above 0"),
        ({"max_duration_s": float("nan")}, "max_duration_s: got nan"),
        ({"threshold": 7.0}, "threshold: got 7.0"),
        ({"bean": 3}, "got option 'bean'"),
        ({"constraint": "grammar"}, "grammar"),
    ],
)
def test_wrong_arguments_are_refused_at_once(spoken_model, options, message):
    with pytest.raises(ValueError, match=message):
        Session(spoken_model, **options)


def test_threshold_and_options_reach_the_model():
    model = FakeModel()
    session = faked(model, threshold=0.3, beam=2, nbest=2)
    run(session, np.concatenate([tone(0.5), silence(1)]))
    assert model.calls[-1] == (0.3, {"beam": 2, "nbest": 2})


def test_a_model_s_own_network_comes_first(monkeypatch, tmp_path):
    model = FakeModel()
    model.name = str(tmp_path)
    shutil.copy(voice_activity.packaged(), tmp_path / "vad.onnx")

    def nowhere():
        raise FileNotFoundError("no package")

    monkeypatch.setattr(voice_activity, "packaged", nowhere)
    Session(model)
    model.name = None
    with pytest.raises(FileNotFoundError, match="no package"):
        Session(model)


def test_sessions_share_a_model(spoken_model, stream, whole):
    found = {}

    def listen(number):
        found[number] = timeless(run(Session(spoken_model), stream[number * 160 :]))

    threads = [threading.Thread(target=listen, args=(number,)) for number in (0, 10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0] == whole
    results = [event.result.semantics for event in found[10] if event.kind == "result"]
    assert results == [event.result.semantics for event in whole if event.kind == "result"]
