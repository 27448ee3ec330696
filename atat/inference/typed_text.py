"""Typed text, parsed by a grammar: its sentences exactly, all else refused.

A sentence may be typed in other ways than the grammar has it: digits, hyphens, contractions, words
joined or apart, hesitations and politeness. What differs from a sentence by "the" and "a" alone is
near it: a model may be asked whether that is what was meant.
"""

import heapq
import itertools
import math
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Unpack

from atat.grammar.grammar import Grammar
from atat.grammar.spelling import cardinal, left_sign, spell_out
from atat.inference.result import About, Reading, Result, read, score_of
from atat.semantics import target_sequence
from atat.semantics.text_normalization import HYPHEN, normalize, visible

# What changes no meaning wherever it stands; a grammar that has them keeps them.
FILLERS = (
    *("uh", "um", "uhm", "er", "erm", "hm", "hmm", "mm", "ah", "oh", "eh", "well", "just"),
    *("please", "kindly", "thanks", "thank you", "ok", "okay", "hey", "hi", "hello", "o'clock"),
)
# Beside these "oh" is zero.
NUMBER_WORDS = frozenset(
    (
        "point",
        *(word for n in (*range(20), *range(20, 101, 10), 1000) for word in cardinal(n).split()),
    )
)
# And what does not at the beginning.
OPENINGS = (
    *("can you", "could you", "would you", "will you"),
    *("i want you to", "i would like you to", "i'd like you to"),
)
DETERMINERS = frozenset(
    ("a", "an", "the", "my", "our", "your", "some", "this", "that", "these", "those")
)
# How a number is said beside the way of `spell_out`.
EQUALS = (("a hundred", "one hundred"), ("hundred and", "hundred"), ("a thousand", "one thousand"))
ENDINGS = {"s": ("is", "has", "us"), "re": ("are",), "ll": ("will",), "ve": ("have",)}
ENDINGS |= {"d": ("would", "had"), "m": ("am",)}
MAX_CHARACTERS = 1000  # as a service takes them
MAX_EDITS = 3  # determiners more or fewer than in a sentence that is near
NBEST = 2  # predictions of the model: the best, and another meaning
MIN_SHARE = 0.5  # of the model's probability, with what a near sentence means
PUNCTUATION = ".,;:!?()\"'"  # around a typed word
MAX_STEPS = 20_000  # of a search for what is near

Words = tuple[str, ...]


