"""What a run trains or validates on: the examples of every split, with the targets of each task."""

# N utterances, rows of a split's files; U of them that are taken

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from atat.common.advice import rerun
from atat.common.ragged import Names, Ragged, Selection
from atat.common.seeds import rng
from atat.config.schema import Config, Source
from atat.config.tasks import SPEECH_TASKS, TAGGED_TASKS, TEXT_TASKS
from atat.data import audio_segment, ctm, kaldi_dir
from atat.data.feature_archive import FeatureReader
from atat.data.tokenizer import Tokenizer
from atat.semantics import heldout_pairs, target_sequence
from atat.training import encoded_split, word_masking
from atat.training.encoded_split import EncodedSplit
from atat.training.frozen_states import copy_of

MAX_UNALIGNED = 0.01

TextTokenizer = Callable[[str], list[int]]


@dataclass
class SpeechPart:
    """The spoken utterances of one split, with the targets of each task.

    `targets[task]` has one entry an utterance, empty where it is not to be trained on the task; of
    semantics without the transcript and `separator` before them (`transcript_first`). `heard` are
    the token ids of its text, `understood` of the words in its semantics, both empty where it has
    none. `copies` read the states of augmented versions (`frozen_states.copy_of`), in training
    alone. For MLM, `wavs` are the audio files and `ticks` (atat/training/word_masking.py) say where
    the words are.
    """

    ids: Names
    reader: FeatureReader
    num_frames: np.ndarray
    targets: dict[str, Selection]
    heard: Selection
    understood: Selection
    wavs: list[str]
    ticks: Ragged
    copies: list[FeatureReader] = field(default_factory=list)
    separator: int | None = None

    def tasks_of(self, u: int) -> list[str]:
        """Those that an utterance has a target of."""
        return [task for task, sequences in self.targets.items() if len(sequences[u])]

    def target(self, task: str, u: int) -> np.ndarray:
        """What the decoder is to write of an utterance for a task that it serves."""
        target_L = self.targets[task][u]
        if self.separator is not None and task in TAGGED_TASKS:
            return np.concatenate([self.words(u), [self.separator], target_L])
        return target_L

    def words(self, u: int) -> np.ndarray:
        """What CTC hears in an utterance: its text, whatever its tasks are (semantics may have
        digits for words, `data.spelled_out`); without a text the words of its semantics."""
        heard = self.heard[u]
        return heard if len(heard) else self.understood[u]

    def features(self, u: int, copy: int = 0) -> Tensor:
        """Of an utterance as stage 2 made them, float32 (T, F); `copy` 1, 2, ...: augmented."""
        reader = (self.reader, *self.copies)[copy]
        return torch.from_numpy(np.array(reader[self.ids[u]]))


@dataclass
class TextPart:
    """Written sentences: source tokens and NLU's targets, without the source and `separator` that
    may stand before them (`transcript_first`)."""

    ids: Names
    sources: Ragged | Selection
    targets: Selection
    separator: int | None = None

    def target(self, u: int) -> np.ndarray:
        """What the decoder is to write of a sentence."""
        if self.separator is None:
            return self.targets[u]
        return np.concatenate([self.sources[u], [self.separator], self.targets[u]])

    @property
    def lengths_U(self) -> np.ndarray:
        """Tokens of each target."""
        if self.separator is None:
            return self.targets.lengths_N
        return self.sources.lengths_N + 1 + self.targets.lengths_N


