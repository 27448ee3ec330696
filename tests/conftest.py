"""A toy experiment with random weights: what stages 1 to 4 leave behind, made in a second."""

import shutil
import signal
import sys

import hypothesis
import numpy as np
import pytest
import torch

from atat.common import cli
from atat.config import config_file
from atat.config.schema import Config, DecodeRun
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint
from atat.semantics import target_sequence
from atat.training.distributed import no_loopback
from tools.fuzz import toy_model

# Started in the background, a shell's child ignores Ctrl-C, and so would all that tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no fault of the code.
hypothesis.settings.register_profile("atat", deadline=None)
hypothesis.settings.load_profile("atat")

GRAMMAR = "\n" + toy_model.GRAMMAR
SEQUENCES = list(toy_model.SEQUENCES)


def pytest_collection_modifyitems(items):
    # The longest first, by one worker, which makes their runs once: `--dist worksteal` halves the
    # list, and gives away the end of a half.
    items.sort(key=lambda item: item.path.name != "test_egs.py")


def pytest_runtest_setup(item):
    if item.get_closest_marker("several_processes") and (reason := no_loopback()) is not None:
        pytest.skip(f"no loopback device that works: {reason}")


@pytest.fixture
def command(monkeypatch, capsys):
    """Run a command's `main` with arguments, in this process: (exit code, stdout, stderr)."""

    def command(main, *arguments):
        monkeypatch.setattr(sys, "argv", ["command", *map(str, arguments)])
        code = 0
        try:
            cli.run(main)
        except SystemExit as stop:
            code = stop.code
        return code, *capsys.readouterr()

    return command


def toy_settings() -> Config:
    settings = Config()
    sizes = dict(width=32, num_heads=2, speech_layers=1, speech_ffn=64, text_layers=1, text_ffn=64)
    sizes |= dict(decoder_layers=1, decoder_ffn=64, front_channels=4, dropout=0.0)
    for name, value in sizes.items():
        setattr(settings.model, name, value)
    settings.decode.beam, settings.decode.max_length = 3, 30
    settings.decode.runs = {
        "test": DecodeRun(),
        "test_grammar": DecodeRun(constraint="grammar", ctc_weight=0.3, beam=2),
        "test_asr": DecodeRun(task="asr", constraint="well_formed"),
    }
    return settings


@pytest.fixture(scope="session")
def toy_wavs(tmp_path_factory):
    """Four sounds of 1.6 to 3 s as wav and flac files, by utterance id; each "says" a sequence."""
    import soundfile

    directory = tmp_path_factory.mktemp("wavs")
    rng = np.random.default_rng(0)
    paths = {}
    for number, seconds in enumerate((1.6, 3.0, 2.4, 2.0)):
        path = directory / f"{number}.{'flac' if number % 2 else 'wav'}"
        time = np.arange(int(16000 * seconds)) / 16000
        tone = 0.3 * np.sin(2 * np.pi * 300 * (1 + number) * time)
        soundfile.write(path, tone + rng.normal(0, 0.05, len(time)), 16000)
        paths[f"anna-{number}"] = path
    return paths


@pytest.fixture(scope="session")
def toy_experiment(tmp_path_factory, toy_wavs):
    """Directory of an experiment that knows four sounds by heart; copy it before you break it."""
    return write_experiment(tmp_path_factory.mktemp("toy") / "exp", toy_settings(), toy_wavs)


def write_experiment(exp, settings, wavs):
    """Write an experiment of these settings that knows the sounds by heart; its directory."""
    tokenizer = Tokenizer.train(SEQUENCES, vocab_size=60)
    config_file.save(settings, exp / "config.yaml")
    tokenizer.save(exp / "tokenizer")
    (exp / "grammar.yaml").write_text(GRAMMAR)
    model = overfit(settings, tokenizer, list(wavs.values()))
    checkpoint.write(model.state_dict(), settings.model, tokenizer, exp)
    return exp


def overfit(settings, tokenizer, wavs):
    """A model that gives the sequences for the sounds, and for their words."""
    from atat.data import audio, filter_bank
    from atat.models.espnet_model import build

    def pad(sequences):
        rows = [torch.as_tensor(s) for s in sequences]
        lengths = torch.tensor([len(r) for r in rows])
        return torch.nn.utils.rnn.pad_sequence(rows, True, tokenizer.pad), lengths

    torch.manual_seed(1)
    model = build(settings, tokenizer)
    feats = [filter_bank.extract(audio.read(path), settings.features) for path in wavs]
    model.set_cmvn(np.concatenate(feats).mean(0), np.concatenate(feats).std(0))
    targets = [tokenizer.encode(s) for s in SEQUENCES]
    words = [tokenizer.encode(target_sequence.words(s)) for s in SEQUENCES]
    if settings.model.transcript_first:
        separator = tokenizer.task_ids["nlu"]
        targets = [[*w, separator, *t] for w, t in zip(words, targets, strict=True)]
    batch = {}
    for name, rows in {
        "speech": feats,
        "words": words,
        "text": words,
        "target": [*targets, *words, *targets],
    }.items():
        batch[name], batch[f"{name}_lengths"] = pad(rows)
    batch["target_source"] = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7])
    tasks = [tokenizer.task_ids[task] for task in ("slu", "asr", "nlu")]
    batch["target_task"] = torch.tensor(tasks).repeat_interleave(4)
    optimizer = torch.optim.Adam(model.parameters(), 8e-3)
    num_right = 0
    while num_right < 10:
        optimizer.zero_grad()
        loss, stats, _ = model(**batch)
        loss.backward()
        optimizer.step()
        num_right = num_right + 1 if stats["acc"] == 1.0 else 0
    return model


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory, toy_wavs, toy_experiment):
    """(data, dump) of the toy experiment: a test split of the noises, through stage 3."""
    from atat.data.feature_store import write_split

    root = tmp_path_factory.mktemp("data")
    data = DataDir(
        wav_scp={i: str(path) for i, path in toy_wavs.items()},
        text={i: target_sequence.words(s) for i, s in zip(toy_wavs, SEQUENCES, strict=True)},
        semantics=dict(zip(toy_wavs, SEQUENCES, strict=True)),
        utt2spk=dict.fromkeys(toy_wavs, "anna"),
    )
    kaldi_dir.write(root / "data" / "test", data)
    write_split(root / "data" / "test", root / "dump" / "test", toy_settings().features, 1)
    shutil.copytree(toy_experiment / "tokenizer", root / "data" / "tokenizer")
    return root / "data", root / "dump"
