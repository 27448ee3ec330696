"""Use of a model: what goes in, what comes out, and every way in which an experiment is broken."""

import io
import itertools
import shutil

import numpy as np
import pytest
import soundfile
import soxr
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from atat import SpeechToSemantics
from atat.config import config_file
from atat.data.tokenizer import Tokenizer
from atat.grammar.grammar import Grammar
from atat.inference.length_batches import batches
from atat.models import checkpoint
from atat.models.checkpoint import read_weights


@pytest.fixture(scope="module")
def model(toy_experiment):
    return SpeechToSemantics.load(toy_experiment)


@pytest.fixture
def copy(toy_experiment, tmp_path):
    """A copy of the experiment to break."""
    return shutil.copytree(toy_experiment, tmp_path / "exp")


def same(a, b):
    return (a.semantics, a.intent, a.slots) == (b.semantics, b.intent, b.slots) and a.score == (
        pytest.approx(b.score, abs=1e-4)
    )


@pytest.mark.supports("Python inputs", "one input, or a list", "one result, or a list")
def test_a_file_gives_a_result_and_a_list_gives_a_list(model, toy_wavs):
    paths = list(toy_wavs.values())
    alone = [model(path) for path in paths]
    together = model(paths)
    assert [r.duration_s for r in together] == [1.6, 3.0, 2.4, 2.0]
    for a, b in zip(alone, together, strict=True):
        assert same(a, b) and a.seconds > 0
    assert [(r.intent, r.slots) for r in together] == [
        ("turnOn", {"room": "kitchen"}),
        ("turnOn", {"room": "living room"}),
        ("setVolume", {"level": "ten"}),
        ("setVolume", {"level": "twenty"}),
    ]


def test_a_model_with_whispers_features_takes_what_whisper_takes(model, monkeypatch):
    """Its encoder ends after 30 s: longer audio is refused when read, others of its batch go on."""
    monkeypatch.setattr(model.settings.features, "kind", "whisper")
    monkeypatch.setattr(model.settings.features, "max_duration_s", 60.0)
    with pytest.raises(ValueError, match=r"31\.0 s long, the limit is 30\.0 s"):
        model.extract_features(np.zeros(31 * 16000, np.float32), 16000)


def test_a_model_transcribes_when_asked_to(model, toy_wavs):
    result = model(toy_wavs["anna-3"], task="asr")
    assert (result.semantics, result.intent) == ("set the volume to twenty", None)


def test_a_transcript_has_no_tags_however_sure_of_them_the_decoder_is(model, toy_wavs):
    bias_V, tags = model.model.decoder.output_bias, list(model.tokenizer.tag_ids)
    before_V = bias_V.detach().clone()
    feats = [model.extract_features(toy_wavs["anna-3"]).feats_TF]
    try:
        with torch.no_grad():
            bias_V[tags] += 100.0
        for task, has_tags in (("asr", False), ("mlm", False), ("slu", True)):
            options = model.options(task=task, constraint="none", ctc_weight=0.0, max_length=8)
            found = model.search_features(feats, options)[0][0].tokens
            assert bool(set(found) & set(tags)) == has_tags, task
    finally:
        with torch.no_grad():
            bias_V.copy_(before_V)


def test_by_nlu_a_model_that_has_learned_it_reads_what_ctc_hears_in_speech(
    model, toy_wavs, monkeypatch
):
    """Then speech is understood as its words are when written."""
    path, words = toy_wavs["anna-3"], "set the volume to twenty"
    monkeypatch.setattr(model.model.config, "ctc_to_text_share", 0.5)
    (found,) = model.search_features(
        [model.extract_features(path).feats_TF], model.options(task="nlu")
    )
    (written,) = model.search_texts([words], model.options(task="nlu", ctc_weight=0.0))
    assert found[0].tokens == written[0].tokens
    states = model.encode_features([model.extract_features(path).feats_TF])
    monkeypatch.setattr(model.model.config, "ctc_to_text_share", 0.0)
    (other,) = model.search_encoded(*states, model.options(task="nlu"))
    assert found[0].score != pytest.approx(other[0].score, abs=1e-4)