class TypedText:
    """Parses typed text by a grammar."""

    def __init__(self, grammar: Grammar) -> None:
        self.grammar = grammar
        self._automaton = grammar.automaton(with_tags=False)
        self._words = {word for arcs in self._automaton.arcs for word in arcs}
        self._bare = {bare(word): word for word in self._words}
        self._equal: dict[Words, list[Words]] = {}  # words -> what may stand for them
        for one, other in EQUALS:
            self._add(one.split(), other.split())
        for word in self._words:
            for apart in contraction(word):
                self._add(apart.split(), (word,))

    def read(self, text: str, nbest: int = 1) -> Result | None:
        """The certain result of a text that is a sentence of the grammar; None for any other.

        Args:
            text: as typed.
            nbest: most parses of an ambiguous sentence that the result keeps.

        Raises:
            ValueError: no words, or no Unicode.
        """
        start = time.perf_counter()
        sentence = self.sentence(text)
        if sentence is None:
            return None
        seconds = round(time.perf_counter() - start, 4)
        return self.of_sentence(sentence, nbest, confidence=1.0, accepted=True, seconds=seconds)

    def of_sentence(self, sentence: str, nbest: int = 1, **about: Unpack[About]) -> Result:
        """The result of a sentence of the grammar; `about`: what else is known of it."""
        readings = [read(r, None, True) for r in self.grammar.readings(sentence)]
        return as_written(self.grammar, readings, nbest, **about)

    def sentence(self, text: str) -> str | None:
        """The sentence of the grammar that a text is but for how it is written.

        >>> typed.sentence("Uh, set the kitchen lights to 50%, please!")  # doctest: +SKIP
        'set the kitchen lights to fifty percent'
        """
        return next(itertools.chain.from_iterable(map(self._search, readable(text))), None)

    def near(self, text: str) -> str | None:
        """The sentence that a text differs from by determiners; None unless all such mean one."""
        found: dict[object, str] = {}
        for words in readable(text):
            for sentence in self._search(words, MAX_EDITS):
                for frame in self.grammar.parse(sentence):
                    found.setdefault(frame.key, sentence)
        return next(iter(found.values())) if len(found) == 1 else None

    def unknown(self, text: str) -> dict[str, str]:
        """Words that are in no sentence of the grammar, as they are typed -> as they are read."""
        known = self._words | DETERMINERS | set(" ".join((*FILLERS, *OPENINGS)).split())

        def is_known(word: str) -> bool:
            return word in known or any(
                set(part) <= known for _, part, _ in self._ways((word,), 0) if part
            )

        return {
            typed: " ".join(words)
            for typed, words in as_typed(text)
            if not all(map(is_known, words))
        }

    def why_not(self, text: str) -> str:
        """Why a text that is no sentence of the grammar is refused, in one line."""
        if sign := left_sign(visible(text)):
            return f"'{sign}' before a number is not read, expected it in words"
        if unknown := self.unknown(text):
            words = ", ".join(
                f"'{typed}'" if typed == words else f"'{typed}' (read '{words}')"
                for typed, words in unknown.items()
            )
            return f"the grammar has no word{'s' if len(unknown) > 1 else ''} {words}"
        near = self.near(text)
        return "not a sentence of the grammar" + (f"; near it: '{near}'" if near else "")

    def second(self, text: str, guess: Result) -> Result:
        """A model's result for a text that is no sentence of the grammar, accepted or rejected.

        It is accepted where the text is near a sentence that means what the model predicts; its
        semantics are that sentence's, as the model may have copied the words badly.
        """
        near = self.near(text)
        meant = None if near is None else self.of_sentence(near)
        is_meant = meant is not None and key(guess) == key(meant)
        confidence = round(share(guess.nbest), 4) if is_meant else 0.0
        judged = replace(guess, confidence=confidence, accepted=confidence >= MIN_SHARE)
        if meant is not None and judged.accepted:
            best = replace(guess.nbest[0], semantics=meant.semantics)
            return replace(
                judged,
                unknown=(),
                slots=meant.slots,
                semantics=meant.semantics,
                spoken_slots=meant.spoken_slots,
                nbest=(best, *guess.nbest[1:]),
            )
        why = f"the model does not take it for '{near}'" if near else self.why_not(text)
        none = replace(judged, intent=None, slots={}, spoken_slots=None, reason=why)
        return replace(none, unknown=tuple(self.unknown(text)))

    def refused(self, text: str) -> Result:
        """The result of a text that is no sentence of the grammar, where there is no model."""
        near = self.near(text)
        nbest = self.of_sentence(near).nbest if near else ()
        why = self.why_not(text)
        about = About(unknown=tuple(self.unknown(text)), confidence=0.0, accepted=False)
        return Result(None, {}, "", None, why, nbest=nbest, **about)

    def _add(self, words: Iterable[str], other: Iterable[str]) -> None:
        self._equal.setdefault(tuple(words), []).append(tuple(other))

    def _search(self, words: Words, max_edits: int = 0) -> Iterator[str]:
        """Sentences in the order of changes; without edits the first alone."""
        arcs, final, order = self._automaton.arcs, self._automaton.final, itertools.count()
        ways_P = [list(self._ways(words, place)) for place in range(len(words))] + [[]]
        # changes, order, edits, state, words taken, sentence so far
        queue: list[tuple[int, int, int, int, int, Words]]
        queue = [(0, next(order), 0, self._automaton.start, 0, ())]
        seen: set[tuple[int, int | Words]] = set()
        for _ in range(MAX_STEPS):
            if not queue:
                return
            cost, _, edits, state, place, said = heapq.heappop(queue)
            # Of two ways to the same state the first takes fewer changes; with edits, all count.
            known = (place, said) if max_edits else (place, state)
            if known in seen:
                continue
            seen.add(known)
            if place == len(words) and final[state]:
                yield " ".join(said)
            steps = [(edits, *way) for way in ways_P[place]]
            if edits < max_edits:
                steps += [(edits + 1, *edit) for edit in self._edits(words, place, state)]
            for num_edits, taken, part, change in steps:
                target: int | None = state
                for word in part:
                    target = arcs[target].get(word) if target is not None else None
                if target is not None:
                    step = (cost + change, next(order), num_edits, target, place + taken)
                    heapq.heappush(queue, (*step, (*said, *part)))

    def _ways(self, words: Words, place: int) -> Iterator[tuple[int, Words, int]]:
        """(words taken at a place, what they may be in the grammar, 1 where that is a change)."""
        word = words[place]
        yield 1, (word,), 0
        phrases: tuple[str, ...] = FILLERS
        if all(before in FILLERS for before in words[:place]):
            phrases = (*FILLERS, *OPENINGS)
        is_zero = word == "oh" and beside_number(words, place)
        if is_zero:
            yield 1, ("zero",), 1
        for phrase in phrases if not is_zero else ():
            parts = tuple(phrase.split())
            if words[place : place + len(parts)] == parts:
                yield len(parts), (), 1
        for size in (1, 2):
            if place + size <= len(words):
                for other in self._equal.get(words[place : place + size], ()):
                    yield size, other, 1
        for apart in contraction(word):
            yield 1, tuple(apart.split()), 1
        if bare(word) in self._bare:
            yield 1, (self._bare[bare(word)],), 1
        if "-" in word:
            yield 1, tuple(spell_out(word.replace("-", " ")).split()), 1
        for following in words[place + 1 : place + 2]:
            yield 2, (word + following,), 1
            yield 2, (f"{word}-{following}",), 1
        for cut in range(1, len(word)):
            if word[:cut] in self._words and word[cut:] in self._words:
                yield 1, (word[:cut], word[cut:]), 1

    def _edits(self, words: Words, place: int, state: int) -> Iterator[tuple[int, Words, int]]:
        """As `_ways`: a determiner left out or put in. A sentence that ends in one is cut off."""
        if place < len(words) - 1 and words[place] in DETERMINERS:
            yield 1, (), 1
        if place < len(words):
            for word in DETERMINERS & self._automaton.arcs[state].keys():
                yield 0, (word,), 1


