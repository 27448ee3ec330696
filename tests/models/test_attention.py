import pytest
import torch

from atat.models.attention import attend


@pytest.fixture
def rows():
    torch.manual_seed(0)
    return [torch.randn(2, 2, 5, 4, dtype=torch.bfloat16) for _ in range(3)]


@pytest.mark.parametrize(
    "mask",
    [
        None,
        torch.tensor([[True, True, False, True, False]]),
        torch.tensor([[0.0, 0.0, -1e4, 0.0, -1e4]], dtype=torch.bfloat16),
    ],
)
def test_bfloat16_on_a_cpu_is_done_in_float32(rows, mask):
    full = [part.float() for part in rows]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = attend(*rows, mask)
    assert mixed.dtype == torch.float32
    if mask is not None and mask.is_floating_point():
        mask = mask.float()
    torch.testing.assert_close(mixed, attend(*full, mask))


def test_a_causal_query_has_the_keys_up_to_its_own(rows):
    full = [part.float() for part in rows]
    changed = [full[0], full[1].clone(), full[2].clone()]
    for part in changed[1:]:
        part[:, :, 3:] = 7.0
    before, after = attend(*full, is_causal=True), attend(*changed, is_causal=True)
    torch.testing.assert_close(before[:, :, :3], after[:, :, :3])
    assert not torch.allclose(before[:, :, 3:], after[:, :, 3:])
