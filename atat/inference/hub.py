"""Save, load and publish a model as Hugging Face's libraries do; needs the extra `hub`.

A model is a directory: an experiment, or what `python -m atat.export` made of one. Only files that
such a directory has are copied, fetched or published, whatever else lies beside them: nothing of
another's repository is run, and no pickle is read.
"""

import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from atat.common.files import atomic_write
from atat.inference import model_card
from atat.models import checkpoint, experiment_files

if TYPE_CHECKING:
    from huggingface_hub.hf_api import ModelInfo

# Names of a model's files, as paths in its directory: of an experiment, and of an exported model.
FILES = re.compile(
    r"README\.md|(?:model|nesting|confidence|env|about)\.json|(?:config|grammar)\.yaml|model\.safetensors"
    r"|[\w-][\w.-]*\.onnx|grammar_(?:semantics|words)\.npz"
    rf"|(?:tokenizer|{experiment_files.TEXT_ENCODER})/[\w-][\w.-]*\.(?:json|txt|model|vocab|yaml)"
)
REPO_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")  # the Hub has few without an owner
MAX_BYTES = 4_000_000_000  # of all of a model's files that are fetched


class HubModel(ABC):
    """What a model that is loaded from a directory has in common with the models of the Hub."""

    name: str | None  # the directory

    @classmethod
    @abstractmethod
    def load(cls, exp_dir: str | Path, *args: Any, **options: Any) -> Self:
        """Read a directory; each kind of model says with which options."""

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path,
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        **options: Any,
    ) -> Self:
        """Load a model from a directory, or from the Hugging Face Hub.

        Args:
            name: a directory, or a repository's name on the Hub ("someone/kitchen"); what exists
                as a directory is not looked for there.
            revision: branch, tag or commit on the Hub; give a commit, and nobody can change what
                you load.
            token: of the Hub, for a private repository; None: the one that `hf auth login` left.
            options: of `load`.

        Raises:
            FileNotFoundError: there is no such directory or no model in it. ValueError: its files
                are not what they should be, or too large. OSError: the Hub cannot be reached.
        """
        return cls.load(fetch(name, revision, token), **options)

    def save_pretrained(self, directory: str | Path, license: str | None = None) -> None:
        """Write the model's files and its card (README.md) into a directory, for `from_pretrained`.

        Args:
            directory: is made; one that has files of another model is refused.
            license: that the card names (apache-2.0, ...), if it is made here; yours to choose.

        Raises:
            ValueError: the model is of no directory, or the directory is another model's.
        """
        save(self._directory(), Path(directory), license)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        private: bool = True,
        token: str | bool | None = None,
        license: str | None = None,
        commit_message: str = "Upload model",
    ) -> str:
        """Publish the model on the Hugging Face Hub.

        Args:
            repo_id: the repository's name ("you/kitchen"); it is made if it is not there.
            private: of a repository that is made: only you and your organisation can read it.
            token: of the Hub; None: the one that `hf auth login` left.
            license: as for `save_pretrained`.
            commit_message: of the upload.

        Returns:
            The address of the commit.

        Raises:
            ValueError: the model is of no directory. OSError: the Hub refuses it or is not there.
        """
        from huggingface_hub import HfApi

        _check_repo_id(repo_id)
        api = HfApi(token=token)
        with tempfile.TemporaryDirectory() as directory:
            save(self._directory(), Path(directory), license, name=Path(repo_id).name)
            with _reaching(repo_id):
                api.create_repo(repo_id, private=private, exist_ok=True)
                done = api.upload_folder(
                    repo_id=repo_id, folder_path=directory, commit_message=commit_message
                )
        return str(done.commit_url)

    def _directory(self) -> Path:
        if self.name is None or not Path(self.name).is_dir():
            got = "none" if self.name is None else f"'{self.name}', which is not there"
            raise ValueError(
                f"the model's directory: got {got}, expected one: `load` a model first"
            )
        return Path(self.name)