def spellings(text: str) -> list[Words]:
    """The words of a text as typed, and where that differs, spelled out.

    Raises:
        ValueError: no words, too many of them, or no Unicode.
    """
    if isinstance(text, str) and len(text) > MAX_CHARACTERS:
        raise ValueError(f"text of {len(text)} characters, expected at most {MAX_CHARACTERS}")
    as_typed = normalize(text, HYPHEN)
    if not as_typed:
        raise ValueError(f"text {text!r}: has no words")
    spelled = said(text)
    return [tuple(words.split()) for words in dict.fromkeys((as_typed, spelled)) if words]


def readable(text: str) -> list[Words]:
    """As `spellings`; none of a text with a sign that makes another number of one, as in "<5"."""
    found = spellings(text)
    return found if left_sign(visible(text)) is None else []


def said(text: str) -> str:
    """The words of a text as grammars have them: spelled out, with hyphens.

    >>> said("Set the X-ray for 7:30 p.m., please!")
    'set the x-ray for seven thirty pm please'
    """
    return normalize(spell_out(visible(text)), HYPHEN)


def as_typed(text: str) -> list[tuple[str, Words]]:
    """The words of a text as they are typed, each with those that it is read as.

    Of a text with words that are read together, as "in 1999", only what they are read as.

    Raises:
        ValueError: as `spellings`.

    >>> as_typed("Uh, 25% at 7:30!"), as_typed("in 1999")[1:]
    ([('uh', ('uh',)), ('25%', ('twenty', 'five', 'percent')), ('at', ('at',)), \
('7:30', ('seven', 'thirty'))], [('nineteen', ('nineteen',)), ('ninety', ('ninety',)), \
('nine', ('nine',))])
    """
    read = spellings(text)[-1]
    found = []
    for token in visible(text).split():
        words = tuple(said(token).split())
        typed = words[0] if words == (normalize(token, HYPHEN),) else token.strip(PUNCTUATION)
        found += [(typed, words)] if words else []
    if tuple(itertools.chain.from_iterable(words for _, words in found)) == read:
        return found
    return [(word, (word,)) for word in read]


