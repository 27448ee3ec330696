"""Word alignments, in Kaldi's CTM format: `utterance channel start duration word [confidence]`.

Start and duration are seconds of the utterance's audio. An utterance's words stand together, in
order. Empty lines and comments (";; ...") are skipped.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from atat.common.files import atomic_write
from atat.data.kaldi_file import BOM, visible

SILENCES = ("<eps>", "<sil>")  # lines that some aligners write between the words
UNKNOWN = "<unk>"  # stands for a word that an aligner's lexicon does not have
_SECONDS = re.compile(r"[0-9]{1,5}(\.[0-9]+)?")


@dataclass(frozen=True)
class Word:
    """A word and where it is in the audio file."""

    word: str
    start_s: float
    duration_s: float


def path_of(split: str, data: Path, given: str | None) -> Path:
    """Where a split's alignments are: `given` is `train.ctm`, a directory that came with a corpus.

    >>> path_of("train", Path("data"), None).as_posix()
    'data/train/ctm'
    """
    return data / split / "ctm" if given is None else Path(given) / f"{split}.ctm"


def read(path: Path, texts: Mapping[str, str]) -> Iterator[tuple[str, list[Word]]]:
    """Utterances with their words, in the file's order; one utterance is held at a time.

    Args:
        path: the CTM file.
        texts: utterance id -> its words; the alignment has to be of them (case does not matter).

    Raises:
        ValueError: with file and line: not the format, an utterance that is not in `texts` or
            comes twice, words out of order or other than the text's.
    """
    seen: set[str] = set()
    words: list[Word] = []
    current, first = "", 0
    for number, (utterance, word) in chain(_lines(path), [(0, ("", None))]):
        if utterance != current:
            if current:
                yield current, _checked(words, texts[current], f"{path}:{first}: '{current}'")
            if utterance in seen:
                raise ValueError(f"{path}:{number}: utterance '{utterance}' stands here again")
            if utterance and utterance not in texts:
                raise ValueError(f"{path}:{number}: '{utterance}' is no utterance of this split")
            seen.add(utterance)
            current, words, first = utterance, [], number
        if word is not None:
            if words and word.start_s < words[-1].start_s:
                raise ValueError(f"{path}:{number}: '{word.word}' starts before the word above it")
            words.append(word)


def write(path: Path, alignments: Iterable[tuple[str, list[Word]]]) -> None:
    """Write alignments, to the millisecond."""
    with atomic_write(path) as file:
        for utterance, words in alignments:
            for word in words:
                file.write(f"{utterance} 1 {word.start_s:.3f} {word.duration_s:.3f} {word.word}\n")


def _lines(path: Path) -> Iterator[tuple[int, tuple[str, Word]]]:
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, start=1):
                cells = line.lstrip(BOM).split()
                if not cells or cells[0].startswith(";;"):
                    continue
                if len(cells) not in (5, 6) or not all(map(_SECONDS.fullmatch, cells[2:4])):
                    raise ValueError(
                        f"{path}:{number}: got '{visible(line.strip())[:80]}', expected "
                        "'utterance channel start duration word' with seconds of 0 or more"
                    )
                yield number, (cells[0], Word(cells[4], float(cells[2]), float(cells[3])))
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 text: {e.reason}") from e


def _checked(words: list[Word], text: str, where: str) -> list[Word]:
    """The words without silences, if they are those of the text."""
    spoken = [word for word in words if word.word not in SILENCES]
    expected = text.split()
    same = len(spoken) == len(expected) and all(
        word.word == UNKNOWN or word.word.lower() == text_word.lower()
        for word, text_word in zip(spoken, expected, strict=True)
    )
    if not same:
        raise ValueError(
            f"{where}: got the words '{' '.join(word.word for word in spoken)}', expected those of "
            f"its text, '{text}' (align again)"
        )
    return spoken
