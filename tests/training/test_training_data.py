from atat.common.ragged import Ragged
from atat.common.seeds import rng
from atat.training.training_data import fraction_of


def test_a_fraction_is_seeded_and_nested():
    tenth, half = (set(fraction_of(200, share, 1).tolist()) for share in (0.1, 0.5))
    assert len(tenth) == 20 and len(half) == 100
    assert tenth < half
    assert set(fraction_of(200, 0.1, 2).tolist()) != tenth
    assert set(fraction_of(200, 1.0, 1).tolist()) == set(range(200))


def test_a_new_consumer_of_random_numbers_does_not_shift_others():
    first = rng(1, "a").random()
    rng(1, "b").random()
    assert rng(1, "a").random() == first != rng(2, "a").random()


def test_ragged_gives_back_its_sequences():
    sequences = [[1, 2], [], [3]]
    ragged = Ragged.of(sequences)
    assert [list(ragged[i]) for i in range(len(ragged))] == sequences
