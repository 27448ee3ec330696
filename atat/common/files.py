"""Files that are either whole or absent: write aside, flush to disk, rename."""

import fcntl
import hashlib
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any


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
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
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


def check_zip(path: str | Path) -> None:
    """Raise ValueError where a zip file is damaged: torch and NumPy store in such files, and torch
    does not look at their checksums."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
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


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
