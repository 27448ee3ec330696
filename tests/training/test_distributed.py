import signal

import pytest
import torch

from atat.config.schema import TrainConfig
from atat.training import distributed, signals
from tests import toy
from tests.tiny_training import lines, run, run_on, settings

STEPS = {"num_steps": 50, "num_epochs": 5, "learning_rate": 1e-3}


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    """A toy corpus, and the log of a training by one process."""
    root = tmp_path_factory.mktemp("distributed")
    toy.write(root)
    return root, lines(run(shared(), root, "one"))


def shared():
    """Settings under which processes are to train as one: without dropout."""
    # An utterance or two a batch, and text with every third: some processes have nothing to do.
    c = settings(**STEPS, batch_frames=250, text_batch=2, text_every=3)
    c.augment.enabled = True
    return c


def assert_same(exp, expected):
    for mine, theirs in zip(lines(exp), expected, strict=True):
        for name in ("train_loss", "train_loss_ctc"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-5)
        # Batch norm's running mean lags behind a bias whose gradient is zero but for rounding, of
        # which Adam makes steps of full size.
        assert mine["valid_loss"] == pytest.approx(theirs["valid_loss"], abs=0.02)
        assert mine["step"] == theirs["step"]


@pytest.mark.several_processes
@pytest.mark.parametrize("num", [2, 4])
def test_processes_have_the_losses_of_one(num, one):
    root, expected = one
    assert run_on(num, shared(), root, f"of_{num}") == [0] * num
    assert_same(root / "exp" / f"of_{num}", expected)
    logs = [(root / f"of_{num}.{rank}.log").read_text() for rank in range(num)]
    # An utterance has 96 frames in the mean.
    assert [text.count("some of them have none") for text in logs] == [num == 4, *[0] * (num - 1)]


@pytest.mark.several_processes
def test_a_signal_to_one_process_stops_all_and_another_number_goes_on(one):
    root, expected = one
    stop = root / "stop"
    stop.write_text(f"1 17 {int(signal.SIGTERM)}")
    assert run_on(2, shared(), root, "stopped") == [75, 75]
    stop.unlink()
    assert run_on(1, shared(), root, "stopped") == [0]
    assert "resumed" in (root / "stopped.0.log").read_text()
    assert_same(root / "exp" / "stopped", expected)


@pytest.mark.several_processes
def test_processes_that_average_their_parameters_stop_after_an_average(one):
    root, _ = one
    c = settings(num_steps=12, num_epochs=2, sync="parameters", sync_every=2, num_processes=2)
    stop = root / "stop"
    stop.write_text(f"0 3 {int(signal.SIGTERM)}")
    assert run_on(2, c, root, "averaged") == [75, 75]
    stop.unlink()
    assert "after 4 batches" in (root / "averaged.0.log").read_text()
    assert run_on(2, c, root, "averaged") == [0, 0]
    assert "resumed" in (root / "averaged.0.log").read_text()
    assert [line["epoch"] for line in lines(root / "exp" / "averaged")] == [1, 2]


class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 1000

    def __getitem__(self, i):
        return i


def ends_in_the_middle_of_an_epoch(error):
    batches = torch.utils.data.DataLoader(
        Numbers(), num_workers=1, worker_init_fn=signals.ignore, multiprocessing_context="fork"
    )
    for _ in batches:
        raise error


@pytest.mark.several_processes
@pytest.mark.parametrize("error", [ValueError("diverged"), SystemExit(75)])
def test_a_process_that_ends_does_not_wait_for_those_that_make_its_batches(monkeypatch, error):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    with pytest.raises(type(error), match=str(error)):
        distributed.launch(TrainConfig(num_processes=2), ends_in_the_middle_of_an_epoch, (error,))


@pytest.mark.several_processes
def test_what_the_first_process_refuses_ends_all(one):
    root, _ = one
    wrong = shared()
    wrong.train.valid_splits = ["nowhere"]
    codes = run_on(2, wrong, root, "wrong")
    assert codes[1] == 2 and codes[0] != 0
    assert "nowhere" in (root / "wrong.0.log").read_text()
    assert (root / "wrong.1.log").read_text() == ""


def test_a_first_process_that_has_left_already_ends_the_others(monkeypatch):
    class Store:
        def wait(self, keys, patience):
            raise torch.distributed.DistNetworkError("connection was reset")

    monkeypatch.setattr(torch.distributed, "rendezvous", lambda *a: iter([(Store(), 1, 2)]))
    with pytest.raises(SystemExit) as left:
        distributed.meet(distributed.World(1, 2, 0), num_gpus=0)
    assert left.value.code == 2


def test_a_launcher_says_all_or_nothing(monkeypatch):
    for name in distributed.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_ADDR", "node1")  # alone, it says nothing of this process
    assert distributed.of_environment() is None
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(ValueError, match="without WORLD_SIZE, LOCAL_RANK, MASTER_PORT"):
        distributed.of_environment()
    for name, value in {"WORLD_SIZE": "8", "LOCAL_RANK": "1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert distributed.of_environment() == (3, 8, 1)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no GPU here")
def test_a_gpu_trains_with_mixed_precision(tmp_path):
    toy.write(tmp_path)
    c = settings(num_gpus=1, use_amp=True, num_steps=60, accum_grad=2)
    losses = [line["train_loss"] for line in lines(run(c, tmp_path, "gpu"))]
    assert losses[-1] < losses[0]
