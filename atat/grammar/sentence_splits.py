"""Which sentences of a grammar are trained and which test: all of it trained, no intent left out.

A cover comes first: sentences that have every alternative, every slot value and so every word of
the grammar. It is trained; what is held out for validation and test is drawn from the rest. What a
split still lacks goes to the intents (evenly in validation and test, by `weights_by_values` in
training), then to their combinations of slots, expressions, alternatives and values; where there
are no more sentences, they are repeated for other voices.
"""

import heapq
import math
import random
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice, zip_longest
from operator import attrgetter

from atat.grammar.apportionment import level, share_out, weights_by_values
from atat.grammar.grammar import Grammar, slots_of
from atat.grammar.sentence_dealer import Dealer, Group, Sentence, Unit
from atat.semantics import target_sequence

HELD_OUT = 0.2  # of an intent's sentences, at most, for each of valid and test
MAX_REPEATS = 20  # of a sentence in valid and test, or in training while there are others
USUAL_REPEATS = 4  # of held-out sentences, before the test says training sentences too
MIN_OF_INTENT = 50  # utterances of training, before all values have one; `_least_of_intent`
ENOUGH_OF_INTENT = 150  # utterances of training, where as many as are advised are drawn
MIN_USES = 3  # of an alternative or a value in training, where an intent's share has room for it


@dataclass
class Splits:
    """Target sequences of each split, in random order, and what is not as it was asked for.

    Attributes:
        num_units: alternatives and slot values of the grammar; num_uncovered: how many of them
            train and train_text are too small for.
        num_enough: utterances that have them all, and ENOUGH_OF_INTENT or so of each intent.
    """

    sequences: dict[str, list[str]]
    num_units: int
    num_uncovered: dict[str, int]
    num_enough: int

    def warnings(self, name: str, setting: str) -> list[str]:
        """What a split of training has too few utterances for: values, or intents beside those.

        Args:
            name: train or train_text.
            setting: has its number, for the advice.
        """
        sequences = self.sequences[name]
        num_enough = math.ceil(self.num_enough / 100) * 100
        if not 0 < len(sequences) < num_enough:
            return []
        advice = f"expected more: --set {setting}={num_enough}"
        lines = []
        if num_uncovered := self.num_uncovered[name]:
            lines.append(
                f"{name}: {num_uncovered:,} of {self.num_units:,} slot values and alternatives of "
                f"the grammar are in none of its {len(sequences):,} utterances, {advice}"
            )
        counts = Counter(target_sequence.frame(sequence).intent for sequence in sequences)
        few = min(ENOUGH_OF_INTENT, len(sequences) / len(counts) / 2)
        rare = [f"'{one}' has {count}" for one, count in counts.items() if count < few]
        if rare:
            found = ", ".join(sorted(rare))
            lines.append(f"{name}: of {len(sequences):,} utterances {found}, {advice}")
        return lines


def split(grammar: Grammar, wanted: dict[str, int], seed: int) -> Splits:
    """Draw the splits `train`, `train_text`, `valid` and `test`.

    A sentence of valid or test that is not in training is in no other split. Where an intent has
    too few of those, valid and test have sentences of training beside or instead of them.

    Args:
        grammar: what sentences and slot values are drawn from.
        wanted: how many utterances of each. valid and test get fewer where each sentence would
            have to come more than MAX_REPEATS times; train and train_text get them all.
        seed: of all draws.
    """
    cover = _cover(Dealer(grammar, random.Random(f"{seed} cover")))
    first = {name: _num_of_cover(cover, num, grammar.intents) for name, num in wanted.items()}
    made_of = {
        name: {unit for sentence in cover[:num] for unit in sentence.units}
        for name, num in (first | {"all": len(cover)}).items()
    }
    spoken = "train" if wanted["train"] else "train_text"
    trained = _Trained(cover, first[spoken], made_of[spoken])
    sentences = {}
    for name in ("test", "valid", "train", "train_text"):
        dealer = Dealer(grammar, random.Random(f"{seed} {name}"))
        if name in ("test", "valid"):
            sentences[name] = _hold_out(dealer, wanted[name], trained)
        else:
            part = cover[: first[name]]
            sentences[name] = _train(dealer, part, wanted[name], trained.held_out)
        dealer.rng.shuffle(sentences[name])
    return Splits(
        {name: [one.sequence for one in found] for name, found in sentences.items()},
        num_units=len(made_of["all"]),
        num_uncovered={
            name: len(made_of["all"] - made_of[name]) for name in ("train", "train_text")
        },
        num_enough=len(cover) + _num_lacking(cover, grammar.intents, ENOUGH_OF_INTENT),
    )