def fraction_of(num: int, fraction: float, seed: int) -> np.ndarray:
    """A seeded share of `num` things, as places; a smaller share is part of every larger one."""
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"train.sources: fraction is {fraction}, expected above 0 and up to 1")
    return rng(seed, "fraction").permutation(num)[: round(fraction * num)]


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
        transcript_first: `model.transcript_first`.

    Attributes:
        notes: what was left out, a sentence each.
        speech_index, text_index: part and place in it of every utterance, and of every sentence;
            (U, 2).

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
        transcript_first: bool = False,
    ) -> None:
        separator = tokenizer.task_ids["nlu"] if transcript_first else None
        _check_tasks(sources, {*SPEECH_TASKS, *TEXT_TASKS})
        self._data, self._dump = data, dump
        self.speech: list[SpeechPart] = []
        self.text: list[TextPart] = []
        self.notes: list[str] = []
        for split in dict.fromkeys(source.split for source in sources):
            here = [s for s in sources if s.split == split]
            repeat = _repeat(here)
            encoded = encoded_split.read(data, split, tokenizer)
            wanted = _wanted(data / split, here, len(encoded), seed)
            if transcript_first and wanted["slu"].any() and encoded.text is None:
                why = "with model.transcript_first: it has no text of what is said"
                raise ValueError(f"split '{split}' cannot serve task 'slu' {why}")
            if any(wanted[task].any() for task in SPEECH_TASKS):
                part = self._spoken(split, encoded, wanted, repeat, allow_drops, ctm_dir)
                part.copies = [FeatureReader(copy_of(dump, n) / split) for n in range(num_copies)]
                part.separator = separator
                self.speech.append(part)
            if wanted["nlu"].any():
                other = text_tokenizer if text_tokenizer != tokenizer.encode else None
                written = self._written(split, encoded, wanted["nlu"], repeat, other)
                written.separator = separator
                self.text.append(written)
        self.tasks = sorted({task for source in sources for task in source.tasks})
        self.speech_index = _index_of(self.speech)
        self.text_index = _index_of(self.text)

    def _spoken(
        self,
        split: str,
        encoded: EncodedSplit,
        wanted: dict[str, np.ndarray],
        repeat: int,
        allow_drops: bool,
        ctm_dir: str | None,
    ) -> SpeechPart:
        """The spoken utterances of a split, `notes` of those without an alignment for MLM."""
        reader = FeatureReader(self._dump / split)
        frames_N = _frames(encoded.names(), reader)
        if not wanted["mlm"].any():
            return _speech_part(split, encoded, wanted, frames_N, reader, repeat)
        directory = kaldi_dir.read(self._data / split)
        able = set(encoded.names(np.flatnonzero(wanted["mlm"] & (frames_N >= 0))))
        path = ctm.path_of(split, self._data, ctm_dir)
        ticks = _word_ticks(path, directory, able, allow_drops)
        if len(ticks) < len(able):
            self.notes.append(
                f"split '{split}': {len(able) - len(ticks)} of {len(able)} utterances have no "
                "alignment and are left out of task 'mlm'"
            )
        aligned = wanted | {"mlm": np.array([i in ticks for i in encoded.names()])}
        part = _speech_part(split, encoded, aligned, frames_N, reader, repeat)
        if ticks:
            assert directory.wav_scp is not None  # `_word_ticks` has looked
            part.ticks = Ragged.of(ticks.get(i, ()) for i in part.ids)
            part.wavs = [directory.wav_scp[i] for i in part.ids]
        return part

    def _written(
        self,
        split: str,
        encoded: EncodedSplit,
        wanted_N: np.ndarray,
        repeat: int,
        text_tokenizer: TextTokenizer | None,
    ) -> TextPart:
        """The written sentences of a split; their sources by another tokenizer if one is given."""
        if encoded.text is None or encoded.semantics is None:
            raise ValueError(
                f"split '{split}' cannot serve task 'nlu': it needs text and semantics"
            )
        rows_U = np.tile(np.flatnonzero(wanted_N), repeat)
        ids = encoded.names(rows_U)
        sources: Ragged | Selection = Selection(encoded.text, rows_U)
        if text_tokenizer is not None:
            texts = kaldi_dir.column(self._data / split, "text")
            sources = Ragged.of(text_tokenizer(texts[i]) for i in ids)
        return TextPart(ids, sources, Selection(encoded.semantics, rows_U))


def _check_tasks(sources: list[Source], known: set[str]) -> None:
    """Raise ValueError unless there are sources, of tasks that are known."""
    if not sources:
        raise ValueError("train.sources is empty: name at least one split and its tasks")
    for source in sources:
        for task in source.tasks:
            if task not in known:
                raise ValueError(f"train.sources: got task '{task}', expected {sorted(known)}")


