import copy

import pytest
import torch

from atat.training import learning_rate
from atat.training.learning_rate import Followers

PAPER = [[500, 0.0], [100, 0.2], [100, 0.5], [100, 0.7]]


def test_the_papers_schedule_is_what_the_paper_says():
    factors = [learning_rate.factor(PAPER, update) for update in range(1000)]
    assert factors == [0.0] * 500 + [0.2] * 100 + [0.5] * 100 + [0.7] * 100 + [1.0] * 200
    assert learning_rate.factor([], 0) == 1.0


@pytest.mark.parametrize("entry", [[0, 0.5], [1.5, 0.5], [10, -0.1], [10], [10, float("nan")], []])
def test_a_schedule_that_is_none_is_refused(entry):
    with pytest.raises(ValueError, match=r"pretrained_schedule: got .*, expected"):
        learning_rate.check([[10, 0.0], entry])
    learning_rate.check(PAPER)


OPTIMIZERS = [
    (torch.optim.Adam, {}),
    (torch.optim.AdamW, {"weight_decay": 0.1}),
    (torch.optim.AdamW, {"weight_decay": 0.1, "fused": True}),
]


def values() -> list[torch.nn.Parameter]:
    """An old weight, a new one, and an embedding of which rows 0 and 3 are old."""
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(*shape)) for shape in ((3, 2), (3, 2), (5, 2))]


def set_gradients(parameters, update: int) -> None:
    generator = torch.Generator().manual_seed(update)
    for p in parameters:
        p.grad = torch.randn(p.shape, generator=generator)


@pytest.mark.parametrize(("kind", "options"), OPTIMIZERS)
def test_it_is_the_optimizer_with_that_rate_for_those_values(kind, options):
    """Against parameters that are cut up and have param_groups with rates of their own."""
    schedule = [[3, 0.0], [2, 0.2], [2, 0.7]]
    old, new, embedding = parameters = values()
    optimizer = kind(parameters, lr=0.1, betas=(0.9, 0.98), **options)
    rows = torch.tensor([0, 3])
    learning_rate.follow(optimizer, Followers([(old, None), (embedding, rows)], schedule))

    others = torch.tensor([1, 2, 4])
    copies = copy.deepcopy(parameters)
    slow = [copies[0], torch.nn.Parameter(copies[2].detach()[rows].clone())]
    fast = [copies[1], torch.nn.Parameter(copies[2].detach()[others].clone())]
    expected = kind([{"params": slow}, {"params": fast}], lr=0.1, betas=(0.9, 0.98), **options)
    for update in range(10):
        for group in (*optimizer.param_groups, expected.param_groups[1]):
            group["lr"] = 0.1 / (1 + update)
        expected.param_groups[0]["lr"] = 0.1 / (1 + update) * learning_rate.factor(schedule, update)
        set_gradients(parameters, update)
        slow[0].grad, slow[1].grad = old.grad.clone(), embedding.grad[rows]
        fast[0].grad, fast[1].grad = new.grad.clone(), embedding.grad[others]
        optimizer.step()
        expected.step()
        for got, wanted in (
            (old, slow[0]),
            (embedding[rows], slow[1]),
            (new, fast[0]),
            (embedding[others], fast[1]),
        ):
            torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
        if update < 3:
            assert torch.equal(old, values()[0]) and torch.equal(embedding[rows], values()[2][rows])


def test_a_checkpoint_of_the_optimizer_has_the_place_in_the_schedule(tmp_path):
    def made(parameters):
        optimizer = torch.optim.Adam(parameters, lr=0.1)
        learning_rate.follow(optimizer, Followers([(parameters[0], None)], [[4, 0.5], [4, 0.1]]))
        return optimizer

    whole, parts = values(), values()
    optimizer = made(whole)
    for update in range(10):
        set_gradients(whole, update)
        optimizer.step()

    optimizer = made(parts)
    for update in range(10):
        if update == 6:
            torch.save(optimizer.state_dict(), tmp_path / "optimizer.pth")
            optimizer = made(parts)
            optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pth", weights_only=True))
        set_gradients(parts, update)
        optimizer.step()
    for one, other in zip(whole, parts, strict=True):
        assert torch.equal(one, other)


def test_factors_of_one_parameter_are_multiplied():
    """What Whisper gave and a start has again: slow throughout, and at first slower still."""
    both, one = values()[:2], values()[:2]
    optimizers = [torch.optim.Adam(parameters, lr=0.1) for parameters in (both, one)]
    slow = Followers([(both[0], None)], learning_rate.always(0.5))
    learning_rate.follow(optimizers[0], Followers([(both[0], None)], [[2, 0.0], [3, 0.4]]), slow)
    product = [[2, 0.0], [3, 0.2], [100, 0.5]]
    learning_rate.follow(optimizers[1], Followers([(one[0], None)], product))
    for update in range(8):
        for parameters, optimizer in zip((both, one), optimizers, strict=True):
            set_gradients(parameters, update)
            optimizer.step()
        torch.testing.assert_close(both[0], one[0], rtol=1e-5, atol=1e-6)
    assert optimizers[0].param_groups[0][learning_rate.COUNT] == 8
