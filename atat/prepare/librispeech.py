"""Stage 1 of `librispeech`: read speech with its words, to pretrain on (ASR, MLM).

Training is all `train-*` directories that are there, validation `dev-clean`, the test `test-clean`.
"""

import re
from pathlib import Path

from atat.common import cli
from atat.common.files import sha256
from atat.config import config_file
from atat.config.schema import Config
from atat.prepare import corpus, spoken_grammar
from atat.prepare.corpus import Utterance

# Published: utterances of each directory (Panayotov et al. 2015).
UTTERANCES = {
    "train-clean-100": 28539,
    "train-clean-360": 104014,
    "train-other-500": 148688,
    "dev-clean": 2703,
    "test-clean": 2620,
}
SPLITS = {"train": "train-*", "valid": "dev-clean", "test": "test-clean"}


def find_parts(corpus_dir: Path) -> dict[str, list[Path]]:
    """Split -> its directories.

    Raises:
        FileNotFoundError: a split has none.
    """
    parts = {
        split: sorted(path for path in corpus_dir.glob(pattern) if path.is_dir())
        for split, pattern in SPLITS.items()
    }
    for split, directories in parts.items():
        if not directories:
            inside = corpus_dir / "LibriSpeech"
            hint = f"give {inside}" if inside.is_dir() else "expected LibriSpeech's directory"
            raise FileNotFoundError(f"{corpus_dir}: no {SPLITS[split]} in it; {hint}")
    return parts


def read_part(directory: Path) -> list[Utterance]:
    """The utterances of `<speaker>/<chapter>/<speaker>-<chapter>.trans.txt` below a directory.

    Raises:
        ValueError: a line is not "id WORDS" of its speaker and chapter; names file and line.
        FileNotFoundError: there is no transcript.
    """
    utterances = []
    for path in sorted(directory.glob("*/*/*.trans.txt")):
        chapter = path.name.removesuffix(".trans.txt")
        speaker = path.parent.parent.name
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
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
    """The utterances of every split. Raises as `find_parts` and `read_part`."""
    return {
        split: [utterance for directory in directories for utterance in read_part(directory)]
        for split, directories in find_parts(corpus_dir).items()
    }


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
    problems, splits = [], {}
    for split, directories in find_parts(corpus_dir).items():
        splits[split] = []
        for directory in directories:
            utterances = read_part(directory)
            splits[split] += utterances
            published = UTTERANCES.get(directory.name)
            lines.append((f"{directory.name}: utterances", len(utterances), published))
            flacs = {path.stem for path in directory.glob("*/*/*.flac")}
            if extra := flacs - {u.id for u in utterances}:
                problems.append(
                    f"{directory.name}: {len(extra)} recordings have no transcript: "
                    f"{corpus.examples(extra)}"
                )
    corpus.check_apart({split: [u.id for u in us] for split, us in splits.items()})
    lines.append(("speakers", len({u.speaker for us in splits.values() for u in us}), None))
    for name in UTTERANCES:
        if not (corpus_dir / name).is_dir():
            problems.append(f"no {name}; the paper trains on all three train-* directories")
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
    names = ", ".join(path.name for path in find_parts(args.corpus_dir)["train"])
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
