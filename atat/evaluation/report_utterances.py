"""The utterances that `report.html` shows of a row: right and wrong ones, beside other rows'."""

import difflib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp
from typing import Any

from atat.evaluation import metrics
from atat.evaluation.results import Result, Results
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame

MAX_NBEST = 5
MAX_CHARACTERS = 2000  # of a sequence; a model that rambles on says no more than the beginning

HypLine = dict[str, Any]  # a scored line of hyp.jsonl


@dataclass(frozen=True)
class Token:
    """One token of a sequence; `differs` where the other sequence does not have it there."""

    text: str
    differs: bool

    @property
    def is_tag(self) -> bool:
        """Whether it is an opening or closing tag."""
        return target_sequence.is_tag(self.text)


@dataclass(frozen=True)
class Candidate:
    """One of the n best.

    Attributes:
        score: log-probability, with CTC and length bonus as the search had them.
        share: of the probability of those that are kept, 0 to 1.
    """

    text: str
    score: float
    share: float
    is_right: bool


@dataclass(frozen=True)
class Other:
    """What other rows made of the same utterance: those with the same hypothesis together."""

    text: str
    is_right: bool
    rows: list[int]


@dataclass(frozen=True)
class Utterance:
    """One utterance of a row.

    Attributes:
        reference, hypothesis: marked where they differ.
        full: the hypothesis with its carrier words, where the reference has none.
        confidence: probability that it is right, 0 to 1, where decoding left one.
        nbest: none where only the best was kept.
        right_in, wrong_in: numbers of other rows.
    """

    id: str
    is_right: bool
    reason: str
    reference: list[Token]
    hypothesis: list[Token]
    full: str | None
    score: float | None
    confidence: float | None
    nbest: list[Candidate]
    others: list[Other]

    @property
    def right_in(self) -> list[int]:
        """Numbers of the other rows that have it right."""
        return sorted(row for other in self.others if other.is_right for row in other.rows)

    @property
    def wrong_in(self) -> list[int]:
        """Numbers of the other rows that have it wrong."""
        return sorted(row for other in self.others if not other.is_right for row in other.rows)

    @property
    def rank(self) -> int:
        """Of the first of the n best that is right; 0 where none is."""
        ranks = (rank for rank, one in enumerate(self.nbest, 1) if one.is_right)
        return next(ranks, 1 if self.is_right else 0)

    @property
    def num_characters(self) -> int:
        """Of all texts, about what it takes of the page."""
        tokens = sum(len(token.text) + 40 for token in (*self.reference, *self.hypothesis))
        texts = [*(one.text for one in self.nbest), *(other.text for other in self.others)]
        return tokens + sum(len(text) + 150 for text in texts) + 500


@dataclass(frozen=True)
class Pair:
    """A row against another on the utterances of both: how many each has right."""

    row: int
    both: int
    alone: int
    other_alone: int
    neither: int


_Key = tuple[tuple[str, ...], str, str]  # splits, utterance, reference


