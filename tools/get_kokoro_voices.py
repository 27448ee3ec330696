"""Put the voices of the synthesiser Kokoro where atat/engines.py looks for them.

  python tools/get_kokoro_voices.py

The packages that carry its weights carry five of its voices; the source package of `kokoro`, which
pip fetches, has all (54, Apache-2.0). Does nothing where they are already.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SOURCE = "kokoro==0.9.4"
NUM_BYTES = 510 * 256 * 4  # of a voice: float32, a row of 256 for each number of phonemes


def unpack(archive: Path, directory: Path) -> int:
    """Write the voices in a source package to a directory; returns how many there are.

    The directory appears whole or not at all.

    Raises:
        ValueError: a voice of another size, or none.
    """
    with tempfile.TemporaryDirectory(dir=directory.parent) as temporary:
        voices = Path(temporary) / "voices"
        voices.mkdir()
        count = 0
        with tarfile.open(archive) as tar:
            for member in tar:
                found = re.fullmatch(r"[^/]+/kokoro\.js/voices/([a-z]+_[a-z]+\.bin)", member.name)
                if not found or not member.isfile():
                    continue
                if member.size != NUM_BYTES:
                    raise ValueError(
                        f"{archive.name}: {member.name}: got {member.size} bytes, "
                        f"expected {NUM_BYTES}"
                    )
                (voices / found[1]).write_bytes(tar.extractfile(member).read())
                count += 1
        if not count:
            raise ValueError(f"{archive.name}: got no voices, expected kokoro.js/voices/*.bin")
        os.replace(voices, directory)
    return count


def main() -> None:
    directory = Path(sys.prefix) / "share" / "kokoro" / "voices"
    if directory.is_dir():
        return
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        pip = [sys.executable, "-m", "pip", "download", "--disable-pip-version-check", "--no-input"]
        options = ["--no-deps", "--no-binary", "kokoro", "--dest", temporary, SOURCE]
        subprocess.run([*pip, *options], check=True)
        (archive,) = Path(temporary).iterdir()
        print(f"{unpack(archive, directory)} voices of kokoro in {directory}")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, subprocess.CalledProcessError, tarfile.TarError) as e:
        sys.exit(f"tools/get_kokoro_voices.py: error: {e}")
