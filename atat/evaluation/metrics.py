"""Metrics: exact match, F1, SemER, WER and labelled brackets, each with an interval.

`judge` compares one hypothesis with its reference; `semantic_scores` and `word_error_rate` sum
over a corpus; `mcnemar` and `difference` compare two systems on the same utterances. A metric is
a dict of fractions with a 95 % interval, `{"value", "k", "n", "low", "high"}`: `n` counts
utterances, `k` those that are right (proportions only). Definitions: docs/paper.md, "Metrics".
"""

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, NamedTuple

import numpy as np

from atat.semantics import bracket_trees, target_sequence, triples
from atat.semantics.target_sequence import Frame, Node

# In the order of a table's columns.
TITLES = {
    "em_hyp": "EM Hyp",
    "em_hyp_macro": "Macro EM",  # EM Hyp, its mean over intents: atat/evaluation/intents.py
    "em_full": "EM Full",
    "intent_accuracy": "Intent acc",
    "slot_f1": "Slot F1",
    # Of tables that ask for them: atat/evaluation/entity_metrics.py
    "scenario_accuracy": "Scenario acc",
    "action_accuracy": "Action acc",
    "word_distance_f1": "Word F1",
    "char_distance_f1": "Char F1",
    "slu_f1": "SLU-F1",
    "semer": "SemER",
    "wer": "WER",
    "tree_precision": "Tree P",
    "tree_recall": "Tree R",
    "tree_f1": "Tree F1",
    "tree_valid": "Well-formed",
}
CONFIDENCE = 0.95
NUM_RESAMPLES = 2000
SEED = 1  # of the resampling: scoring the same hypotheses again gives the same intervals
# Speakers are resampled as wholes, if there are this many: intervals from fewer are too narrow.
MIN_SPEAKERS = 10
_BATCH_ELEMENTS = 4_000_000  # random indices held at a time: 32 MB

# What EM Hyp compares, as `hypothesis` in data/about.json names it, read from a target sequence.
HYPOTHESES: dict[str, Callable[[str], Frame]] = {
    "frame": target_sequence.frame,
    "triple": triples.frame,
    "tree": bracket_trees.frame,
}

Metric = dict[str, float | int]


class Overlap(NamedTuple):
    """Items (slots, brackets) of the reference and of the hypothesis, and those in both."""

    matched: int
    reference: int
    hypothesis: int


@dataclass(frozen=True)
class Outcome:
    """What one hypothesis got right and wrong. `reason` says what is wrong, None if nothing is."""

    label: str  # the reference's intent
    reason: str | None
    em_full: bool
    intent: bool
    well_formed: bool
    slots: Overlap
    semantic_errors: int  # substitutions, insertions and deletions over slots and intent
    brackets: Overlap
    nested: bool  # the reference has a slot inside a slot

    @property
    def em_hyp(self) -> bool:
        """Whether intent and slots are all right."""
        return self.reason is None


def judge(
    reference: str, hypothesis: str, key: Callable[[str], Frame] = target_sequence.frame
) -> Outcome:
    """Compare a hypothesis with its reference, both target sequences.

    A malformed hypothesis is a wrong answer without intent, slots and brackets. One whose tags
    match, but which means nothing to `key` (it is no triple), has an intent and brackets, and no
    slots. White space between tokens does not count.

    Args:
        reference: a target sequence, e.g. `go( to( rome )to )go`.
        hypothesis: what a model gave for it.
        key: intent and slots of a sequence, by which they are compared: one of `HYPOTHESES`. It
            raises ValueError for a sequence that is malformed or means nothing.

    Raises:
        ValueError: the reference is malformed (a hypothesis may be any string).

    >>> right = judge("play( some song( jazz )song )play", "play( any song( jazz )song )play")
    >>> right.em_hyp, right.em_full
    (True, False)
    >>> judge("play( song( jazz )song )play", "play( song( jazz").reason
    "malformed: 'song(' is never closed"
    """
    reference, hypothesis = (" ".join(s.split()) for s in (reference, hypothesis))
    wanted, wanted_tree = key(reference), target_sequence.parse(reference)
    # The tag that wraps a triple's words is no slot around another.
    nested = key is not triples.frame and any(_inside(slot) for slot in _inside(wanted_tree))
    wanted_slots, wanted_brackets = Counter(wanted.slots), brackets(wanted_tree)
    try:
        got_tree = target_sequence.parse(hypothesis)
    except ValueError as e:
        return Outcome(
            label=wanted.intent,
            reason=f"malformed: {e}",
            em_full=False,
            intent=False,
            well_formed=False,
            slots=Overlap(0, wanted_slots.total(), 0),
            semantic_errors=len(wanted.slots) + 1,
            brackets=Overlap(0, wanted_brackets.total(), 0),
            nested=nested,
        )
    nothing = []
    try:
        got = key(hypothesis)
    except ValueError as e:
        same = got_tree.label == wanted_tree.label
        got, nothing = Frame(wanted.intent if same else got_tree.label), [f"no meaning: {e}"]
    errors = semantic_errors(wanted, got) + nothing
    return Outcome(
        label=wanted.intent,
        reason="; ".join(errors) or None,
        em_full=hypothesis == reference,
        intent=got.intent == wanted.intent,
        well_formed=True,
        slots=_overlap(wanted_slots, Counter(got.slots)),
        semantic_errors=len(errors),
        brackets=_overlap(wanted_brackets, brackets(got_tree)),
        nested=nested,
    )


