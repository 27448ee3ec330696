"""Stage 1 of `slurp`: SLURP, spoken requests to an assistant of 18 domains, as its lists divide it.

The splits train, valid (`devel`) and test have a line a recording, train_text and test_text one a
sentence, without speech. `data.part=headset` or `distant` keeps one of the two microphones. Where
`train_synthetic.jsonl` and its audio are there, they are the split train_synth.

The words are the tokens that SLURP annotates, in lower case, not its `sentence`, which differs from
them here and there: entities are spans of tokens, in order, with the words between them. What is
contracted is one word, as people write it (`what's`, tokens `what` and `'s`); metrics and
predictions have it apart again (`entity_metrics.apart`), as SLURP's scorer does. Intents are
`<scenario>_<action>`; the field `intent` is not always that.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atat.common import cli
from atat.config import config_file
from atat.config.schema import DataConfig
from atat.evaluation.entity_metrics import apart
from atat.prepare import corpus, spoken_grammar
from atat.prepare.corpus import Utterance
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Node

LISTS = {"train": "train", "valid": "devel", "test": "test"}  # split -> name of its list
SYNTHETIC = ("train_synth", "train_synthetic")  # likewise
REAL, SYNTH = "slurp_real", "slurp_synth"  # directories of audio
HEADSET = "-headset"  # ends the names of recordings of the close microphone
PARTS = ("headset", "distant")
# Published: sentences and recordings (Bastianelli et al. 2020; docs/corpora.md).
SENTENCES = {"train": 11514, "valid": 2033, "test": 2974}
RECORDINGS = {"train": 50628, "valid": 8690, "test": 13078, "train_synth": 69253}
NUM_SCENARIOS, NUM_ACTIONS = 18, 46


@dataclass(frozen=True)
class Sentence:
    """One line of a list: a sentence, its meaning, and its recordings."""

    id: str  # `slurp_id`
    scenario: str
    action: str
    entities: tuple[tuple[str, str], ...]  # type and filler (tokens), in reading order
    semantics: str
    files: tuple[str, ...]  # names of its recordings

    @property
    def text(self) -> str:
        """Its words, in lower case."""
        return target_sequence.words(self.semantics)


def read_list(path: Path, max_bad: float = 0.0) -> list[Sentence]:
    """The sentences of a list; those that cannot be written as a sequence are counted on stderr.

    Args:
        path: the list, a line of JSON each.
        max_bad: share of sentences that may be left out so: spans that overlap, have gaps or lead
            beyond the sentence, words with a parenthesis in them.

    Raises:
        ValueError: a line is not of SLURP's form (the message names file and line), or more
            sentences cannot be used. FileNotFoundError: there is no such list.
    """
    sentences: list[Sentence] = []
    bad: list[str] = []
    for where, line in read_lines(path):
        try:
            sentences.append(_sentence(line))
        except (KeyError, TypeError, AttributeError, OverflowError) as e:
            raise ValueError(
                f"{where}: expected slurp_id, scenario, action, tokens, entities and recordings "
                f"as SLURP has them ({type(e).__name__}: {e}); get the file again"
            ) from e
        except ValueError as e:
            bad.append(f"{where}: {e}")
    if bad:
        num = len(sentences) + len(bad)
        what = f"{path}: {len(bad)} of {num} sentences cannot be used: {corpus.examples(bad)}"
        if not sentences or len(bad) > max_bad * num:
            raise ValueError(f"{what}; the limit is {max_bad:.1%} (data.max_missing)")
        print(f"{what}; they are left out", file=sys.stderr)
    return sentences


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file with one a line, each with `<file>:<line>`.

    Raises:
        ValueError: a line is something else, or there is none. FileNotFoundError: no such file.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such file; expected the directory of SLURP, with dataset/slurp/ and "
            f"audio/{REAL}/"
        )
    num = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for num, text in enumerate(file, 1):
                try:
                    line = json.loads(text)
                except (ValueError, RecursionError) as e:
                    raise ValueError(f"{path}:{num}: not JSON ({e}); get the file again") from e
                if not isinstance(line, dict):
                    raise ValueError(f"{path}:{num}: got {text.strip()[:80]}, expected an object")
                yield f"{path}:{num}", line
    except UnicodeDecodeError as e:
        raise ValueError(f"{path}: not in UTF-8 ({e}); get the file again") from e
    if not num:
        raise ValueError(f"{path}: is empty, expected a sentence a line; get the file again")


def read_speakers(path: Path) -> dict[str, str]:
    """Recording -> who speaks, of `metadata.json`; none where that is not there.

    Raises:
        ValueError: the file is not of SLURP's form.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {
            Path(name).stem: "_".join(str(about["usrid"]).split())
            for record in content.values()
            for name, about in record["recordings"].items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
        raise ValueError(
            f"{path}: expected recordings with a usrid ({type(e).__name__}: {e}); get it again"
        ) from e


