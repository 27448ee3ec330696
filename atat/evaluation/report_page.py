"""`report.html`: one file with tables, plots, confused intents, and utterances to listen to."""

import base64
import hashlib
import importlib.resources
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atat.data import ctm
from atat.evaluation import report_measurements, scoring, slot_errors
from atat.evaluation.intents import MALFORMED, understood
from atat.evaluation.missing_results import Driver
from atat.evaluation.report_recordings import (
    MAX_SPECTROGRAMS,
    Player,
    Recordings,
    Spectrogram,
)
from atat.evaluation.report_tables import Table
from atat.evaluation.report_utterances import Answers, Pair, Utterance, is_right
from atat.evaluation.results import Results
from atat.evaluation.slot_errors import SlotErrors
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame

MAX_INTENTS = 25
MAX_UTTERANCES = 3000  # in one page, all rows together
MAX_CHARACTERS = 12_000_000  # of them, about
# What an utterance may have, and the setting of stage 5 that gives it.
DECODED_WITH = {"the n best": "decode.nbest=5", "confidence": "decode.confidence=true"}


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
class Shown:
    """An utterance in the page, with its recording and a picture of it, where there is one."""

    utterance: Utterance
    player: Player | None
    spectrogram: Spectrogram | None


@dataclass(frozen=True)
class Section:
    """One row's part of the page.

    Attributes:
        number: of the row, as in `Answers`.
        pairs: the row against others.
        slots: errors by slot; `players` has recordings of the utterances that they name.
    """

    number: int
    title: str
    num_utterances: int
    num_errors: int
    shown: list[Shown]
    pairs: list[Pair]
    confusion: Confusion | None
    slots: list[SlotErrors]
    players: dict[str, Player]

    @property
    def num_wrong_shown(self) -> int:
        """Of the utterances that are shown."""
        return sum(not one.utterance.is_right for one in self.shown)


def render(
    results: Results,
    tables: list[Table],
    title: str,
    pictures: dict[str, bytes],
    out: Path,
    max_errors: int,
    max_right: int = 20,
) -> str:
    """The page.

    Args:
        results: the rows and their hypotheses.
        tables: shown as they are, the scores first.
        title: of the page.
        pictures: title -> PNG, part of the page itself.
        out: the directory the page will stand in.
        max_errors: most errors shown of a row.
        max_right: most utterances shown of a row that are right.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    recordings, answers = Recordings(out), Answers(results)
    builder = Builder(results, answers, recordings, max_errors, max_right)
    sections = [builder.section(number) for number in range(len(answers.rows))]
    style, script = _template("report.css"), _template("report.js")
    # Nothing but this one script runs in the page, whatever a name or a hypothesis says.
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    return environment.from_string(_template("report.html")).render(
        title=title,
        command=str(results.driver),
        speech=results.speech,
        met_in_training=results.met_in_training,
        warnings=report_measurements.warnings(results),
        tables=tables,
        pictures={title: base64.b64encode(png).decode("ascii") for title, png in pictures.items()},
        sections=sections,
        titles=[section.title for section in sections],
        num_linked=recordings.num_linked,
        num_left_out=builder.num_left_out,
        lacking=_lacking(sections, builder.is_aligned, results.driver),
        # Files of ours, without data in them.
        style=Markup(style),
        script=Markup(script),
        script_digest=digest,
    )


def _lacking(
    sections: Sequence[Section], is_aligned: bool, driver: Driver
) -> list[tuple[str, str]]:
    """What no utterance of the page has, and the command that makes it."""
    shown = [one for section in sections for one in section.shown]
    there = {
        "words under spectrograms": is_aligned or not any(one.spectrogram for one in shown),
        "the n best": any(one.utterance.nbest for one in shown),
        "confidence": any(one.utterance.confidence is not None for one in shown),
    }
    commands = {"words under spectrograms": "python -m atat.align"}
    for what, setting in DECODED_WITH.items():
        commands[what] = driver.with_options("--stage", "5", "--set", setting)
    return [(what, commands[what]) for what, is_there in there.items() if not is_there]


def _template(name: str) -> str:
    path = importlib.resources.files(__package__) / "templates" / name
    return path.read_text(encoding="utf-8")


class Builder:
    """Sections of a page, within its limits.

    Args:
        results: the rows.
        answers: their hypotheses.
        recordings: of the page.
        max_errors, max_right: most utterances of a row that are shown.
    """

    def __init__(
        self,
        results: Results,
        answers: Answers,
        recordings: Recordings,
        max_errors: int,
        max_right: int,
    ) -> None:
        self._results, self._answers, self._recordings = results, answers, recordings
        num = max(len(answers.rows), 1)
        each = max(MAX_UTTERANCES // num, 1)
        self._max_errors = min(max_errors, max(2 * each // 3, 1))
        self._max_right = min(max_right, each // 3)
        self._max_spectrograms = max(MAX_SPECTROGRAMS // num, 1)
        self._num_characters_left = MAX_CHARACTERS
        self.num_left_out = 0  # utterances, for want of room
        self.is_aligned = False  # whether any word is known in time

    def section(self, number: int) -> Section:
        """What is shown of a row: of several seeds, the first, as the title says."""
        result = self._answers.rows[number]
        audio = self._results.audio(result.row)
        key = scoring.hypothesis_key(self._results.places_of(result.row)[0].data)
        slots = slot_errors.count(result.lines, key)
        named = [taken.id for slot in slots for taken in slot.taken]
        return Section(
            number=number,
            title=result.row.row + (f", seed {next(iter(result.seeds))}" if result.seeds else ""),
            num_utterances=len(result.lines),
            num_errors=sum(not is_right(line) for line in result.lines),
            shown=self._shown(number, audio, key),
            pairs=self._answers.pairs(number),
            confusion=confusion_of(result.lines),
            slots=slots,
            players={i: self._recordings.player(audio[i]) for i in named if i in audio},
        )

    def _shown(
        self, number: int, audio: dict[str, str], key: Callable[[str], Frame]
    ) -> list[Shown]:
        row = self._answers.rows[number].row
        words = _words_in_time(self._results, row)
        self.is_aligned |= bool(words)
        lines = self._answers.chosen(number, self._max_errors, self._max_right)
        # Errors are looked at first, and what is aligned has more to show.
        order = sorted(lines, key=lambda line: (is_right(line), line["id"] not in words))
        pictured = {line["id"] for line in order[: self._max_spectrograms]}
        found = []
        for line in lines:
            utterance, path = self._answers.utterance(number, line, key), audio.get(line["id"])
            if utterance.num_characters > self._num_characters_left:
                self.num_left_out += 1
                continue
            self._num_characters_left -= utterance.num_characters
            player = picture = None
            if path is not None:
                player = self._recordings.player(path)
            if path is not None and line["id"] in pictured:
                picture = self._recordings.spectrogram(path, words.get(line["id"], []))
            found.append(Shown(utterance, player, picture))
        return found


def _words_in_time(results: Results, row: Any) -> dict[str, list[ctm.Word]]:
    """Alignments of a row's utterances; none, and a line on standard error, where they are odd."""
    try:
        return results.alignments(row)
    except ValueError as e:
        print(f"atat.report: WARNING: no words under spectrograms: {e}", file=sys.stderr)
        return {}


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
