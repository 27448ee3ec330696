"""Where a number comes from: the commit, the versions and the machine."""

import os
import platform
import subprocess
import sys
from pathlib import Path


def environment(seed: int) -> dict[str, object]:
    """What a number depends on beside the settings: commit, versions, machine, seed."""
    from importlib.metadata import version

    return {
        "commit": commit(),
        "command": " ".join([sys.executable, *sys.argv]),
        "seed": seed,
        "python": platform.python_version(),
        "torch": version("torch"),
        "espnet": version("espnet"),
        "machine": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu_name(),
        "num_cpus": os.cpu_count(),
    }


def commit() -> str:
    """The repository's commit, `+changes` if a file of it differs now; `unknown` without git.

    Of an installed wheel its version, `atat 0.2.0`: the repository around it would be another's.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        from importlib.metadata import version

        return f"atat {version('atat')}"
    answers = []
    for command in (
        ["rev-parse", "--short=12", "HEAD"],
        ["status", "--porcelain", "--untracked-files=no"],
    ):
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *command], capture_output=True, text=True, check=True
            )
        except (OSError, subprocess.CalledProcessError):
            return "unknown"
        answers.append(done.stdout.strip())
    return answers[0] + ("+changes" if answers[1] else "")


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if "model name" in line), "unknown"
    )
