"""Kaldi data directories: one split's audio paths, texts, semantics and speakers.

A file holds one utterance a line, "id, space, rest", sorted by code point, ids unique and of the
form `<speaker>-<utterance>` (or just the speaker's, where nobody knows who speaks). A split has any
of `wav.scp` (an audio file's path, no commands), `text` and `semantics`, and `utt2spk` with its
inverse `spk2utt`; every file has the same ids. A directory is checked whenever it is written and
read; only stage 2 opens the audio.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from atat.common.files import atomic_directory, sha256
from atat.semantics import target_sequence

RERUN = "(correct the line, or rerun stage 1)"


@dataclass
class DataDir:
    """One split: utterance id -> value, one mapping a file; None where the split has no such file.

    wav_scp: path of the audio file; text: lower-case words separated by single spaces; semantics:
    target sequence (atat/semantics/target_sequence.py); utt2spk: speaker.
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


def write(path: str | Path, data: DataDir, pending: ExitStack | None = None) -> None:
    """Write and check a split; whatever stood at `path` is replaced only if all is well.

    Args:
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
        _read(temporary, shown=Path(path))
        if pending is not None:
            pending.push(whole.pop_all())


def read(path: str | Path) -> DataDir:
    """Read and check a split.

    Raises:
        FileNotFoundError: no such directory. ValueError: it breaks a rule of the format; the
            message names file and line.
    """
    return _read(Path(path), shown=Path(path))


def fingerprint(paths: Iterable[str | Path]) -> str:
    """A hash of splits: their utterances, labels and audio paths, not the audio itself."""
    files = [Path(path) / name for path in paths for name in _FILES]
    return sha256(*(file.read_bytes() if file.is_file() else b"" for file in files))


def validate(path: str | Path) -> None:
    """Raise what `read` raises."""
    read(path)


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
        raise FileNotFoundError(f"{data}: no data directories here; run stage 1 first")
    return names


def _check_path(value: str) -> str | None:
    if value.strip() == "-" or value.strip().startswith("|") or value.strip().endswith("|"):
        return (
            f"got the command '{value}', expected the path of an audio file: commands are not run"
        )
    return None


def _check_text(value: str) -> str | None:
    words = value.split()
    if value != " ".join(words):
        return "words shall be separated by single spaces, with none (and no tab) around them"
    tag = next(filter(target_sequence.is_tag, words), None)
    return f"'{tag}' is a tag: those stand in 'semantics' only" if tag else None


def _check_semantics(value: str) -> str | None:
    try:
        target_sequence.parse(value)
    except ValueError as error:
        return str(error)
    return None


def _check_speaker(value: str) -> str | None:
    return f"speaker '{value}' has white space in it" if value.split() != [value] else None


# What a split is made of, and what is wrong with a value (None: nothing).
_FILES: dict[str, Callable[[str], str | None]] = {
    "wav.scp": _check_path,
    "text": _check_text,
    "semantics": _check_semantics,
    "utt2spk": _check_speaker,
}
_NOTHING = "has none of wav.scp, text, semantics; rerun stage 1"


def _write_file(path: Path, entries: dict[str, str]) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for key, value in sorted(entries.items()):
            if key.split() != [key] or "\n" in value:
                raise ValueError(
                    f"{path.name}: entry '{key}': '{value}': ids have no white space, values no "
                    "line breaks"
                )
            file.write(f"{key} {value}\n")


def _beside(path: Path) -> str:
    """What to do where a split is missing: with others there, its name may be wrong."""
    try:
        there = ", ".join(splits(path.parent))
    except FileNotFoundError:
        return "; run stage 1 first"
    return f" (there are: {there}); correct its name, or let stage 1 make it"


def _read(path: Path, shown: Path) -> DataDir:
    """Read and check the directory `path`, which messages call `shown`."""
    if not path.is_dir():
        raise FileNotFoundError(f"{shown}: no such data directory{_beside(path)}")
    files = {
        name: _read_file(path / name, shown / name, check)
        for name, check in _FILES.items()
        if (path / name).is_file()
    }
    if not files or list(files) == ["utt2spk"]:
        raise ValueError(f"{shown}: {_NOTHING}")
    _check_same_ids(files, shown)
    data = DataDir(**{name.replace(".", "_"): entries for name, entries in files.items()})
    if data.utt2spk is not None:
        for line, (utterance, speaker) in enumerate(data.utt2spk.items(), start=1):
            if utterance == f"{speaker}-" or not f"{utterance}-".startswith(f"{speaker}-"):
                raise ValueError(
                    f"{shown / 'utt2spk'}:{line}: id '{utterance}' of speaker '{speaker}', "
                    f"expected '{speaker}-<utterance>' {RERUN}"
                )
    if (path / "spk2utt").is_file():
        found = _read_file(path / "spk2utt", shown / "spk2utt", lambda value: None)
        if found != data.spk2utt:
            raise ValueError(f"{shown / 'spk2utt'}: does not agree with utt2spk (rerun stage 1)")
    return data


def _read_file(path: Path, shown: Path, check: Callable[[str], str | None]) -> dict[str, str]:
    entries: dict[str, str] = {}
    previous = ""
    try:
        # newline="\n": a carriage return is no line end here, it is reported as stray white space.
        with path.open(encoding="utf-8", newline="\n") as file:
            for number, line in enumerate(file, start=1):
                where = f"{shown}:{number}:"
                key, _, value = line.removesuffix("\n").partition(" ")
                if not key or key.split() != [key]:
                    raise ValueError(f"{where} got '{line.strip()}', expected 'id value' {RERUN}")
                if key in entries:
                    raise ValueError(f"{where} id '{key}' stands here for the second time {RERUN}")
                if key < previous:
                    raise ValueError(
                        f"{where} id '{key}' stands after '{previous}', expected lines sorted by "
                        "code point (LC_ALL=C sort, or rerun stage 1)"
                    )
                if not value.strip():
                    raise ValueError(f"{where} id '{key}' has an empty value {RERUN}")
                if problem := check(value):
                    raise ValueError(f"{where} id '{key}': {problem} {RERUN}")
                entries[key] = value
                previous = key
    except UnicodeDecodeError as error:
        raise ValueError(f"{shown}: not UTF-8 text: {error.reason}; rerun stage 1") from error
    if not entries:
        raise ValueError(f"{shown}: is empty; rerun stage 1")
    return entries


def _check_same_ids(files: dict[str, dict[str, str]], shown: Path) -> None:
    """Every id of a file is in every other file; the first that is not is named."""
    first, *others = files
    for other in others:
        for one, two in ((first, other), (other, first)):
            if missing := files[one].keys() - files[two].keys():
                key = min(missing)
                line = list(files[one]).index(key) + 1
                raise ValueError(
                    f"{shown / one}:{line}: id '{key}' is not in {two} "
                    f"({len(missing)} such; rerun stage 1)"
                )
