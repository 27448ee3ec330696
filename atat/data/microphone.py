"""Recordings of this machine's microphone."""

import shutil
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

MIC_RATE_HZ = 16000
# What records raw samples (int16, mono) to standard output, and the package that has it.
RECORDERS = {
    "arecord": ("alsa-utils", ["-q", "-t", "raw", "-f", "S16_LE", "-c", "1", "-r"]),
    "parec": ("pulseaudio-utils", ["--raw", "--format=s16le", "--channels=1", "--rate"]),
}
PATIENCE_S = 5.0  # beyond the recording's length, until the first sample


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


def record_by_program(seconds: float, why: str = "") -> "np.ndarray":
    """int16 (num_samples,) at MIC_RATE_HZ, from the first of RECORDERS that gives them.

    Args:
        why: sounddevice is not used.

    Raises:
        ValueError: none is installed, or none can record.
    """
    import numpy as np

    failures = []
    for program, (_, arguments) in RECORDERS.items():
        if (path := shutil.which(program)) is None:
            continue
        print(f"listening for {seconds:g} s ({program}) ...", file=sys.stderr)
        command = [path, *arguments, str(MIC_RATE_HZ)]
        try:
            return np.frombuffer(_first_bytes(command, seconds), "<i2")
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
        said = process.stderr.read().decode(errors="replace").split()
    if len(content) < num_bytes:
        got_s = len(content) / 2 / MIC_RATE_HZ
        said = said or ["no reason given"]
        raise ValueError(f"got {got_s:.1f} s of {seconds:g} s: {' '.join(said)}")
    return content