def test_every_task_reads_what_ctc_hears_where_all_have_learned_to(model, toy_wavs, monkeypatch):
    feats = [model.extract_features(toy_wavs["anna-3"]).feats_TF]
    (direct,) = model.search_features(feats, model.options(task="asr"))
    monkeypatch.setattr(model.model.config, "ctc_to_text_share", 1.0)
    (read,) = model.search_features(feats, model.options(task="asr"))
    memory, mask, ctc = model.encode_features(feats)
    by_hand = model.network.encode_posteriors(ctc, mask)
    (expected,) = model.search_encoded(*by_hand, None, model.options(task="asr", ctc_weight=0.0))
    (free,) = model.search_encoded(memory, mask, ctc, model.options(task="asr", ctc_weight=0.0))
    assert free[0].score == pytest.approx(expected[0].score, abs=1e-5)
    assert read[0].score != pytest.approx(direct[0].score, abs=1e-4)


def test_semantics_that_share_a_token_are_one_task(model, toy_wavs, monkeypatch):
    words = "set the volume to twenty"
    (slu,) = model.search_texts([words], model.options(task="slu", ctc_weight=0.0))
    (nlu,) = model.search_texts([words], model.options(task="nlu", ctc_weight=0.0))
    assert nlu[0].score != pytest.approx(slu[0].score, abs=1e-4)
    monkeypatch.setattr(model.settings.model, "shared_semantics_token", True)
    (shared,) = model.search_texts([words], model.options(task="nlu", ctc_weight=0.0))
    assert shared[0].score == pytest.approx(slu[0].score, abs=1e-5)


@pytest.mark.supports("Python inputs", "paths, file objects, arrays, tensors", "the same result")
def test_paths_files_arrays_and_tensors_are_the_same_audio(model, toy_wavs):
    path = toy_wavs["anna-0"]
    samples, rate = soundfile.read(path, dtype="int16")
    expected = model(path)
    assert same(model(str(path)), expected)
    assert same(model(io.BytesIO(path.read_bytes())), expected)
    assert same(model(samples, sample_rate=rate), expected)
    assert same(model(torch.from_numpy(samples.copy()), sample_rate=rate), expected)
    stereo = np.stack([samples, samples], axis=1)
    assert all(same(r, expected) for r in model([samples, stereo], sample_rate=rate))


def test_any_rate_is_taken(model, toy_wavs):
    samples, rate = soundfile.read(toy_wavs["anna-1"])
    result = model(soxr.resample(samples, rate, 44100), sample_rate=44100)
    assert result.duration_s == 3.0 and result.slots == {"room": "living room"}


def test_text_is_normalised_and_unknown_words_are_reported(model):
    result = model(text="Turn ON the kitchen light!")
    assert result.unknown == () and result.intent
    assert same(result, model(text="turn on the kitchen light"))
    odd = model(text="turn on the küche")
    assert odd.unknown == ("küche",)
    results = model(text=["set the volume to ten", "turn on the living room lights please now"])
    assert same(results[0], model(text="set the volume to ten"))


@pytest.mark.parametrize("spelled_out", [False, True])
def test_numbers_are_typed_as_the_texts_of_training_have_them(copy, spelled_out):
    (copy / "grammar.yaml").unlink()
    settings = config_file.load_resolved(copy / "config.yaml")
    settings.data.spelled_out = spelled_out
    config_file.save(settings, copy / "config.yaml")
    model = SpeechToSemantics.load(copy)
    result = model(text="Set the volume to 10")
    assert result.unknown == (() if spelled_out else ("10",))
    assert same(result, model(text="set the volume to ten")) is spelled_out


def test_nbest_are_different_and_sorted(model, toy_wavs):
    result = model(toy_wavs["anna-1"], nbest=3, constraint="none")
    scores = [reading.score for reading in result.nbest]
    assert scores == sorted(scores, reverse=True)
    assert len({reading.semantics for reading in result.nbest}) == len(result.nbest) == 3
    assert result.nbest[0].semantics == result.semantics


