from atat.grammar.spelling import spell_out
from atat.prepare import recombination
from atat.prepare.top_format import Sentence
from atat.semantics import target_sequence

SEQUENCES = [
    "Play( play genre( jazz )genre by artist( ana lee )artist )Play",
    "Play( put on genre( slow Get( title( rock )title )Get )genre )Play",
    "Play( i want artist( bo )artist now )Play",
    "Stop( stop it )Stop",
]


def sentences():
    return [
        Sentence(str(n), target_sequence.parse(s).label, target_sequence.words(s), s)
        for n, s in enumerate(SEQUENCES)
    ]


def test_values_change_places_with_those_of_the_same_slot_alone():
    found = recombination.recombine(sentences(), 100, (), str, seed=1)
    # Two genres by two artists, two genres, two artists; without those that are there.
    assert {s.text for s in found} == {
        *("play jazz by bo", "play slow rock by ana lee", "play slow rock by bo"),
        *("put on jazz", "i want ana lee now"),
    }
    for sentence in found:
        assert target_sequence.words(sentence.semantics) == sentence.text
        assert target_sequence.parse(sentence.semantics).label == sentence.domain == "Play"
    nested = "Play( put on genre( jazz )genre )Play"
    assert nested in {s.semantics for s in found}
    assert len({s.id for s in found}) == 5


def test_as_many_as_wanted_and_none_that_is_taken():
    assert len(recombination.recombine(sentences(), 3, (), str, seed=1)) == 3
    assert recombination.recombine(sentences(), 0, (), str, seed=1) == []
    found = recombination.recombine(sentences(), 100, {"put on jazz"}, str, seed=1)
    assert len(found) == 4 and "put on jazz" not in {s.text for s in found}
    first, again = (recombination.recombine(sentences(), 3, (), str, seed=seed) for seed in (2, 2))
    assert first == again


def test_sentences_without_slots_give_none():
    assert recombination.recombine(sentences()[-1:], 5, (), str, seed=1) == []


def test_a_text_that_is_taken_is_so_however_its_numbers_are_written():
    two = [
        Sentence("a", "Rate", "rate jaws two", "Rate( rate book( jaws )book value( 2 )value )Rate"),
        Sentence(
            "b", "Rate", "rate emma five", "Rate( rate book( emma )book value( 5 )value )Rate"
        ),
    ]
    found = recombination.recombine(two, 9, {"rate jaws five"}, spell_out, seed=1)
    assert [s.text for s in found] == ["rate emma two"]
    assert found[0].semantics == "Rate( rate book( emma )book value( 2 )value )Rate"