def semantic_errors(reference: Frame, hypothesis: Frame) -> list[str]:
    """The substitutions, insertions and deletions of SemER, a sentence each.

    A wrong intent is one substitution. Slots are aligned by name, equal values first; what is left
    of a name pairs up as substitutions, then as deletions or insertions. The order of slots does
    not matter, so the list is empty exactly if the two frames are the same for EM Hyp.

    >>> wanted = Frame("play", (("song", "jazz"), ("room", "attic")))
    >>> semantic_errors(wanted, Frame("play", (("song", "blues"), ("day", "today"))))
    ["day 'today' is too much", "room 'attic' is missing", "song 'blues', expected 'jazz'"]
    """
    errors = []
    if hypothesis.intent != reference.intent:
        errors.append(f"intent '{hypothesis.intent}', expected '{reference.intent}'")
    missing = Counter(reference.slots) - Counter(hypothesis.slots)
    surplus = Counter(hypothesis.slots) - Counter(reference.slots)
    for name in sorted({name for name, _ in missing | surplus}):
        wanted = sorted(value for n, value in missing.elements() if n == name)
        got = sorted(value for n, value in surplus.elements() if n == name)
        num_pairs = min(len(wanted), len(got))
        pairs = zip(got, wanted, strict=False)
        errors += [f"{name} '{value}', expected '{right}'" for value, right in pairs]
        errors += [f"{name} '{value}' is missing" for value in wanted[num_pairs:]]
        errors += [f"{name} '{value}' is too much" for value in got[num_pairs:]]
    return errors


def brackets(tree: Node) -> Counter[tuple[str, int, int]]:
    """Labelled brackets (label, first word, word after the last), the intent's among them.

    Source: labelled bracketing of Gupta et al. 2018, where words are counted from the left.

    >>> sorted(brackets(target_sequence.parse("go( to the place( old town )place )go")))
    [('go', 0, 4), ('place', 2, 4)]
    """
    found: Counter[tuple[str, int, int]] = Counter()

    def end_of(node: Node, start: int) -> int:
        end = start
        for child in node.children:
            end = end_of(child, end) if isinstance(child, Node) else end + 1
        found[node.label, start, end] += 1
        return end

    end_of(tree, 0)
    return found


def semantic_scores(
    outcomes: Sequence[Outcome], speakers: Sequence[Hashable] | None = None
) -> dict[str, Metric]:
    """The metrics of a corpus that compare semantics, by name.

    `slot_f1` is there if the references have slots, `tree_precision`, `tree_recall` and `tree_f1`
    (of labelled brackets) if they have nested ones; both F1 carry their precision and recall too.
    SemER, F1 and its like are sums over the corpus, not means of utterances.

    Args:
        outcomes: one an utterance, at least one.
        speakers: who said it, in the same order, where that is known.
    """
    n = len(outcomes)
    scores = {
        "em_hyp": proportion(sum(o.em_hyp for o in outcomes), n),
        "em_full": proportion(sum(o.em_full for o in outcomes), n),
        "intent_accuracy": proportion(sum(o.intent for o in outcomes), n),
    }
    if any(o.slots.reference for o in outcomes):
        scores["slot_f1"] = f1([o.slots for o in outcomes], speakers)
    scores["semer"] = ratio(*semer_counts(outcomes), speakers)
    if any(o.nested for o in outcomes):
        matched, reference, hypothesis = np.array([o.brackets for o in outcomes], dtype=float).T
        if hypothesis.any():  # else precision has nothing to count
            scores["tree_precision"] = ratio(matched, hypothesis, speakers, highest=1.0)
        scores["tree_recall"] = ratio(matched, reference, speakers, highest=1.0)
        scores["tree_f1"] = f1([o.brackets for o in outcomes], speakers)
    scores["tree_valid"] = proportion(sum(o.well_formed for o in outcomes), n)
    return scores


