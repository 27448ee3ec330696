"""Shared by stage 1 of recorded corpora: options, words, splits, and the check of a corpus.

A reader (`atat/prepare/<recipe>.py`) turns a corpus into lists of `Utterance`; the rest is here.
"""

import argparse
import json
import random
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path

from atat.common import cli
from atat.common.files import atomic_write, is_file
from atat.config.schema import DataConfig
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.semantics.text_normalization import normalize_tokens

HYPOTHESES = ("frame", "triple", "tree")  # what EM Hyp compares (atat/evaluation/metrics.py)
# Splits that are trained on, for a check before anything is written. Stage 4 goes by the settings
# (atat/data/split_overlap.py).
TRAINING = ("train", "train_low", "train_rest", "train_synth", "asr", "foreign")
WRITTEN = ".splits"  # in the data directory: those that stage 1 wrote
NUM_NAMED = 3  # of what is dropped or unexpected, as examples
normalize = normalize_tokens  # of transcripts and their annotated parts


@dataclass(frozen=True)
class Utterance:
    """One line of a split; `id` is `<speaker>-<utterance>` where the speaker is known."""

    id: str
    wav: Path | None = None  # None: text only, or (in a split with speech) not recorded
    text: str | None = None  # as `normalize` gives it
    semantics: str | None = None  # target sequence of the same words (numbers may be in digits)
    speaker: str | None = None


def parser(description: str) -> argparse.ArgumentParser:
    """The options of stage 1 for recipes that read a corpus."""
    result = stage_parser(description)
    result.add_argument("--corpus_dir", required=True, type=Path, help="the corpus, unpacked")
    return result


def stage_parser(description: str) -> argparse.ArgumentParser:
    """The options of every stage 1."""
    result = cli.parser(description)
    result.add_argument("--config", action="append", default=[], help="the recipe's YAML")
    result.add_argument("--data", type=Path, default=Path("data"), help="where to write the splits")
    result.add_argument("--nj", type=cli.positive_int, default=1, help="processes")
    result.add_argument(
        "--check",
        type=cli.boolean,
        default=False,
        metavar="BOOL",
        help="say what corpus and grammar hold, and write nothing",
    )
    result.add_argument("overrides", nargs="*", metavar="key=value", help="settings to change")
    return result


def label(name: str) -> str:
    """A name of a corpus as a tag of the paper's form.

    >>> label("change language"), label("artist_name"), label("SwitchLightOn")
    ('ChangeLanguage', 'ArtistName', 'SwitchLightOn')
    """
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[\s_]+", name))


def examples(names: Iterable[str]) -> str:
    """The first few of some names, for a message.

    >>> examples(["d", "b", "a", "c"])
    'a, b, c, ...'
    """
    names = sorted(names)
    return ", ".join(names[:NUM_NAMED]) + ", ..." * (len(names) > NUM_NAMED)


def drop_missing(split: str, utterances: list[Utterance], max_missing: float) -> list[Utterance]:
    """The utterances whose audio is there; how many are not is said on stderr.

    Args:
        split: what the messages call them.
        utterances: those without a path of audio count as missing.
        max_missing: share of them that may be missing.

    Raises:
        ValueError: more than that is missing.
    """
    missing = {u.id: u.wav for u in utterances if u.wav is None or not is_file(u.wav)}
    if not missing:
        return utterances
    named = examples(str(wav or f"{id_} (not recorded)") for id_, wav in missing.items())
    what = f"{split}: audio of {len(missing)} of {len(utterances)} utterances is missing: {named}"
    if len(missing) == len(utterances) or len(missing) > max_missing * len(utterances):
        raise ValueError(
            f"{what}; the limit is {max_missing:.1%} (unpack the corpus again, or set "
            "data.max_missing)"
        )
    print(f"{what}; they are left out", file=sys.stderr)
    return [u for u in utterances if u.id not in missing]


def write_splits(data: Path, splits: dict[str, list[Utterance]], max_missing: float = 0.0) -> None:
    """Write `data/<split>/` of each, none of them before all are looked through and checked.

    Where any utterance of a split has audio, those without are dropped. Splits that an earlier call
    wrote there, and that are none of these, are removed: they may hold for the test what is trained
    on now. Splits that somebody else wrote stay.

    Raises:
        ValueError: a split without utterances, an id that comes twice, too much missing audio (as
            `drop_missing`), a recording in several (`check_apart`), or what the format does not
            allow (atat/data/kaldi_dir.py).
    """
    check_apart({s: [u.id for u in us if u.wav is not None] for s, us in splits.items()})
    directories = {
        split: _directory(split, utterances, max_missing) for split, utterances in splits.items()
    }
    # By the files too: one that is rendered or linked twice has an id in each split.
    check_apart({split: (made.wav_scp or {}).values() for split, made in directories.items()})
    with ExitStack() as pending:
        for split, directory in directories.items():
            kaldi_dir.write(data / split, directory, pending)
    remove_earlier(data, splits)


def remove_earlier(data: Path, splits: Collection[str]) -> None:
    """Remove the splits that an earlier stage 1 wrote and this one did not; record those of this.

    Args:
        data: directory of the splits.
        splits: those that stand there now.
    """
    record = data / WRITTEN
    before = record.read_text(encoding="utf-8").split() if record.is_file() else []
    for path in list(data.iterdir()) if before else ():
        if path.name in before and path.name not in splits:
            shutil.rmtree(path)
    with atomic_write(record) as file:
        file.write("".join(f"{split}\n" for split in splits))


