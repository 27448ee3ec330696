"""Stage 1 of `librispeech`: read speech with its words, to pretrain on (ASR, MLM).

Training is all `train-*` parts that are there, validation a `dev-*`, the test a `test-*`. Any
subset will do, mini_librispeech (openslr 31) too: without a `test-*` the `dev-*` is the test, and
what is missing then is split off training by speaker, which stderr says.
"""

import re
import sys
from collections.abc import Collection
from pathlib import Path

from atat.common import cli
from atat.common.files import sha256
from atat.config import config_file
from atat.config.schema import Config
from atat.prepare import corpus, spoken_grammar
from atat.prepare.corpus import Utterance

# Published: utterances of each part (Panayotov et al. 2015; openslr 31).
UTTERANCES = {
    "train-clean-100": 28539,
    "train-clean-360": 104014,
    "train-other-500": 148688,
    "train-clean-5": 1519,
    "dev-clean": 2703,
    "dev-clean-2": 1089,
    "dev-other": 2864,
    "test-clean": 2620,
    "test-other": 2939,
}
PAPER = ("train-clean-100", "train-clean-360", "train-other-500")
VALID = ("dev-clean", "dev-clean-2", "dev-other")  # the first that is there
TEST = ("test-clean", "test-other")
HELD_SPEAKERS = 0.05  # share of training's speakers that a split is of that has no part, at least 1
TRANSCRIPTS = "*/*/*.trans.txt"  # of a part


def find_parts(corpus_dir: Path) -> dict[str, Path]:
    """Name -> directory of the parts in a directory, or in `LibriSpeech` in it.

    Raises:
        FileNotFoundError: there is none.
    """
    names = (*VALID, *TEST)
    parts = {
        path.name: path
        for place in (corpus_dir / "LibriSpeech", corpus_dir)
        for path in sorted(place.glob("*-*"))
        if path.is_dir() and (path.name in names or path.name.startswith("train-"))
    }
    if not parts:
        hint = "expected LibriSpeech's directory"
        if next(corpus_dir.glob(TRANSCRIPTS), None) is not None:
            hint = f"it is a part itself: give {corpus_dir.absolute().parent}"
        raise FileNotFoundError(
            f"{corpus_dir}: has none of train-*, {', '.join(names)}, nor LibriSpeech/ with one; "
            f"{hint}"
        )
    return dict(sorted(parts.items()))


def split_parts(names: Collection[str]) -> dict[str, list[str]]:
    """Split -> names of its parts; none where it is split off training.

    >>> split_parts(["dev-clean", "test-clean", "train-clean-100"])
    {'train': ['train-clean-100'], 'valid': ['dev-clean'], 'test': ['test-clean']}
    >>> split_parts(["dev-clean-2", "train-clean-5"])
    {'train': ['train-clean-5'], 'valid': [], 'test': ['dev-clean-2']}
    """
    train = sorted(name for name in names if name.startswith("train-"))
    valid = [name for name in VALID if name in names][:1]
    test = [name for name in TEST if name in names][:1]
    if not test:
        valid, test = [], valid
    if not train:  # the largest that is there
        train, valid, test = (valid, [], test) if valid else (test, [], [])
    return {"train": train, "valid": valid, "test": test}


def read_part(directory: Path) -> list[Utterance]:
    """The utterances of `<speaker>/<chapter>/<speaker>-<chapter>.trans.txt` below a directory.

    Raises:
        ValueError: a line is not "id WORDS" of its speaker and chapter; names file and line.
        FileNotFoundError: there is no transcript.
    """
    utterances = []
    for path in sorted(directory.glob(TRANSCRIPTS)):
        chapter = path.name.removesuffix(".trans.txt")
        speaker = path.parent.parent.name
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as e:
            raise ValueError(f"{path}: not UTF-8 text: {e.reason}") from e
        for number, line in enumerate(lines, start=1):
            id_, _, words = line.partition(" ")
            text = corpus.normalize(words)
            of_chapter = re.fullmatch(re.escape(chapter) + "-[0-9]+", id_)
            if not (of_chapter and chapter.startswith(f"{speaker}-") and text):
                raise ValueError(
                    f"{path}:{number}: got '{line[:60]}', expected '{speaker}-CHAPTER-NUMBER WORDS'"
                )
            utterances.append(Utterance(id_, path.parent / f"{id_}.flac", text, None, speaker))
    if not utterances:
        raise FileNotFoundError(
            f"{directory}: no <speaker>/<chapter>/*.trans.txt with a line in it; unpack it again"
        )
    return utterances


def read(corpus_dir: Path) -> dict[str, list[Utterance]]:
    """The utterances of every split.

    Raises:
        ValueError: too few speakers to split some off; else as `find_parts` and `read_part`.
    """
    parts = find_parts(corpus_dir)
    return _splits({name: read_part(path) for name, path in parts.items()})


