"""onnxruntime-web (MIT): onnxruntime as WebAssembly, from npm or from a directory."""

import base64
import hashlib
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.30.0"
# Of the package's archive, as npm's registry and lock files give it.
INTEGRITY = (
    "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJm"
    "g8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
)
FILES = ("ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm")
TIMEOUT_S = 300
OTHERWISE = "or give a directory that has its files, --onnxruntime_web DIR"


def copy(out: Path, source: Path | None = None) -> None:
    """Put its files into a directory.

    Args:
        out: the directory, which exists.
        source: an unpacked package, or its `dist`; None: npm fetches the archive, whose digest is
            checked.

    Raises:
        FileNotFoundError: there is no npm, or the source lacks a file.
        ValueError: npm could not fetch it, or fetched something else.
    """
    if source is None:
        _fetch(out)
        return
    directory = source / "dist" if (source / "dist").is_dir() else source
    for name in FILES:
        if not (directory / name).is_file():
            raise FileNotFoundError(
                f"{directory / name}: is not there, expected onnxruntime-web {VERSION}, unpacked"
            )
        shutil.copyfile(directory / name, out / name)


def check(archive: Path, integrity: str = INTEGRITY) -> None:
    """Raise ValueError where an archive is another than expected.

    Args:
        archive: the file.
        integrity: as npm writes it, "sha512-" and base64.
    """
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").digest()
    got = f"sha512-{base64.b64encode(digest).decode()}"
    if got != integrity:
        raise ValueError(f"{archive.name}: got integrity {got}, expected {integrity}; {OTHERWISE}")


def _fetch(out: Path) -> None:
    """By npm, which keeps what it has fetched once."""
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError(f"onnxruntime-web comes by npm, which is not there; {OTHERWISE}")
    with tempfile.TemporaryDirectory() as temporary:
        fetch = [npm, "pack", f"onnxruntime-web@{VERSION}", "--ignore-scripts", "--prefer-offline"]
        try:
            run = subprocess.run(
                fetch, cwd=temporary, capture_output=True, text=True, timeout=TIMEOUT_S
            )
        except subprocess.TimeoutExpired as e:
            raise ValueError(
                f"npm did not fetch onnxruntime-web within {TIMEOUT_S} s; {OTHERWISE}"
            ) from e
        archive = Path(temporary) / f"onnxruntime-web-{VERSION}.tgz"
        if run.returncode or not archive.is_file():
            why = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ValueError(f"npm could not fetch onnxruntime-web {VERSION} ({why}); {OTHERWISE}")
        check(archive)
        with tarfile.open(archive) as files:
            for name in FILES:
                part = files.extractfile(f"package/dist/{name}")
                assert part is not None  # the digest is right
                with part, (out / name).open("wb") as copied:
                    shutil.copyfileobj(part, copied)
