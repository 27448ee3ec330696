"""What a run trains or validates on: the examples of every split, with the targets of each task."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atat.common.seeds import rng
from atat.config.schema import Config, Source
from atat.config.tasks import SPEECH_TASKS, TEXT_TASKS
from atat.data import audio_segment, ctm, kaldi_dir
from atat.data.feature_archive import FeatureReader
from atat.data.tokenizer import Tokenizer
from atat.semantics import heldout_pairs, target_sequence
from atat.training import word_masking
from atat.training.frozen_states import copy_of

MAX_UNALIGNED = 0.01

TextTokenizer = Callable[[str], list[int]]


class Ragged:
    """Many short sequences of integers in two flat arrays (a million must fit in little memory)."""

    def __init__(self, sequences: Iterable[Sequence[int] | np.ndarray]):
        sequences = list(sequences)
        self.offsets = np.cumsum([0, *map(len, sequences)], dtype=np.int64)
        self.flat = np.fromiter(
            (i for s in sequences for i in s), dtype=np.int32, count=int(self.offsets[-1])
        )

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.flat[self.offsets[index] : self.offsets[index + 1]]


@dataclass
class SpeechPart:
    """The spoken utterances of one split, with the targets of each task.

    `targets[task]` has one entry an utterance, empty where it is not to be trained on the task.
    `copies` read the states of augmented versions (`frozen_states.copy_of`), in training alone.
    For MLM, `wavs` are the audio files and `ticks` (atat/training/word_masking.py) say where the
    words are.
    """

    ids: list[str]
    reader: FeatureReader
    num_frames: np.ndarray
    targets: dict[str, Ragged]
    words: Ragged
    wavs: list[str]
    ticks: Ragged
    copies: list[FeatureReader] = field(default_factory=list)

    def tasks_of(self, u: int) -> list[str]:
        """Those that an utterance has a target of."""
        return [task for task, sequences in self.targets.items() if len(sequences[u])]

    def features(self, u: int, copy: int = 0) -> Tensor:
        """Of an utterance as stage 2 made them, float32 (T, F); `copy` 1, 2, ...: augmented."""
        reader = (self.reader, *self.copies)[copy]
        return torch.from_numpy(np.array(reader[self.ids[u]]))


@dataclass
class TextPart:
    """Written sentences: source tokens and the targets of NLU."""

    ids: list[str]
    sources: Ragged
    targets: Ragged


def fraction_of(ids: list[str], fraction: float, seed: int) -> set[str]:
    """A seeded share of the ids; a smaller share is part of every larger one."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"train.sources: fraction is {fraction}, expected above 0 and up to 1")
    order = rng(seed, "fraction").permutation(len(ids))
    return {ids[i] for i in order[: round(fraction * len(ids))]}


class TrainingData:
    """What a run trains or validates on.

    Args:
        sources: which splits, for which tasks, how much of each.
        data, dump: directories of stages 1 and 2.
        tokenizer: of the targets.
        text_tokenizer: of the NLU sources; the targets' tokenizer where not given.
        seed: of the fractions.
        allow_drops: go on when more than 1 % of a split's utterances have no alignment for MLM.
        num_copies: how many augmented versions of the speech to read too.
        ctm_dir: `train.ctm`.

    Attributes:
        notes: what was left out, a sentence each.
        speech_index, text_index: part and place in it of every utterance, and of every sentence.

    Raises:
        ValueError: a source that cannot serve its task (what it lacks is named).
    """

    def __init__(
        self,
        sources: list[Source],
        data: Path,
        dump: Path,
        tokenizer: Tokenizer,
        text_tokenizer: TextTokenizer | None = None,
        seed: int = 1,
        allow_drops: bool = False,
        num_copies: int = 0,
        ctm_dir: str | None = None,
    ):
        known = {*SPEECH_TASKS, *TEXT_TASKS}
        _check_tasks(sources, known)
        self.speech: list[SpeechPart] = []
        self.text: list[TextPart] = []
        self.notes: list[str] = []
        for split in dict.fromkeys(source.split for source in sources):
            here = [s for s in sources if s.split == split]
            repeat = _repeat(here)
            directory = kaldi_dir.read(data / split)
            wanted = {
                task: set().union(*(_chosen(directory, s, seed) for s in here if task in s.tasks))
                for task in sorted(known)
            }
            if any(wanted[task] for task in SPEECH_TASKS):
                reader = FeatureReader(dump / split)
                ticks = {}
                if wanted["mlm"]:
                    path = ctm.path_of(split, data, ctm_dir)
                    able = {i for i in wanted["mlm"] if i in reader}
                    ticks = self._aligned(path, split, directory, able, allow_drops)
                    wanted["mlm"] = set(ticks)
                part = _speech_part(split, directory, wanted, reader, tokenizer, ticks, repeat)
                part.copies = [FeatureReader(copy_of(dump, n) / split) for n in range(num_copies)]
                self.speech.append(part)
            if any(wanted[task] for task in TEXT_TASKS):
                self.text.append(
                    _text_part(
                        split,
                        directory,
                        wanted,
                        text_tokenizer or tokenizer.encode,
                        tokenizer,
                        repeat,
                    )
                )
        self.tasks = sorted({task for source in sources for task in source.tasks})
        self.speech_index = _index_of(self.speech)
        self.text_index = _index_of(self.text)
        self.num_speech = sum(len(part.ids) for part in self.speech)
        self.num_text = sum(len(part.ids) for part in self.text)

    def _aligned(
        self,
        path: Path,
        split: str,
        directory: kaldi_dir.DataDir,
        wanted: set[str],
        allow_drops: bool,
    ) -> dict[str, np.ndarray]:
        """Where the words of utterances are; `notes` says how many have no alignment."""
        ticks = _word_ticks(path, directory, wanted, allow_drops)
        if len(ticks) < len(wanted):
            self.notes.append(
                f"split '{split}': {len(wanted) - len(ticks)} of {len(wanted)} utterances "
                "have no alignment and are left out of task 'mlm'"
            )
        return ticks