class Answers:
    """What every row answered to every utterance.

    Args:
        results: the rows; those without hypotheses are left out, and the others numbered from 0.
    """

    def __init__(self, results: Results) -> None:
        self.rows = [result for result in results.rows if result.lines]
        self._of: dict[_Key, dict[int, HypLine]] = {}
        self._splits: list[tuple[str, ...]] = []
        for number, result in enumerate(self.rows):
            runs = (record for _, record in results.runs_of(result.row))
            self._splits.append(tuple(sorted({str(record.get("split")) for record in runs})))
            for line in result.lines:
                self._of.setdefault(self._key(number, line), {})[number] = line

    def others(self, number: int, line: HypLine) -> dict[int, HypLine]:
        """Other rows' lines of the same utterance: of the same split and reference.

        A row of the same run (of a subset of its utterances) is no other.
        """
        own = self.rows[number].row
        return {
            other: found
            for other, found in self._of[self._key(number, line)].items()
            if (own.experiment, own.run) != _run_of(self.rows[other])
        }

    def pairs(self, number: int) -> list[Pair]:
        """A row against each other one that has utterances in common with it."""
        counts: dict[int, Counter[tuple[bool, bool]]] = {}
        for line in self.rows[number].lines:
            for other, found in self.others(number, line).items():
                counts.setdefault(other, Counter())[is_right(line), is_right(found)] += 1
        cases = (True, True), (True, False), (False, True), (False, False)
        return [Pair(row, *(counts[row][case] for case in cases)) for row in sorted(counts)]

    def chosen(self, number: int, max_wrong: int, max_right: int) -> list[HypLine]:
        """Lines of a row to show, by id: of too many, evenly spaced ones.

        Of the right ones, those come first that another row has wrong.
        """
        lines = sorted(self.rows[number].lines, key=lambda line: line["id"])
        wrong = [line for line in lines if not is_right(line)]
        right = [line for line in lines if is_right(line)]
        telling: list[HypLine] = []
        rest: list[HypLine] = []
        for line in right:
            is_common = all(map(is_right, self.others(number, line).values()))
            (rest if is_common else telling).append(line)
        picked = spaced(telling, max_right)
        picked += spaced(rest, max_right - len(picked))
        return sorted([*spaced(wrong, max_wrong), *picked], key=lambda line: line["id"])

    def utterance(self, number: int, line: HypLine, key: Callable[[str], Frame]) -> Utterance:
        """A line as the page shows it.

        Args:
            number: of the row.
            line: one of its lines.
            key: what EM Hyp compares, see `metrics.judge`.
        """
        reference, hypothesis, full = line["reference"], line["hypothesis"], None
        if "em_hyp" in line and line.get("em_full") is None:
            # No carrier words to compare with: compare what is asked for, in one order of slots.
            full = shortened(hypothesis)
            reference, hypothesis = _bare(reference), _bare(hypothesis)
        ours, theirs = compare(shortened(reference).split(), shortened(hypothesis).split())
        others: dict[str, Other] = {}
        for other, found in self.others(number, line).items():
            text = shortened(found["hypothesis"])
            others.setdefault(text, Other(text, is_right(found), [])).rows.append(other)
        return Utterance(
            id=line["id"],
            is_right=is_right(line),
            reason=line.get("reason") or "",
            reference=ours,
            hypothesis=theirs,
            full=full,
            score=line.get("score"),
            confidence=line.get("confidence"),
            nbest=_candidates(line, key),
            others=list(others.values()),
        )

    def _key(self, number: int, line: HypLine) -> _Key:
        return self._splits[number], line["id"], line["reference"]


def _run_of(result: Result) -> tuple[str | None, str | None]:
    return result.row.experiment, result.row.run


def is_right(line: HypLine) -> bool:
    """Whether intent and slots are right; of a transcript, all words."""
    if "em_hyp" in line:
        return bool(line["em_hyp"])
    return line["reference"].split() == line["hypothesis"].split()


def spaced(lines: list[HypLine], num: int) -> list[HypLine]:
    """At most so many, evenly spaced.

    >>> spaced([{"id": i} for i in range(10)], 3)
    [{'id': 0}, {'id': 3}, {'id': 6}]
    """
    if len(lines) <= num:
        return lines
    return [lines[i * len(lines) // num] for i in range(num)]


def compare(reference: Sequence[str], hypothesis: Sequence[str]) -> tuple[list[Token], list[Token]]:
    """Tokens of both, marked where they differ.

    >>> [token.text for token in compare(["a", "b", "c"], ["a", "x", "c"])[1] if token.differs]
    ['x']
    """
    matcher = difflib.SequenceMatcher(None, reference, hypothesis, autojunk=False)
    ours: list[Token] = []
    theirs: list[Token] = []
    for what, start, end, other_start, other_end in matcher.get_opcodes():
        ours += [Token(text, what != "equal") for text in reference[start:end]]
        theirs += [Token(text, what != "equal") for text in hypothesis[other_start:other_end]]
    return ours, theirs


def shortened(text: str) -> str:
    """The beginning of a text that is long, with how long it is.

    >>> shortened("x" * 3000)[1998:]
    'xx ... (3000 characters)'
    """
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]} ... ({len(text)} characters)"


def _candidates(line: HypLine, key: Callable[[str], Frame]) -> list[Candidate]:
    """The n best, where more than one was kept."""
    kept = [one for one in line.get("nbest") or [] if isinstance(one.get("score"), int | float)]
    if len(kept) < 2:
        return []
    highest = max(one["score"] for one in kept)
    total = sum(exp(one["score"] - highest) for one in kept)
    found = []
    for one in kept[:MAX_NBEST]:
        text, reference = one["hypothesis"], line["reference"]
        if "em_hyp" in line:
            right = metrics.judge(reference, text, key).em_hyp
        else:
            right = reference.split() == text.split()
        share = exp(one["score"] - highest) / total
        found.append(Candidate(shortened(text), one["score"], share, right))
    return found


def _bare(sequence: str) -> str:
    try:
        frame = target_sequence.frame(sequence)
    except ValueError:
        return sequence
    return target_sequence.build(Frame(*frame.key))
