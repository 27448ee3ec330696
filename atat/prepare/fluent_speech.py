"""Stage 1 of `fluent_speech`: Fluent Speech Commands, as its lists of recordings divide it.

Without `data.part`, these are `data/{train,valid,test}_data.csv`. With `data.part=unseen` or
`challenge`, those of `data/<part>_splits/` (Arora et al. 2021), which hold speakers or sentences of
the test out of training: each list is a split, and `test` is all lists of the test together.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path, PurePosixPath

from atat.common import cli
from atat.config import config_file
from atat.config.schema import DataConfig
from atat.prepare import corpus, spoken_grammar
from atat.prepare.corpus import Utterance
from atat.semantics import triples
from atat.semantics.triples import Triple

COLUMNS = ("path", "speakerId", "transcription", "action", "object", "location")
PARTS = ("unseen", "challenge")
# Published: utterances and speakers (Lugosch et al. 2019).
UTTERANCES = {"train": 23132, "valid": 3118, "test": 3793}
SPEAKERS = {"train": 77, "valid": 10, "test": 10}
NUM_PHRASES, NUM_INTENTS = 248, 31


@dataclass(frozen=True)
class Recording:
    """One line of a list."""

    wav: Path
    speaker: str
    text: str
    triple: Triple

    @property
    def id(self) -> str:
        """Utterance id, `<speaker>-<name of the file>`."""
        return f"{self.speaker}-{self.wav.stem}"


def find_lists(corpus_dir: Path, part: str | None) -> dict[str, Path]:
    """Split -> its list, train first.

    Raises:
        ValueError: there is no such part. FileNotFoundError: a list is missing.
    """
    if part is None:
        lists = {split: corpus_dir / "data" / f"{split}_data.csv" for split in UTTERANCES}
    elif part in PARTS:
        directory = corpus_dir / "data" / f"{part}_splits"
        names = sorted(path.name.removesuffix("_data.csv") for path in directory.glob("*_data.csv"))
        tests = [name for name in names if name not in ("train", "valid")]
        lists = {name: directory / f"{name}_data.csv" for name in ("train", "valid", *tests)}
        if not tests:
            lists["test"] = directory / "test_data.csv"
    else:
        raise ValueError(f"data.part is '{part}', expected null, {' or '.join(PARTS)}")
    for path in lists.values():
        if not path.is_file():
            raise FileNotFoundError(
                f"{path}: no such file; expected the directory of Fluent Speech Commands, with "
                "data/train_data.csv and wavs/speakers/"
            )
    return lists


def read_list(path: Path, corpus_dir: Path) -> list[Recording]:
    """The recordings of a list; columns are found by their names, others are left alone.

    Raises:
        ValueError: a column is missing, a line has no value for one, or a path leads elsewhere; the
            message names file and line.
    """
    recordings = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True)
            missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
            if missing:
                got = ", ".join(filter(None, rows.fieldnames or ())) or "nothing"
                raise ValueError(f"{path}:1: no column {', '.join(missing)}; got {got}")
            for row in rows:
                where = f"{path}:{rows.line_num}"
                empty = [name for name in COLUMNS if not (row[name] or "").strip()]
                if empty or None in row:
                    wrong = f"no {', '.join(empty)}" if empty else "more values than columns"
                    raise ValueError(f"{where}: {wrong}; correct the line")
                recordings.append(_recording(row, corpus_dir, where))
    except (csv.Error, UnicodeDecodeError) as e:
        raise ValueError(f"{path}: not a CSV file in UTF-8: {e}") from e
    if not recordings:
        raise ValueError(f"{path}: has no recordings in it")
    return recordings


def to_utterances(recordings: list[Recording], path: Path) -> list[Utterance]:
    """The lines of a split.

    Raises:
        ValueError: a triple and its transcript give no target sequence (atat/semantics/triples.py).
    """
    sequences: dict[tuple[Triple, str], str] = {}
    for said in {(r.triple, r.text): None for r in recordings}:
        try:
            sequences[said] = triples.to_sequence(*said)
        except ValueError as e:
            raise ValueError(f"{path}: {e}") from e
    return [
        Utterance(r.id, r.wav, r.text, sequences[r.triple, r.text], r.speaker) for r in recordings
    ]


def sentences(utterances: list[Utterance]) -> list[Utterance]:
    """What is said in them, each sentence once and without speech: for NLU."""
    said = sorted({(u.text, u.semantics) for u in utterances})
    return [
        Utterance(f"train_text-{number:06d}", text=text, semantics=sequence)
        for number, (text, sequence) in enumerate(said)
    ]


def prepare(corpus_dir: Path, data: Path, settings: DataConfig) -> list[str]:
    """Write the splits, and `train_text`; all is read before anything is written.

    Returns:
        their names.

    Raises:
        ValueError, FileNotFoundError: as the functions above; a recording that is in two lists.
    """
    splits = {
        split: to_utterances(read_list(path, corpus_dir), path)
        for split, path in find_lists(corpus_dir, settings.part).items()
    }
    if "test" not in splits:
        tests = [split for split in splits if split not in ("train", "valid")]
        splits["test"] = list({u.id: u for split in tests for u in splits[split]}.values())
    splits["train_text"] = sentences(splits["train"])
    corpus.write_splits(data, splits, settings.max_missing)
    name = "Fluent Speech Commands" + (f", {settings.part} splits" if settings.part else "")
    speakers = _speakers(u for split in splits.values() for u in split)
    corpus.write_about(data, name, corpus.speech(settings, len(speakers)), "triple")
    return list(splits)


def check(corpus_dir: Path, settings: DataConfig) -> None:
    """Print what the directory holds beside what was published, and that `data.part` can be used.

    Raises:
        ValueError, FileNotFoundError: it cannot be used.
    """
    find_lists(corpus_dir, settings.part)
    splits = {
        split: to_utterances(read_list(path, corpus_dir), path)
        for split, path in find_lists(corpus_dir, None).items()
    }
    corpus.check_apart(_ids(splits))
    lines: list[tuple[str, int, int | None]] = []
    for split, utterances in splits.items():
        lines.append((f"{split}: utterances", len(utterances), UTTERANCES[split]))
        lines.append((f"{split}: speakers", len(_speakers(utterances)), SPEAKERS[split]))
    everything = [utterance for split in splits.values() for utterance in split]
    intents = {triples.from_sequence(u.semantics) for u in everything if u.semantics is not None}
    lines.append(("phrases", len({u.text for u in everything}), NUM_PHRASES))
    lines.append(("intents", len(intents), NUM_INTENTS))
    problems = []
    for one, other in combinations(splits, 2):
        if both := _speakers(splits[one]) & _speakers(splits[other]):
            problems.append(f"speakers in {one} and {other}: {corpus.examples(both)}")
    for part in PARTS:
        if (corpus_dir / "data" / f"{part}_splits").is_dir():
            lists = {
                split: to_utterances(read_list(path, corpus_dir), path)
                for split, path in find_lists(corpus_dir, part).items()
            }
            try:
                corpus.check_apart(_ids(lists))
            except ValueError as e:
                problems.append(f"data.part={part} cannot be used: {e}")
            lines += [(f"{part} {s}: utterances", len(us), None) for s, us in lists.items()]
        else:
            problems.append(f"no data/{part}_splits (data.part={part} needs it)")
    corpus.print_check(f"{corpus_dir}: Fluent Speech Commands", lines, problems)
    for split, utterances in splits.items():
        corpus.drop_missing(split, utterances, settings.max_missing)


def main() -> None:
    """Stage 1, from the command line."""
    args = corpus.parser(__doc__).parse_args()
    settings = config_file.load(args.config, args.overrides).data
    if args.check:
        check(args.corpus_dir, settings)
        return
    splits = prepare(args.corpus_dir, args.data, settings)
    voices = dict.fromkeys(set(splits) - {"train_text"}, corpus.spoken_by(settings))
    spoken_grammar.print_table(args.data, tuple(splits), voices)


def _recording(row: dict[str, str], corpus_dir: Path, where: str) -> Recording:
    path = PurePosixPath(row["path"].strip())
    if path.is_absolute() or ".." in path.parts:
        raise ValueError(f"{where}: path '{path}' leads out of the corpus; correct the line")
    text = corpus.normalize(row["transcription"])
    if not text:
        raise ValueError(f"{where}: transcription '{row['transcription']}' has no word")
    values = (" ".join(row[name].lower().split()) for name in ("action", "object", "location"))
    return Recording(corpus_dir / path, row["speakerId"].strip(), text, Triple(*values))


def _ids(splits: dict[str, list[Utterance]]) -> dict[str, list[str]]:
    return {split: [u.id for u in utterances] for split, utterances in splits.items()}


def _speakers(utterances: Iterable[Utterance]) -> set[str]:
    return {u.speaker for u in utterances if u.speaker}


if __name__ == "__main__":
    cli.run(main)
