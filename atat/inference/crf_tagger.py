"""A linear-chain CRF tagger: recognised words to semantics, the second of two stages.

The paper's two-stage baseline ("ASR + CRF"). A maximum-entropy classifier says the intent; then a
linear-chain CRF gives each word the path of tags around it, which is a tree again. Both are
python-crfsuite's and learn from the sentences and semantics of a split. Time to learn grows with
the square of the number of different paths (2,993 sentences with deep trees have 228).
"""

import math
import tempfile
import time
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

from atat.common.json_file import read_json
from atat.common.provenance import commit
from atat.config.schema import Source
from atat.config.tasks import WORD_TASKS
from atat.data import kaldi_dir
from atat.inference.hypotheses import (
    Line,
    RunInput,
    RunRecord,
    empty_line,
    read_hypotheses,
    write_run,
)
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Node

NO_TAG = "O"  # of a word that only the intent is around
SPLIT = "train_text"  # of data, that stage 5 learns from
TRAINING = {"c1": 0.1, "c2": 0.01, "max_iterations": 40}  # L1 and L2, L-BFGS


def paths(tree: Node) -> list[str]:
    """The label of each word: the tags around it from the outside in, the intent left out.

    `B-` marks a tag that begins with this word, `I-` one that goes on. A tag without words inside
    leaves no trace.

    >>> paths(target_sequence.parse("Go( to Place( Shop( a Food( tea )Food shop )Shop )Place )Go"))
    ['O', 'B-Place B-Shop', 'I-Place I-Shop B-Food', 'I-Place I-Shop']
    """
    labels: list[str] = []

    def collect(node: Node, around: list[tuple[str, int]]) -> None:
        for child in node.children:
            if isinstance(child, Node):
                collect(child, [*around, (child.label, len(labels))])
            else:
                marked = (f"{'BI'[start < len(labels)]}-{label}" for label, start in around)
                labels.append(" ".join(marked) or NO_TAG)

    collect(tree, [])
    return labels


def tree(intent: str, words: Iterable[str], labels: Iterable[str]) -> Node:
    """The inverse of `paths`; any labels give a tree.

    >>> labels = ["O", "I-Place", "B-Place"]
    >>> target_sequence.build(tree("Go", ["to", "rome", "oslo"], labels))
    'Go( to Place( rome )Place Place( oslo )Place )Go'
    """
    open_nodes: list[tuple[str, list[Node | str]]] = [(intent, [])]

    def close(depth: int) -> None:
        while len(open_nodes) > depth:
            label, children = open_nodes.pop()
            open_nodes[-1][1].append(Node(label, tuple(children)))

    for word, label in zip(words, labels, strict=True):
        path = [] if label == NO_TAG else [mark.split("-", 1) for mark in label.split(" ")]
        kept = 0
        for (mark, name), (open_name, _) in zip(path, open_nodes[1:], strict=False):
            if mark == "B" or name != open_name:
                break
            kept += 1
        close(1 + kept)
        open_nodes.extend((name, []) for _, name in path[kept:])
        open_nodes[-1][1].append(word)
    close(1)
    return Node(intent, tuple(open_nodes[0][1]))


class Tagger:
    """Sentences to semantics, by two models in the files that `train` made."""

    def __init__(self, directory: Path) -> None:
        crfsuite = _library()
        self.intents, self.slots = crfsuite.Tagger(), crfsuite.Tagger()
        self.intents.open(str(directory / "intents"))
        self.slots.open(str(directory / "slots"))

    def __call__(self, text: str) -> tuple[str, float]:
        """The target sequence of a text of at least one word, and its log probability."""
        words = text.split()
        (intent,) = self.intents.tag([_of_sentence(words)])
        score = math.log(max(self.intents.probability([intent]), 1e-300))
        labels = self.slots.tag(_of_words(words, intent))
        score += math.log(max(self.slots.probability(labels), 1e-300))
        return target_sequence.build(tree(intent, words, labels)), score


def check_sources(sources: Iterable[Source]) -> None:
    """Raise ValueError where an experiment learns from a part of the split that the tagger learns
    all of: in its table the tagger would have labels that it has not."""
    for source in sources:
        if source.split == SPLIT and (
            source.fraction < 1 or source.exclude_intents or source.exclude_pairs
        ):
            raise ValueError(
                f"decode.runs: tagger crf learns from all of '{SPLIT}', of which this experiment's "
                "train.sources take a part; expected all of it, or a run without the tagger"
            )