def _index_of(parts: Sequence[SpeechPart | TextPart]) -> np.ndarray:
    """Every utterance as its part and its place in that, (U, 2)."""
    sizes = [len(part.ids) for part in parts]
    places = [np.stack([np.full(n, p), np.arange(n)], axis=1) for p, n in enumerate(sizes)]
    return np.concatenate([np.empty((0, 2), dtype=np.int64), *places])


def rows_of(tasks: list[str]) -> list[list[str]]:
    """The tasks of an utterance, by the row of speech that they hear: as it is, or masked.

    >>> rows_of(["asr", "slu", "mlm"]), rows_of(["mlm"]), rows_of([])
    ([['asr', 'slu'], ['mlm']], [['mlm']], [[]])
    """
    if "mlm" not in tasks:
        return [tasks]
    heard = [task for task in tasks if task != "mlm"]
    return [heard, ["mlm"]] if heard else [["mlm"]]


def taught_skeletons(
    sources: list[Source], data: Path, tokenizer: Tokenizer, seed: int
) -> list[str]:
    """The target sequences that `TrainingData` of the same arguments has for the tasks slu and nlu,
    without their words, each once."""
    found: dict[str, None] = {}
    for source in sources:
        if {"slu", "nlu"} & set(source.tasks):
            encoded = encoded_split.read(data, source.split, tokenizer)
            if encoded.semantics is not None:
                chosen_N = _chosen(data / source.split, source, len(encoded), seed)
                numbers = np.unique(encoded.skeleton_N[chosen_N])
                found |= dict.fromkeys(encoded.skeletons[number] for number in numbers)
    return list(found)


def validation_sources(settings: Config, data: Path) -> list[Source]:
    """The validation splits, for whichever of the training's tasks they have what is needed.

    A task is validated on what it may be taught: intents and pairs of slot values that all of its
    sources exclude are left out. Otherwise what is held out would choose the epochs to average.

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
        there = {target_sequence.frame(s).intent for s in (held.semantics or {}).values()}
        groups: dict[tuple[frozenset[str], float], list[str]] = {}
        for task in able:
            intents, pairs = _held_out(settings.train.sources, task)
            if not there or there - intents:
                groups.setdefault((intents & there, pairs), []).append(task)
        for (intents, pairs), together in groups.items():
            sources.append(Source(split, together, share, sorted(intents), pairs))
    if not sources:
        raise ValueError(
            f"train.valid_splits: got {settings.train.valid_splits}, expected one that can serve "
            f"one of the tasks {', '.join(sorted(tasks))} (mlm needs alignments: `python -m "
            "atat.align` writes them)"
        )
    return sources


def _held_out(sources: list[Source], task: str) -> tuple[frozenset[str], float]:
    """Intents, and the share of pairs of slot values, that no source teaches a task."""
    own = [source for source in sources if task in source.tasks]
    intents = frozenset.intersection(*(frozenset(source.exclude_intents) for source in own))
    return intents, min(source.exclude_pairs for source in own)  # smaller shares are in larger ones


def utterances_a_pass(sources: list[Source], data: Path, split: str, seed: int) -> int:
    """How many utterances of a split's speech `TrainingData` has a pass, repetitions among them."""
    here = [source for source in sources if source.split == split]
    num = sum(1 for _ in kaldi_dir.utterances(data / split))
    wanted = _wanted(data / split, here, num, seed)
    return _repeat(here) * int(np.any([wanted[task] for task in SPEECH_TASKS], axis=0).sum())


def _wanted(path: Path, sources: list[Source], num: int, seed: int) -> dict[str, np.ndarray]:
    """Which of the `num` utterances of the split at `path` its sources want for each task, (N,)."""
    wanted = {task: np.zeros(num, dtype=bool) for task in (*SPEECH_TASKS, *TEXT_TASKS)}
    for source in sources:
        chosen_N = _chosen(path, source, num, seed)
        for task in source.tasks:
            wanted[task] |= chosen_N
    return wanted