def semer_counts(outcomes: Sequence[Outcome]) -> tuple[np.ndarray, np.ndarray]:
    """Errors, and reference slots plus one (the intent), of each utterance: float (n,) twice."""
    errors = np.array([o.semantic_errors for o in outcomes], dtype=float)
    return errors, np.array([o.slots.reference + 1 for o in outcomes], dtype=float)


def word_error_counts(
    references: Sequence[str], hypotheses: Sequence[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Word errors, and words of the reference, of each utterance: float (n,) twice.

    Semantics count with their words only: give `target_sequence.words(sequence)`.

    >>> word_error_counts(["turn it on", "stop"], ["turn on", "stop it"])
    (array([1., 1.]), array([3., 1.]))
    """
    import jiwer

    errors, words = [], []
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        aligned = jiwer.process_words(reference, hypothesis)
        errors.append(aligned.substitutions + aligned.deletions + aligned.insertions)
        words.append(aligned.hits + aligned.substitutions + aligned.deletions)
    return np.array(errors, dtype=float), np.array(words, dtype=float)


def word_error_rate(
    references: Sequence[str],
    hypotheses: Sequence[str],
    speakers: Sequence[Hashable] | None = None,
) -> Metric:
    """WER: substituted, deleted and inserted words over words of the reference.

    Raises:
        ValueError: the references hold no word.
    """
    errors, words = word_error_counts(references, hypotheses)
    return ratio(errors, words, speakers)


def proportion(k: int, n: int) -> Metric:
    """`k` of `n` utterances, with Wilson's interval.

    Raises:
        ValueError: not 0 <= k <= n, n >= 1.

    >>> {key: round(number, 4) for key, number in proportion(457, 500).items()}
    {'value': 0.914, 'k': 457, 'n': 500, 'low': 0.8862, 'high': 0.9355}
    """
    from scipy.stats import binomtest

    if n < 1:
        raise ValueError("got no utterance, expected at least one")
    interval = binomtest(k, n).proportion_ci(CONFIDENCE, method="wilson")
    return {
        "value": k / n,
        "k": k,
        "n": n,
        "low": float(interval.low),
        "high": float(interval.high),
    }


def f1(overlaps: Sequence[Overlap], speakers: Sequence[Hashable] | None = None) -> Metric:
    """Micro-averaged F1 of items, with precision and recall.

    >>> score = f1([Overlap(2, 2, 3), Overlap(0, 1, 0), Overlap(1, 1, 1)])
    >>> score["precision"], score["recall"], score["value"]
    (0.75, 0.75, 0.75)
    """
    matched, reference, hypothesis = np.array(overlaps, dtype=float).T
    score = ratio(2 * matched, reference + hypothesis, speakers, highest=1.0)
    precision = matched.sum() / hypothesis.sum() if hypothesis.any() else 0.0
    recall = matched.sum() / reference.sum() if reference.any() else 0.0
    return {**score, "precision": float(precision), "recall": float(recall)}


def ratio(
    numerators: np.ndarray,
    denominators: np.ndarray,
    speakers: Sequence[Hashable] | None = None,
    highest: float = inf,
) -> Metric:
    """A ratio of sums over utterances, with a percentile bootstrap interval.

    Speakers are resampled if `MIN_SPEAKERS` or more are known, else utterances. Where all are alike
    (no error at all), resampling cannot see beyond the sample; Wilson's bound for 0 of n stands in.

    Args:
        numerators: float (n,), one an utterance.
        denominators: in the same order, 0 or more.
        speakers: of each utterance, in the same order; None: not known.
        highest: the largest value the ratio can take.

    Raises:
        ValueError: the denominators are all 0.

    >>> score = ratio(np.array([1.0, 0, 0, 2]), np.array([4.0, 5, 3, 4]))
    >>> score["value"], score["n"], score["low"] <= 0.1875 <= score["high"]
    (0.1875, 4, True)
    """
    if not denominators.any():
        raise ValueError("got references without a single item to count")
    value = numerators.sum() / denominators.sum()
    sums = _by_speaker([numerators, denominators], speakers)
    if np.allclose(sums[0], value * sums[1]):
        slack = _unseen(len(sums[0]))
        low, high = max(value - slack, 0.0), min(value + slack, highest)
    else:
        low, high = _bootstrap(sums, lambda a, b, axis: _divide(a, b, axis, value)).interval
    return {"value": float(value), "n": len(numerators), "low": float(low), "high": float(high)}


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> float:
    """Two-sided exact p that two systems are right equally often on the same utterances.

    >>> mcnemar([True] * 10 + [False] * 5, [True] * 4 + [False] * 11)
    0.03125
    """
    from scipy.stats import binomtest

    pairs = Counter(zip(map(bool, first), map(bool, second), strict=True))
    num_first, num_discordant = pairs[True, False], pairs[True, False] + pairs[False, True]
    return float(binomtest(num_first, num_discordant, 0.5).pvalue) if num_discordant else 1.0


def difference(
    first: tuple[np.ndarray, np.ndarray],
    second: tuple[np.ndarray, np.ndarray],
    speakers: Sequence[Hashable] | None = None,
    highest: float = inf,
) -> Metric:
    """How much larger a ratio of sums is in the first system: paired bootstrap, two-sided p.

    Args:
        first: numerators and denominators, float (n,). For a proportion: 0 or 1, and 1.
        second: those of the same utterances in the same order.
        speakers: as for `ratio`.
        highest: the largest value the ratio can take.

    Returns:
        {"n", "value", "low", "high", "p"}; a difference of fractions, so not in percent.

    >>> ones = np.ones(4)
    >>> difference((np.array([1.0, 1, 1, 0]), ones), (np.array([0.0, 1, 0, 0]), ones))["value"]
    0.5
    """
    if len(first[0]) != len(second[0]):
        raise ValueError(f"got {len(first[0])} and {len(second[0])} utterances, expected the same")
    a, b, c, d = sums = _by_speaker([*first, *second], speakers)
    ours, theirs = _divide(a, b, -1, 0.0), _divide(c, d, -1, 0.0)
    value = ours - theirs
    # A unit's pull on either ratio; where the two pull alike everywhere, resamples do not differ.
    pulls = (a - ours * b) / max(b.sum(), 1), (c - theirs * d) / max(d.sum(), 1)
    if np.allclose(*pulls, atol=1e-12):
        low, high = value - _unseen(len(a)), value + _unseen(len(a))
        p = 1.0 if np.isclose(value, 0.0) else min(1.0, 2.0 * 0.5 ** len(a))  # sign test
    else:
        resampled = _bootstrap(
            sums,
            lambda a, b, c, d, axis: _divide(a, b, axis, ours) - _divide(c, d, axis, theirs),
        )
        (low, high), drawn = resampled.interval, resampled.values
        tail = min(np.sum(drawn <= 0), np.sum(drawn >= 0))
        p = min(1.0, 2.0 * (tail + 1) / (len(drawn) + 1))
    numbers = {"value": value, "low": max(low, -highest), "high": min(high, highest), "p": p}
    return {"n": len(first[0]), **{key: float(number) for key, number in numbers.items()}}


class _Resampled(NamedTuple):
    interval: tuple[float, float]
    values: np.ndarray


def _bootstrap(samples: list[np.ndarray], statistic: Callable[..., np.ndarray]) -> _Resampled:
    from scipy.stats import bootstrap

    result = bootstrap(
        samples,
        statistic,
        paired=True,
        vectorized=True,
        n_resamples=NUM_RESAMPLES,
        batch=max(1, _BATCH_ELEMENTS // len(samples[0])),
        confidence_level=CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(SEED),
    )
    return _Resampled(tuple(result.confidence_interval), result.bootstrap_distribution)


def _divide(
    numerators: np.ndarray, denominators: np.ndarray, axis: int, otherwise: float | np.ndarray
) -> np.ndarray:
    """Ratio of sums; `otherwise` where a sum of denominators is 0 (a resample without words)."""
    above, below = np.asarray(numerators.sum(axis)), np.asarray(denominators.sum(axis))
    return np.divide(above, below, out=np.full(above.shape, float(otherwise)), where=below > 0)


def _by_speaker(samples: list[np.ndarray], speakers: Sequence[Hashable] | None) -> list[np.ndarray]:
    """Sums over the utterances of each speaker, if there are enough of them."""
    if speakers is None or len(set(speakers)) < MIN_SPEAKERS:
        return samples
    number = {speaker: i for i, speaker in enumerate(dict.fromkeys(speakers))}
    of_utterance = np.array([number[speaker] for speaker in speakers])
    return [np.bincount(of_utterance, weights=sample) for sample in samples]


def _unseen(n: int) -> float:
    """Upper Wilson bound of the share of a kind that `n` units showed none of."""
    return proportion(0, n)["high"]


def _overlap(reference: Counter[Any], hypothesis: Counter[Any]) -> Overlap:
    return Overlap((reference & hypothesis).total(), reference.total(), hypothesis.total())


def _inside(node: Node) -> list[Node]:
    return [child for child in node.children if isinstance(child, Node)]
