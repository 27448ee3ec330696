"""Kaldi data directories: one split's audio paths, texts, semantics and speakers.

A file holds one utterance a line, "id, white space, rest", sorted by code point, ids unique and of
the form `<speaker>-<utterance>` (or just the speaker's, where nobody knows who speaks). A split has
any of `wav.scp` (an audio file's path, no commands), `text` and `semantics`, and `utt2spk` with its
inverse `spk2utt`; every file has the same ids. With `segments` ("utterance recording start end",
in seconds), `wav.scp` has recordings, and an utterance is a part of one. Other files (`spk2gender`,
`utt2dur`, `reco2dur`, `cmvn.scp`, ...) are not read. Words come as typed text has them
(atat/semantics/text_normalization.py) however the files write them, but for hyphens, which they
keep. A directory is checked whenever it is written and read; only stage 2 opens the audio.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from atat.common.advice import rerun
from atat.common.files import atomic_directory, sha256_of_files
from atat.data import audio_segment, kaldi_file
from atat.data.kaldi_file import AGAIN, RERUN
from atat.semantics import target_sequence
from atat.semantics.text_normalization import HYPHEN, normalize_tokens

SEGMENTS = "segments"


@dataclass
class DataDir:
    """One split: utterance id -> value, one mapping a file; None where the split has no such file.

    wav_scp: path of the audio file, or a part of it (atat/data/audio_segment.py); text: lower-case
    words separated by single spaces; semantics: target sequence of lower-case words
    (atat/semantics/target_sequence.py); utt2spk: speaker.
    """

    wav_scp: dict[str, str] | None = None
    text: dict[str, str] | None = None
    semantics: dict[str, str] | None = None
    utt2spk: dict[str, str] | None = None

    @property
    def ids(self) -> list[str]:
        """Utterance ids, sorted by code point."""
        return sorted(next(entries for _, entries in self._files()))

    @property
    def spk2utt(self) -> dict[str, str]:
        """Speaker -> its utterance ids, sorted and joined by spaces; empty without utt2spk."""
        utterances: dict[str, list[str]] = {}
        for utterance, speaker in sorted((self.utt2spk or {}).items()):
            utterances.setdefault(speaker, []).append(utterance)
        return {speaker: " ".join(ids) for speaker, ids in sorted(utterances.items())}

    def _files(self) -> Iterator[tuple[str, dict[str, str]]]:
        for name in _FILES:
            entries = getattr(self, name.replace(".", "_"))
            if entries is not None:
                yield name, entries


class Utterance(NamedTuple):
    """One of a split, with its values as `DataDir` has them; None where there is no such file."""

    id: str
    wav: str | None = None
    text: str | None = None
    semantics: str | None = None
    speaker: str | None = None


def write(path: str | Path, data: DataDir, pending: ExitStack | None = None) -> None:
    """Write and check a split; whatever stood at `path` is replaced only if all is well.

    Args:
        path: directory of the split.
        data: what to write; a file each of what is not None, and spk2utt where speakers are known.
        pending: it is replaced when this is closed; at once without it.

    Raises:
        ValueError: the data break a rule of the format; the message names file and line.
    """
    if all(entries is None for entries in (data.wav_scp, data.text, data.semantics)):
        raise ValueError(f"{path}: {_NOTHING}")
    with ExitStack() as whole:
        temporary = whole.enter_context(atomic_directory(path))
        for name, entries in data._files():
            _write_file(temporary / name, entries)
        if data.utt2spk is not None:
            _write_file(temporary / "spk2utt", data.spk2utt)
        _validate(temporary, Path(path))
        if pending is not None:
            pending.push(whole.pop_all())


def utterances(path: str | Path) -> Iterator[Utterance]:
    """The utterances of a split, sorted by code point, one by one: a million take no memory.

    `spk2utt` is not looked at.

    Raises: as `read`.
    """
    return _utterances(Path(path), Path(path))


def read(path: str | Path) -> DataDir:
    """Read and check a split.

    Raises:
        FileNotFoundError: no such directory. ValueError: it breaks a rule of the format; the
            message names file and line.
    """
    path = Path(path)
    columns: tuple[dict[str, str], ...] = ({}, {}, {}, {})
    for utterance in _utterances(path, path):
        for column, value in zip(columns, utterance[1:], strict=True):
            if value is not None:
                column[utterance.id] = value
    data = DataDir(*(column or None for column in columns))
    _check_spk2utt(data.spk2utt, path, path)
    return data


def fingerprint(paths: Iterable[str | Path]) -> str:
    """A hash of splits: their utterances, labels and audio paths, not the audio itself."""
    files = [Path(path) / name for path in paths for name in _FILES]
    files += [file for path in paths if (file := Path(path) / SEGMENTS).is_file()]
    return sha256_of_files(files)


def column(path: str | Path, name: str) -> dict[str, str]:
    """Utterance -> value of one file of a split, as `read` gives it; the others are not opened.

    Args:
        path: of the split.
        name: wav.scp, text, semantics or utt2spk.

    Raises:
        FileNotFoundError: no such file. ValueError: as `read`.
    """
    return _column(Path(path), Path(path), name)


def ids(path: str | Path) -> Iterator[str]:
    """Ids of the utterances of a split, sorted, one by one: a million take a second.

    One of its files is read; what stands there beside the ids is not looked at.

    Raises: as `read`.
    """
    path = Path(path)
    there = _there(path, path)
    name = SEGMENTS if (path / SEGMENTS).is_file() else there[0]
    return (key for _, key, _ in kaldi_file.entries(path / name, path / name, str))


def texts(path: str | Path) -> Iterator[str]:
    """The words of a split's utterances as `read` gives them, one by one; none without `text`.

    Raises: as `column`.
    """
    path = Path(path)
    there = _entries(path, path, "text") if (path / "text").is_file() else ()
    return (words for _, _, words in there)


def validate(path: str | Path) -> None:
    """Raise what `read` raises."""
    _validate(Path(path), Path(path))


def splits(data: str | Path) -> list[str]:
    """Names of the splits in a `data/` directory, sorted.

    Raises:
        FileNotFoundError: there is none.
    """
    data = Path(data)
    names = sorted(
        entry.name
        for entry in (data.iterdir() if data.is_dir() else ())
        if not entry.name.startswith(".") and any((entry / name).is_file() for name in _FILES)
    )
    if not names:
        raise FileNotFoundError(f"{data}: no data directories here; {rerun(1, 'run')}")
    return names


def _path(value: str) -> str:
    if value == "-" or value.startswith("|") or value.endswith("|"):
        raise ValueError(
            f"got the command '{value}', expected the path of an audio file: commands are not run, "
            "write its output to a file"
        )
    if ".ark:" in value and re.search(r"\.ark:[0-9]+$", value):
        raise ValueError(f"got '{value}', a place in an archive, expected the path of a file")
    return value


# What is kept of data (training/encoded_split.py) is of these words: another number, other words.
WORDS = "2"


def _words(text: str) -> str:
    """The words that typed text has, with their hyphens (a grammar's may have some)."""
    return normalize_tokens(text, HYPHEN)


def _text(value: str) -> str:
    if "(" in value or ")" in value:
        tag = next(filter(target_sequence.is_tag, value.split()), None)
        if tag:
            raise ValueError(f"'{tag}' is a tag: those stand in 'semantics' only")
    value = _words(value)
    if not value:
        raise ValueError("has no words, expected what is said")
    return value


def _semantics(value: str) -> str:
    tokens = value.split()
    target_sequence.skeleton(" ".join(tokens))  # or it says what is wrong
    return " ".join(filter(None, map(_of_target, tokens)))


@lru_cache(1 << 16)
def _of_target(token: str) -> str:
    return token if target_sequence.is_tag(token) else _words(token)


def _speaker(value: str) -> str:
    if value.split() != [value]:
        raise ValueError(f"speaker '{value}' has white space in it")
    return value


# What a split is made of; makes a value of what stands in the file, or says what is wrong.
_FILES: dict[str, Callable[[str], str]] = {
    "wav.scp": _path,
    "text": _text,
    "semantics": _semantics,
    "utt2spk": _speaker,
}
_NOTHING = "has none of wav.scp, text, semantics"


def _write_file(path: Path, entries: dict[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for key, value in sorted(entries.items()):
            if key.split() != [key] or len(value.splitlines()) > 1 or value != value.strip():
                raise ValueError(
                    f"{path.name}: entry '{key}': {value!r}: ids have no white space, values no "
                    "line breaks, and none around them"
                )
            file.write(f"{key} {value}\n")


def _beside(path: Path) -> str:
    """What to do where a split is missing: with others there, its name may be wrong."""
    try:
        there = ", ".join(splits(path.parent))
    except FileNotFoundError:
        return f"; {rerun(1, 'run')}"
    return f" (there are: {there}); correct its name, or let stage 1 make it"


def _there(path: Path, shown: Path) -> list[str]:
    """Names of the files of the directory `path`, which messages call `shown`."""
    if not path.is_dir():
        raise FileNotFoundError(f"{shown}: no such data directory{_beside(path)}")
    there = [name for name in _FILES if (path / name).is_file()]
    if not there or there == ["utt2spk"]:
        below = sorted(shown / one.parent.name for one in path.glob("*/wav.scp"))
        meant = f"did you mean {' or '.join(map(str, below[:3]))}?" if below else AGAIN
        raise ValueError(f"{shown}: {_NOTHING}; {meant}")
    return there


def _utterances(path: Path, shown: Path) -> Iterator[Utterance]:
    """`utterances` of the directory `path`, which messages call `shown`."""
    there = _there(path, shown)
    if (path / SEGMENTS).is_file() and "wav.scp" not in there:
        raise ValueError(f"{shown / SEGMENTS}: is of recordings, but there is no wav.scp")
    columns = [_entries(path, shown, name) for name in there]
    of_speakers, of_semantics = shown / "utt2spk", shown / "semantics"
    for lines in zip_longest(*columns, fillvalue=_END):
        key = lines[0][1]
        if any(line[1] != key for line in lines):
            _raise_missing(path, shown, there)
        line_of = dict(zip(there, lines, strict=True))
        wav, text, semantics, speaker = (line_of.get(name, _END)[2] or None for name in _FILES)
        utterance = Utterance(key, wav, text, semantics, speaker)
        if speaker is not None and not _is_of(key, speaker):
            raise ValueError(
                f"{of_speakers}:{line_of['utt2spk'][0]}: id '{key}' of speaker '{speaker}', "
                f"expected '{speaker}-<utterance>'{RERUN}"
            )
        if text is not None and semantics is not None:
            _check_words(text, semantics, f"{of_semantics}:{line_of['semantics'][0]}: id '{key}'")
        yield utterance


_END = (0, "", "")  # in place of a line of a file that has none left


def _validate(path: Path, shown: Path) -> None:
    """Raise what `read` raises of the directory `path`, which messages call `shown`."""
    spk2utt: dict[str, list[str]] = {}
    for utterance in _utterances(path, shown):
        if utterance.speaker is not None:
            spk2utt.setdefault(utterance.speaker, []).append(utterance.id)
    _check_spk2utt({key: " ".join(ids) for key, ids in sorted(spk2utt.items())}, path, shown)


def _check_spk2utt(expected: dict[str, str], path: Path, shown: Path) -> None:
    if (path / "spk2utt").is_file():
        found = kaldi_file.read(path / "spk2utt", shown / "spk2utt", _sorted)
        if found != expected:
            raise ValueError(f"{shown / 'spk2utt'}: does not agree with utt2spk; {AGAIN}")


def _is_of(utterance: str, speaker: str) -> bool:
    """Whether an id is that of an utterance of a speaker."""
    return utterance == speaker or (
        utterance.startswith(f"{speaker}-") and utterance != f"{speaker}-"
    )


def _sorted(value: str) -> str:
    return " ".join(sorted(value.split()))


def _column(path: Path, shown: Path, name: str) -> dict[str, str]:
    """`column` of the directory `path`, which messages call `shown`."""
    return {key: value for _, key, value in _entries(path, shown, name)}


def _entries(path: Path, shown: Path, name: str) -> Iterator[tuple[int, str, str]]:
    """Line, id and value of one file of the directory `path`, one by one; of `wav.scp` with
    `segments`, the parts."""
    if name != "wav.scp" or not (path / SEGMENTS).is_file():
        return kaldi_file.entries(path / name, shown / name, _FILES[name])
    recordings = kaldi_file.read(path / name, shown / name, _path)
    parse = partial(_segment, recordings=recordings)
    return kaldi_file.entries(path / SEGMENTS, shown / SEGMENTS, parse)


def _segment(value: str, recordings: dict[str, str]) -> str:
    """The part of a recording that a line of `segments` means."""
    form = "expected 'recording start end', in seconds"
    match value.split():
        case [recording, start, end] if all(map(_SECONDS.fullmatch, (start, end))):
            if float(start) >= float(end):
                raise ValueError(f"ends at {end} s, expected it after its start, {start} s")
        case [_, _, "-1"]:
            raise ValueError(f"got the end -1, {form}: write the recording's length")
        case _:
            raise ValueError(f"got '{kaldi_file.visible(value)}', {form}")
    if recording not in recordings:
        raise ValueError(f"its recording '{recording}' is not in wav.scp")
    return audio_segment.join(recordings[recording], start, end)


_SECONDS = re.compile(r"[0-9]+(\.[0-9]+)?")


def _check_words(text: str, semantics: str, where: str) -> None:
    """Text and semantics write the same words alike; they may be of different ones."""
    words = target_sequence.words(semantics)
    if words != text and _letters(words) == _letters(text) != "":
        raise ValueError(
            f"{where}: writes '{kaldi_file.visible(words)}' what text writes "
            f"'{kaldi_file.visible(text)}', expected the same{RERUN}"
        )


def _letters(words: str) -> str:
    return re.sub(r"[\W_]", "", words)


def _raise_missing(path: Path, shown: Path, names: list[str]) -> None:
    """Name the first id of a file that is not in another."""
    first, *others = names
    numbers = {name: {key: n for n, key, _ in _entries(path, shown, name)} for name in names}
    for other in others:
        for one, two in ((first, other), (other, first)):
            if missing := numbers[one].keys() - numbers[two].keys():
                key = min(missing)
                raise ValueError(
                    f"{shown / one}:{numbers[one][key]}: id '{kaldi_file.visible(key)}' is not in "
                    f"{two} ({len(missing)} such); {AGAIN}"
                )
