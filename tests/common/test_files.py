import errno
import hashlib
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atat.common.files import (
    atomic_directory,
    atomic_write,
    check_zip,
    is_file,
    locked_directory,
    sha256,
)


def names(directory):
    return sorted(p.name for p in directory.iterdir())


def test_a_link_that_leads_nowhere_is_refused_before_the_work(tmp_path):
    (tmp_path / "out").symlink_to("nowhere")
    expected = pytest.raises(FileNotFoundError, match="is a link to nowhere")
    with expected, atomic_directory(tmp_path / "out"):
        pytest.fail("begun")
    assert names(tmp_path) == ["out"]


def test_what_no_file_can_be_called_is_no_file(tmp_path):
    (tmp_path / "a").write_text("")
    assert [is_file(tmp_path / name) for name in ("a", "b", "a" * 300, "a\0")] == [True] + [
        False
    ] * 3


@pytest.fixture
def umask():
    old = os.umask(0o027)
    yield
    os.umask(old)


def test_a_file_is_written_whole_and_its_directory_made(tmp_path):
    with atomic_write(tmp_path / "a" / "b.txt") as file:
        file.write("größer\n")
    assert (tmp_path / "a" / "b.txt").read_bytes() == "größer\n".encode()
    with atomic_write(tmp_path / "a" / "b.bin", "wb") as file:
        file.write(b"\0\xff")
    assert (tmp_path / "a" / "b.bin").read_bytes() == b"\0\xff"
    assert names(tmp_path / "a") == ["b.bin", "b.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_on_any_error_the_old_file_stays_and_nothing_else(tmp_path, error):
    path = tmp_path / "b.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as file:
        file.write("new")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


def test_a_full_disk_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "b.txt"
    path.write_text("old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), atomic_write(path) as file:
        file.write("new")
    assert path.read_text() == "old"
    assert names(tmp_path) == ["b.txt"]


def test_a_reader_never_sees_half_a_file(tmp_path):
    path, wholes = tmp_path / "b.txt", {"a" * 100_000, "b" * 100_000}
    path.write_text("a" * 100_000)
    seen, done = [], threading.Event()

    def read():
        while not done.is_set():
            seen.append(path.read_text() in wholes)

    reader = threading.Thread(target=read)
    reader.start()
    for letter in "ab" * 20:
        with atomic_write(path) as file:
            for _ in range(100):
                file.write(letter * 1000)
    done.set()
    reader.join()
    assert seen and all(seen)


def test_files_and_directories_have_the_users_permissions(tmp_path, umask):
    with atomic_write(tmp_path / "b.txt") as file:
        file.write("x")
    with atomic_directory(tmp_path / "d") as directory:
        (directory / "x").touch()
    assert (tmp_path / "b.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "d").stat().st_mode & 0o777 == 0o750


def test_a_directory_replaces_the_old_one_whole(tmp_path):
    for content in ("one", "two"):
        with atomic_directory(tmp_path / "a" / "d") as directory:
            (directory / content).write_text(content)
            assert names(directory) == [content]
    assert names(tmp_path / "a" / "d") == ["two"]
    assert names(tmp_path / "a") == ["d"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_on_any_error_the_old_directory_stays_and_nothing_else(tmp_path, error):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "old").touch()
    with pytest.raises(error), atomic_directory(tmp_path / "d") as directory:
        (directory / "new").touch()
        raise error
    assert names(tmp_path / "d") == ["old"]
    assert names(tmp_path) == ["d"]


def test_a_digest_is_that_of_the_standard():
    expected = hashlib.sha256(b"\2\0\0\0\0\0\0\0ab" + b"\0" * 8).hexdigest()
    assert sha256("ab", b"") == expected


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_digests_are_equal_only_for_equal_parts(one, two):
    assert (sha256(*one) == sha256(*two)) == (one == two)


def test_a_directory_is_held_by_one_process_and_leaves_nothing(tmp_path):
    path = tmp_path / "exp"
    with locked_directory(path, "another training"):
        with (
            pytest.raises(BlockingIOError, match=f"another training works in {path}"),
            locked_directory(path, "another training"),
        ):
            pass
        (path / "kept").touch()
    with locked_directory(path, "another training"):
        (path / "kept").unlink()
    assert not path.exists()


@pytest.mark.parametrize("place", [10, 60, -30])
def test_a_damaged_archive_is_noticed(tmp_path, place):
    path = tmp_path / "a.npz"
    np.savez(path, a=np.arange(100))
    check_zip(path)
    content = bytearray(path.read_bytes())
    for damaged in (content[:place], content[:0]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is damaged"):
            check_zip(path)
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        check_zip(path)


def test_what_a_killed_process_left_goes_and_what_another_writes_stays(tmp_path):
    script = (
        "import os, sys; from pathlib import Path\n"
        "from atat.common.files import atomic_directory\n"
        "with atomic_directory(sys.argv[1]) as temporary:\n"
        "    (temporary / 'big').write_text('x'); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path / "train"])
    (tmp_path / ".train.notes").mkdir()  # a user's
    assert len(names(tmp_path)) == 2
    with atomic_directory(tmp_path / "train") as one, atomic_directory(tmp_path / "train") as two:
        assert names(tmp_path) == sorted([".train.notes", one.name, two.name])
    assert names(tmp_path) == [".train.notes", "train"]
