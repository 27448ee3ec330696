"""Experiment trackers, without the network: stand-ins for both, and the real ones if installed."""

import contextlib
import importlib.util
import sys
import types

import pytest

from atat.training import launch, trackers
from tests import toy
from tests.tiny_training import lines, run, settings


@pytest.fixture
def corpus(tmp_path):
    toy.write(tmp_path)
    return tmp_path


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    c = settings(trackers=["mlflow"])
    with pytest.raises(ValueError, match=r"train\.trackers: mlflow .* pip install mlflow-skinny"):
        launch.run(c, tmp_path / "data", tmp_path / "dump", tmp_path / "exp" / "a", True)
    assert not (tmp_path / "exp").exists()


def test_espnets_hook_tells_wandb_and_a_resumed_training_goes_on_with_its_run(corpus, monkeypatch):
    from atat.training.espnet_task import AtatTask

    abs_task = sys.modules[AtatTask.__mro__[1].__module__]
    calls, logged = [], []
    wandb = types.ModuleType("wandb")
    wandb.login, wandb.run = lambda: True, object()
    wandb.init = lambda **options: calls.append(options)
    wandb.config = types.SimpleNamespace(update=lambda *args, **options: None)
    wandb.log, wandb.finish = logged.append, lambda: calls.append("finish")
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    monkeypatch.setattr(abs_task, "wandb", wandb)
    monkeypatch.setenv("WANDB_PROJECT", "coffee")
    run(settings(num_epochs=1, num_steps=2, trackers=["wandb"]), corpus, "a")
    (first, end) = calls
    assert (first["project"], first["name"], end) == ("coffee", "a", "finish")
    assert any("valid/acc" in key or "acc" in key for entry in logged for key in entry)
    again = trackers.wandb_options(corpus / "exp" / "a")
    assert again["wandb_id"] == first["id"] and first["resume"]


def test_mlflow_gets_the_lines_of_the_training_log(corpus, monkeypatch):
    runs, metrics = [], []
    mlflow = types.ModuleType("mlflow")
    mlflow.set_tracking_uri = mlflow.set_experiment = mlflow.log_artifact = lambda value: None

    @contextlib.contextmanager
    def start_run(run_id, run_name):
        runs.append((run_id, run_name))
        yield types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

    mlflow.start_run = start_run
    mlflow.log_metrics = lambda values, step: metrics.append((step, values))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    exp = run(settings(num_epochs=2, num_steps=4, trackers=["mlflow"]), corpus, "a")
    assert [step for step, _ in metrics] == [1, 2]
    assert metrics[-1][1]["valid_loss"] == lines(exp)[-1]["valid_loss"]
    with trackers.mlflow_run(exp):
        assert runs == [(None, "a"), ("r1", None)]


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_wandb_itself_keeps_a_run_on_the_disk(corpus, monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offline")
    exp = run(settings(num_epochs=1, num_steps=2, trackers=["wandb"]), corpus, "a")
    assert list((exp / "checkpoints" / "wandb").glob("offline-run-*/*.wandb"))


@pytest.mark.skipif(importlib.util.find_spec("mlflow") is None, reason="mlflow is not installed")
def test_mlflow_itself_keeps_a_run_on_the_disk(corpus, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    exp = run(settings(num_epochs=2, num_steps=4, trackers=["mlflow"]), corpus, "a")
    (curve,) = (exp.parent / "mlruns").rglob("metrics/valid_loss")
    assert len(curve.read_text().splitlines()) == 2
