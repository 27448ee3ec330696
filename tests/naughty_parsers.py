"""Parsers that do what none may, for tests of tools/fuzz."""

import ctypes
import os
import pickle
import socket
import subprocess
from pathlib import Path

from tools.fuzz.parsers import Prepared, of_file, parser


def drawn(draw, seeds, words):
    """The first input is harmless, as the seed is, and all others are not."""
    return b"good" if draw.random() < 0.2 else b"bad"


def naughty(directory, deed):
    def read(path):
        if path.read_bytes() != b"good":
            deed(path)

    return of_file(directory / "given.txt", [b"good"], read)


@parser(drawn)
def raises_key_error(directory: Path) -> Prepared:
    return naughty(directory, lambda path: {}["a"])


@parser(drawn)
def refuses(directory: Path) -> Prepared:
    def refuse(path):
        raise ValueError(f"{path}: got this, expected that")

    return naughty(directory, refuse)


@parser(drawn)
def names_no_file(directory: Path) -> Prepared:
    def refuse(path):
        raise ValueError("bad")

    return naughty(directory, refuse)


@parser(drawn)
def recurs(directory: Path) -> Prepared:
    def deeper(path):
        return deeper(path)

    return naughty(directory, deeper)


@parser(drawn)
def takes_memory(directory: Path) -> Prepared:
    return naughty(directory, lambda path: bytearray(3 << 30))


@parser(drawn)
def takes_time(directory: Path) -> Prepared:
    def forever(path):
        while True:
            pass

    return naughty(directory, forever)


@parser(drawn)
def writes_elsewhere(directory: Path) -> Prepared:
    return naughty(directory, lambda path: open(path.parents[2] / "atat-elsewhere", "w"))


@parser(drawn)
def reads_elsewhere(directory: Path) -> Prepared:
    return naughty(directory, lambda path: Path("/etc/passwd").read_bytes())


@parser(drawn)
def runs_a_program(directory: Path) -> Prepared:
    def run(path):
        try:
            subprocess.run(["true"])
        except BaseException:  # what hides it is found too
            raise ValueError(f"{path}: is bad") from None

    return naughty(directory, run)


@parser(drawn)
def unpickles(directory: Path) -> Prepared:
    return naughty(directory, lambda path: pickle.loads(b"cos\nsystem\n."))


@parser(drawn)
def calls_home(directory: Path) -> Prepared:
    return naughty(directory, lambda path: socket.create_connection(("192.0.2.1", 9), timeout=1))


@parser(drawn)
def dies(directory: Path) -> Prepared:
    return naughty(directory, lambda path: ctypes.string_at(0))


@parser(drawn)
def ends_itself(directory: Path) -> Prepared:
    return naughty(directory, lambda path: os._exit(0))


@parser(drawn)
def refuses_its_seed(directory: Path) -> Prepared:
    return of_file(directory / "given.txt", [b"good"], lambda path: {}["a"])
