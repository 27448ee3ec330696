"""Slots that were got wrong."""

from atat.evaluation import scoring, slot_errors
from atat.evaluation.report_page import Builder
from atat.evaluation.report_recordings import Recordings
from atat.evaluation.report_utterances import Answers
from atat.evaluation.slot_errors import NOTHING, SlotErrors, Taken
from atat.semantics import bracket_trees, triples
from tests.made_up_recipe import load, make_recipe


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


def test_slots_of_triples_are_those_that_exact_match_compares():
    said = "Activate( Object( lamp )Object on )Activate"
    line = {"id": "a", "reference": said, "em_hyp": True}
    line["hypothesis"] = "Activate( Lamp( switch it on )Lamp )Activate"
    assert slot_errors.count([line], triples.frame) == []
    line["hypothesis"] = "Activate( Music( play )Music )Activate"
    (wrong,) = slot_errors.count([line | {"em_hyp": False}], triples.frame)
    assert wrong == SlotErrors("object", 1, 1, [Taken("lamp", "music", 1, "a")])


def test_slots_in_a_report_are_compared_as_its_data_say(tmp_path, monkeypatch):
    paths = make_recipe(tmp_path)
    asked = []
    monkeypatch.setattr(slot_errors, "count", lambda _, key=None: asked.append(key) or [])
    monkeypatch.setattr(scoring, "hypothesis_key", lambda *_: bracket_trees.frame)
    loaded = load(paths)
    builder = Builder(loaded, Answers(loaded), Recordings(tmp_path), 0, 0)
    builder.section(1)
    assert asked == [bracket_trees.frame]