def keeps(part: str | None, name: str) -> bool:
    """Whether a recording is of the microphone that `data.part` asks for.

    Raises:
        ValueError: there is no such part.

    >>> keeps("headset", "audio-15.flac"), keeps("distant", "audio-15.flac"), keeps(None, "x.flac")
    (False, True, True)
    """
    if part is not None and part not in PARTS:
        raise ValueError(f"data.part is '{part}', expected null, {' or '.join(PARTS)}")
    return part is None or (part == "headset") == Path(name).stem.endswith(HEADSET)


def recordings(
    sentences: list[Sentence], audio: Path, speakers: dict[str, str], part: str | None = None
) -> list[Utterance]:
    """A line each recording; one that is listed again is taken once, which is said on stderr.

    Args:
        sentences: with the names of their recordings.
        audio: the directory that they are in.
        speakers: as `read_speakers` gives them. Who is not known there speaks for himself, unless
            nobody is.
        part: as `keeps` has it.

    Raises:
        ValueError: a name leads out of the directory.
    """
    found: dict[str, Utterance] = {}
    repeated = []
    known = any(Path(name).stem in speakers for s in sentences for name in s.files)
    for sentence in sentences:
        for name in filter(lambda name: keeps(part, name), sentence.files):
            if not name or Path(name).name != name:
                raise ValueError(
                    f"sentence {sentence.id}: got the recording '{name}', expected the name of a "
                    f"file in {audio}; correct the list"
                )
            stem = Path(name).stem
            speaker = speakers.get(stem)
            id_ = stem if speaker is None else f"{speaker}-{stem}"
            if id_ in found:
                repeated.append(name)
                continue
            who = (speaker or stem) if known else None
            found[id_] = Utterance(id_, audio / name, sentence.text, sentence.semantics, who)
    if repeated:
        print(
            f"{audio}: {len(repeated)} recordings are listed again, and taken once: "
            f"{corpus.examples(repeated)}",
            file=sys.stderr,
        )
    return list(found.values())


def texts(sentences: list[Sentence]) -> list[Utterance]:
    """A line each sentence, without speech; its id is `slurp_id`."""
    return [Utterance(s.id, text=s.text, semantics=s.semantics) for s in sentences]


def read_lists(corpus_dir: Path, settings: DataConfig) -> dict[str, list[Sentence]]:
    """Split -> its sentences; train_synth is there if its list is.

    Raises:
        ValueError, FileNotFoundError: as `read_list`.
    """
    dataset = corpus_dir / "dataset" / "slurp"
    names = dict(LISTS)
    if (dataset / f"{SYNTHETIC[1]}.jsonl").is_file():
        names[SYNTHETIC[0]] = SYNTHETIC[1]
    limit = settings.max_missing
    return {split: read_list(dataset / f"{name}.jsonl", limit) for split, name in names.items()}


def splits_of(
    lists: dict[str, list[Sentence]], corpus_dir: Path, settings: DataConfig
) -> dict[str, list[Utterance]]:
    """All splits; recordings of training that valid or test has too are left out, and said so.

    Raises:
        ValueError, FileNotFoundError: as the functions here.
    """
    speakers = read_speakers(corpus_dir / "dataset" / "slurp" / "metadata.json")
    audio, synthetic = audio_dir(corpus_dir), corpus_dir / "audio" / SYNTH
    splits = {s: recordings(lists[s], audio, speakers, settings.part) for s in LISTS}
    if SYNTHETIC[0] in lists and synthetic.is_dir():
        splits[SYNTHETIC[0]] = recordings(lists[SYNTHETIC[0]], synthetic, speakers)
    held_out = {u.id for split in ("valid", "test") for u in splits[split]}
    for split in ("train", SYNTHETIC[0]):
        if both := {u.id for u in splits.get(split, ())} & held_out:
            print(
                f"{split}: {len(both)} recordings are in valid or test too, and left out: "
                f"{corpus.examples(both)}",
                file=sys.stderr,
            )
            splits[split] = [u for u in splits[split] if u.id not in both]
    splits["train_text"], splits["test_text"] = texts(lists["train"]), texts(lists["test"])
    return splits


def audio_dir(corpus_dir: Path) -> Path:
    """Where the real recordings are.

    Raises:
        FileNotFoundError: they are not there.
    """
    directory = corpus_dir / "audio" / REAL
    if not directory.is_dir():
        raise FileNotFoundError(
            f"{directory}: no such directory; expected SLURP's recordings there (get {REAL}.tar.gz "
            "with its scripts/download_audio.sh and unpack it)"
        )
    return directory