@pytest.mark.parametrize("ctc_weight", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("task", ["slu", "asr"])
def test_the_grammar_lets_its_sentences_out_and_nothing_else(
    model, toy_wavs, toy_experiment, task, ctc_weight
):
    grammar = Grammar.load(toy_experiment / "grammar.yaml")
    automaton = grammar.automaton(with_tags=task == "slu")
    results = model(
        list(toy_wavs.values()), task=task, nbest=4, constraint="grammar", ctc_weight=ctc_weight
    )
    for reading in itertools.chain.from_iterable(result.nbest for result in results):
        assert reading.semantics.split() in automaton
        assert (reading.intent is None) == (task == "asr")


def test_without_constraint_a_malformed_sequence_says_what_is_wrong(model, toy_wavs):
    result = model(toy_wavs["anna-2"], constraint="none", max_length=5)
    assert result.intent is None and result.slots == {}
    assert result.reason.startswith("not well formed:")


def test_nothing_found_is_a_result_with_a_reason(model, toy_wavs):
    result = model(toy_wavs["anna-2"], constraint="grammar", max_length=2)
    assert (result.intent, result.semantics, result.score, result.nbest) == (None, "", None, ())
    assert "at most 2 tokens" in result.reason
    assert result.to_dict()["reason"] == result.reason


def test_silence_and_noise_are_answered_without_nan(model):
    rng = np.random.default_rng(1)
    for samples in (np.zeros(16000), rng.normal(0, 0.3, 16000), rng.uniform(-1, 1, 1700)):
        for ctc_weight in (0.0, 0.4):
            result = model(samples, sample_rate=16000, ctc_weight=ctc_weight, constraint="grammar")
            assert result.reason or np.isfinite(result.score)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m(), "neither"),
        (lambda m: m("a.wav", text="b"), "both audio and text"),
        (lambda m: m("missing.wav"), "missing.wav: no such file"),
        (lambda m: m(3.5), "got float, expected an audio file"),
        (lambda m: m(np.zeros(16000)), "without sample_rate"),
        (lambda m: m(np.zeros(100), sample_rate=16000), "samples: 0.006 s long"),
        (lambda m: m(np.full(16000, np.nan), sample_rate=16000), "NaN"),
        (lambda m: m(np.zeros(32000), sample_rate=16000, max_duration_s=1.5), "2.0 s long"),
        (lambda m: m(np.zeros(16000 * 31), sample_rate=16000), "the limit is 30.0 s"),
        (lambda m: m(text=""), "no words"),
        (lambda m: m(text="?! ()"), "no words"),
        (lambda m: m(text="turn " * 2000), "of 10000 characters, expected at most 1000"),
        (lambda m: m(text="e " * 400), "tokens, expected at most 512"),
        (lambda m: m(text="turn on", task="sing"), "task: got 'sing', expected one of asr"),
        (lambda m: m(text="turn on", constraint="some"), "constraint: got 'some'"),
        (lambda m: m(text="turn on", beams=3), "got option 'beams', expected some of task, beam"),
        (
            lambda m: m(np.zeros(16000), sample_rate=16000, nbst=2),
            "got option 'nbst', .*length_bonus, threshold; did you mean 'nbest'",
        ),
        (lambda m: m(text="turn on", beam=0), "beam: got 0"),
        (lambda m: m(text="turn on", ctc_weight=0.5), "no CTC"),
        (lambda m: m(text="turn on", ctc_weight="half"), "ctc_weight: got 'half'"),
        (lambda m: m(text="turn on", beam=10**6), "beam: got 1000000, expected a whole number"),
        (lambda m: m(text="turn on", beam=2.5), "beam: got 2.5, expected a whole number"),
        (lambda m: m(text="turn on", threshold=0.5), "threshold: got one for text"),
        (lambda m: m(text="turn \udce9"), "expected a sentence, in Unicode"),
        (lambda m: m(text=[None]), "text None: expected a sentence"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(model, call, message):
    with pytest.raises((ValueError, FileNotFoundError), match=r"(?s)" + message) as raised:
        call(model)
    assert "\n" not in str(raised.value)


def test_audio_is_decoded_as_it_was_scored_unless_told_otherwise(copy):
    model = SpeechToSemantics.load(copy)
    test = model.settings.decode.runs["test"]
    assert model.options("slu").beam == model.settings.decode.beam
    test.ctc_weight, test.beam = 0.3, 7
    assert model.options("slu").ctc_weight == 0.3
    assert model.options("slu").beam == 7
    assert model.options("slu", ctc_weight=0.0).ctc_weight == 0.0
    assert model.options("nlu").ctc_weight == 0.0  # text has no CTC
    model.model.ctc = None
    assert model.options("slu").ctc_weight == 0.0


def test_the_constraint_grammar_needs_a_grammar(copy):
    (copy / "grammar.yaml").unlink()
    model = SpeechToSemantics.load(copy)
    assert model(text="turn on the kitchen light").intent == "turnOn"
    with pytest.raises(ValueError, match="needs a grammar"):
        model(text="turn on the kitchen light", constraint="grammar")


def as_earlier(exp, change=lambda content: None):
    """The model in the file that versions before 0.2 wrote, changed."""
    tokenizer = Tokenizer.load(exp / "tokenizer")
    weights = read_weights(exp / checkpoint.FILE, tokenizer)
    content = {"format": 1, "tokenizer": tokenizer.fingerprint, "model": weights}
    change(content)
    torch.save(content, exp / checkpoint.EARLIER_FILE)
    (exp / checkpoint.FILE).unlink()


def rewritten(exp, change):
    """The model in its file of now, with changed header and weights."""
    with safe_open(exp / checkpoint.FILE, "pt") as file:
        header, names = dict(file.metadata()), list(file.keys())
        weights = {name: file.get_tensor(name) for name in names}
    header.pop("crc32")  # not damaged: another model
    change(header, weights)
    save_file(weights, exp / checkpoint.FILE, header)


def test_no_experiment_and_no_model_say_what_to_do(copy):
    with pytest.raises(FileNotFoundError, match=r"no such experiment directory; ./run.sh trains"):
        SpeechToSemantics.load(copy / "nowhere")
    with pytest.raises(FileNotFoundError, match=rf"trained here; did you mean {copy}\?"):
        SpeechToSemantics.load(copy.parent)
    (copy / checkpoint.FILE).unlink()
    with pytest.raises(FileNotFoundError, match=r"nothing is trained here; `./run.sh` trains one"):
        SpeechToSemantics.load(copy)
    (copy / "checkpoints").mkdir()
    (copy / "checkpoints" / "checkpoint.pth").touch()
    with pytest.raises(FileNotFoundError, match="training has not finished"):
        SpeechToSemantics.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["model"].clear(), "holds no weights"),
        (lambda c: c["model"]["decoder.norm.weight"].fill_(torch.nan), "not finite"),
        (lambda c: c.update(tokenizer="0" * 64), "another vocabulary"),
        (lambda c: c.update(format=7), "got format 7, expected 1"),
        (lambda c: c.pop("model"), "not a model that stage 4 wrote"),
        (
            lambda c: c["model"].update({"decoder.norm.weight": torch.ones(3)}),
            r"'decoder.norm.weight': got \(3,\), expected \(32,\)",
        ),
        (lambda c: c["model"].pop("decoder.norm.weight"), "got nothing, expected"),
        (
            lambda c: c["model"].update(extra=torch.ones(2)),
            r"'extra': got \(2,\), expected nothing",
        ),
    ],
)
def test_a_model_file_of_before_that_is_not_right_is_refused(copy, change, message):
    as_earlier(copy, change)
    with pytest.raises(ValueError, match=message) as raised:
        SpeechToSemantics.load(copy)
    assert "rerun stage 4" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"not a model", b"PK\x03\x04 cut"])
