"""Shared by recipes that learn from a grammar: its sentences, drawn, rendered, written as splits.

All of the grammar is in training; atat/grammar/sentence_splits.py decides what of it is held out
for validation and test. The speech of the test is never made with a synthesiser of training.
"""

import argparse
import random
import re
import sys
from collections import Counter
from collections.abc import Mapping, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from atat.common.files import atomic_write
from atat.config import config_file
from atat.config.schema import Config, DataConfig
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.grammar import sentence_splits
from atat.grammar.grammar import Grammar
from atat.grammar.spelling import cardinal
from atat.prepare import corpus
from atat.semantics import target_sequence
from atat.synthesis import disfluency, negatives, synthetic_speech

ROOT = config_file.ROOT
SPOKEN = ("train", "valid", "test")
SEEN_VOICES = "test_seen_voices"  # the sentences of the test, by voices of training
NEAR_SHARE = 1 / 3  # of the foreign speech
ASR, FOREIGN = TEXT_ALONE = ("asr", "foreign")  # splits of speech without semantics


def parser(description: str) -> argparse.ArgumentParser:
    """The options of stage 1 for recipes of this kind."""
    result = corpus.stage_parser(description)
    result.add_argument("--grammar", type=Path, help="what can be said, instead of data.grammar")
    return result


def load_grammar(path: str | Path) -> Grammar:
    """Read a grammar; what is doubtful about it is a line each on stderr.

    Raises:
        FileNotFoundError, ValueError: as `Grammar.load`.
    """
    grammar = Grammar.load(path)
    for warning in grammar.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    return grammar


def draw(grammar: Grammar, settings: DataConfig, seed: int) -> dict[str, list[str]]:
    """Target sequences of each split, as `sentence_splits.split` draws them.

    What the numbers of utterances are too small or too large for is said on stderr.

    Returns:
        test, valid, train, train_text -> sequences. Those of test and valid that are not in
        training are in no other split.
    """
    wanted = {
        "test": settings.num_test,
        "valid": settings.num_valid,
        "train": settings.num_train,
        "train_text": settings.num_train_text,
    }
    splits = sentence_splits.split(grammar, wanted, seed)
    drawn = splits.sequences
    for split in ("train", "train_text"):
        for warning in splits.warnings(split, f"data.num_{split}"):
            print(f"warning: {warning}", file=sys.stderr)
    trained = set(map(target_sequence.words, drawn["train"] + drawn["train_text"]))
    for split in ("test", "valid"):
        texts = list(map(target_sequence.words, drawn[split]))
        num_seen = sum(text in trained for text in texts)
        if len(texts) < wanted[split]:
            print(
                f"{split}: {len(texts)} utterances, not {wanted[split]}: {len(set(texts))} "
                f"sentences, each said at most {sentence_splits.MAX_REPEATS} times",
                file=sys.stderr,
            )
        if num_seen:
            print(f"{split}: {seen_or_not(drawn, split)}", file=sys.stderr)
    return drawn


def seen_or_not(sequences: Mapping[str, list[str]], split: str) -> str:
    """How many utterances of a split say what is trained, and how many do not.

    Args:
        sequences: split -> target sequences, of `train`, `train_text` and the split.
        split: the one that is asked about.

    >>> seen_or_not({"train": ["a( go )a"], "train_text": [], "test": ["a( go )a"] * 2}, "test")
    '2 of 2 utterances: sentences seen, voices not'
    >>> seen_or_not({"train": ["a( go )a"], "train_text": [], "valid": ["a( go )a"]}, "valid")
    '1 of 1 utterances: sentences seen'
    """
    trained = {
        target_sequence.words(s) for name in ("train", "train_text") for s in sequences[name]
    }
    texts = [target_sequence.words(sequence) for sequence in sequences[split]]
    num_seen = sum(text in trained for text in texts)
    said = []
    if num_seen < len(texts):
        said.append(
            f"{len(texts) - num_seen} of {len(texts)} utterances: sentences not in training"
        )
    if num_seen:
        # Validation has the synthesisers of training, in other renderings (`voice_seed`).
        voices = ", voices not" if split == "test" else ""
        said.append(f"{num_seen} of {len(texts)} utterances: sentences seen{voices}")
    return "; ".join(said)


def texts_alone(
    grammar: Grammar, sequences: Mapping[str, list[str]], settings: Config
) -> dict[str, list[str]]:
    """Texts of the splits that have speech and text, but no semantics; those that are not empty.

    `asr`, data.num_asr utterances, has the words of train_text in random order and no sentence of
    the grammar: for learning semantics from text alone. `foreign`, data.num_foreign utterances, has
    sentences of other domains: a model trained on no other words recognises the grammar's in
    everything. A share of NEAR_SHARE of them are near misses of the grammar, as "do not ...".
    """
    texts = list(map(target_sequence.words, sequences["train_text"]))
    found = {}
    if settings.data.num_asr:
        found[ASR] = corpus.shuffled_words(
            texts,
            settings.data.num_asr,
            lambda text: bool(grammar.parse(text)),
            random.Random(f"{settings.seed} {ASR}"),
        )
    if settings.data.num_foreign:
        known = {word for text in texts for word in text.split()}
        num_near = round(NEAR_SHARE * settings.data.num_foreign)
        near = negatives.near_misses(
            texts,
            num_near,
            settings.seed,
            lambda text: bool(grammar.parse(text)),
            with_slips=True,
        )
        num_other = settings.data.num_foreign - len(near)
        found[FOREIGN] = [
            *negatives.sentences(num_other, settings.seed, known, negatives.HEARD),
            *near,
        ]
    return found