def train(data: kaldi_dir.DataDir, directory: Path, max_iterations: int | None = None) -> None:
    """Learn both models from sentences with semantics, and write them into a directory.

    Raises:
        ValueError: the split has no semantics, or python-crfsuite is not there.
    """
    if data.semantics is None:
        raise ValueError("the split to learn from has no 'semantics'")
    settings = TRAINING | ({"max_iterations": max_iterations} if max_iterations else {})
    crfsuite = _library()
    intents = crfsuite.Trainer(params=settings, verbose=False)
    slots = crfsuite.Trainer(params=settings, verbose=False)
    for sequence in data.semantics.values():
        root = target_sequence.parse(sequence)
        words = target_sequence.words(sequence).split()
        if words:
            intents.append([_of_sentence(words)], [root.label])
            slots.append(_of_words(words, root.label), paths(root))
    intents.train(str(directory / "intents"))
    slots.train(str(directory / "slots"))


def tag(train_split: Path, texts: dict[str, str], about: RunInput, directory: Path) -> RunRecord:
    """Learn from a split, tag texts, and write `hyp.jsonl` and `run.json` as stage 5 does.

    Args:
        train_split: has sentences with semantics.
        texts: utterance id -> words; "" where none were recognised.
        about: what `texts` are.
        directory: `decode_<run>/`, which is replaced.

    Returns:
        What `run.json` says.

    Raises:
        ValueError, FileNotFoundError: as `train` and `kaldi_dir.read`.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    lines: list[Line] = []
    with tempfile.TemporaryDirectory() as models:
        train(kaldi_dir.read(train_split), Path(models))
        tagger = Tagger(Path(models))
        for key, text in sorted(texts.items()):
            line = empty_line(key, "nlu")
            if text.split():
                hypothesis, score = tagger(text)
                line["hypothesis"], line["score"] = hypothesis, round(score, 4)
                line["nbest"] = [{"hypothesis": hypothesis, "score": round(score, 4)}]
            else:
                line["reason"] = "no words were recognised"
            lines.append(line)
    record: RunRecord = {
        "run": about["run"],
        "split": about["split"],
        "source": about["source"],
        "input": about["input"],
        "task": "nlu",
        "tagger": "crf",
        "constraint": "none",
        "num_utterances": len(lines),
        "num_dropped": sum("reason" in line for line in lines),
        "audio_seconds": None,
        "seconds": round(time.perf_counter() - start, 3),
        "cpu_seconds": round(time.process_time() - cpu_start, 3),
        "commit": commit(),
    }
    if "model" in about:
        record["model"] = about["model"]
    write_run(directory, lines, record)
    return record


def read_texts(path: Path) -> tuple[dict[str, str], str]:
    """Utterance id -> words, and the split they are of.

    Args:
        path: a decoding of words (`decode_<run>/`), or a split of data.

    Raises:
        FileNotFoundError, ValueError: it is neither, or a decoding of something else than words.
    """
    if (path / "hyp.jsonl").is_file():
        run = read_json(path / "run.json")
        if run.get("task") not in WORD_TASKS:
            raise ValueError(f"{path}: a run of task '{run.get('task')}', expected asr: words")
        return {h["id"]: h["hypothesis"] for h in read_hypotheses(path / "hyp.jsonl")}, run["split"]
    texts = kaldi_dir.read(path).text
    if texts is None:
        raise ValueError(f"{path}: has no 'text', expected a split with it, or decode_<run>/")
    return texts, path.name


def _of_sentence(words: list[str]) -> list[str]:
    """What the intent is chosen by: words, pairs of words, and how the sentence starts."""
    pairs = (f"{a} {b}" for a, b in pairwise(["<s>", *words, "</s>"]))
    return [*dict.fromkeys([*(f"w={w}" for w in words), *(f"p={p}" for p in pairs)]), "bias"]


def _of_words(words: list[str], intent: str) -> list[list[str]]:
    """What each word's label is chosen by: the words around it, its letters, the intent."""
    padded = ["<s>", "<s>", *words, "</s>", "</s>"]
    features = []
    for n, word in enumerate(words, start=2):
        near = {k: padded[n + k] for k in (-2, -1, 0, 1, 2)}
        features.append(
            [
                "bias",
                f"intent={intent}",
                *(f"{k}={w}" for k, w in near.items()),
                f"-1,0={near[-1]} {word}",
                f"0,1={word} {near[1]}",
                f"intent,0={intent} {word}",
                f"intent,-1={intent} {near[-1]}",
                f"start={word[:3]}",
                f"end={word[-3:]}",
                f"digits={word.isdigit()}",
            ]
        )
    return features


def _library() -> Any:
    try:
        import pycrfsuite
    except ImportError as e:
        raise ValueError("python-crfsuite is not installed (tools/install.sh completes it)") from e
    return pycrfsuite
