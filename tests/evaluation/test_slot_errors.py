"""Slots that were got wrong."""

from atat.evaluation import slot_errors
from atat.evaluation.slot_errors import NOTHING, SlotErrors, Taken


def test_slots_are_named_with_what_was_taken_for_what():
    def line(i, reference, hypothesis):
        return {"id": i, "reference": reference, "hypothesis": hypothesis, "em_hyp": False}

    lines = [
        line("a", "go( to( rome )to by( car )by )go", "go( to( oslo )to by( car )by )go"),
        line("b", "go( to( rome )to )go", "stop( to( oslo )to )stop"),
        line("c", "go( to( rome )to to( bonn )to )go", "go( to( bonn )to )go"),
        line("d", "go( by( car )by )go", "go( by( car"),
        line("e", "go( )go", "go( at( noon )at )go"),
        line("f", "go( by( car )by )go", "go( by( car )by )go"),
        {"id": "g", "reference": "some words", "hypothesis": "some"},
    ]
    to, at, by = slot_errors.count(lines)
    assert (to.slot, to.num_said, to.num_wrong) == ("to", 4, 3)
    assert to.taken == [Taken("rome", "oslo", 2, "a"), Taken("rome", NOTHING, 1, "c")]
    assert at == SlotErrors("at", 0, 1, [Taken(NOTHING, "noon", 1, "e")])
    assert by == SlotErrors("by", 3, 1, [Taken("car", NOTHING, 1, "d")])