@dataclass
class _Trained:
    """What is trained, while sentences are held out of it.

    Attributes:
        cover: sentences that are trained, the first `num` of them at least.
        covered: what these are made of.
    """

    cover: list[Sentence]
    num: int
    covered: set[Unit]

    def __post_init__(self) -> None:
        self.words = {sentence.words for sentence in self.cover}
        self.slots = {sentence.slots for sentence in self.cover[: self.num]}
        self.held_out: set[str] = set()

    def may_hold_out(self, sentence: Sentence) -> bool:
        """Whether all that a sentence is made of is trained without it.

        The first sentence with a combination of slots is trained, so that a second can be held out.
        """
        if sentence.words in self.words or sentence.words in self.held_out:
            return False
        if not self.covered.issuperset(sentence.units):
            return False
        if sentence.slots not in self.slots and len(self.cover) < self.num:
            self.cover.append(sentence)
            self.words.add(sentence.words)
            self.slots.add(sentence.slots)
            return False
        return sentence.slots in self.slots


class _Pool:
    """The sentences of a group that are trained, those said least first."""

    def __init__(self) -> None:
        self.said: Counter[str] = Counter()  # by words
        self.num_said = 0
        self.sentences: list[tuple[int, int, Sentence]] = []  # a heap: times said, age
        self.is_exhausted = False  # whether no new sentences are found

    @property
    def least(self) -> int:
        """How often the sentence said least was said."""
        return self.sentences[0][0]

    def add(self, sentence: Sentence) -> None:
        """A new sentence, or the one said least."""
        self.said[sentence.words] += 1
        self.num_said += 1
        entry = self.said[sentence.words], self.num_said, sentence
        if self.sentences and sentence is self.sentences[0][-1]:
            heapq.heapreplace(self.sentences, entry)
        elif entry[0] == 1:
            heapq.heappush(self.sentences, entry)


def _cover(dealer: Dealer) -> list[Sentence]:
    """Sentences that have, together, every expression, alternative and slot value."""
    by_intent = dealer.grammar.expressions.items()
    rounds = zip_longest(*([(intent, one) for one in many] for intent, many in by_intent))
    cover = [dealer.say(*pair) for pairs in rounds for pair in pairs if pair is not None]
    for sentence in cover:
        dealer.use(sentence)
    drawn = Counter(sentence.intent for sentence in cover)
    for unit in dealer.units:
        if not dealer.uses[unit]:
            expressions = dealer.expressions_with(unit)
            intent = min(expressions, key=drawn.__getitem__)
            cover.append(dealer.say(intent, dealer.rng.choice(expressions[intent]), unit))
            dealer.use(cover[-1])
            drawn[intent] += 1
    return cover


