"""Missing results, and the commands that make them: with all options of the run, to be pasted."""

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from atat.config.experiment_tables import Row, Tables

NOT_TRAINED = "not trained"
# Options that say what to do this time; all others say what of, and stay in every hint.
OF_ONE_RUN = ("stage", "stop_stage", "experiment", "table", "part", "resume", "check", "dry_run")


@dataclass(frozen=True)
class Hint:
    """A missing result, and the command that makes it; "" where none can."""

    what: str
    command: str = ""

    def __str__(self) -> str:
        return f"{self.what}: {self.command}" if self.command else self.what


@dataclass(frozen=True)
class Driver:
    """The command that a report belongs to.

    Attributes:
        words: the program and its options, but those of one run.
        has_own_splits: whether somebody wrote the splits, and stage 1 would ask for another corpus.
    """

    words: tuple[str, ...] = ("./run.sh",)
    has_own_splits: bool = False

    @classmethod
    def of(cls, command: str) -> "Driver":
        """Read a command line.

        Raises:
            ValueError: it is empty, or a quotation in it has no end.

        >>> str(Driver.of("./run.sh --grammar 'my own.yaml' --stage 5 --experiment=e2e"))
        "./run.sh --grammar 'my own.yaml'"
        """
        try:
            words = shlex.split(command)
        except ValueError as e:
            raise ValueError(f"--command: got {command}, expected a command line: {e}") from e
        if not words:
            raise ValueError("--command: got nothing, expected a command line")
        kept, rest = [], iter(words)
        for word in rest:
            name, has_value, _ = word.partition("=")
            if word.startswith("--") and name[2:].replace("-", "_") in OF_ONE_RUN:
                if not has_value:
                    next(rest, None)
            else:
                kept.append(word)
        return cls(tuple(kept))

    def __str__(self) -> str:
        return shlex.join(self.words)

    def with_options(self, *more: str) -> str:
        """The same command with more options, to be pasted.

        Splits that somebody wrote are used from stage 4 on, unless the options say from where:
        --stage 2 would make anew what other experiments were trained on.
        """
        later = ("--stage", "4") if self.has_own_splits and "--stage" not in more else ()
        return shlex.join([*self.words, *more, *later])

    @property
    def is_of_recipe(self) -> bool:
        """Whether the data are those that the recipe is about."""
        return self.grammar is None and not self.has_own_splits

    @property
    def grammar(self) -> Path | None:
        """What --grammar gives, if it is there."""
        for number, word in enumerate(self.words):
            name, has_value, value = word.partition("=")
            if name == "--grammar":
                return Path(value if has_value else "".join(self.words[number + 1 : number + 2]))
        return None


class Lacking(Protocol):
    """What `of` needs of a recipe's results (`results.Results`, which needs this module)."""

    driver: Driver
    tables: Tables
    rows: list[Any]  # `results.Result`


def of(results: Lacking) -> list[Hint]:
    """What rows of the table lack, in a few lines, and the commands that make it.

    With a grammar or splits of one's own, rows about intents of the recipe's are left out.
    """
    driver, found = results.driver, []
    for hint, rows in _lacking(results).items():
        which = rows[0].row if len(rows) == 1 else f"{len(rows)} rows"
        command = hint.command
        if hint.what.startswith(NOT_TRAINED):
            names = list(dict.fromkeys(row.experiment for row in rows if row.experiment))
            command = driver.with_options("--experiment", names[0])
            if len(names) > 1 and driver.is_of_recipe:
                command = driver.with_options("--table", "true")
            elif len(names) > 1:
                which += f", of experiments {', '.join(names)}"
        found.append(Hint(f"{which}: {hint.what}", command))
    return found


def summary(results: Lacking) -> Hint | None:
    """The same in one line: how many rows lack what, and the command that makes most of it."""
    reasons: dict[str, int] = {}
    for hint, rows in _lacking(results).items():
        reason = hint.what.partition(" (")[0]
        reasons[reason] = reasons.get(reason, 0) + len(rows)
    if not reasons:
        return None
    what = ", ".join(reasons)
    if len(reasons) > 1:
        what = ", ".join(f"{num} {reason}" for reason, num in reasons.items())
    commands = list(dict.fromkeys(hint.command for hint in of(results) if hint.command))
    command = commands[0] if commands else ""
    if len(commands) > 1 and results.driver.is_of_recipe:
        command = results.driver.with_options("--table", "true")
    num = sum(reasons.values())
    return Hint(f"{num} row{'s' * (num > 1)} ({what})", command)


def _lacking(results: Lacking) -> dict[Hint, list[Row]]:
    """The rows that lack the same."""
    lacking: dict[Hint, list[Row]] = {}
    for result in results.rows:
        hint, row = result.missing, result.row
        is_ours = results.driver.is_of_recipe or not _names_intents(results.tables, row)
        if hint is None or not is_ours:
            continue
        # With the number of missing seeds and parts, where a row has several.
        key = Hint(hint.what) if hint.what.startswith(NOT_TRAINED) else hint
        lacking.setdefault(key, []).append(row)
    return lacking


def _names_intents(tables: Tables, row: Row) -> bool:
    """Whether a row is about intents that the recipe names."""
    assert row.experiment is not None  # else it lacks nothing
    sources = tables.experiments[row.experiment].config.get("train", {}).get("sources", [])
    of_subset = row.subset is not None and tables.subsets[row.subset].intents
    return bool(of_subset) or any(source.get("exclude_intents") for source in sources)
