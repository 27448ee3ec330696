"""Losses that are no numbers: few are left out and counted, many end the training."""

import pytest
import torch

from atat.models.espnet_model import AtatModel
from tests import toy
from tests.tiny_training import lines, run, settings, weights


@pytest.fixture
def corpus(tmp_path):
    toy.write(tmp_path)
    return tmp_path


def break_losses(monkeypatch, steps: range) -> None:
    """Let the losses of some training steps, counted from 0, be NaN."""
    forward, seen = AtatModel.forward, []

    def broken(self, **batch):
        loss, stats, weight = forward(self, **batch)
        if self.training:
            seen.append(1)
            if len(seen) - 1 in steps:
                loss = loss * float("nan")
        return loss, stats, weight

    monkeypatch.setattr(AtatModel, "forward", broken)


def test_an_update_without_a_finite_loss_is_left_out_counted_and_said(corpus, monkeypatch, capsys):
    break_losses(monkeypatch, range(12, 14))
    exp = run(settings(), corpus, "atat")
    assert [line["num_skipped_updates"] for line in lines(exp)] == [0, 2, 0]
    said = capsys.readouterr().out.splitlines()
    assert sum("2 updates skipped: no finite gradient" in line for line in said) == 1
    assert all(torch.isfinite(value.float()).all() for value in weights(exp).values())


def test_a_training_that_diverges_is_stopped_with_the_count(corpus, monkeypatch):
    break_losses(monkeypatch, range(10, 1000))
    with pytest.raises(ValueError, match="epoch 2: the loss or gradient of 10 of 10 updates is no"):
        run(settings(), corpus, "atat")
