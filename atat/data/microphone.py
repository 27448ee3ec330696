"""Recordings of this machine's microphone."""

import functools
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import numpy as np

_T = TypeVar("_T")

MIC_RATE_HZ = 16000
# What records raw samples (int16, mono) to standard output, and the package that has it.
RECORDERS = {
    "arecord": ("alsa-utils", ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r"]),
    "parec": ("pulseaudio-utils", ["--raw", "--format=s16le", "--channels=1", "--rate"]),
}
MAX_SAID = 1000  # characters of what a program has said, the last
PATIENCE_S = 5.0  # beyond the recording's length, until the first sample
PIECE = 1600  # samples of a piece of a stream: a tenth of a second


def record(seconds: float) -> tuple["np.ndarray", int]:
    """Samples (num_samples,) of the default microphone and their rate in Hz.

    By sounddevice where it is installed, else by arecord or parec.

    Raises:
        ValueError: none of them is there, or no microphone that they can open.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as e:  # OSError: the PortAudio library is missing
        return record_by_program(seconds, str(e)), MIC_RATE_HZ
    try:
        print(f"listening for {seconds:g} s ...", file=sys.stderr)
        num = round(seconds * MIC_RATE_HZ)
        samples = sounddevice.rec(num, MIC_RATE_HZ, channels=1, dtype="float32")
        sounddevice.wait()
    except sounddevice.PortAudioError as e:
        raise ValueError(f"--mic: the microphone cannot be opened: {e}") from e
    return samples[:, 0], MIC_RATE_HZ


def stream() -> Iterator["np.ndarray"]:
    """Samples of the default microphone as they come, without end, at MIC_RATE_HZ.

    By sounddevice where it is installed, else by arecord or parec.

    Yields:
        int16 (PIECE,).

    Raises:
        ValueError: none of them is there, or no microphone that they can open; it broke.
    """
    try:
        import sounddevice
    except (ImportError, OSError) as e:  # OSError: the PortAudio library is missing
        yield from _stream_of_program(str(e))
        return
    pieces: queue.SimpleQueue[np.ndarray] = queue.SimpleQueue()
    try:
        with sounddevice.InputStream(
            samplerate=MIC_RATE_HZ,
            channels=1,
            dtype="int16",
            blocksize=PIECE,
            callback=lambda samples_NC, *_: pieces.put(samples_NC[:, 0].copy()),
        ):
            print("listening (Ctrl-C ends it) ...", file=sys.stderr)
            while True:
                yield pieces.get(timeout=PATIENCE_S)
    except sounddevice.PortAudioError as e:
        raise ValueError(f"--mic: the microphone cannot be opened: {e}") from e
    except queue.Empty:
        raise ValueError(
            f"--mic: the microphone gave nothing for {PATIENCE_S:g} s; is it still there?"
        ) from None


def record_by_program(seconds: float, why: str = "") -> "np.ndarray":
    """int16 (num_samples,) at MIC_RATE_HZ, from the first of RECORDERS that gives them.

    Args:
        seconds: of sound; this long it listens.
        why: sounddevice is not used.

    Raises:
        ValueError: none is installed, or none can record.
    """
    import numpy as np

    def recorded(program: str, command: list[str]) -> bytes:
        print(f"listening for {seconds:g} s ({program}) ...", file=sys.stderr)
        return _first_bytes(command, seconds)

    return np.frombuffer(_of_first(recorded, why), "<i2")


def _stream_of_program(why: str) -> Iterator["np.ndarray"]:
    """As `stream`, from the first of RECORDERS that gives samples."""
    import numpy as np

    # A file, since nobody reads a pipe meanwhile, and a full one would stop the program.
    with tempfile.TemporaryFile() as errors:
        process, content = _of_first(functools.partial(_started, errors), why)
        with process:
            assert process.stdout is not None  # as it is a pipe
            num_bytes = 0
            try:
                while len(content) == 2 * PIECE:
                    num_bytes += len(content)
                    yield np.frombuffer(content, "<i2")
                    content = process.stdout.read(2 * PIECE)
            finally:
                process.kill()
        seconds = num_bytes / 2 / MIC_RATE_HZ
        raise ValueError(f"--mic: the microphone ended after {seconds:.1f} s: {_said(errors)}")


def _started(
    errors: IO[bytes], program: str, command: list[str]
) -> tuple["subprocess.Popen[bytes]", bytes]:
    """A program that records, and the first piece that it gave.

    Args:
        errors: file for what it says on standard error.
        program: its name, for the message.
        command: its path and arguments; it writes int16 samples to standard output.

    Raises:
        ValueError: it ended before, or gave nothing for too long.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors
    )
    assert process.stdout is not None  # as it is a pipe
    watch = threading.Timer(PATIENCE_S, process.kill)
    watch.start()
    try:
        first = process.stdout.read(2 * PIECE)
    finally:
        watch.cancel()
    if len(first) < 2 * PIECE:
        with process:
            process.kill()
        said = _said(errors)
        errors.seek(0)
        errors.truncate()  # for the next one
        raise ValueError(f"gave no samples: {said}")
    print(f"listening ({program}; Ctrl-C ends it) ...", file=sys.stderr)
    return process, first


def _of_first(use: Callable[[str, list[str]], _T], why: str) -> _T:
    """What the first of RECORDERS gives that is installed and can record.

    Args:
        use: of a program's name and command; ValueError or OSError, where it cannot record.
        why: sounddevice is not used.

    Raises:
        ValueError: none is installed, or none can record.
    """
    failures = []
    for program, (_, arguments) in RECORDERS.items():
        if (path := shutil.which(program)) is None:
            continue
        try:
            return use(program, [path, *arguments, str(MIC_RATE_HZ)])
        except (ValueError, OSError) as e:
            failures.append(f"{program}: {e}")
    if failures:
        raise ValueError(f"--mic: the microphone cannot be recorded: {'; '.join(failures)}")
    packages = " or ".join(f"{package} ({name})" for name, (package, _) in RECORDERS.items())
    raise ValueError(
        "--mic needs sounddevice and PortAudio, arecord or parec, and found none of them"
        f"{f' ({why})' if why else ''}; pip install sounddevice and apt-get install libportaudio2, "
        f"or apt-get install {packages}"
    )


def _first_bytes(command: list[str], seconds: float) -> bytes:
    """So many seconds of samples from a program that would go on, which is then stopped.

    Raises:
        ValueError: it ended before, or gave nothing for too long.
    """
    num_bytes = 2 * round(seconds * MIC_RATE_HZ)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None  # as they are pipes
        watch = threading.Timer(seconds + PATIENCE_S, process.kill)
        watch.start()
        try:
            content = process.stdout.read(num_bytes)
        finally:
            watch.cancel()
            process.kill()
        said = _said(process.stderr)
    if len(content) < num_bytes:
        got_s = len(content) / 2 / MIC_RATE_HZ
        raise ValueError(f"got {got_s:.1f} s of {seconds:g} s: {said}")
    return content


def _said(file: IO[bytes]) -> str:
    """What a program that has ended said last on standard error, in one line."""
    if file.seekable():
        file.seek(0)
    return " ".join(file.read().decode(errors="replace")[-MAX_SAID:].split()) or "no reason given"