def check_voices(voices: Mapping[str, Mapping[str, float]], splits: tuple[str, ...]) -> None:
    """Every split has voices, and no synthesiser of test is in another split.

    Raises:
        ValueError: otherwise; the message names the setting.
    """
    for split in splits:
        if not voices.get(split):
            raise ValueError(f"data.voices.{split} is not set, expected {{engine: share, ...}}")
    engines = {
        split: {name.partition("/")[0] for name, share in voices[split].items() if share > 0}
        for split in splits
    }
    for split in splits:
        both = engines[split] & engines.get("test", set())
        if split != "test" and both:
            raise ValueError(
                f"data.voices: '{min(both)}' is in both {split} and test; test with a synthesiser "
                "that is in no other split, or the score says nothing about new voices"
            )


def voice_seed(seed: int, split: str) -> int | str:
    """The seed of who says a split, and how.

    Where the voices are training's it has its own: else a sentence of both would be one recording.
    """
    return f"{seed} {split}" if split in ("valid", SEEN_VOICES) else seed


def plan_speech(texts: list[str], split: str, settings: Config) -> list[synthetic_speech.Request]:
    """Who says the texts of a split, and how.

    Args:
        texts: as synthesisers read them.
        split: has the voices; those of TEXT_ALONE are training's.
        settings: `data` and `seed` are used.

    Raises:
        ValueError: a synthesiser that is not there.
    """
    return synthetic_speech.plan(
        texts,
        settings.data.voices["train" if split in TEXT_ALONE else split],
        voice_seed(settings.seed, split),
        settings.data.num_pseudo_speakers,
        settings.data.rate_range,
        settings.data.pitch_range,
    )


def say_unused_pronunciations(settings: Config, words: Set[str]) -> None:
    """Say, on stderr, of which words of data.pronunciations none is spoken.

    Args:
        settings: `data` is used.
        words: all that are spoken.
    """
    for word in sorted(settings.data.pronunciations.keys() - words):
        print(f"data.pronunciations: '{word}' is in no sentence that is spoken", file=sys.stderr)


def write_spoken(
    data: Path, sequences: Mapping[str, list[str]], settings: Config, num_jobs: int
) -> None:
    """Render the sentences of splits and write these: wav.scp, text, semantics, utt2spk.

    Args:
        data: directory to write the splits to.
        settings: `data` and `seed` are used.
        num_jobs: processes that speak.
        sequences: split -> target sequences; of TEXT_ALONE texts, spoken by the voices of train.

    Raises:
        ValueError: a synthesiser that is not there, or that fails too often; a recording in both
            training and validation.
    """
    spoken = {
        word
        for split in sequences
        for s in sequences[split]
        for word in target_sequence.words(s).split()
    }
    say_unused_pronunciations(settings, spoken)
    # All is planned before anything is spoken: a voice that is missing shows at once.
    plans = {
        split: plan_speech(
            said(split, list(map(aloud, sequences[split])), settings), split, settings
        )
        for split in sequences
    }
    requests = [request for plan in plans.values() for request in plan]
    print(f"{len(requests)} utterances to speak, but for those in the cache", file=sys.stderr)
    paths = iter(synthetic_speech.render(requests, ROOT / settings.data.cache, num_jobs))
    directories: dict[str, DataDir] = {}
    for split, plan in plans.items():
        wavs: dict[str, str] = {}
        texts: dict[str, str] = {}
        semantics: dict[str, str] = {}
        speakers: dict[str, str] = {}
        for number, (sequence, request) in enumerate(zip(sequences[split], plan, strict=True)):
            path = next(paths)
            if path is None:  # not speakable: `render` has said so
                continue
            utterance = f"{request.speaker}-{split}-{number:06d}"
            wavs[utterance] = str(path.resolve())
            texts[utterance] = target_sequence.words(sequence)
            semantics[utterance] = sequence
            speakers[utterance] = request.speaker
        meant = None if split in TEXT_ALONE else semantics
        directories[split] = DataDir(wavs, texts, meant, speakers)
    corpus.check_apart(
        {split: (made.wav_scp or {}).values() for split, made in directories.items()}
    )
    for split, directory in directories.items():
        kaldi_dir.write(data / split, directory)


# "six am" would be read like "I am", the letter A like an article.
_LETTER_A = re.compile(r"(?<=\( )a(?= \))")
_HOURS = {word for hour in range(60) for word in cardinal(hour).split()} | {"o'clock"}