def _least_of_intent(num: int, num_intents: int) -> int:
    """Utterances of `num` that an intent has before all values have one: a fifth of even shares."""
    return min(MIN_OF_INTENT, num // (5 * num_intents))


def _num_lacking(cover: list[Sentence], intents: Collection[str], least: int) -> int:
    """How many utterances bring each intent of a cover to `least`."""
    have = Counter(sentence.intent for sentence in cover)
    return sum(max(0, least - have[intent]) for intent in intents)


def _at_least(have: dict[str, int], num: int) -> dict[str, int]:
    """What each intent has of `num` utterances, brought to the least where there is room."""
    least = _least_of_intent(num, len(have))
    for floor in (max(least, MAX_REPEATS), least):
        start = {intent: max(count, floor) for intent, count in have.items()}
        if sum(start.values()) <= num:
            return start
    return have


def _num_of_cover(cover: list[Sentence], num: int, intents: Collection[str]) -> int:
    """How many sentences of the cover `num` utterances have room for, each intent said often."""
    least = _least_of_intent(num, len(intents))
    if len(cover) + _num_lacking(cover, intents, least) <= num:
        return num
    least = max(least, MAX_REPEATS)
    missing = dict.fromkeys(intents, least)
    room = num - least * len(intents)
    for place, sentence in enumerate(cover):
        if missing[sentence.intent] > 0:
            missing[sentence.intent] -= 1
        elif room > 0:
            room -= 1
        else:
            return max(num // 2, place)
    return num


def _hold_out(dealer: Dealer, num: int, trained: _Trained) -> list[Sentence]:
    """Sentences that are not trained, as many as may be, and then sentences that are."""
    counts = dealer.grammar.count_by_intent()
    shares = share_out(num, {intent: MAX_REPEATS * count for intent, count in counts.items()})
    result: list[Sentence] = []
    for intent, share in shares.items():
        pool: list[Sentence] = []
        for _ in range(min(share, int(HELD_OUT * counts[intent]))):
            new = dealer.search(partial(dealer.draw, intent), trained.may_hold_out)
            if new is None:
                break
            trained.held_out.add(new.words)
            dealer.use(new)
            pool.append(new)
        seen = [s for s in trained.cover[: trained.num] if s.intent == intent]
        dealer.rng.shuffle(seen)
        pool += seen[: max(0, math.ceil(share / USUAL_REPEATS) - len(pool))]
        result += islice(cycle(pool), min(share, MAX_REPEATS * len(pool)))
    return result


def _train(dealer: Dealer, cover: list[Sentence], num: int, held_out: set[str]) -> list[Sentence]:
    """The cover, and what brings all intents, and all within them, to their share of `num`."""
    result: list[Sentence] = []
    missing = Counter(dict.fromkeys(dealer.grammar.intents, 0))
    pools: dict[Group, _Pool] = {
        (intent, names): _Pool() for intent, groups in dealer.groups.items() for names in groups
    }

    def add(sentence: Sentence) -> None:
        result.append(sentence)
        dealer.use(sentence)
        pools[sentence.group].add(sentence)
        missing[sentence.intent] -= 1

    def is_trainable(sentence: Sentence) -> bool:
        return sentence.words not in held_out

    def next_of(intent: str) -> Sentence:
        """A new sentence or, where none is found, the one that was said least."""
        groups = [(intent, names) for names in dealer.groups[intent]]
        groups.sort(key=lambda group: pools[group].num_said)
        for group in groups:
            pool = pools[group]
            if not pool.is_exhausted:
                one = dealer.search(
                    partial(dealer.draw, *group),
                    lambda one: is_trainable(one) and one.words not in pool.said,  # noqa: B023
                )
                if one is not None:
                    return one
                pool.is_exhausted = True
            if pool.sentences and pool.least < MAX_REPEATS:
                return pool.sentences[0][-1]
        pool = min(
            (pools[group] for group in groups if pools[group].sentences), key=attrgetter("least")
        )
        return pool.sentences[0][-1]

    for sentence in cover:
        add(sentence)
    have = {intent: -count for intent, count in missing.items()}
    weights = weights_by_values(_values(dealer.grammar))
    missing.update(level(_at_least(have, num), num, weights))
    for unit in dealer.units:
        while dealer.uses[unit] < MIN_USES:
            expressions = dealer.expressions_with(unit)
            intent = max(expressions, key=missing.__getitem__)
            some = partial(dealer.rng.choice, expressions[intent])
            one = missing[intent] > 0 and dealer.search(
                lambda: dealer.say(intent, some(), unit),  # noqa: B023
                is_trainable,
            )
            if not one:
                break
            add(one)
    for intent in dealer.grammar.intents:
        while missing[intent] > 0:
            add(next_of(intent))
    return result


def _values(grammar: Grammar) -> dict[str, list[str]]:
    """The slot values that each intent can say."""
    return {
        intent: [v for one in many for slot in slots_of(one) for v in grammar.slot_types[slot.type]]
        for intent, many in grammar.expressions.items()
    }
