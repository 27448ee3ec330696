"""`report.html`: one file with tables, curves, confused intents, and errors to listen to."""

import base64
import difflib
import importlib.resources
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atat.evaluation import report_measurements, slot_errors
from atat.evaluation.intents import MALFORMED, understood
from atat.evaluation.report_audio import Recordings
from atat.evaluation.report_cells import Table
from atat.evaluation.results import Result, Results
from atat.evaluation.slot_errors import SlotErrors
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame

MAX_INTENTS = 25


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
class Error:
    """One wrong hypothesis beside its reference."""

    id: str
    reason: str
    reference: list[Token]
    hypothesis: list[Token]
    full: str | None  # the hypothesis with its carrier words, where the reference has none
    audio: str | None  # address of the recording


@dataclass(frozen=True)
class Confusion:
    """Counts of reference intent (down) by hypothesis intent (across), the confused ones only."""

    rows: list[str]
    columns: list[str]
    counts: dict[tuple[str, str], int]
    num_left_out: int

    def shade(self, row: str, column: str) -> float:
        """How dark a cell is, 0 to 1: its share of the row."""
        total = sum(self.counts.get((row, other), 0) for other in self.columns)
        return self.counts.get((row, column), 0) / total if total else 0.0


@dataclass(frozen=True)
class Section:
    """One row's part of the page."""

    title: str
    num_utterances: int
    num_errors: int
    errors: list[Error]
    confusion: Confusion | None
    slots: list[SlotErrors]
    audio: dict[str, str]  # utterance -> address of the recording, of those that `slots` names


def render(
    results: Results,
    tables: list[Table],
    title: str,
    pictures: dict[str, bytes],
    out: Path,
    max_errors: int,
) -> str:
    """The page.

    Args:
        results: the rows and their hypotheses.
        tables: shown as they are, the scores first.
        pictures: title -> PNG, part of the page itself.
        out: the directory the page will stand in.
        max_errors: most errors shown of a row.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    recordings = Recordings(out)
    sections = [
        section_of(result, results.audio(result.row), recordings, max_errors)
        for result in results.rows
        if result.lines
    ]
    template = importlib.resources.files(__package__) / "templates" / "report.html"
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        title=title,
        command=str(results.driver),
        speech=results.speech,
        warnings=report_measurements.warnings(results),
        tables=tables,
        pictures={title: base64.b64encode(png).decode("ascii") for title, png in pictures.items()},
        sections=sections,
        num_linked=recordings.num_linked,
    )


def section_of(
    result: Result, audio: dict[str, str], recordings: Recordings, max_errors: int
) -> Section:
    """Errors and confusion of one row. Of too many errors, evenly spaced ones are shown.

    Of several seeds they are the first one's, which the title says.

    Args:
        result: the row, with its lines of hyp.jsonl.
        audio: utterance -> path of its recording.
        recordings: gives their addresses in the page.
        max_errors: most errors shown.
    """
    wrong = sorted((line for line in result.lines if _is_wrong(line)), key=lambda line: line["id"])
    shown = wrong
    if len(wrong) > max_errors:
        shown = [wrong[i * len(wrong) // max_errors] for i in range(max_errors)]
    slots = slot_errors.count(result.lines)
    named = [taken.id for slot in slots for taken in slot.taken]
    return Section(
        title=result.row.row + (f", seed {next(iter(result.seeds))}" if result.seeds else ""),
        num_utterances=len(result.lines),
        num_errors=len(wrong),
        errors=[_error(line, audio.get(line["id"]), recordings) for line in shown],
        confusion=confusion_of(result.lines),
        slots=slots,
        audio={i: recordings.address(audio[i]) for i in named if i in audio},
    )


def confusion_of(lines: Sequence[dict[str, Any]]) -> Confusion | None:
    """Which intents were taken for which; None for transcripts and where none was confused.

    >>> line = {"em_hyp": False, "reference": "go( )go", "hypothesis": "stop( )stop"}
    >>> confusion_of([line, line]).counts
    {('go', 'stop'): 2}
    """
    if not lines or "em_hyp" not in lines[0]:
        return None
    counts = Counter(
        (target_sequence.parse(line["reference"]).label, understood(line["hypothesis"]))
        for line in lines
    )
    confused: Counter[str] = Counter()
    for (reference, hypothesis), count in counts.items():
        if reference != hypothesis:
            confused[reference] += count
    if not confused:
        return None
    rows = sorted(intent for intent, _ in confused.most_common(MAX_INTENTS))
    heard = {hypothesis for reference, hypothesis in counts if reference in rows}
    columns = sorted(heard, key=lambda intent: (intent == MALFORMED, intent))
    kept = {pair: count for pair, count in counts.items() if pair[0] in rows}
    return Confusion(rows, columns, kept, len(confused) - len(rows))


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


def _is_wrong(line: dict[str, Any]) -> bool:
    if "em_hyp" in line:
        return not line["em_hyp"]
    return line["reference"].split() != line["hypothesis"].split()


def _error(line: dict[str, Any], audio: str | None, recordings: Recordings) -> Error:
    reference, hypothesis, full = line["reference"], line["hypothesis"], None
    if "em_hyp" in line and line.get("em_full") is None:
        # No carrier words to compare with: compare what is asked for, in one order of slots.
        reference, hypothesis, full = _bare(reference), _bare(hypothesis), hypothesis
    ours, theirs = compare(reference.split(), hypothesis.split())
    return Error(
        id=line["id"],
        reason=line.get("reason") or "",
        reference=ours,
        hypothesis=theirs,
        full=full,
        audio=None if audio is None else recordings.address(audio),
    )


def _bare(sequence: str) -> str:
    try:
        frame = target_sequence.frame(sequence)
    except ValueError:
        return sequence
    return target_sequence.build(Frame(*frame.key))