def beside_number(words: Words, place: int) -> bool:
    """Whether the next word of a text before or after a place is a number; fillers are none.

    >>> beside_number(("room", "5", "oh", "oh", "five"), 2), beside_number(("oh", "room", "5"), 0)
    (True, False)
    """
    sides = words[:place][::-1], words[place + 1 :]
    nearest = (next((word for word in side if word not in FILLERS), "") for side in sides)
    return any(word in NUMBER_WORDS or any(map(str.isdigit, word)) for word in nearest)


def bare(word: str) -> str:
    """A word without apostrophes and hyphens.

    >>> bare("o'clock"), bare("e-mail")
    ('oclock', 'email')
    """
    return re.sub("['-]", "", word)


def contraction(word: str) -> list[str]:
    """What a contracted word stands for; nothing for another word.

    >>> contraction("what's"), contraction("can't"), contraction("what")
    (['what is', 'what has', 'what us'], ['can not', 'cannot'], [])
    """
    irregular = {"can't": ["can not", "cannot"], "won't": ["will not"], "shan't": ["shall not"]}
    if word in irregular:
        return irregular[word]
    if word.endswith("n't"):
        return [f"{word[:-3]} not"]
    start, mark, end = word.rpartition("'")
    return [f"{start} {whole}" for whole in ENDINGS.get(end, ())] if mark and start else []


def as_written(
    grammar: Grammar, readings: Iterable[Reading], nbest: int, **about: Unpack[About]
) -> Result:
    """The result of predictions, best first, their slots as the grammar file writes them.

    Slots that the file fixes for an intent are among them.

    Args:
        grammar: has the written form of slot values.
        readings: predictions, best first, slots as spoken.
        nbest: how many of them it keeps; of those that mean the same the first.
        about: what else is known.
    """
    readings = list(readings)
    shown: dict[object, Reading] = {}
    for reading in readings:
        meaning = key(reading) or reading.semantics  # without tags each is its own
        intent = reading.intent or ""
        slots = grammar.fixed_slots.get(intent, {}) | written(grammar, intent, reading.slots)
        shown.setdefault(meaning, replace(reading, slots=slots))
    best, spoken = next(iter(shown.values())), readings[0].slots
    return Result(
        **asdict(best),
        nbest=tuple(shown.values())[:nbest],
        spoken_slots=None if spoken == best.slots else spoken,
        **about,
    )


def written(
    grammar: Grammar, intent: str, slots: dict[str, str | list[str]]
) -> dict[str, str | list[str]]:
    """Slots as the grammar file writes an intent's values, of slots as they are said."""
    return {
        name: grammar.written(intent, name, value)
        if isinstance(value, str)
        else [grammar.written(intent, name, one) for one in value]
        for name, value in slots.items()
    }


def key(reading: Reading) -> object:
    """Equal for predictions that mean the same, however slots are written; None without tags."""
    return target_sequence.frame(reading.semantics).key if reading.intent is not None else None


def share(readings: tuple[Reading, ...]) -> float:
    """Share of the n best's probability that has the meaning of the first.

    >>> from math import log
    >>> go, stay = (Reading(name, {}, f"{name}( ){name}", log(share))
    ...             for name, share in (("go", 0.6), ("stay", 0.2)))
    >>> round(share((go, stay)), 4), share((go,))
    (0.75, 1.0)
    """
    best = readings[0]
    weights = [math.exp(score_of(r) - score_of(best)) for r in readings]
    same = [key(r) == key(best) for r in readings]
    total = sum(weights)
    return sum(w for w, is_same in zip(weights, same, strict=True) if is_same) / total