def _check_tasks(sources: list[Source], known: set[str]) -> None:
    """Raise ValueError unless there are sources, of tasks that are known."""
    if not sources:
        raise ValueError("train.sources is empty: name at least one split and its tasks")
    for source in sources:
        for task in source.tasks:
            if task not in known:
                raise ValueError(f"train.sources: got task '{task}', expected {sorted(known)}")


def _index_of(parts: Sequence[SpeechPart | TextPart]) -> list[tuple[int, int]]:
    """Every utterance as its part and its place in that."""
    return [(p, u) for p, part in enumerate(parts) for u in range(len(part.ids))]


def rows_of(tasks: list[str]) -> list[list[str]]:
    """The tasks of an utterance, by the row of speech that they hear: as it is, or masked.

    >>> rows_of(["asr", "slu", "mlm"]), rows_of(["mlm"]), rows_of([])
    ([['asr', 'slu'], ['mlm']], [['mlm']], [[]])
    """
    if "mlm" not in tasks:
        return [tasks]
    heard = [task for task in tasks if task != "mlm"]
    return [heard, ["mlm"]] if heard else [["mlm"]]


def target_sequences(sources: list[Source], data: Path, seed: int) -> Iterator[str]:
    """Those that `TrainingData` of the same arguments has for the tasks slu and nlu."""
    for source in sources:
        if {"slu", "nlu"} & set(source.tasks):
            directory = kaldi_dir.read(data / source.split)
            labels = directory.semantics or {}
            chosen = _chosen(directory, source, seed)
            yield from (labels[i] for i in sorted(chosen & labels.keys()))


def validation_sources(settings: Config, data: Path) -> list[Source]:
    """The validation splits, for whichever of the training's tasks they have what is needed.

    Raises:
        FileNotFoundError, ValueError: a split is not there, or none serves a task.
    """
    tasks = {task for source in settings.train.sources for task in source.tasks}
    sources = []
    for split in settings.train.valid_splits:
        held = kaldi_dir.read(data / split)
        spoken = held.wav_scp is not None
        aligned = ctm.path_of(split, data, settings.train.ctm).is_file()
        able = [t for t in SPEECH_TASKS if t in tasks and spoken and (t != "mlm" or aligned)]
        able += [task for task in TEXT_TASKS if task in tasks and held.text and held.semantics]
        share = min(settings.train.num_valid / max(len(held.ids), 1), 1.0)
        sources.append(Source(split=split, tasks=able, fraction=share))
    if not any(source.tasks for source in sources):
        raise ValueError(
            f"train.valid_splits: got {settings.train.valid_splits}, expected one that can serve "
            f"one of the tasks {', '.join(sorted(tasks))} (mlm needs alignments: `python -m "
            "atat.align` writes them)"
        )
    return sources


def utterances_a_pass(sources: list[Source], data: Path, split: str, seed: int) -> int:
    """How many utterances of a split's speech `TrainingData` has a pass, repetitions among them."""
    here = [source for source in sources if source.split == split]
    directory = kaldi_dir.read(data / split)
    spoken = (s for s in here if set(SPEECH_TASKS) & set(s.tasks))
    return _repeat(here) * len(set().union(*(_chosen(directory, s, seed) for s in spoken)))