def aloud(sequence: str) -> str:
    """The words of a target sequence, spelled so that synthesisers read them as they are meant.

    >>> aloud("wake( wake me at time( six am )time )wake"), aloud("seat( row( a )row )seat")
    ('wake me at six a.m.', 'eigh')
    """
    words = target_sequence.words(_LETTER_A.sub("eigh", sequence)).split()
    for place in range(1, len(words)):
        if words[place] in ("am", "pm") and words[place - 1] in _HOURS:
            words[place] = f"{words[place][0]}.m."
    return " ".join(words)


def said(split: str, texts: list[str], settings: Config) -> list[str]:
    """The texts that synthesisers read: those of training speech with disfluencies.

    As in `synthetic_speech.plan`, what becomes of a text depends on how often it occurred before,
    not on other texts.
    """
    if split in ("valid", "test"):
        return texts
    occurrences: Counter[str] = Counter()
    result = []
    for text in texts:
        rng = random.Random(f"{settings.seed} saying {text} {occurrences[text]}")
        occurrences[text] += 1
        result.append(disfluency.said(text, settings.data, rng))
    return result


def write_text(data: Path, split: str, sequences: list[str]) -> None:
    """Write a split without speech: text and semantics."""
    ids = {f"{split}-{number:06d}": sequence for number, sequence in enumerate(sequences)}
    texts = {key: target_sequence.words(sequence) for key, sequence in ids.items()}
    kaldi_dir.write(data / split, DataDir(text=texts, semantics=ids))


def write_grammar(data: Path, grammar: Grammar) -> None:
    """Keep the grammar with the data: decoding can hold its output to it."""
    with atomic_write(data / "grammar.yaml") as file:
        file.write(grammar.text)


@dataclass
class Summary:
    """One line of the table that stage 1 ends with."""

    split: str
    utterances: int
    hours: float | None  # None: no speech
    speakers: int | None  # None: none, or not known
    intents: int


def summarise(data: Path, split: str) -> Summary:
    """Read a split back and count."""
    import soundfile

    directory = kaldi_dir.read(data / split)
    hours = None
    if directory.wav_scp:
        hours = 0.0
        for path in directory.wav_scp.values():
            with suppress(soundfile.SoundFileError):  # stage 2 reports what cannot be read
                hours += soundfile.info(path).duration / 3600
    speakers = len(directory.spk2utt)
    return Summary(
        split=split,
        utterances=len(directory.ids),
        hours=hours,
        speakers=speakers if 0 < speakers < len(directory.ids) else None,
        intents=len(
            {target_sequence.frame(s).intent for s in (directory.semantics or {}).values()}
        ),
    )


def print_table(data: Path, splits: tuple[str, ...], voices: Mapping[str, str]) -> None:
    """Print what was made, a line a split.

    Args:
        data: directory of the splits.
        splits: those to print, in this order.
        voices: split -> who speaks in it.
    """
    print(f"{'split':<11}{'utterances':>11}{'hours':>8}{'speakers':>10}{'intents':>9}  voices")
    for split in splits:
        line = summarise(data, split)
        hours = "-" if line.hours is None else f"{line.hours:.2f}"
        speakers = "-" if line.speakers is None else line.speakers
        print(
            f"{split:<11}{line.utterances:>11}{hours:>8}{speakers:>10}{line.intents:>9}  "
            f"{voices.get(split, 'none: text only')}"
        )


def who_speaks(settings: DataConfig, sequences: Mapping[str, list[str]]) -> str:
    """The sentence of `corpus.write_about` on rendered speech: by whom, what is new in the test.

    Args:
        settings: which voices speak which split.
        sequences: split -> target sequences, as `draw` gives them.
    """
    by: dict[str, list[str]] = {}
    for split in SPOKEN:
        if sequences.get(split):
            by.setdefault(voices_of(settings, split), []).append(split)
    parts = [f"{' and '.join(splits)} by {voices}" for voices, splits in by.items()]
    said = f"rendered by synthesisers, not recorded: {'; '.join(parts)}."
    if sequences.get("test"):
        said += f" Test: {seen_or_not(sequences, 'test')}."
    return said


def voices_by_split(settings: DataConfig, splits: tuple[str, ...]) -> dict[str, str]:
    """Who speaks in splits, and in those of texts alone that the settings ask for."""
    found = {split: voices_of(settings, split) for split in splits}
    for split, num in zip(TEXT_ALONE, (settings.num_asr, settings.num_foreign), strict=True):
        if num:
            found[split] = voices_of(settings, "train")
    return found


def voices_of(settings: DataConfig, split: str) -> str:
    """The engines of a split as the table shows them.

    >>> voices_of(DataConfig(voices={"train": {"hibari": 0.6, "espeak": 0.4}}), "train")
    'hibari 60%, espeak 40%'
    """
    shares = settings.voices[split]
    return ", ".join(f"{name} {share / sum(shares.values()):.0%}" for name, share in shares.items())
