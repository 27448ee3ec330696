from atat.common.seeds import rng
from atat.training.training_data import Ragged, fraction_of


def test_a_fraction_is_seeded_and_nested():
    ids = [f"u{i}" for i in range(200)]
    tenth, half = fraction_of(ids, 0.1, 1), fraction_of(ids, 0.5, 1)
    assert len(tenth) == 20 and len(half) == 100
    assert tenth < half
    assert fraction_of(ids, 0.1, 2) != tenth
    assert fraction_of(ids, 1.0, 1) == set(ids)


def test_a_new_consumer_of_random_numbers_does_not_shift_others():
    first = rng(1, "a").random()
    rng(1, "b").random()
    assert rng(1, "a").random() == first != rng(2, "a").random()


def test_ragged_gives_back_its_sequences():
    sequences = [[1, 2], [], [3]]
    ragged = Ragged(sequences)
    assert [list(ragged[i]) for i in range(len(ragged))] == sequences