def _chosen(path: Path, source: Source, num: int, seed: int) -> np.ndarray:
    """Which of the `num` utterances of the split at `path` a source takes, (N,) bool."""
    able_N = np.ones(num, dtype=bool)
    if source.exclude_pairs and not 0.0 < source.exclude_pairs < 1.0:
        raise ValueError(
            f"train.sources: exclude_pairs is {source.exclude_pairs}, expected 0 to below 1"
        )
    if source.exclude_intents or source.exclude_pairs:
        intents: set[str] = set()
        for row, utterance in enumerate(kaldi_dir.utterances(path)):
            if utterance.semantics is not None:
                frame = target_sequence.frame(utterance.semantics)
                intents.add(frame.intent)
                able_N[row] = frame.intent not in source.exclude_intents and not (
                    source.exclude_pairs and heldout_pairs.has_held_out(frame, source.exclude_pairs)
                )
        unknown = sorted(set(source.exclude_intents) - intents)
        if unknown:
            raise ValueError(
                f"train.sources: exclude_intents names {unknown}, which split '{source.split}' "
                f"does not have (it has {sorted(intents)})"
            )
    rows = np.flatnonzero(able_N)
    chosen_N = np.zeros(num, dtype=bool)
    chosen_N[rows[fraction_of(len(rows), source.fraction, seed)]] = True
    if not chosen_N.any():
        raise ValueError(
            f"train.sources: takes none of the {num} utterances of split '{source.split}' "
            f"(fraction {source.fraction}, {len(rows)} that nothing excludes), expected some"
        )
    return chosen_N


def _repeat(sources: list[Source]) -> int:
    """How often the sources of one split want it."""
    wanted = {source.repeat for source in sources}
    if len(wanted) > 1 or min(wanted) < 1:
        raise ValueError(
            f"train.sources: repeat of split '{sources[0].split}' is {sorted(wanted)}, expected "
            "one whole number of 1 or more"
        )
    return wanted.pop()


def _frames(names: Names, reader: FeatureReader) -> np.ndarray:
    """Frames of each utterance, (N,); -1 where stage 2 has dropped it, and has said so."""
    frames_N = np.full(len(names), -1, dtype=np.int64)
    there = reader.sizes()
    key, num_frames = next(there, ("", 0))
    for row, name in enumerate(names):
        while key and key < name:
            key, num_frames = next(there, ("", 0))
        if key == name:
            frames_N[row] = num_frames
    return frames_N


def _speech_part(
    split: str,
    encoded: EncodedSplit,
    wanted: dict[str, np.ndarray],
    frames_N: np.ndarray,
    reader: FeatureReader,
    repeat: int,
) -> SpeechPart:
    """Without what only MLM needs."""
    references = {"asr": encoded.text, "slu": encoded.semantics, "mlm": encoded.text}
    for task, reference in references.items():
        if wanted[task].any() and reference is None:
            raise ValueError(f"split '{split}' cannot serve task '{task}': it has no labels for it")
    some_N = np.any([wanted[task] for task in references], axis=0)
    rows_U = np.tile(np.flatnonzero(some_N & (frames_N >= 0)), repeat)

    def taken(what: Ragged | None, where_N: np.ndarray) -> Selection:
        if what is None:
            return Selection(encoded.characters, np.full_like(rows_U, -1))
        return Selection(what, np.where(where_N[rows_U], rows_U, -1))

    return SpeechPart(
        ids=encoded.names(rows_U),
        reader=reader,
        num_frames=frames_N[rows_U],
        targets={
            task: taken(reference, wanted[task])
            for task, reference in references.items()
            if wanted[task].any()
        },
        heard=taken(encoded.text, some_N),
        understood=taken(encoded.words, some_N),
        wavs=[],
        ticks=Ragged.of([]),
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
        what = f"the audio of '{gone}' is gone, which task 'mlm' masks anew every time"
        raise FileNotFoundError(f"{directory.wav_scp[gone]}: {what}; {rerun(1)}")
    return ticks
