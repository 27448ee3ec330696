import datetime
import pickle
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from atat.common import espnet_compat


def test_a_package_that_loads_is_left_alone_and_one_that_does_not_gets_a_stand_in(monkeypatch):
    monkeypatch.setattr(espnet_compat, "UNUSED_BY_US", ("json", "no_such_package_of_ours"))
    monkeypatch.delitem(sys.modules, "no_such_package_of_ours", raising=False)
    assert espnet_compat.put_stand_ins() == ["no_such_package_of_ours"]
    assert isinstance(sys.modules["no_such_package_of_ours"], types.ModuleType)
    assert sys.modules["json"].loads("1") == 1
    assert espnet_compat.put_stand_ins() == []
    del sys.modules["no_such_package_of_ours"]


def test_importing_the_task_prints_nothing_and_leaves_out_what_is_slow():
    script = """
import sys
import atat.training.espnet_task
from atat.common.espnet_compat import SLOW_AND_UNUSED
# What was left out is no stand-in to those who import it later.
print(sorted({*SLOW_AND_UNUSED, "transformers", "numba", "scipy.stats"} & {*sys.modules}))
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_a_checkpoint_comes_with_its_epoch_and_loads_as_weights_only(tmp_path):
    state = {
        "model": {"w": torch.ones(2)},
        "reporter": {
            "epoch": 3,
            "stats": {3: {"train": {"loss": np.float64(0.5), "time": datetime.timedelta(0, 2)}}},
        },
    }
    espnet_compat.save_aside(state, tmp_path / "checkpoint.pth")
    assert torch.load(tmp_path / "3epoch.pth", weights_only=True)["w"].tolist() == [1.0, 1.0]
    loaded = espnet_compat.load_weights_only(tmp_path / "checkpoint.pth", weights_only=False)
    assert loaded["reporter"]["stats"] == {3: {"train": {"loss": 0.5, "time": 2.0}}}


def test_loading_runs_no_code_whatever_is_asked_for(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    torch.save({"w": Harmful()}, tmp_path / "bad.pth")
    with pytest.raises(pickle.UnpicklingError):
        espnet_compat.load_weights_only(tmp_path / "bad.pth", weights_only=False)
    assert not (tmp_path / "written").exists()


def test_espnets_trainer_saves_and_loads_through_it():
    espnet_compat.make_checkpoints_safe()
    from espnet2.train import trainer

    assert trainer.torch.save is espnet_compat.save_aside
    assert trainer.torch.load is espnet_compat.load_weights_only
    assert trainer.torch.nn is torch.nn