def _chosen(directory: kaldi_dir.DataDir, source: Source, seed: int) -> set[str]:
    """The ids of a split that a source takes."""
    ids = sorted(directory.text or directory.semantics or directory.wav_scp or {})
    if source.exclude_intents:
        labels = directory.semantics or {}
        intents = {i: target_sequence.frame(labels[i]).intent for i in ids if i in labels}
        unknown = sorted(set(source.exclude_intents) - set(intents.values()))
        if unknown:
            raise ValueError(
                f"train.sources: exclude_intents names {unknown}, which split '{source.split}' "
                f"does not have (it has {sorted(set(intents.values()))})"
            )
        ids = [i for i in ids if intents.get(i) not in source.exclude_intents]
    if source.exclude_pairs:
        if not 0.0 < source.exclude_pairs < 1.0:
            raise ValueError(
                f"train.sources: exclude_pairs is {source.exclude_pairs}, expected 0 to below 1"
            )
        labels = directory.semantics or {}
        frames = {i: target_sequence.frame(labels[i]) for i in ids if i in labels}
        held_out = {
            i for i in frames if heldout_pairs.has_held_out(frames[i], source.exclude_pairs)
        }
        ids = [i for i in ids if i not in held_out]
    return fraction_of(ids, source.fraction, seed)


def _repeat(sources: list[Source]) -> int:
    """How often the sources of one split want it."""
    wanted = {source.repeat for source in sources}
    if len(wanted) > 1 or min(wanted) < 1:
        raise ValueError(
            f"train.sources: repeat of split '{sources[0].split}' is {sorted(wanted)}, expected "
            "one whole number of 1 or more"
        )
    return wanted.pop()


def _speech_part(
    split: str,
    directory: kaldi_dir.DataDir,
    wanted: dict[str, set[str]],
    reader: FeatureReader,
    tokenizer: Tokenizer,
    ticks: dict[str, np.ndarray],
    repeat: int,
) -> SpeechPart:
    references = {"asr": directory.text, "slu": directory.semantics, "mlm": directory.text}
    for task, reference in references.items():
        if wanted[task] and reference is None:
            raise ValueError(f"split '{split}' cannot serve task '{task}': it has no labels for it")
    # Stage 2 may have dropped utterances (it says which); the others are all here.
    ids = [i for i in directory.ids if i in reader and any(i in wanted[t] for t in references)]
    ids *= repeat
    targets = {
        task: Ragged(tokenizer.encode(reference[i]) if i in wanted[task] else [] for i in ids)
        for task, reference in references.items()
        if wanted[task]
    }
    # CTC hears the words of whatever target the utterance has; E2E without ASR has them in its SLU
    # target too.
    words = Ragged(
        tokenizer.encode(
            directory.text[i]
            if i in wanted["asr"] or i in wanted["mlm"]
            else target_sequence.words(directory.semantics[i])
        )
        for i in ids
    )
    return SpeechPart(
        ids,
        reader,
        np.array([reader.num_frames[i] for i in ids]),
        targets,
        words,
        [directory.wav_scp[i] for i in ids] if ticks else [],
        Ragged(ticks.get(i, ()) for i in ids),
    )


def _word_ticks(
    path: Path, directory: kaldi_dir.DataDir, wanted: set[str], allow_drops: bool
) -> dict[str, np.ndarray]:
    """Where the words of the wanted utterances are, of those that have an alignment."""
    if directory.text is None or directory.wav_scp is None:
        raise ValueError(f"{path}: task 'mlm' needs wav.scp and text of the split, expected both")
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no such word alignments, which task 'mlm' needs; `python -m atat.align` with "
            "an experiment that has CTC writes them, train.ctm names a directory that has them"
        )
    ticks = {
        i: word_masking.ticks(words) for i, words in ctm.read(path, directory.text) if i in wanted
    }
    missing = sorted(wanted - ticks.keys())
    if len(missing) > MAX_UNALIGNED * len(wanted) and not allow_drops:
        raise ValueError(
            f"{path}: {len(missing)} of {len(wanted)} utterances are not in it (limit "
            f"{MAX_UNALIGNED:.0%}; features.allow_drops=true goes on); the first: {missing[0]}"
        )
    files = {i: Path(audio_segment.file_of(directory.wav_scp[i])) for i in ticks}
    gone = next((i for i in ticks if not files[i].is_file()), None)
    if gone is not None:
        raise FileNotFoundError(
            f"{directory.wav_scp[gone]}: the audio of '{gone}' is gone, task 'mlm' masks it anew "
            "every time (rerun stage 1)"
        )
    return ticks


def _text_part(
    split: str,
    directory: kaldi_dir.DataDir,
    wanted: dict[str, set[str]],
    text_tokenizer: TextTokenizer,
    tokenizer: Tokenizer,
    repeat: int,
) -> TextPart:
    if directory.text is None or directory.semantics is None:
        raise ValueError(f"split '{split}' cannot serve task 'nlu': it needs text and semantics")
    ids = sorted(wanted["nlu"]) * repeat
    return TextPart(
        ids,
        Ragged(text_tokenizer(directory.text[i]) for i in ids),
        Ragged(tokenizer.encode(directory.semantics[i]) for i in ids),
    )
