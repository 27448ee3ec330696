import itertools

import pytest

from atat.semantics.heldout_pairs import has_held_out
from atat.semantics.target_sequence import Frame

FRAMES = [
    Frame("order", (("size", str(size)), ("drink", str(drink))))
    for size, drink in itertools.product(range(40), range(40))
]


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_share_is_of_pairs_and_a_smaller_one_is_part_of_a_larger(share):
    held = {frame for frame in FRAMES if has_held_out(frame, share)}
    assert len(held) / len(FRAMES) == pytest.approx(share, abs=0.03)
    assert held < {frame for frame in FRAMES if has_held_out(frame, share + 0.1)}


def test_the_order_of_slots_and_the_intent_do_not_matter_and_one_slot_is_no_pair():
    for frame in FRAMES[:200]:
        turned = Frame("cancel", frame.slots[::-1])
        assert has_held_out(turned, 0.3) == has_held_out(frame, 0.3)
    assert not any(has_held_out(Frame("order", frame.slots[:1]), 0.99) for frame in FRAMES)


def test_a_third_slot_brings_the_pair_with_it():
    pair = next(frame for frame in FRAMES if has_held_out(frame, 0.1))
    assert has_held_out(Frame("order", (*pair.slots, ("sugar", "none"))), 0.1)