@pytest.mark.parametrize("name", [checkpoint.FILE, checkpoint.EARLIER_FILE])
def test_a_file_that_is_no_model_is_refused(copy, data, name):
    (copy / checkpoint.FILE).unlink()
    (copy / name).write_bytes(data)
    with pytest.raises(ValueError, match="not a model file"):
        SpeechToSemantics.load(copy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, weights: weights.clear(), "holds no weights"),
        (lambda _, weights: weights["decoder.norm.weight"].fill_(torch.nan), "not finite"),
        (lambda header, _: header.update(tokenizer="0" * 64), "another vocabulary"),
        (lambda header, _: header.update(format="7"), "got format 7, expected 2"),
        (lambda header, _: header.pop("format"), "not a model that stage 4 wrote"),
        (lambda _, weights: weights.pop("decoder.norm.weight"), "got nothing, expected"),
    ],
)
def test_a_model_file_that_is_not_right_is_refused(copy, change, message):
    rewritten(copy, change)
    with pytest.raises(ValueError, match=message) as raised:
        SpeechToSemantics.load(copy)
    assert "rerun stage 4" in str(raised.value) and "\n" not in str(raised.value)


def test_a_model_of_before_gives_the_same(copy, toy_wavs):
    before = SpeechToSemantics.load(copy)(list(toy_wavs.values()))
    as_earlier(copy)
    after = SpeechToSemantics.load(copy)(list(toy_wavs.values()))
    assert [(r.semantics, r.score) for r in after] == [(r.semantics, r.score) for r in before]