def prepare(corpus_dir: Path, data: Path, settings: DataConfig) -> list[str]:
    """Write the splits; all is read before anything is written.

    Returns:
        their names.

    Raises:
        ValueError, FileNotFoundError: as `splits_of`; too much audio is missing.
    """
    splits = splits_of(read_lists(corpus_dir, settings), corpus_dir, settings)
    corpus.write_splits(data, splits, settings.max_missing)
    people = {u.speaker for s in LISTS for u in splits[s] if u.speaker}
    about = f"{settings.part} microphone" if settings.part else "headset and distant microphones"
    speech = corpus.speech(settings, len(people), about)
    if not people:
        speech = f"recorded: who speaks is not known (no metadata.json); {about}"
    corpus.write_about(data, "SLURP", speech)
    return list(splits)


def check(corpus_dir: Path, settings: DataConfig) -> None:
    """Print what the directory holds beside what was published.

    Raises:
        ValueError, FileNotFoundError: it cannot be used.
    """
    lists = read_lists(corpus_dir, settings)
    everything = [sentence for split in LISTS for sentence in lists[split]]
    lines: list[tuple[str, int, int | None]] = []
    for split, found in lists.items():
        lines.append((f"{split}: sentences", len(found), SENTENCES.get(split)))
        num = len({name for sentence in found for name in sentence.files})
        lines.append((f"{split}: recordings", num, RECORDINGS[split]))
    lines.append(("scenarios", len({s.scenario for s in everything}), NUM_SCENARIOS))
    lines.append(("actions", len({s.action for s in everything}), NUM_ACTIONS))
    types = {name for s in everything for name, _ in s.entities}
    lines.append(("types of entities", len(types), None))
    problems = []
    if speakers := read_speakers(corpus_dir / "dataset" / "slurp" / "metadata.json"):
        lines.append(("speakers", len(set(speakers.values())), None))
    else:
        problems.append("no dataset/slurp/metadata.json: it is not known who speaks")
    if SYNTHETIC[0] not in lists:
        problems.append(f"no dataset/slurp/{SYNTHETIC[1]}.jsonl: no split {SYNTHETIC[0]}")
    elif not (corpus_dir / "audio" / SYNTH).is_dir():
        problems.append(f"no audio/{SYNTH}/: no split {SYNTHETIC[0]}")
    corpus.print_check(f"{corpus_dir}: SLURP", lines, problems)
    for split, utterances in splits_of(lists, corpus_dir, settings).items():
        if any(u.wav for u in utterances):
            corpus.drop_missing(split, utterances, settings.max_missing)


def main() -> None:
    """Stage 1, from the command line."""
    args = corpus.parser(__doc__).parse_args()
    settings = config_file.load(args.config, args.overrides).data
    keeps(settings.part, "")
    if args.check:
        check(args.corpus_dir, settings)
        return
    splits = prepare(args.corpus_dir, args.data, settings)
    voices = dict.fromkeys(LISTS, corpus.spoken_by(settings))
    voices[SYNTHETIC[0]] = "synthesisers"
    spoken_grammar.print_table(args.data, tuple(splits), voices)


def _sentence(line: dict[str, Any]) -> Sentence:
    """A line of a list.

    Raises:
        KeyError, TypeError, AttributeError, OverflowError: not of SLURP's form. ValueError: no
            target sequence.
    """
    tokens = ["".join(str(token["surface"]).lower().split()) for token in line["tokens"]]
    scenario, action = str(line["scenario"]), str(line["action"])
    children: list[Node | str] = []
    entities, end = [], 0
    for entity in sorted(line["entities"], key=lambda entity: entity["span"]):
        span = [int(place) for place in entity["span"]]
        if not span or span != list(range(span[0], span[0] + len(span))):
            raise ValueError(f"entity {entity['type']} has the tokens {span}, which have gaps")
        if span[0] < end or span[-1] >= len(tokens):
            raise ValueError(
                f"entity {entity['type']} has the tokens {span}, of which one is in another or "
                f"beyond the sentence's {len(tokens)}"
            )
        children += _joined(tokens[end : span[0]])
        filler = tokens[span[0] : span[-1] + 1]
        children.append(Node(str(entity["type"]), tuple(_joined(filler))))
        entities.append((str(entity["type"]), " ".join(filler)))
        end = span[-1] + 1
    children += _joined(tokens[end:])
    if not children:
        raise ValueError("the sentence has no words")
    sequence = target_sequence.build(Node(f"{scenario}_{action}", tuple(children)))
    files = tuple(str(recording["file"]) for recording in line["recordings"])
    return Sentence(str(line["slurp_id"]), scenario, action, tuple(entities), sequence, files)


def _joined(tokens: Iterable[str]) -> list[str]:
    """The words of tokens: what is contracted joins the one before it, if it can be told again."""
    words: list[str] = []
    for token in tokens:
        if words and apart(words[-1] + token) == f"{apart(words[-1])} {token}":
            words[-1] += token
        elif token:
            words.append(token)
    return words


if __name__ == "__main__":
    cli.run(main)