def check_apart(ids: Mapping[str, Iterable[str]]) -> None:
    """Raise ValueError where a recording is in two of training, validation and test.

    Args:
        ids: of the recordings of each split, or their paths; what is neither trained on nor `valid`
            is a test, and tests may share some.
    """
    kinds: dict[str, set[str]] = {"train": set(), "valid": set(), "test": set()}
    for split, members in ids.items():
        kind = "train" if split in TRAINING else split if split == "valid" else "test"
        kinds[kind].update(members)
    for one, other in combinations(kinds, 2):
        if both := kinds[one] & kinds[other]:
            raise ValueError(
                f"{len(both)} recordings are listed in both {one} and {other}: {examples(both)}; "
                "correct the corpus's lists"
            )


def shuffled_words(
    texts: list[str], num: int, is_unheard: Callable[[str], bool], draw: random.Random
) -> list[str]:
    """Texts of ASR training speech that has the words of sentences, and none of the sentences.

    LibriSpeech's 1000 h take this place in the paper. Here the words of the texts come in random
    order, each as often as there, in utterances of the same lengths.

    Args:
        texts: sentences whose words are shuffled.
        num: how many utterances; fewer come where nothing else can be said with the words.
        is_unheard: whether a text is held out of speech.
        draw: of the order.
    """
    lengths = [len(text.split()) for text in texts]
    bag = [word for text in texts for word in text.split()]
    found: list[str] = []
    before = None
    while len(found) < num and len(found) != before:
        before = len(found)
        draw.shuffle(bag)
        words = iter(bag)
        shuffled = (" ".join(islice(words, length)) for length in lengths)
        found += islice((t for t in shuffled if not is_unheard(t)), num - len(found))
    if len(found) < num:
        print(f"asr: {len(found)} utterances of shuffled words, not {num}", file=sys.stderr)
    return found


def write_about(data: Path, corpus: str, speech: str, hypothesis: str = "frame") -> None:
    """Write `data/about.json`: what the results say of the data, and how they are compared.

    Args:
        data: directory of the splits.
        corpus: its name.
        speech: a sentence: who speaks.
        hypothesis: one of `HYPOTHESES`.
    """
    if hypothesis not in HYPOTHESES:
        raise ValueError(f"hypothesis is '{hypothesis}', expected one of {', '.join(HYPOTHESES)}")
    about = {"corpus": corpus, "speech": speech, "hypothesis": hypothesis}
    with atomic_write(data / "about.json") as file:
        file.write(json.dumps(about, indent=2, ensure_ascii=False) + "\n")


def spoken_by(settings: DataConfig) -> str:
    """Who speaks in a corpus that has recordings, for tables."""
    return "synthesisers (a stand-in)" if settings.stand_in else "people"


def speech(settings: DataConfig, num_speakers: int, details: str = "") -> str:
    """The sentence of `write_about` for a corpus that has recordings.

    >>> speech(DataConfig(), 97), speech(DataConfig(stand_in=True), 4, "close field")
    ('recorded: 97 people', 'rendered, not recorded: 4 voices; close field')
    """
    who = f"recorded: {num_speakers} people"
    if settings.stand_in:
        who = f"rendered, not recorded: {num_speakers} voices"
    return f"{who}; {details}" if details else who


def print_check(title: str, lines: list[tuple[str, int, int | None]], problems: list[str]) -> None:
    """Print what a corpus directory holds.

    Args:
        title: what it is.
        lines: (what, how many were found, how many were published; None: not known).
        problems: what is missing or unexpected though the corpus can be used, a sentence each.
    """
    print(title)
    width = max((len(what) for what, *_ in lines), default=0) + 2
    print(f"  {'':<{width}}{'found':>9}{'published':>11}")
    for what, found, published in lines:
        shown = "-" if published is None else f"{published:,}"
        mark = "" if published in (None, found) else "  differs"
        print(f"  {what:<{width}}{found:>9,}{shown:>11}{mark}")
    for problem in problems:
        print(f"  ! {problem}")


def _directory(split: str, utterances: list[Utterance], max_missing: float) -> DataDir:
    if not utterances:
        raise ValueError(f"{split}: the corpus has no utterances for this split")
    seen: set[str] = set()
    for utterance in utterances:
        if utterance.id in seen:
            raise ValueError(
                f"{split}: id '{utterance.id}' comes twice, expected each recording to be listed "
                "once; correct the corpus's list"
            )
        seen.add(utterance.id)
        for what, name in (("id", utterance.id), ("speaker", utterance.speaker or "-")):
            if name.split() != [name]:
                raise ValueError(
                    f"{split}: got the {what} '{name}', expected no white space in it; correct the "
                    "corpus's list"
                )
    is_spoken = any(u.wav is not None for u in utterances)
    if is_spoken:
        utterances = drop_missing(split, utterances, max_missing)

    def column(values: Iterable[tuple[str, str | None]]) -> dict[str, str] | None:
        return {id_: value for id_, value in values if value is not None} or None

    return DataDir(
        wav_scp={u.id: str(u.wav.resolve()) for u in utterances if u.wav} if is_spoken else None,
        text=column((u.id, u.text) for u in utterances),
        semantics=column((u.id, u.semantics) for u in utterances),
        utt2spk=column((u.id, u.speaker) for u in utterances),
    )
