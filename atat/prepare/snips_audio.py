"""Stage 1 of `snips_audio`: SNIPS smart-lights, one fold of close or far field.

`data.part=close_3` holds the speakers of the third fold of close field out for testing. Which
speakers are a fold follows from the seed; validation are utterances of the speakers of training.
A recording has its intent and slots from the sentence of `dataset.json` that has its words.
"""

import json
import random
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from atat.common import cli
from atat.common.files import is_file
from atat.config import config_file, schema
from atat.prepare import corpus, spoken_grammar
from atat.prepare.corpus import Utterance
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Node

FIELDS = ("close", "far")
VALID_SHARE = 0.1  # of the utterances that are not for testing
# Published, of close field (Saade et al. 2018; docs/corpora.md).
NUM_QUERIES, NUM_RECORDINGS, NUM_SPEAKERS, NUM_INTENTS = 1765, 1660, 52, 6
# The corpus of typed queries that has nearly the same name.
SNIPS_NLU = (
    *("AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook"),
    *("SearchCreativeWork", "SearchScreeningEvent"),
)


@dataclass
class Corpus:
    """One field, as it was read."""

    queries: dict[str, str]  # words without spaces -> target sequence
    num_queries: int  # in dataset.json, repetitions included
    recordings: list[Utterance]  # those of metadata.json that have a query; audio may be missing
    unmatched: list[str]  # texts of the others
    ambiguous: list[str]  # texts of queries with more than one reading; the first is taken


def field_directory(corpus_dir: Path, field: str) -> Path:
    """Where a field lies.

    Raises:
        ValueError: this is SNIPS NLU. FileNotFoundError: it is not there.
    """
    directory = corpus_dir / f"smart-lights-en-{field}-field"
    if not directory.is_dir():
        if is_snips_nlu(corpus_dir):
            raise ValueError(
                f"{corpus_dir}: this is SNIPS NLU (typed queries of 7 intents, no audio), expected "
                "SNIPS smart-lights with smart-lights-en-close-field/ (on request from Snips/Sonos)"
            )
        raise FileNotFoundError(
            f"{directory}: no such directory; expected SNIPS smart-lights with "
            "smart-lights-en-{close,far}-field/"
        )
    for name in ("dataset.json", "speech_corpus/metadata.json"):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory / name}: no such file; unpack the corpus again")
    return directory


def is_snips_nlu(directory: Path) -> bool:
    """Whether it has a directory of one of the seven intents, in any of the layouts around."""
    roots = [directory, *(d for d in directory.glob("*") if d.is_dir())]
    return (
        any((root / intent).is_dir() for root in roots for intent in SNIPS_NLU)
        or any((root / "seq.in").is_file() for root in roots)
        or any(any(directory.glob(f"*_{intent}*.json")) for intent in SNIPS_NLU)
    )


def read_queries(path: Path) -> list[str]:
    """The sentences of a `dataset.json` as target sequences.

    Raises:
        ValueError: the file is not of that form, or is that of SNIPS NLU.
    """
    content = _read_json(path)
    try:
        intents = {
            intent: [_sequence(intent, utterance["data"]) for utterance in what["utterances"]]
            for intent, what in content["intents"].items()
        }
    except (KeyError, TypeError, AttributeError, ValueError) as e:
        raise ValueError(
            f"{path}: expected intents with utterances, whose data are chunks with a text "
            f"({type(e).__name__}: {e})"
        ) from e
    if nlu := sorted(set(intents) & set(SNIPS_NLU)):
        raise ValueError(f"{path}: has the intent {nlu[0]}: SNIPS NLU, expected smart-lights")
    return [sequence for sequences in intents.values() for sequence in sequences]


