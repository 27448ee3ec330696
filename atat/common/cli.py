"""What every command shares: the parser, one-line errors, exit codes, progress bars."""

import argparse
import atexit
import codecs
import contextlib
import errno
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

from atat.common import array_job

if TYPE_CHECKING:
    from tqdm import tqdm

USAGE, FAILED, INTERRUPTED = 2, 1, 130
through_console = False  # whether atat/__main__.py runs the command: `atat parse`
MAX_MESSAGE = 2000  # characters of an error: it may repeat a line of any length
# What a user's mistake raises.
MISTAKES = (
    ValueError,
    FileNotFoundError,
    NotADirectoryError,
    IsADirectoryError,
    FileExistsError,
    PermissionError,
)
# Modules that the bare wheel leaves out: what each is called, and its extra.
EXTRAS = {
    **dict.fromkeys(("espnet", "espnet2"), ("ESPnet", "train")),
    **{
        name: (name, "train")
        for name in (
            *("torch", "h5py", "jinja2", "jiwer", "kaldiio", "matplotlib", "safetensors"),
            *("scipy", "tensorboard", "tqdm", "transformers", "typeguard"),
        )
    },
    "pycrfsuite": ("python-crfsuite", "crf"),
    "onnx": ("onnx", "export"),
    "ml_dtypes": ("ml-dtypes", "export"),
    "silero_vad": ("silero-vad", "export"),
    "fastapi": ("FastAPI", "serve"),
    "pydantic": ("FastAPI", "serve"),
    "starlette": ("FastAPI", "serve"),
    "uvicorn": ("uvicorn", "serve"),
    "websockets": ("websockets", "serve"),
    "prometheus_client": ("prometheus-client", "serve"),
    "wyoming": ("wyoming", "home"),
    "hassil": ("hassil", "home"),
    "huggingface_hub": ("huggingface_hub", "hub"),
    "sounddevice": ("sounddevice", "mic"),
}


class Parser(argparse.ArgumentParser):
    """argparse whose mistakes are one line: what was got and what was expected, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Leave with exit code 2 and one line on standard error."""
        given = {argument.partition("=")[0] for argument in sys.argv[1:]}
        for name, other in (("--exp", "--model"), ("--model", "--exp")):
            options = self._option_string_actions
            if name in given and name not in options and other in options:
                message = f"got {name}, expected {other} DIR, as this command calls it"
        self.exit(USAGE, f"{self.prog}: error: {message} (--help lists the options)\n")


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Shows the defaults that there are."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        if action.required or action.default in (None, []):
            return action.help
        return super()._get_help_string(action)


def parser(description: str) -> Parser:
    """A parser that shows defaults and takes no abbreviations (later options would break them)."""
    return Parser(
        prog=program(),
        description=description,
        allow_abbrev=False,
        formatter_class=_HelpFormatter,
    )


def standard_input() -> io.BufferedReader:
    """Standard input in bytes.

    Raises:
        ValueError: whoever started the program closed it.
    """
    if sys.stdin is None:
        raise ValueError("-: standard input is closed, expected audio on it")
    return cast(io.BufferedReader, sys.stdin.buffer)


def boolean(text: str) -> bool:
    """`true` or `false`, as the recipes write it."""
    if text in ("true", "false"):
        return text == "true"
    raise argparse.ArgumentTypeError(f"got '{text}', expected true or false")


def positive_int(text: str) -> int:
    """A whole number of 1 or more."""
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"got '{text}', expected a whole number of 1 or more")


