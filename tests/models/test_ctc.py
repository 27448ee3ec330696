"""The labels of CTC's best path, against a loop over its frames."""

import itertools

import torch

from atat.models.ctc import collapse

BLANK = 0


def outputs(*shape, seed=0, sharp=2.0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) * sharp).log_softmax(-1)


def test_what_is_heard_is_the_best_path_each_label_the_mean_of_its_frames():
    log_probs_BTV = outputs(5, 12, 6, seed=3)
    lengths = [12, 9, 5, 1, 0]
    mask_BT = torch.arange(12) < torch.tensor(lengths)[:, None]
    probs_BNV, num_labels_B = collapse(log_probs_BTV, mask_BT, BLANK)
    for b, length in enumerate(lengths):
        probs_TV = log_probs_BTV[b, :length].exp()
        best = probs_TV.argmax(-1).tolist()
        runs, t = [], 0
        for label, frames in itertools.groupby(best):
            size = len(list(frames))
            if label != BLANK:
                runs.append(probs_TV[t : t + size, 1:].sum(0))
            t += size
        assert int(num_labels_B[b]) == len(runs)
        for got_V, run_V in zip(probs_BNV[b], runs, strict=False):
            assert got_V[BLANK] == 0
            torch.testing.assert_close(got_V[1:], run_V / run_V.sum(), atol=1e-6, rtol=0)
        assert not probs_BNV[b, len(runs) :].any()
    assert probs_BNV.shape[1] == int(num_labels_B.max())


def test_where_nothing_is_heard_there_is_one_empty_place():
    silence_BTV = torch.full((2, 3, 4), -20.0)
    silence_BTV[..., BLANK] = 0.0
    probs_BNV, num_labels_B = collapse(silence_BTV, torch.ones(2, 3, dtype=torch.bool), BLANK)
    assert probs_BNV.shape == (2, 1, 4) and not probs_BNV.any() and not num_labels_B.any()
