"""An experiment's directory before its training: what is set aside comes back, damage is said."""

import json

import numpy as np
import pytest

from atat.config import config_file
from atat.data.tokenizer import Tokenizer
from atat.training import launch, run_directory, train_log
from atat.training.run_directory import UNFINISHED, set_aside
from tests import toy
from tests.tiny_training import settings


@pytest.fixture
def unfinished(tmp_path):
    """A training that was ended after an epoch; its checkpoints are zip files as torch's are."""
    exp = tmp_path / "exp"
    config_file.save(settings(), exp / "config.yaml")
    Tokenizer.train(toy.SENTENCES, 60).save(exp / "tokenizer")
    (exp / "env.json").write_text(json.dumps({"data": "as it was"}))
    (exp / "train.jsonl").write_text('{"epoch": 1, "step": 10, "minutes": 0.1}\n')
    (exp / "checkpoints").mkdir()
    for name in ("checkpoint.pth", "1epoch.pth"):
        with (exp / "checkpoints" / name).open("wb") as file:
            np.savez(file, w=np.arange(50))
    (exp / "checkpoints" / "valid.acc.best.pth").symlink_to("0epoch.pth")  # that is gone
    return exp


def content(exp):
    found = [p for p in exp.rglob("*") if p.is_file()]
    return {str(p.relative_to(exp)): (p.read_bytes(), p.stat().st_mtime_ns) for p in found}


def is_same(exp):
    tokenizer = Tokenizer.train(toy.SENTENCES, 60)
    return run_directory._is_same(exp, settings(), tokenizer, {"data": "as it was"})


def truncate(path):
    path.write_bytes(path.read_bytes()[:-9])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [flip, truncate, lambda path: path.write_bytes(b"")])
@pytest.mark.parametrize(
    "name",
    [
        *("checkpoints/checkpoint.pth", "checkpoints/1epoch.pth"),
        *("env.json", "tokenizer/words.model", "tokenizer/tokenizer.json"),
    ],
)
def test_a_training_that_is_damaged_starts_anew_and_says_why(unfinished, damage, name, capsys):
    assert is_same(unfinished)
    damage(unfinished / name)
    assert not is_same(unfinished)
    said = capsys.readouterr().err
    assert said == "" or (name.split("/")[0] in said and "starts anew" in said)
    assert said or name == "env.json"  # of which a flip may still be JSON: other data then


def test_half_of_the_settings_are_not_those_of_the_training(unfinished, capsys):
    path = unfinished / "config.yaml"
    path.write_bytes(path.read_bytes()[:300])
    assert not is_same(unfinished) and "starts anew" in capsys.readouterr().err


def test_a_model_of_another_size_is_not_that_of_the_training(unfinished):
    about = {"data": "as it was", "num_parameters": 7}
    (unfinished / "env.json").write_text(json.dumps(about))
    tokenizer = Tokenizer.train(toy.SENTENCES, 60)
    assert run_directory._is_same(unfinished, settings(), tokenizer, about)
    other = about | {"num_parameters": 8}
    assert not run_directory._is_same(unfinished, settings(), tokenizer, other)


@pytest.mark.parametrize("error", [ValueError("no"), FileNotFoundError("no")])
def test_a_mistake_leaves_an_unfinished_training_as_it_was(unfinished, monkeypatch, error):
    before = content(unfinished)

    def fail(*arguments):
        set_aside(unfinished, UNFINISHED)
        (unfinished / "config.yaml").write_text("another")
        raise error

    monkeypatch.setattr(launch, "_run", fail)
    with pytest.raises(type(error)):
        launch.run(settings(), unfinished, unfinished, unfinished, resume=True)
    assert content(unfinished) == before


def test_two_trainings_do_not_meet_in_a_directory(unfinished, monkeypatch):
    def again(*arguments):
        with pytest.raises(BlockingIOError, match="another training works in"):
            launch.run(settings(), unfinished, unfinished, unfinished, resume=True)

    monkeypatch.setattr(launch, "_run", again)
    launch.run(settings(), unfinished, unfinished, unfinished, resume=True)


@pytest.mark.parametrize("junk", ["", "{", "3", '{"epoch": 1}', "\udcff", '{"epoch": 1, "st'])
def test_a_damaged_line_of_the_log_is_left_out_and_said(tmp_path, junk, capsys):
    good = '{"epoch": 2, "step": 10, "minutes": 0.1}'
    path = tmp_path / "train.jsonl"
    path.write_text(f"{junk}\n{good}\n", encoding="utf-8", errors="surrogateescape")
    assert train_log.read(path) == [json.loads(good)]
    assert f"{path}:1: WARNING: is damaged" in capsys.readouterr().err