def read_field(directory: Path) -> Corpus:
    """Queries and recordings of a field.

    Raises:
        ValueError: a file that is not of the corpus's form.
    """
    sequences = read_queries(directory / "dataset.json")
    read = Corpus({}, len(sequences), [], [], [])
    for sequence in sequences:
        key = _key(target_sequence.words(sequence))
        if read.queries.setdefault(key, sequence) != sequence:
            read.ambiguous.append(target_sequence.words(sequence))
    path = directory / "speech_corpus" / "metadata.json"
    named: dict[str, str] = {}
    for name, record in _read_json(path).items():
        try:
            text, wav = record["text"], PurePath(record["filename"]).name
            speaker = re.sub(r"\s+", "_", str(record["worker"]["id"]))
            query = read.queries.get(_key(text))
        except (KeyError, TypeError, AttributeError) as e:
            raise ValueError(
                f"{path}: record '{name}' is {str(record)[:80]}, expected a text, a filename and "
                "a worker with an id"
            ) from e
        if wav and wav in named:
            raise ValueError(
                f"{path}: records '{named[wav]}' and '{name}' are both of the recording {wav}; "
                "expected one each (unpack the corpus again)"
            )
        named[wav] = name
        if query is None:
            read.unmatched.append(" ".join(text.split()))
            continue
        read.recordings.append(
            Utterance(
                f"{speaker}-{name.zfill(5)}",
                directory / "speech_corpus" / "audio" / wav,
                target_sequence.words(query),
                query,
                speaker,
            )
        )
    return read


def divide(utterances: list[Utterance], num_folds: int, seed: int) -> list[list[Utterance]]:
    """Folds by speaker, as equal as speakers allow: the one who said most goes first.

    Raises:
        ValueError: there are too few speakers, or one fold would be over twice another.
    """
    count = Counter(u.speaker for u in utterances if u.speaker is not None)
    if not 2 <= num_folds <= len(count):
        raise ValueError(
            f"data.num_folds is {num_folds}, expected 2 to {len(count)}: a fold needs a speaker"
        )
    speakers = sorted(count)
    random.Random(f"{seed} folds").shuffle(speakers)
    sizes = [0] * num_folds
    fold_of: dict[str | None, int] = {}
    for speaker in sorted(speakers, key=lambda speaker: count[speaker], reverse=True):
        fold_of[speaker] = sizes.index(min(sizes))
        sizes[fold_of[speaker]] += count[speaker]
    if max(sizes) > 2 * min(sizes):
        raise ValueError(
            f"{num_folds} folds by speaker would have {min(sizes)} to {max(sizes)} utterances, "
            "expected no fold over twice another; set data.num_folds lower"
        )
    return [[u for u in utterances if fold_of[u.speaker] == fold] for fold in range(num_folds)]


def splits_of(
    read: Corpus, folds: list[list[Utterance]], fold: int, seed: int
) -> dict[str, list[Utterance]]:
    """train, train_text, valid, test -> utterances, where the fold of that index is the test.

    train_text has all queries but those that are said in valid or test.

    Args:
        read: the field.
        folds: its usable recordings, as `divide` gives them.
        fold: index of the test.
        seed: of the draw of valid.
    """
    test = folds[fold]
    rest = sorted((u for other in folds if other is not test for u in other), key=lambda u: u.id)
    random.Random(f"{seed} valid").shuffle(rest)
    num_valid = max(1, round(VALID_SHARE * len(rest)))
    valid, train = rest[:num_valid], rest[num_valid:]
    held_out = {_key(u.text) for u in [*valid, *test] if u.text is not None}
    written = [sequence for key, sequence in read.queries.items() if key not in held_out]
    train_text = [
        Utterance(f"train_text-{number:05d}", text=target_sequence.words(s), semantics=s)
        for number, s in enumerate(sorted(written))
    ]
    return {"train": train, "train_text": train_text, "valid": valid, "test": test}


def prepare(corpus_dir: Path, data: Path, settings: schema.Config) -> None:
    """Write the splits of `data.part`.

    Raises:
        ValueError, FileNotFoundError: as the functions above, or too much is missing.
    """
    field, fold = parse_part(settings.data.part, settings.data.num_folds)
    read = read_field(field_directory(corpus_dir, field))
    recordings = usable(read, field, settings.data.max_missing)
    folds = divide(recordings, settings.data.num_folds, settings.seed)
    splits = splits_of(read, folds, fold, settings.seed)
    corpus.write_splits(data, splits)
    speakers = {u.speaker for u in recordings}
    # One sentence for the report of all parts.
    speech = corpus.speech(settings.data, len(speakers), f"{len(folds)} folds by speaker")
    corpus.write_about(data, f"SNIPS smart-lights, {field} field", speech, "frame")


