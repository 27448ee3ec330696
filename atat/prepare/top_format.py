"""Corpora of trees: reads TOP, TOPv2 and STOP, whichever a directory holds.

Sentences of TOP are of the domains event and navigation, without saying which; in TOPv2 and STOP
each names its domain. Words are as `normalize_tokens` has them, in texts and in trees.
"""

import re
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from atat.common.files import is_file
from atat.prepare import corpus
from atat.prepare.corpus import Utterance
from atat.semantics import bracket_trees, target_sequence
from atat.semantics.target_sequence import Node
from atat.semantics.text_normalization import join_clitics, normalize_tokens

SPLITS = ("train", "eval", "test")  # as the corpora call them
CALLED = {"eval": "valid"}  # as we call them
LAYOUTS = ("TOP", "TOPv2", "STOP")
MAX_BROKEN = 0.01  # share of the rows whose tree cannot be used
MAX_ROW = 20_000  # characters; the longest row of TOPv2 has 700

TOP_PUBLISHED = {"train": 31279, "eval": 4462, "test": 9042}
TOP_UNSUPPORTED = 2865  # of train
TOP_INTENTS, TOP_SLOTS = 25, 36
TOPV2_PUBLISHED = {  # train, eval, test
    "alarm": (20430, 2935, 7123),
    "event": (9170, 1336, 2654),
    "messaging": (10018, 1536, 3048),
    "music": (11563, 1573, 4184),
    "navigation": (20998, 2971, 6075),
    "reminder": (17840, 2526, 5767),
    "timer": (11524, 1616, 4252),
    "weather": (23054, 2667, 5682),
}
TOPV2_COLUMNS = ("domain", "utterance", "semantic_parse")
STOP_COLUMNS = ("file_id", "domain", "normalized_utterance", "normalized_seqlogical")

_BRACKETS = re.compile(r"\[(?:IN|SL):\S+")


@dataclass(frozen=True)
class Sentence:
    """A row of a corpus.

    Attributes:
        id: unique in the corpus; says where the row stands.
        text: its words; those of `semantics`, but for numbers that are spelled out.
        semantics: target sequence; None where it is not to be known.
        wav: its recording, where the corpus has some (the file need not be there).
    """

    id: str
    domain: str
    text: str
    semantics: str | None = None
    wav: Path | None = None

    @property
    def is_unsupported(self) -> bool:
        """Whether its intent is IN:UNSUPPORTED*."""
        return (self.semantics or "").startswith("Unsupported")


@dataclass(frozen=True)
class Corpus:
    """A corpus directory: `layout` is TOP, TOPv2 or STOP; `directory` holds its lists."""

    layout: str
    directory: Path

    def files(self, split: str) -> list[Path]:
        """The lists of a split, sorted; there is at least one.

        Raises:
            FileNotFoundError: there is none.
        """
        names = {"TOP": f"{split}.tsv", "STOP": f"manifests/{split}.tsv"}
        name = names.get(self.layout, f"*_{split}.tsv")
        paths = sorted(self.directory.glob(name))
        if not paths:
            raise FileNotFoundError(
                f"{self.directory}: no {name} in it, which {self.layout} has (unpack it again)"
            )
        return paths


def detect(directory: Path, layouts: Collection[str] = LAYOUTS) -> Corpus:
    """Which corpus a directory holds.

    Args:
        directory: the unpacked corpus.
        layouts: those that will do.

    Raises:
        FileNotFoundError: none of those that are known. ValueError: one that will not do.
    """
    found = _detect(directory)
    if found.layout not in layouts:
        raise ValueError(f"{directory}: is {found.layout}, expected {' or '.join(layouts)}")
    return found


def _detect(directory: Path) -> Corpus:
    for place in (directory, directory / "stop"):
        if (place / "manifests" / "train.tsv").is_file():
            return Corpus("STOP", place)
    if (directory / "train.tsv").is_file():
        return Corpus("TOP", directory)
    if any(directory.glob("*_train.tsv")):
        return Corpus("TOPv2", directory)
    raise FileNotFoundError(
        f"{directory}: found none of TOP (train.tsv, eval.tsv, test.tsv), TOPv2 "
        "(<domain>_train.tsv, ...) and STOP (manifests/train.tsv, ...); egs/README.md says how to "
        "get them"
    )


def read(source: Corpus, split: str, domains: Iterable[str] = ()) -> list[Sentence]:
    """The sentences of a split, in the corpus's order.

    A row whose tree is malformed, has other words than its utterance, or none, is dropped, which
    stderr says.

    Args:
        source: the corpus, as `detect` found it.
        split: one of `SPLITS`.
        domains: those to read; all if empty. TOP's sentences have no domain: they are all read.

    Raises:
        FileNotFoundError: a list is missing.
        ValueError: a list of another form, a domain that is not there, or more than `MAX_BROKEN` of
            the rows dropped.
    """
    sentences = _sentences(_rows(source, split))
    domains = list(domains)
    if source.layout == "TOP" or not domains:
        return sentences
    known = sorted({s.domain for s in sentences})
    if unknown := set(domains) - set(known):
        raise ValueError(
            f"data.domains: got '{min(unknown)}', expected some of {', '.join(known)} (those of "
            f"{split} in {source.directory})"
        )
    return [s for s in sentences if s.domain in domains]