def save(
    source: Path, directory: Path, license: str | None = None, name: str | None = None
) -> None:
    """Copy a model's files, and write its card unless it has one.

    Args:
        source: the model's directory.
        directory: where the files shall stand.
        license: that the card names, if it is made here; None: none.
        name: its title; None: as `model_card.card` has it.

    Raises:
        FileNotFoundError: `source` has no weights in a form that can be shared. ValueError: the
            directory has a model's files that `source` has not, or such files without a model (a
            repository has a README.md too); or a licence for a card that is made already.
    """
    names = model_files(source)
    if not any(map(_is_weights, names)):
        raise FileNotFoundError(
            f"{source}: has no {checkpoint.FILE} and no *.onnx; a model.pth of before 0.2 is not "
            "shared, being a pickle"
        )
    if directory.exists() and directory.resolve() == source.resolve():
        raise ValueError(f"{directory}: is where the model is; expected another directory")
    present = set(model_files(directory))
    if present and not any(map(_is_weights, present)):
        raise ValueError(
            f"{directory}: has {min(present)} and no model; expected a new or empty directory, or "
            "that of a model"
        )
    if license is not None and model_card.FILE in names:
        raise ValueError(
            f"license: got '{license}' for a model with a card, expected it in "
            f"{source / model_card.FILE}"
        )
    others = present - {*names, model_card.FILE}
    if others:
        raise ValueError(
            f"{directory}: has files of another model ({', '.join(sorted(others))}); expected a "
            "new or empty directory"
        )
    card = directory / model_card.FILE
    if not card.exists() and model_card.FILE not in names:
        _write(card, model_card.card(source, license, name).encode())
    for one in names:
        _write(directory / one, (source / one).read_bytes())


def model_files(directory: Path) -> list[str]:
    """The files of a model in a directory, as paths from there, sorted."""
    paths = [*directory.glob("*"), *directory.glob("*/*")]
    names = (path.relative_to(directory).as_posix() for path in paths if path.is_file())
    return sorted(name for name in names if FILES.fullmatch(name))


def _write(path: Path, content: bytes) -> None:
    with atomic_write(path, "wb") as file:
        file.write(content)


def fetch(name: str | Path, revision: str | None = None, token: str | bool | None = None) -> Path:
    """The directory of a model, fetched from the Hub into its cache unless it is one already.

    Args:
        name: a directory, or a repository's name on the Hub.
        revision: branch, tag or commit; None: the default branch.
        token: of the Hub; None: the one that `hf auth login` left.

    Raises:
        As `HubModel.from_pretrained`.
    """
    if Path(name).is_dir():
        return Path(name)
    repo_id = str(name)
    if not REPO_ID.fullmatch(repo_id) or isinstance(name, Path):
        raise FileNotFoundError(
            f"{name}: no such directory, and no name of the Hub, as someone/model"
        )
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import OfflineModeIsEnabled

    with _reaching(repo_id):
        try:
            info = HfApi(token=token).model_info(repo_id, revision=revision, files_metadata=True)
        except OfflineModeIsEnabled:  # HF_HUB_OFFLINE=1: what was fetched before
            return Path(snapshot_download(repo_id, revision=revision, local_files_only=True))
        names = _to_fetch(repo_id, info)
        # At the commit that was looked at, so that nothing else comes in between.
        there = snapshot_download(repo_id, revision=info.sha, token=token, allow_patterns=names)
    return Path(there)


@contextmanager
def _reaching(repo_id: str) -> Iterator[None]:
    """What breaks a connection is an OSError, whatever HTTP library the Hub's uses."""
    try:
        yield
    except (OSError, ValueError):
        raise
    except Exception as e:
        raise OSError(f"{repo_id}: the Hub cannot be reached ({type(e).__name__}: {e})") from e


def _to_fetch(repo_id: str, info: "ModelInfo") -> list[str]:
    """Names of the repository's files that are a model's.

    Raises:
        FileNotFoundError: no model among them. ValueError: they are too large.
    """
    files = {f.rfilename: f.size for f in info.siblings or [] if FILES.fullmatch(f.rfilename)}
    if not any(_is_weights(name) for name in files):
        raise FileNotFoundError(
            f"{repo_id}: no model of atat there (model.safetensors with config.yaml, or *.onnx)"
        )
    unknown = [name for name, size in files.items() if size is None]
    size = sum(size or 0 for size in files.values())
    if unknown or size > MAX_BYTES:
        got = f"{size:,} bytes" if not unknown else f"no size of {unknown[0]}"
        raise ValueError(f"{repo_id}: got {got}, expected at most {MAX_BYTES:,} bytes of a model")
    return sorted(files)


def _is_weights(name: str) -> bool:
    return name == checkpoint.FILE or name.endswith(".onnx")


def _check_repo_id(repo_id: str) -> None:
    if not REPO_ID.fullmatch(repo_id):
        raise ValueError(f"repo_id: got '{repo_id}', expected a name of the Hub, as you/model")