def seconds(text: str) -> float:
    """A finite number of seconds above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"got '{text}', expected seconds above 0")
    return value


def share(text: str) -> float:
    """A share between 0 and 1, both excluded."""
    if not 0.0 < (value := float(text)) < 1.0:
        raise argparse.ArgumentTypeError(f"got '{text}', expected a share between 0 and 1")
    return value


def run(main: Callable[[], None]) -> None:
    """Run a command and leave with its exit code.

    A user's mistake (ValueError, a file that is missing or not readable) is one line and exit code
    2, and so is a package of an extra that is not installed; what the system refuses (a full disk)
    one line and 1; Ctrl-C one line and 130. Anything else is a bug and keeps its traceback.
    ATAT_DEBUG=1 shows the traceback of all.
    """
    codecs.register_error("atat.escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors="atat.escape")
    if os.environ.get("ATAT_DEBUG"):
        with contextlib.suppress(array_job.Done):
            main()
        return
    warnings.formatwarning = _format_warning
    try:
        main()
    except array_job.Done as done:
        print(f"{program()}: {done}")
    except KeyboardInterrupt:
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)  # nothing disturbs the end
        _fail("interrupted: what was finished is kept; run the same command to go on", INTERRUPTED)
    except BrokenPipeError:
        # The reader of our output (head, less) left: not an error, and nothing more to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(FAILED)
    except MISTAKES as e:
        _fail(one_line(e), USAGE)
    except ModuleNotFoundError as e:
        if (needed := missing(e)) is None:
            raise
        _fail(needed, USAGE)
    except OSError as e:
        hint = " (disk full: free some space and run the same command again)"
        _fail(one_line(e) + (hint if e.errno == errno.ENOSPC else ""), FAILED)
    except MemoryError:
        _fail("out of memory: use a smaller batch or fewer jobs (--nj)", FAILED)


def missing(error: ModuleNotFoundError) -> str | None:
    """What is needed and how to get it, in one line, if an extra of ours has what is missing.

    >>> missing(ModuleNotFoundError(name="wyoming"))
    "needs wyoming, which is not installed: pip install 'WHEEL[home]' (docs/sharing.md)"
    """
    if error.name not in EXTRAS:
        return None
    title, extra = EXTRAS[error.name]
    # Both are large, and one without the other is of no use.
    what = "torch and ESPnet, which are" if title in ("torch", "ESPnet") else f"{title}, which is"
    return f"needs {what} not installed: {how_to_install(extra)}"


def how_to_install(extra: str) -> str:
    """An extra of ours. By the wheel: the name alone is nobody's on PyPI yet, and might become
    somebody else's."""
    return f"pip install 'WHEEL[{extra}]' (docs/sharing.md)"


def progress(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    initial: int = 0,
    desc: str = "",
) -> "tqdm[Any]":
    """A progress bar on stderr; silent when stderr is not a terminal."""
    from tqdm import tqdm

    quiet = not sys.stderr.isatty()
    return tqdm(
        iterable, total=total, initial=initial, desc=desc, dynamic_ncols=True, disable=quiet
    )


def program() -> str:
    """The command as the user typed it: `atat.decode` (`python -m`), or `atat decode`."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    name = spec.name if spec is not None else Path(sys.argv[0]).name
    return name.replace(".", " ", 1) if through_console else name


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What a terminal or a file cannot encode (a name that is not UTF-8), as JSON escapes it."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return _escaped(error.object[error.start : error.end]), error.end


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    pairs = zip(units[::2], units[1::2], strict=True)
    return "".join(f"\\u{high:02x}{low:02x}" for high, low in pairs)


def one_line(error: BaseException) -> str:
    """What an error says, as one line for people: of a long one the beginning, and what a terminal
    would obey as JSON escapes it.

    >>> one_line(ValueError("got\\n\\x1b[2J"))
    'got \\\\u001b[2J'
    """
    message = str(error)
    short = " ".join(message[: 2 * MAX_MESSAGE].split())[:MAX_MESSAGE] or type(error).__name__
    shown = "".join(c if c.isprintable() else _escaped(c) for c in short)
    return shown if len(message) <= MAX_MESSAGE else f"{shown} ... ({len(message)} characters)"


def _format_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    line: str | None = None,
) -> str:
    """One line for a warning of ours; of others, with their place."""
    if category.__module__.startswith("atat."):
        return f"{program()}: warning: {message}\n"
    return f"{filename}:{lineno}: {category.__name__}: {message}\n"


def _fail(message: str, code: int) -> NoReturn:
    print(f"{program()}: error: {message}", file=sys.stderr)
    sys.exit(code)