def hold_out(
    utterances: list[Utterance], splits: Collection[str]
) -> tuple[list[Utterance], dict[str, list[Utterance]]]:
    """Split a share of the speakers off for each of some splits; the same ones every time.

    Returns:
        what is left, and the utterances of each split.

    Raises:
        ValueError: there are too few speakers.
    """
    speakers = sorted({str(u.speaker) for u in utterances}, key=lambda s: sha256("held out", s))
    num = max(1, round(HELD_SPEAKERS * len(speakers)))
    if len(speakers) <= num * len(splits):
        raise ValueError(
            f"got {len(speakers)} speakers to train on, expected more: one each is split off for "
            f"{' and '.join(splits)}, which has no part (add dev-clean and test-clean)"
        )
    held = {
        split: {*speakers[place * num : (place + 1) * num]} for place, split in enumerate(splits)
    }
    left = set(speakers[num * len(splits) :])
    return [u for u in utterances if u.speaker in left], {
        split: [u for u in utterances if u.speaker in of] for split, of in held.items()
    }


def _splits(parts: dict[str, list[Utterance]]) -> dict[str, list[Utterance]]:
    """Parts as splits; says on stderr what is not as in the paper."""
    names = split_parts(parts)
    splits = {split: [u for name in names[split] for u in parts[name]] for split in names}
    lacking = [split for split, of in names.items() if not of]
    trained = ", ".join(names["train"])
    if lacking:
        splits["train"], held = hold_out(splits["train"], lacking)
        splits |= held
        for split in lacking:
            num = len({u.speaker for u in held[split]})
            print(
                f"{split}: {len(held[split])} utterances of {num} speakers, split off {trained}: "
                "it has no part here",
                file=sys.stderr,
            )
    for split, of in names.items():
        if any(not name.startswith(split.replace("valid", "dev")) for name in of):
            print(f"{split}: is {', '.join(of)}, there is no {split}-* here", file=sys.stderr)
    return splits


def training(settings: Config) -> list[Utterance]:
    """Training utterances of data.asr_corpus; none without it. Raises as `read`.

    They are the first data.num_asr (0: all) of a seeded order.
    """
    if not settings.data.asr_corpus:
        return []
    utterances = read(spoken_grammar.ROOT / settings.data.asr_corpus)["train"]
    num = settings.data.num_asr or len(utterances)
    return sorted(utterances, key=lambda u: sha256(str(settings.seed), "asr", u.id))[:num]


def check(corpus_dir: Path, max_missing: float) -> None:
    """Print what the directory holds beside what was published.

    Raises:
        ValueError, FileNotFoundError: it cannot be used.
    """
    lines: list[tuple[str, int, int | None]] = []
    problems = []
    directories = find_parts(corpus_dir)
    parts = {name: read_part(path) for name, path in directories.items()}
    for name, utterances in parts.items():
        lines.append((f"{name}: utterances", len(utterances), UTTERANCES.get(name)))
        flacs = {path.stem for path in directories[name].glob("*/*/*.flac")}
        if extra := flacs - {u.id for u in utterances}:
            problems.append(
                f"{name}: {len(extra)} recordings have no transcript: {corpus.examples(extra)}"
            )
    used = {name for of in split_parts(parts).values() for name in of}
    problems += [f"{name} is not used" for name in parts if name not in used]
    splits = _splits(parts)
    corpus.check_apart({split: [u.id for u in us] for split, us in splits.items()})
    lines.append(("speakers", len({u.speaker for us in splits.values() for u in us}), None))
    problems += [
        f"no {name}; the paper trains on all three train-* directories"
        for name in PAPER
        if name not in parts
    ]
    corpus.print_check(f"{corpus_dir}: LibriSpeech", lines, problems)
    for split, utterances in splits.items():
        corpus.drop_missing(split, utterances, max_missing)


def main() -> None:
    """Stage 1, from the command line."""
    args = corpus.parser(__doc__).parse_args()
    settings = config_file.load(args.config, args.overrides).data
    if args.check:
        check(args.corpus_dir, settings.max_missing)
        return
    splits = read(args.corpus_dir)
    corpus.write_splits(args.data, splits, settings.max_missing)
    speakers = {u.speaker for utterances in splits.values() for u in utterances}
    names = ", ".join(split_parts(find_parts(args.corpus_dir))["train"])
    corpus.write_about(
        args.data,
        "LibriSpeech",
        corpus.speech(settings, len(speakers), f"trained on {names}"),
        "frame",
    )
    voices = dict.fromkeys(splits, corpus.spoken_by(settings))
    spoken_grammar.print_table(args.data, tuple(splits), voices)


if __name__ == "__main__":
    cli.run(main)