def parse_part(part: str | None, num_folds: int) -> tuple[str, int]:
    """Field and index of the fold.

    >>> parse_part("far_5", 5)
    ('far', 4)
    """
    field, _, number = (part or "").partition("_")
    if field not in FIELDS or number not in map(str, range(1, num_folds + 1)):
        raise ValueError(f"data.part is {part!r}, expected close_1 to far_{num_folds}")
    return field, int(number) - 1


def usable(read: Corpus, field: str, max_missing: float) -> list[Utterance]:
    """The recordings that have both audio and a query; the others are counted on stderr.

    Raises:
        ValueError: more than a share of `max_missing` lacks one of them.
    """
    num = len(read.recordings) + len(read.unmatched)
    if read.unmatched:
        named = "; ".join(sorted(read.unmatched)[: corpus.NUM_NAMED])
        what = f"{field}: {len(read.unmatched)} of {num} recordings have no query: {named}"
        if not read.recordings or len(read.unmatched) > max_missing * num:
            raise ValueError(f"{what}; the limit is {max_missing:.1%} (data.max_missing)")
        print(f"{what}; they are left out", file=sys.stderr)
    if read.ambiguous:
        named = "; ".join(sorted(read.ambiguous)[: corpus.NUM_NAMED])
        print(
            f"{field}: {len(read.ambiguous)} queries have a second reading, which is not used: "
            f"{named}",
            file=sys.stderr,
        )
    return corpus.drop_missing(field, read.recordings, max_missing)


def check(corpus_dir: Path, settings: schema.Config) -> None:
    """Print what the directory holds beside what was published.

    Raises:
        ValueError, FileNotFoundError: it cannot be used.
    """
    lines: list[tuple[str, int, int | None]] = []
    problems, read = [], {}
    there = [field for field in FIELDS if (corpus_dir / f"smart-lights-en-{field}-field").is_dir()]
    for field in there or FIELDS:
        read[field] = found = read_field(field_directory(corpus_dir, field))
        with_audio = [u for u in found.recordings if u.wav is not None and is_file(u.wav)]
        lines += [
            (f"{field}: queries", found.num_queries, NUM_QUERIES),
            (f"{field}: recordings with audio", len(with_audio), NUM_RECORDINGS),
            (f"{field}: speakers", len({u.speaker for u in with_audio}), NUM_SPEAKERS),
            (
                f"{field}: intents",
                len({target_sequence.frame(s).intent for s in found.queries.values()}),
                NUM_INTENTS,
            ),
        ]
    for field in FIELDS:
        if field not in there:
            problems.append(f"no {field} field (data.part={field}_1 and so on need it)")
    corpus.print_check(f"{corpus_dir}: SNIPS smart-lights", lines, problems)
    for field, found in read.items():
        recordings = usable(found, field, settings.data.max_missing)
        divide(recordings, settings.data.num_folds, settings.seed)


def main() -> None:
    """Stage 1, from the command line."""
    args = corpus.parser(__doc__).parse_args()
    settings = config_file.load(args.config, args.overrides)
    if args.check:
        check(args.corpus_dir, settings)
        return
    prepare(args.corpus_dir, args.data, settings)
    voices = dict.fromkeys(("train", "valid", "test"), corpus.spoken_by(settings.data))
    spoken_grammar.print_table(args.data, ("train", "train_text", "valid", "test"), voices)


def _sequence(intent: str, chunks: list[dict[str, Any]]) -> str:
    """The target sequence of a sentence; a chunk with a slot is the slot's value."""
    children: list[Node | str] = []
    for chunk in chunks:
        words = corpus.normalize(chunk["text"]).split()
        slot = chunk.get("slot_name") or chunk.get("entity")
        if slot and words:
            children.append(Node(corpus.label(slot), tuple(words)))
        else:
            children += words
    if not children:
        raise ValueError(f"a sentence of {intent} has no words")
    return target_sequence.build(Node(corpus.label(intent), tuple(children)))


def _key(text: str) -> str:
    """What two texts share that differ in case, punctuation and where words are parted."""
    return re.sub(r"[\s']", "", corpus.normalize(text))


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, num in Counter(key for key, _ in pairs).items() if num > 1)
        raise ValueError(f"the key '{twice}' stands twice in one object")
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as e:
        raise ValueError(f"{path}: not a JSON file: {e}") from e
    if not isinstance(content, dict):
        raise ValueError(f"{path}: got a {type(content).__name__}, expected an object")
    return content


if __name__ == "__main__":
    cli.run(main)