def test_parts_of_a_model_of_before_get_their_names_of_now(copy):
    def add(content):
        content["model"]["speech_base.encoder.norm.bias"] = torch.ones(3)
        content["model"]["bridge_gain"] = torch.ones(())

    as_earlier(copy, add)
    path = copy / checkpoint.EARLIER_FILE
    names = read_weights(path, Tokenizer.load(copy / "tokenizer")).keys()
    assert "frozen_encoder.encoder.norm.bias" in names
    assert "residual_gain" in names
    assert not any(name.startswith(("speech_base", "bridge")) for name in names)


@pytest.mark.parametrize("is_earlier", [False, True])
def test_a_truncated_model_file_is_refused(copy, is_earlier):
    if is_earlier:
        as_earlier(copy)
    path = checkpoint.model_path(copy)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="not a model file"):
        SpeechToSemantics.load(copy)


def test_code_in_a_model_file_is_not_run(copy, tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = copy / checkpoint.EARLIER_FILE
    torch.save({"format": 1, "tokenizer": Evil(), "model": {}}, path)
    with pytest.raises(ValueError, match="not a model file"):
        read_weights(path, Tokenizer.load(copy / "tokenizer"))
    assert not (tmp_path / "executed").exists()


def test_a_device_that_is_not_there_is_named(toy_experiment):
    with pytest.raises(ValueError, match="device: got 'warp'"):
        SpeechToSemantics.load(toy_experiment, device="warp")


@pytest.mark.parametrize("sizes", [[], [7], [5, 5, 5], [1, 100, 3, 2, 50, 51], [0, 0]])
def test_batches_hold_everything_once_within_the_limit(sizes):
    made = list(batches(sizes, 100))
    assert sorted(i for batch in made for i in batch) == list(range(len(sizes)))
    for batch in made:
        assert len(batch) == 1 or len(batch) * max(sizes[i] for i in batch) <= 100


def test_what_is_searched_at_once_shrinks_as_the_beam_widens(model, toy_wavs, monkeypatch):
    together = []  # padded frames, and how many hypotheses are kept of each

    def found(feats, options):
        together.append((len(feats) * max(map(len, feats)), options.beam))
        return search(feats, options)

    search = model.search_features
    monkeypatch.setattr(model, "search_features", found)
    sources = list(toy_wavs.values()) * 4
    model(sources)
    ((padded, beam),) = together
    monkeypatch.setattr(model.settings.decode, "batch_frames", padded)
    together.clear()
    model(sources, nbest=8)
    assert len(together) > 1 and all(num * wide <= padded * beam for num, wide in together)


@pytest.mark.parametrize("num_threads", [2, 8, 20])
def test_threads_get_the_answers_that_one_would_get(model, toy_wavs, num_threads):
    """Files of different lengths at once, alone and as batches: a mask of one call, kept on the
    model, would reach another's."""
    from concurrent.futures import ThreadPoolExecutor

    paths = list(toy_wavs.values())
    inputs = [*paths, paths, paths[::-1], paths[1:3]] * 8
    expected = [model(source) for source in inputs[:7]] * 8
    with ThreadPoolExecutor(num_threads) as pool:
        got = list(pool.map(model, inputs))
    for one, other in zip(got, expected, strict=True):
        pairs = zip(one, other, strict=True) if isinstance(one, list) else [(one, other)]
        assert all(same(a, b) for a, b in pairs)


def test_a_copy_of_a_model_is_a_model(model, toy_wavs):
    import copy as copying

    path = toy_wavs["anna-1"]
    assert same(copying.deepcopy(model)(path), model(path))


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (np.zeros(16000, np.float32), "no speech: silent"),
        (np.full(16000, 0.1, np.float32), "no speech: silent"),
        (np.stack([np.sin(np.arange(16000) / 9)] * 2, 1) * [0.5, -0.5], "cancel each other out"),
    ],
)
def test_where_nobody_speaks_there_is_no_intent_but_a_reason(
    model, toy_wavs, monkeypatch, samples, reason
):
    monkeypatch.setattr(model.settings.features, "level_db", -20.0)
    spoken = soundfile.read(toy_wavs["anna-0"], dtype="float32")[0]
    silent, heard = model([samples, spoken], sample_rate=16000)
    assert not silent.is_understood and reason in silent.reason and not silent.slots
    assert heard.is_understood and heard.intent == "turnOn"


def test_readings_of_an_input_mean_different_things(model, toy_wavs):
    for result in (model(toy_wavs["anna-0"], nbest=4), model(toy_wavs["anna-0"], nbest=2)):
        meanings = [(r.intent, str(r.slots)) for r in result.nbest if r.intent]
        assert len(result.nbest) > 1 and len(set(meanings)) == len(meanings)
