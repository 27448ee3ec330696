import os
import signal

import pytest

from atat.common.stages import AGAIN
from atat.training.collator import Collator
from atat.training.espnet_task import AtatTrainer
from atat.training.run_directory import WITHIN_EPOCH
from tests import toy
from tests.tiny_training import lines, run, settings, weights

TIMES = {"minutes", "cpu_minutes", "audio_s_per_s"}
STEPS = {"num_steps": 12, "num_epochs": 3}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A toy corpus, and the log and the weights of a training that nothing has disturbed."""
    root = tmp_path_factory.mktemp("preemption")
    toy.write(root)
    exp = run(with_noise(), root, "whole")
    return root, learned(exp), weights(exp)


def with_noise():
    """Settings with everything that draws random numbers."""
    c = settings(**STEPS)
    c.model.dropout, c.augment.enabled = 0.1, True
    return c


def learned(exp):
    return [{key: x[key] for key in x if key not in TIMES} for x in lines(exp)]


def interrupt(monkeypatch, *events):
    """Let each event happen when the batch of its step is made for the first time."""
    make, waiting = Collator.__call__, dict(events)

    def made(self, step, *examples):
        if self.training and step in waiting:
            waiting.pop(step)()
        return make(self, step, *examples)

    monkeypatch.setattr(Collator, "__call__", made)


def send(number):
    return lambda: os.kill(os.getpid(), number)


class Killed(BaseException):
    """Nothing handles it, as nothing handles kill -9."""


def killed():
    raise Killed


def test_what_ends_a_training_in_the_middle_of_an_epoch_changes_nothing(whole, monkeypatch, capsys):
    root, expected, expected_weights = whole
    interrupt(monkeypatch, (2, send(signal.SIGTERM)), (3, killed), (10, send(signal.SIGUSR1)))
    kept = root / "exp" / "stopped" / "checkpoints" / WITHIN_EPOCH
    for stops in (SystemExit, Killed, SystemExit):
        with pytest.raises(stops) as stopped:
            run(with_noise(), root, "stopped")
        assert stops is Killed or stopped.value.code == AGAIN == 75
        assert kept.is_file()
    kept.write_bytes(kept.read_bytes()[:1000])  # the third epoch begins anew
    exp = run(with_noise(), root, "stopped")
    assert "is damaged" in capsys.readouterr().err
    assert learned(exp) == expected  # every loss, to the last digit
    assert all((value == expected_weights[name]).all() for name, value in weights(exp).items())
    assert not kept.exists()


def test_a_signal_during_validation_keeps_the_epoch(whole, monkeypatch):
    root, expected, _ = whole
    validate = AtatTrainer.validate_one_epoch.__func__

    def stopped(cls, reporter, **rest):
        if reporter.get_epoch() == 2:
            send(signal.SIGTERM)()
        validate(cls, reporter=reporter, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(AtatTrainer, "validate_one_epoch", classmethod(stopped))
        with pytest.raises(SystemExit):
            run(with_noise(), root, "validating")
    made = []
    make = Collator.__call__
    monkeypatch.setattr(
        Collator, "__call__", lambda self, step, *x: made.append(step) or make(self, step, *x)
    )
    assert learned(run(with_noise(), root, "validating")) == expected
    assert min(step for step in made if step) == 8  # the first of the third epoch


def test_a_signal_waits_for_an_update_of_several_steps(tmp_path, monkeypatch, capsys):
    toy.write(tmp_path)
    c = settings(num_steps=4, num_epochs=2, accum_grad=3)
    expected = learned(run(c, tmp_path, "whole"))
    interrupt(monkeypatch, (1, send(signal.SIGTERM)))
    with pytest.raises(SystemExit):
        run(c, tmp_path, "stopped")
    assert "stopped in epoch 1 after 3 batches" in capsys.readouterr().err
    assert learned(run(c, tmp_path, "stopped")) == expected
