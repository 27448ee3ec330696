"""What is damaged of a trained experiment is noticed, and put back where that can be."""

import shutil
from pathlib import Path

import pytest
import torch

from atat import restore as command_module
from atat.config import config_file
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint, experiment_files
from atat.models.espnet_model import build
from atat.training import launch
from atat.training.restoring import restore
from tests import toy
from tests.tiny_training import settings

SMALL = ["config.yaml", "nesting.json", "tokenizer/tokenizer.json", "tokenizer/words.model"]
REPORT = ["env.json", "train.jsonl"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a training leaves, with random weights."""
    exp = tmp_path_factory.mktemp("trained") / "exp"
    c, tokenizer = settings(), Tokenizer.train(toy.SENTENCES, 60)
    config_file.save(c, exp / "config.yaml")
    tokenizer.save(exp / "tokenizer")
    for name in ("nesting.json", "env.json"):
        (exp / name).write_text("{}\n")
    (exp / "train.jsonl").write_text('{"epoch": 1, "step": 10, "minutes": 0.1}\n')
    (exp / "checkpoints").mkdir()
    torch.manual_seed(0)
    torch.save(build(c, tokenizer).state_dict(), exp / "checkpoints" / "valid.acc.ave.pth")
    launch.finish(exp / "checkpoints" / "valid.acc.ave.pth", exp)
    return exp


@pytest.fixture
def exp(trained, tmp_path):
    return shutil.copytree(trained, tmp_path / "exp")


def flip(path, place=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * place)] ^= 1
    path.write_bytes(content)


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


DAMAGE = pytest.mark.parametrize("damage", [flip, truncate, empty, Path.unlink])


def content(exp):
    return {str(p.relative_to(exp)): p.read_bytes() for p in exp.rglob("*") if p.is_file()}


@DAMAGE
@pytest.mark.parametrize("name", [*SMALL, *REPORT])
def test_a_small_file_is_put_back_from_the_model_file(exp, damage, name, command):
    before = content(exp)
    damage(exp / name)
    if name in SMALL:
        with pytest.raises(ValueError, match=f"{name}: is not as .*atat.restore --exp {exp}`"):
            checkpoint.check_experiment(exp)
    code, said, errors = command(command_module.main, "--exp", exp)
    assert (code, errors) == (0, "") and str(exp / name) in said
    assert content(exp) == before
    assert restore(exp) == []


@DAMAGE
def test_the_model_is_made_again_of_its_checkpoints(exp, damage):
    before = content(exp)
    damage(exp / checkpoint.FILE)
    assert restore(exp) == [checkpoint.FILE] and content(exp) == before


@DAMAGE
def test_a_model_that_is_nowhere_else_is_said_to_be_lost(exp, damage, command):
    shutil.rmtree(exp / "checkpoints")
    damage(exp / checkpoint.FILE)
    before = content(exp)
    code, _, errors = command(command_module.main, "--exp", exp)
    assert code == 2 and len(errors.splitlines()) == 1
    assert f"{exp / checkpoint.FILE}" in errors and "stage 4" in errors
    assert content(exp) == before


def test_a_damaged_average_makes_no_model(exp):
    (exp / checkpoint.FILE).unlink()
    flip(exp / "checkpoints" / "valid.acc.ave.pth")
    with pytest.raises(ValueError, match=r"valid\.acc\.ave\.pth: is damaged"):
        restore(exp)


def test_any_flipped_bit_of_a_model_is_noticed(exp):
    """Of 60 in the weights, 7 changed results silently before there was a checksum."""
    path, tokenizer = exp / checkpoint.FILE, Tokenizer.load(exp / "tokenizer")
    whole = path.read_bytes()
    for n in range(60):
        path.write_bytes(whole)
        flip(path, n / 60)
        with pytest.raises(ValueError, match=r"model\.safetensors"):
            checkpoint.read_weights(path, tokenizer)
    path.write_bytes(whole)
    checkpoint.read_weights(path, tokenizer)


def test_a_flipped_score_of_a_word_piece_is_noticed(exp):
    """The vocabulary is the same then, and words are split otherwise."""
    path = exp / "tokenizer" / "words.model"
    whole = path.read_bytes()
    for n in range(1, 40):
        path.write_bytes(whole)
        flip(path, n / 40)
        with pytest.raises(ValueError, match=r"tokenizer.*atat\.restore"):
            Tokenizer.load(exp / "tokenizer")


@pytest.mark.supports("Versions", "a model without copies of its files", "used; not restored")
def test_a_model_of_before_there_were_copies_is_used_and_not_restored(exp):
    tokenizer, path = Tokenizer.load(exp / "tokenizer"), exp / checkpoint.FILE
    weights = checkpoint.read_weights(path, tokenizer)
    checkpoint.write(weights, settings().model, tokenizer, exp)
    (exp / "nesting.json").unlink()
    checkpoint.check_experiment(exp)
    with pytest.raises(ValueError, match="has no copies of the files beside it"):
        restore(exp)


@pytest.mark.parametrize("weights", [[], [1.0], {"a": 1}, "text", None])
def test_an_earlier_file_without_weights_is_refused(exp, weights):
    tokenizer = Tokenizer.load(exp / "tokenizer")
    about = {"format": 1, "tokenizer": tokenizer.fingerprint, "model": weights}
    path = exp / checkpoint.EARLIER_FILE
    torch.save(about, path)
    with pytest.raises(ValueError, match=r"model\.pth: "):
        checkpoint.read_weights(path, tokenizer)


@pytest.mark.parametrize("key", ["tags", "fingerprint"])
def test_a_tokenizer_without_a_part_of_it_is_refused(exp, key):
    path = exp / "tokenizer" / "tokenizer.json"
    path.write_text(path.read_text().replace(f'"{key}"', '"other"'))
    with pytest.raises(ValueError, match="not a tokenizer"):
        Tokenizer.load(exp / "tokenizer")


def test_the_header_is_read_without_torch_and_names_the_file(exp):
    path = exp / checkpoint.FILE
    assert set(SMALL) <= experiment_files.copies(checkpoint.read_header(path)).keys()
    for junk in (b"", b"x", b"\xff" * 40, (5).to_bytes(8, "little") + b"[1,2]"):
        path.write_bytes(junk)
        with pytest.raises(ValueError, match=r"model\.safetensors: not a model file"):
            checkpoint.check_experiment(exp)


@pytest.mark.parametrize("name", ["../escaped", "tokenizer/../../escaped", "/escaped", "x.py"])
def test_a_model_of_somebody_else_writes_no_file_of_its_choice(name):
    kept = experiment_files.packed({name: b"content", "config.yaml": b"seed: 1\n"})
    assert experiment_files.copies({experiment_files.KEY: kept}) == {"config.yaml": b"seed: 1\n"}


def test_a_copy_that_fills_the_memory_is_not_unpacked(monkeypatch):
    kept = experiment_files.packed({"config.yaml": b"0" * 1000})
    monkeypatch.setattr(experiment_files, "MAX_SIZE", 999)
    assert experiment_files.copies({experiment_files.KEY: kept}) == {}