def sequence_of(utterance: str, brackets: str) -> str:
    """The target sequence of a row, of normalised words.

    Raises:
        ValueError: the tree is malformed, has no words, or other words than the utterance.

    >>> sequence_of("What's up at 7.30?", "[IN:GET_EVENT What 's up [SL:DATE_TIME at 7.30 ] ? ]")
    "GetEvent( what's up DateTime( at 7 30 )DateTime )GetEvent"
    """
    tree = bracket_trees.read(brackets)
    words = " ".join(t for t in brackets.split() if not _BRACKETS.fullmatch(t) and t != "]")
    # Tokenisers set spaces anew, and annotators punctuation; neither is spoken.
    got, expected = (re.sub(r"[\W_]", "", text.casefold()) for text in (words, utterance))
    if got != expected:
        raise ValueError(f"the tree has the words '{words}', the utterance is '{utterance}'")
    if not got:
        raise ValueError(f"the utterance '{utterance}' has no words")
    return target_sequence.build(clean(tree))


def clean(tree: Node) -> Node:
    """The tree with its words normalised, where no bracket is between them as people write them.

    >>> brackets = "[IN:GET_ALARM What 's [SL:DATE_TIME tomorrow ] 's 1st , 6 o 'clock ]"
    >>> clean(bracket_trees.read(brackets))
    Node(label='GetAlarm', children=("what's", Node(label='DateTime', children=('tomorrow',)), \
"'s", '1st', '6', "o'clock"))
    """
    children: list[Node | str] = []
    for is_word, run in groupby(tree.children, key=lambda child: isinstance(child, str)):
        if is_word:
            children += normalize_tokens(join_clitics(" ".join(map(str, run)))).split()
        else:
            children += (clean(child) for child in run if isinstance(child, Node))
    return Node(tree.label, tuple(children))


def check(
    directory: Path,
    layouts: Collection[str] = LAYOUTS,
    recorded: Collection[str] = SPLITS,
    max_missing: float = 0.0,
) -> None:
    """Print what the directory holds, beside what was published.

    Args:
        directory: the corpus.
        layouts: those that can be used.
        recorded: of STOP, splits whose recordings are needed.
        max_missing: share of these that may be missing.

    Raises:
        FileNotFoundError, ValueError: it cannot be used.
    """
    source = detect(directory, layouts)
    rows = {split: list(_rows(source, split)) for split in SPLITS}
    sentences = {split: _sentences(rows[split]) for split in SPLITS}
    for split, found in sentences.items():
        if not found:
            raise ValueError(f"{directory}: {split} has no sentence (unpack it again)")
    find = _find_in_top if source.layout == "TOP" else _find_in_domains
    lines, problems = find(source, rows, sentences)
    known = {sentence.text for sentence in sentences["train"]}
    for split in SPLITS[1:]:
        both = sum(sentence.text in known for sentence in sentences[split])
        if both:
            problems.append(f"{both} of {len(sentences[split])} sentences of {split} are in train")
    if source.layout == "STOP":
        corpus.check_apart({CALLED.get(s, s): [r.id for r in rows[s]] for s in SPLITS})
    corpus.print_check(f"{directory}: {source.layout}", lines, problems)
    if source.layout == "STOP":
        for split in recorded:
            recordings = [Utterance(row.id, row.wav) for row in rows[split]]
            corpus.drop_missing(split, recordings, max_missing)


class _Row(NamedTuple):
    where: str  # file and line
    id: str
    domain: str
    utterance: str
    brackets: str
    wav: Path | None = None


_Rows = dict[str, list[_Row]]  # of each split
_Found = tuple[list[tuple[str, int, int | None]], list[str]]  # as `corpus.print_check` takes it


def _find_in_top(source: Corpus, rows: _Rows, sentences: dict[str, list[Sentence]]) -> _Found:
    lines: list[tuple[str, int, int | None]] = [
        (f"{split} sentences", len(rows[split]), TOP_PUBLISHED[split]) for split in SPLITS
    ]
    brackets = {
        b for part in rows.values() for row in part for b in _BRACKETS.findall(row.brackets)
    }
    for what, kind, published in (("intents", "IN", TOP_INTENTS), ("slots", "SL", TOP_SLOTS)):
        lines.append((what, sum(b.startswith(f"[{kind}:") for b in brackets), published))
    num = sum(sentence.is_unsupported for sentence in sentences["train"])
    lines.append(("IN:UNSUPPORTED* in train", num, TOP_UNSUPPORTED))
    problems = [] if num else ["train has none of the IN:UNSUPPORTED* sentences, which it had"]
    return lines, problems


