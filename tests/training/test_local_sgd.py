import json
import sys

import pytest
import torch

from atat.training import local_sgd


def work(rank, directory):
    """Five batches, averaged after every second; a batch adds 1 here, or 2 in the other process."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{directory}/store", rank=rank, world_size=2
    )
    model = torch.nn.BatchNorm1d(2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    seen = []
    with torch.no_grad():
        model.weight.zero_()
    for _ in local_sgd.averaged(range(5), model, optimizer, every=2):
        seen.append(model.weight[0].item())
        model(torch.full((4, 2), float(rank)) + torch.arange(4.0)[:, None]).pow(2).sum().backward()
        optimizer.step()
        with torch.no_grad():
            model.weight.copy_(torch.full((2,), seen[-1] + rank + 1))
    moments = [optimizer.state[p]["exp_avg_sq"].tolist() for p in model.parameters()]
    (directory / f"{rank}.json").write_text(
        json.dumps([seen, model.weight[0].item(), model.running_mean.tolist(), moments])
    )
    torch.distributed.destroy_process_group()


@pytest.mark.several_processes
@pytest.mark.skipif(sys.platform != "linux", reason="names the loopback device as Linux does")
def test_processes_take_steps_of_their_own_and_the_mean_of_them(tmp_path, monkeypatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    torch.multiprocessing.spawn(work, (tmp_path,), nprocs=2)
    results = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert results[0][0] == [0.0, 1.0, 3.0, 4.0, 6.0]
    assert results[1][0] == [0.0, 2.0, 3.0, 5.0, 6.0]
    # In the end they are in one state: parameters, statistics and moments.
    assert results[0][1:] == results[1][1:]
    assert results[0][1] == 7.5


def test_what_is_frozen_is_not_sent_around(monkeypatch):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    sent = []
    monkeypatch.setattr(
        local_sgd, "average", lambda values: sent.append([tuple(v.shape) for v in values])
    )
    assert list(local_sgd.averaged("abc", model, optimizer, every=2)) == ["a", "b", "c"]
    # The weight, and of the batch norm: weight, bias, running mean and variance, number of batches.
    assert sent == [[(3, 2), (3,), (3,), (3,), (3,), ()]] * 2 + [[]]
