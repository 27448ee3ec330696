"""Files that are either whole or absent: write aside, flush to disk, rename."""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

TEMPORARY = re.compile(r"(\.old)?\.[a-z0-9_]{8}")  # the end of a name that tempfile gives


@contextmanager
def atomic_write(path: str | Path, mode: str = "w") -> Iterator[IO[Any]]:
    """Open a temporary file beside `path`; on success it replaces `path`, on any error it is gone.

    Args:
        path: where the file shall stand; missing parent directories are made.
        mode: "w" (UTF-8 text) or "wb".

    Raises:
        OSError: as the file system says (a full disk among them); `path` is then as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, mode, encoding=None if "b" in mode else "utf-8") as file:
            with suppress(OSError):  # see remove_leftovers
                fcntl.flock(file, fcntl.LOCK_SH)
            yield file
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes files private; what stands in the end has the user's usual permissions.
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException as e:
        Path(temporary).unlink(missing_ok=True)
        if isinstance(e, OSError) and e.errno is not None and e.filename is None:
            e.filename = str(path)  # a full disk does not say where
        raise


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty temporary directory beside `path`; on success it replaces `path`.

    An older directory at `path` is removed only after the new one is complete.

    Raises:
        FileNotFoundError: `path` is a link that leads nowhere.
    """
    path = Path(path)
    if path.is_symlink() and not path.exists():
        raise FileNotFoundError(
            f"{path}: is a link to {os.readlink(path)}, which is not there; remove the link, or "
            "make what it leads to"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
    held = os.open(temporary, os.O_RDONLY)
    with suppress(OSError):  # a file system without locks
        fcntl.flock(held, fcntl.LOCK_SH)
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
            os.replace(path, old / path.name)
            os.replace(temporary, path)
            shutil.rmtree(old)
        else:
            os.replace(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    finally:
        os.close(held)


def refuse_others(path: Path, own: Iterable[str], what: str) -> None:
    """Raise ValueError where a directory has what its replacement would remove unasked.

    Args:
        path: the directory; it may not be there.
        own: names in it that may go.
        what: is in it, for the message: "a model".
    """
    others = sorted({inside.name for inside in path.glob("*")} - set(own))
    if others:
        raise ValueError(
            f"{path}: has {others[0]}, which is not of {what} and would be removed; expected a new "
            f"directory, or one with {what} alone"
        )


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process has left beside `path` while it wrote that: temporary files and
    directories that nobody holds. Hidden, they would fill the disk for ever."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.*"):
        if left.is_symlink() or not TEMPORARY.fullmatch(left.name[len(path.name) + 1 :]):
            continue
        with suppress(OSError):
            handle = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if left.is_dir():
                    shutil.rmtree(left, ignore_errors=True)
                else:
                    left.unlink()
            finally:
                os.close(handle)


@contextmanager
def locked_directory(path: Path, who: str) -> Iterator[None]:
    """Hold a directory for this process alone; it is made, and goes again if nothing comes in.

    The lock is the system's, on the directory itself: it ends with the process, however that ends.

    Args:
        path: the directory.
        who: works there where it cannot be had, for the message.

    Raises:
        BlockingIOError: another process has it.
    """
    path.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            message = f"{who} works in {path}; wait for it or name another directory"
            raise BlockingIOError(message) from None
        except OSError:
            pass  # a file system without locks
        try:
            yield
        finally:
            with suppress(OSError):  # there is something in it
                path.rmdir()
    finally:
        os.close(handle)


def is_file(path: Path) -> bool:
    """Whether there is a file of a name, which may be one that no file can have (too long, say).

    >>> is_file(Path("a" * 1000))
    False
    """
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def check_zip(path: str | os.PathLike[str]) -> None:
    """Raise ValueError where a zip file is damaged: torch and NumPy store in such files, and torch
    does not look at their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    # NotImplementedError is zipfile's, of a method of compression that a flipped byte names.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as e:
        raise ValueError(f"{path}: is damaged ({e})") from e
    if damaged is not None:
        raise ValueError(f"{path}: is damaged (checksum of {damaged})")


def sha256(*parts: str | bytes) -> str:
    """Hexadecimal digest of the parts in order; parts cannot run into one another.

    >>> sha256("ab", "c") == sha256("a", "bc")
    False
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def sha256_of_files(paths: Iterable[Path]) -> str:
    """`sha256` of what files hold, read in blocks; one that is not there counts as empty."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size if path.is_file() else 0
        digest.update(size.to_bytes(8, "little"))
        if size:
            with path.open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return digest.hexdigest()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
