import torch
import torch.nn.functional as F

from atat.models import losses

PAD, EOS, NUM_SYMBOLS = 1, 2, 9
SLU, NLU = 7, 8


class Lookup(torch.nn.Module):
    """A decoder whose logits depend on the token before and on the source's first state."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table_VV = torch.randn(NUM_SYMBOLS, NUM_SYMBOLS)

    def forward(self, token_rL, memory_BSD, mask_BS, source_r, valid_rL):
        first_r11 = memory_BSD[source_r, 0, 0][:, None, None]
        return (self.table_VV[token_rL] * first_r11)[valid_rL]


def mixed():
    """Two spoken sources and a written one; three targets of them, one longer than the others."""
    memories = [
        (torch.tensor([[[1.0]], [[2.0]]]), torch.ones(2, 1, dtype=torch.bool)),
        (torch.tensor([[[3.0]]]), torch.ones(1, 1, dtype=torch.bool)),
    ]
    targets = [[3, 4], [5], [6, 3, 4, 5]]
    sources, tasks = torch.tensor([1, 0, 2]), torch.tensor([SLU, SLU, NLU])
    return memories, targets, sources, tasks


def found(label_smoothing=0.0, bounds=None):
    memories, targets, sources, tasks = mixed()
    target_RL = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, targets)), True, PAD)
    lengths_R = torch.tensor(list(map(len, targets)))
    options = {"pad": PAD, "label_smoothing": label_smoothing}
    bounds = bounds or losses.whole(tasks, EOS)
    return losses.next_tokens(Lookup(), memories, target_RL, lengths_R, sources, bounds, **options)


def test_every_target_is_taught_from_its_own_source_and_to_its_end():
    _, targets, sources, tasks = mixed()
    table_VV = Lookup().table_VV
    states = [1.0, 2.0, 3.0]
    for number, target in enumerate(targets):
        given = [int(tasks[number]), *target]
        logits = table_VV[given] * states[int(sources[number])]
        expected = F.cross_entropy(logits, torch.tensor([*target, EOS]), reduction="none")
        of_target = found().target_N == number
        torch.testing.assert_close(found().loss_N[of_target], expected)


def test_what_is_given_is_not_learned_and_another_token_may_be_the_end():
    tasks = mixed()[3]
    bounds = losses.Bounds(tasks, torch.tensor([EOS, SLU, EOS]), torch.tensor([0, 0, 2]))
    some = found(bounds=bounds)
    assert some.target_N.tolist() == [0, 0, 0, 1, 1, 2, 2, 2]
    whole_N = found().loss_N[found().target_N == 2]
    torch.testing.assert_close(some.loss_N[some.target_N == 2], whole_N[2:])
    logits = Lookup().table_VV[[SLU, 5]] * 1.0
    ends = F.cross_entropy(logits, torch.tensor([5, SLU]), reduction="none")
    torch.testing.assert_close(some.loss_N[some.target_N == 1], ends)


def test_speech_starts_from_its_words_and_text_has_them_given():
    asr, word, tag = 6, 3, 4
    targets = [[word, word], [word, NLU, tag], [word, word, NLU, tag]]
    target_RL = torch.nn.utils.rnn.pad_sequence(list(map(torch.tensor, targets)), True, PAD)
    task_R = torch.tensor([asr, SLU, NLU])
    ids = {"asr": asr, "slu": SLU, "nlu": NLU}
    bounds = losses.of_two_parts(target_RL, task_R, losses.whole(task_R, EOS), ids)
    assert bounds.start_R.tolist() == [asr, asr, NLU]
    assert bounds.end_R.tolist() == [NLU, EOS, EOS]
    assert bounds.given_R.tolist() == [0, 0, 3]


def test_tasks_are_means_of_their_tokens_and_weighted():
    of_all = found()
    tasks = mixed()[3]
    loss, stats = losses.weighted_by_task(
        of_all, tasks, {SLU: "slu", NLU: "nlu"}, {"slu": 1.0, "nlu": 0.25}
    )
    is_slu_N = tasks[of_all.target_N] == SLU
    slu, nlu = of_all.loss_N[is_slu_N].mean(), of_all.loss_N[~is_slu_N].mean()
    torch.testing.assert_close(loss, slu + 0.25 * nlu)
    torch.testing.assert_close(stats["loss"], loss)
    torch.testing.assert_close(stats["loss_nlu"], nlu)
    torch.testing.assert_close(stats["acc_slu"], of_all.is_right_N[is_slu_N].float().mean())


def test_a_target_is_exact_when_all_its_tokens_are_right():
    right = torch.tensor([True, True, False, True])
    of_all = losses.NextTokens(torch.ones(4), right, torch.tensor([0, 0, 1, 1]))
    _, stats = losses.weighted_by_task(of_all, torch.tensor([SLU, SLU]), {SLU: "slu"}, {"slu": 1.0})
    assert float(stats["em"]) == float(stats["em_slu"]) == 0.5
    assert float(stats["acc"]) == 0.75


def test_flat_start_spreads_words_by_their_length():
    """Three characters and six of them: a third and two thirds of what is between the ends."""
    num_states, begin, end, blank = 20, 4, 16, 0
    characters_V = torch.tensor([1, 1, 1, 3, 6])
    label = [
        blank if not begin <= s + 0.5 < end else 3 if s + 0.5 <= begin + 4 else 4
        for s in range(num_states)
    ]
    ctc = torch.randn(1, num_states, 5).log_softmax(-1)
    loss, _ = losses.mean(
        *losses.flat_start_loss(
            ctc,
            torch.tensor([num_states]),
            torch.tensor([[3, 4]]),
            torch.tensor([2]),
            torch.tensor([[float(begin), float(end)]]),
            characters_V,
            blank,
        )
    )
    expected = -ctc[0, torch.arange(num_states), torch.tensor(label)].mean()
    torch.testing.assert_close(loss, expected)


def test_rows_without_words_teach_ctc_nothing():
    ctc = torch.randn(2, 6, 5).log_softmax(-1)
    states, words = torch.tensor([6, 6]), torch.tensor([[3, 4], [PAD, PAD]])
    both = losses.mean(*losses.ctc_loss(ctc, states, words, torch.tensor([2, 0]), blank=0))
    one = losses.mean(*losses.ctc_loss(ctc[:1], states[:1], words[:1], torch.tensor([2]), blank=0))
    torch.testing.assert_close(both, one)


def test_rows_without_a_path_teach_ctc_nothing():
    """Three tokens need three states, and a state more where two are the same."""
    words = torch.tensor([[3, 4, 3], [3, 3, 4], [3, 3, 4], [3, 4, 3]])
    lengths, states = torch.tensor([3, 3, 3, 3]), torch.tensor([3, 3, 4, 2])
    ctc = torch.randn(4, 4, 5).log_softmax(-1)
    each = F.ctc_loss(ctc.transpose(0, 1), words, states, lengths, reduction="none")
    assert each.isfinite().tolist() == [True, False, True, False]
    all_rows = losses.mean(*losses.ctc_loss(ctc, states, words, lengths, blank=0))
    torch.testing.assert_close(all_rows[0], each[[0, 2]].sum() / 6)
    none = losses.mean(*losses.ctc_loss(ctc[3:], states[3:], words[3:], lengths[3:], blank=0))
    assert float(none[0]) == 0.0


def test_the_parts_of_processes_that_share_a_batch_add_up_to_its_loss():
    of_all, tasks = found(), mixed()[3]
    names, weights = {SLU: "slu", NLU: "nlu"}, {"slu": 1.0, "nlu": 0.25}
    whole, stats = losses.weighted_by_task(of_all, tasks, names, weights)
    parts, sums = [], []
    for is_first in (True, False):  # the first target, and all others
        mine_N = (of_all.target_N == 0) == is_first
        part = losses.NextTokens(*(values[mine_N] for values in of_all))
        parts.append(part)
        losses.weighted_by_task(part, tasks, names, weights, lambda s: sums.append(s) or s)
    added = [
        losses.weighted_by_task(part, tasks, names, weights, lambda _: sums[0] + sums[1])
        for part in parts
    ]
    torch.testing.assert_close(added[0][0] + added[1][0], whole)
    for _, of_part in added:
        torch.testing.assert_close(of_part["loss"], stats["loss"])
        torch.testing.assert_close(of_part["acc_slu"], stats["acc_slu"])
