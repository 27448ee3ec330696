import pytest
import torch

from atat.models.decoder import Decoder

READ = 7


def made(reads_from=None):
    torch.manual_seed(0)
    sizes = dict(vocab_size=11, width=16, num_heads=2, ffn=32, num_layers=2, dropout=0.1)
    return Decoder(**sizes, reads_from=reads_from).eval()


@pytest.fixture(params=[None, READ], ids=["attends", "reads"])
def decoder(request):
    return made(request.param)


@pytest.fixture
def memory():
    torch.manual_seed(1)
    mask = torch.tensor([[True] * 5, [True] * 3 + [False] * 2])
    return torch.randn(2, 5, 16), mask


def test_cached_steps_equal_the_whole_sequence(decoder, memory):
    tokens = torch.tensor([[4, 7, 8, 9], [6, 10, 9, 8]])
    whole = decoder(tokens, *memory, torch.arange(2)).log_softmax(-1)
    state = decoder.start(*memory, num_hyps=1)
    for position in range(4):
        step, state = decoder.step(tokens[:, position : position + 1], state)
        torch.testing.assert_close(step[:, 0], whole[:, position], atol=1e-5, rtol=0)


def test_hypotheses_do_not_see_each_other_and_can_be_reordered(decoder, memory):
    tokens = torch.tensor([[[4, 7, 8], [4, 9, 10]], [[6, 10, 7], [6, 8, 9]]])  # (B, K, L)
    state = decoder.start(*memory, num_hyps=2)
    for position in range(2):
        _, state = decoder.step(tokens[:, :, position], state)
    swap = torch.tensor([[1, 0], [0, 0]])
    state = state.select(swap)
    step, _ = decoder.step(tokens[:, :, 2], state)
    for b in range(2):
        for k in range(2):
            history = torch.cat([tokens[b, swap[b, k], :2], tokens[b, k, 2:]])[None]
            whole = decoder(history, *memory, torch.tensor([b])).log_softmax(-1)
            torch.testing.assert_close(step[b, k], whole[0, -1], atol=1e-5, rtol=0)


def test_from_one_token_on_nothing_but_the_output_is_attended_to(memory):
    decoder, attends = made(READ), made()
    other = torch.randn_like(memory[0]), memory[1]
    rows = torch.arange(2)
    given = torch.tensor([[READ, 8, 9, 4], [READ, 10, READ, 6]])
    read = decoder(given, *memory, rows)
    torch.testing.assert_close(read, decoder(given, *other, rows), atol=0, rtol=0)
    assert (attends(given, *memory, rows) - attends(given, *other, rows)).abs().max() > 1e-3
    # What was heard before it is attended to as ever.
    heard = torch.tensor([[4, 8, READ, 9], [6, 10, 9, READ]])
    before = decoder(heard, *memory, rows)
    torch.testing.assert_close(before[:, :2], attends(heard, *memory, rows)[:, :2])
    assert (before[:, 2:] - attends(heard, *memory, rows)[:, 2:])[1, 1].abs().max() > 1e-3


def test_selecting_utterances_keeps_their_states(decoder, memory):
    tokens = torch.tensor([[4], [6]])
    state = decoder.start(*memory, num_hyps=1)
    _, state = decoder.step(tokens, state)
    both, _ = decoder.step(torch.tensor([[7], [8]]), state)
    one, _ = decoder.step(torch.tensor([[8]]), state.select_utterances(torch.tensor([1])))
    torch.testing.assert_close(one[0], both[1], atol=1e-6, rtol=0)


def test_padding_of_the_memory_does_not_matter(decoder, memory):
    states, mask = memory
    tokens = torch.tensor([[6, 10, 9]])
    padded = decoder(tokens, states[1:], mask[1:], torch.tensor([0]))
    alone = decoder(tokens, states[1:, :3], mask[1:, :3], torch.tensor([0]))
    torch.testing.assert_close(padded, alone, atol=1e-5, rtol=0)


def test_a_position_depends_on_earlier_tokens_only(decoder, memory):
    tokens = torch.tensor([[4, 7, 8, 9], [4, 7, 10, 6]])
    out = decoder(tokens, *memory, torch.tensor([0, 0]))
    torch.testing.assert_close(out[0, :2], out[1, :2], atol=1e-6, rtol=0)
    assert (out[0, 2] - out[1, 2]).abs().max() > 1e-3


def test_memory_without_any_frame_gives_numbers(decoder):
    out = decoder(
        torch.tensor([[4]]), torch.randn(1, 3, 16), torch.zeros(1, 3).bool(), torch.tensor([0])
    )
    assert torch.isfinite(out).all()