def _find_in_domains(source: Corpus, rows: _Rows, sentences: dict[str, list[Sentence]]) -> _Found:
    lines, problems = [], []
    counts = {split: Counter(row.domain for row in rows[split]) for split in SPLITS}
    for domain in sorted(TOPV2_PUBLISHED.keys() | set().union(*counts.values())):
        if domain not in TOPV2_PUBLISHED:
            problems.append(f"'{domain}' is not a domain of TOPv2")
        # STOP has recordings of its own choice of TOPv2's sentences.
        published = TOPV2_PUBLISHED.get(domain) if source.layout == "TOPv2" else None
        for split, number in zip(SPLITS, published or (None,) * 3, strict=True):
            lines.append((f"{domain} {split}", counts[split][domain], number))
        if not counts["train"][domain]:
            problems.append(f"the domain '{domain}' is missing in train")
    if source.layout == "STOP":
        for split in SPLITS:
            lines.append((f"{split} utterances", len(rows[split]), None))
            found = sum(row.wav is not None and is_file(row.wav) for row in rows[split])
            lines.append((f"recordings of {split}", found, None))
        if not any(source.directory.glob("**/low_resource*")):
            problems.append("STOP's low-resource splits are not here (no recipe needs them)")
    return lines, problems


def _sentences(rows: Iterable[_Row]) -> list[Sentence]:
    """Rows as sentences; without those that cannot be used, as `read` says."""
    sentences, problems = [], []
    for row in rows:
        try:
            sequence = sequence_of(row.utterance, row.brackets)
        except ValueError as e:
            problems.append(f"{row.where}: {e}")
            continue
        words = target_sequence.words(sequence)
        sentences.append(Sentence(row.id, row.domain, words, sequence, row.wav))
    if problems:
        num = len(sentences) + len(problems)
        named = "; ".join(problems[: corpus.NUM_NAMED])
        what = f"{len(problems)} of {num} trees cannot be used, as: {named}"
        if len(problems) > MAX_BROKEN * num:
            raise ValueError(f"{what} (correct the corpus; up to {MAX_BROKEN:.0%} is dropped)")
        print(f"{what}; dropped", file=sys.stderr)
    return sentences


def _rows(source: Corpus, split: str) -> Iterator[_Row]:
    """Every row of a split, read by the layout."""
    for path in source.files(split):
        lines = _lines(path)
        if source.layout == "TOP":
            for number, cells in lines:
                if len(cells) != 3:
                    raise ValueError(
                        f"{path}:{number}: got {len(cells)} columns, expected 3 without a header: "
                        "raw, tokenised, tree"
                    )
                key = f"{split}-{number:06d}"
                yield _Row(f"{path}:{number}", key, "", cells[0], cells[2])
            continue
        columns = TOPV2_COLUMNS if source.layout == "TOPv2" else STOP_COLUMNS
        _, header = next(lines, (1, []))
        if missing := [name for name in columns if name not in header]:
            raise ValueError(
                f"{path}:1: no column '{missing[0]}', expected a header with {', '.join(columns)}"
            )
        places = [header.index(name) for name in columns]
        for number, cells in lines:
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}:{number}: got {len(cells)} columns, expected {len(header)}, as line 1"
                )
            picked = [cells[place] for place in places]
            if source.layout == "TOPv2":
                domain, utterance, brackets = picked
                name = path.name.removesuffix(".tsv").replace("_", "-")
                key = f"{name}-{number:06d}"
                yield _Row(f"{path}:{number}", key, domain, utterance, brackets)
            else:
                file_id, domain, utterance, brackets = picked
                key, wav = _recording(source.directory, file_id, f"{path}:{number}")
                yield _Row(f"{path}:{number}", key, domain, utterance, brackets, wav)


def _recording(directory: Path, file_id: str, where: str) -> tuple[str, Path]:
    """Utterance id and path of a recording of STOP."""
    parts = file_id.split("/")
    if file_id.startswith("/") or ".." in parts or file_id.split() != [file_id]:
        raise ValueError(f"{where}: got file_id '{file_id}', expected a path inside the corpus")
    wav = directory / file_id
    if not is_file(wav):  # the lists say eval_0 and test_0 for the folders eval and test
        wav = directory.joinpath(*(part.removesuffix("_0") for part in parts))
    return file_id.rpartition(".")[0].replace("/", "-") or file_id, wav


def _lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Number and cells of every line of a table."""
    try:
        with path.open(encoding="utf-8-sig", newline="\n") as file:
            number = 0
            while line := file.readline(MAX_ROW + 1):
                number += 1
                if len(line) > MAX_ROW:
                    raise ValueError(f"{path}:{number}: got a line of more than {MAX_ROW} letters")
                yield number, line.rstrip("\r\n").split("\t")
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not UTF-8 text: {e.reason} (unpack the corpus again)") from e
