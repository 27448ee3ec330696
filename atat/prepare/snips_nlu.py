"""Reads SNIPS NLU (Coucke et al. 2018): typed sentences of seven intents, CC0.

`<Intent>/train_<Intent>_full.json` and `<Intent>/validate_<Intent>.json`, each
`{"<Intent>": [{"data": [{"text": "Add another "}, {"text": "song", "entity": "music_item"}, ...]},
...]}`: a sentence is its chunks joined. Not SNIPS smart-lights, which has speech (`snips_audio`).
"""

import json
import sys
from pathlib import Path
from typing import Any

from atat.common.json_file import WRONG_JSON
from atat.prepare import corpus
from atat.prepare.top_format import Sentence
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Node
from atat.semantics.text_normalization import join_clitics, normalize_tokens

INTENTS = (
    *("AddToPlaylist", "BookRestaurant", "GetWeather", "PlayMusic", "RateBook"),
    *("SearchCreativeWork", "SearchScreeningEvent"),
)
FILES = {"train": "train_{}_full.json", "validate": "validate_{}.json"}
PUBLISHED = {"train": 13784, "validate": 700}  # sentences
MAX_BROKEN = 0.01  # share of the sentences that cannot be used


def find(corpus_dir: Path) -> Path:
    """The directory of the intents: `corpus_dir`, or one inside it.

    Raises:
        FileNotFoundError: neither has the seven intents.
    """
    inside = sorted(path for path in corpus_dir.glob("*") if path.is_dir())
    for place in (corpus_dir, *inside):
        if all((place / intent).is_dir() for intent in INTENTS):
            return place
    raise FileNotFoundError(
        f"{corpus_dir}: found no directory with {', '.join(INTENTS)} in it, as SNIPS NLU has "
        "(2017-06-custom-intent-engines of the nlu-benchmark)"
    )


def read(corpus_dir: Path, split: str) -> list[Sentence]:
    """The sentences of a split, intent by intent; `domain` is the intent.

    Args:
        corpus_dir: as `find` takes it.
        split: train or validate.

    Raises:
        FileNotFoundError: a file is missing. ValueError: a file of another form, or more than
            `MAX_BROKEN` of the sentences without words.
    """
    directory = find(corpus_dir)
    sentences: list[Sentence] = []
    broken: list[str] = []
    for intent in INTENTS:
        path = directory / intent / FILES[split].format(intent)
        for number, chunks in enumerate(_chunks(path, intent), start=1):
            try:
                sequence = sequence_of(intent, chunks)
                words = target_sequence.words(sequence)
                if not words:
                    raise ValueError("it has no words")
            except ValueError as e:
                broken.append(f"{path}: sentence {number}: {e}")
                continue
            key = f"{split}-{intent}-{number:05d}"
            sentences.append(Sentence(key, intent, words, sequence))
    if broken:
        num = len(sentences) + len(broken)
        what = f"{len(broken)} of {num} sentences cannot be used, as: {broken[0]}"
        if len(broken) > MAX_BROKEN * num:
            raise ValueError(f"{what} (unpack the corpus again)")
        print(f"{what}; dropped", file=sys.stderr)
    return sentences


def sequence_of(intent: str, chunks: list[tuple[str, str | None]]) -> str:
    """The target sequence of a sentence's (text, slot) chunks.

    >>> sequence_of("PlayMusic", [("Play ", None), ("Dr. No's hit", "music_item"), (" now!", None)])
    "PlayMusic( play MusicItem( dr no's hit )MusicItem now )PlayMusic"
    """
    children: list[Node | str] = []
    for text, slot in chunks:
        words = normalize_tokens(join_clitics(" ".join(text.split()))).split()
        if slot is None:
            children += words
        elif words:
            children.append(Node(corpus.label(slot), tuple(words)))
    return target_sequence.build(Node(corpus.label(intent), tuple(children)))


def check(corpus_dir: Path) -> None:
    """Print what the directory holds beside what was published. Raises as `read`."""
    lines: list[tuple[str, int, int | None]] = []
    problems: list[str] = []
    texts: dict[str, set[str]] = {}
    for split, published in PUBLISHED.items():
        sentences = read(corpus_dir, split)
        texts[split] = {sentence.text for sentence in sentences}
        lines.append((f"{split} sentences", len(sentences), published))
        if split == "train":
            tags = {tag for s in sentences for tag in target_sequence.tags(s.semantics or "")}
            opening = [tag for tag in tags if tag.endswith("(")]
            lines.append(("intents", len({s.domain for s in sentences}), len(INTENTS)))
            lines.append(("slots", len(opening) - len(INTENTS), 39))
    if both := len(texts["validate"] & texts["train"]):
        problems.append(f"{both} sentences of validate are in train; the recipe leaves them out")
    corpus.print_check(f"{corpus_dir}: SNIPS NLU", lines, problems)


def _chunks(path: Path, intent: str) -> list[list[tuple[str, str | None]]]:
    """The (text, slot) chunks of every sentence of a file. Raises as `read`."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; unpack SNIPS NLU again")
    raw = path.read_bytes()
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")  # one of the published files is
    try:
        content: Any = json.loads(text)
        return [
            [(str(chunk["text"]), _slot(chunk.get("entity"))) for chunk in sentence["data"]]
            for sentence in content[intent]
        ]
    except WRONG_JSON as e:
        raise ValueError(
            f"{path}: expected {{'{intent}': [{{'data': [{{'text': ..., 'entity': ...}}]}}]}} "
            f"({type(e).__name__}: {e}); unpack SNIPS NLU again"
        ) from e


def _slot(name: Any) -> str | None:
    """The name of a chunk's slot; None where it has none."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"got the entity {str(name)[:80]}, expected a name")
    return name
