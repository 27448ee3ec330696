"""Models saved, fetched and published; the Hub is a directory here (a stub, without a network)."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub.errors import OfflineModeIsEnabled

from atat.inference import hub
from atat.inference.hub import HubModel


@dataclass
class Loaded(HubModel):
    """Stands for SpeechToSemantics: the mixin asks for a name and `load`."""

    name: str | None
    options: dict

    @classmethod
    def load(cls, exp_dir, **options):
        return cls(str(exp_dir), options)


class Hub:
    """What hub.py uses of the Hub, on a directory: repositories are directories in it."""

    def __init__(self, root: Path):
        self.root, self.asked, self.is_offline = root, [], False

    def api(self, token=None):
        self.asked.append(("token", token))
        return self

    def model_info(self, repo_id, revision=None, files_metadata=False):
        if self.is_offline:
            raise OfflineModeIsEnabled("offline")
        assert files_metadata  # without it, there are no sizes
        paths = [p for p in (self.root / repo_id).rglob("*") if p.is_file()]
        siblings = [
            SimpleNamespace(rfilename=p.relative_to(self.root / repo_id).as_posix(), size=size(p))
            for p in paths
        ]
        return SimpleNamespace(siblings=siblings, sha=f"commit of {revision}")

    def download(self, repo_id, revision=None, token=None, allow_patterns=(), **options):
        self.asked.append(("download", revision, token, options))
        cache = self.root / "cache"
        if not options.get("local_files_only"):
            for name in allow_patterns:
                (cache / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(self.root / repo_id / name, cache / name)
        return str(cache)

    def create_repo(self, repo_id, private, exist_ok):
        self.asked.append(("create", repo_id, private, exist_ok))

    def upload_folder(self, repo_id, folder_path, commit_message):
        shutil.copytree(folder_path, self.root / repo_id, dirs_exist_ok=True)
        return SimpleNamespace(commit_url=f"https://hub/{repo_id}/{commit_message}")


def size(path: Path) -> int:
    return 10**12 if path.name == "huge.onnx" else path.stat().st_size


@pytest.fixture
def stub(monkeypatch, tmp_path):
    stub = Hub(tmp_path / "hub")
    stub.root.mkdir()
    monkeypatch.setattr(huggingface_hub, "HfApi", stub.api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", stub.download)
    return stub


@pytest.fixture
def exp(toy_experiment, tmp_path):
    """A copy, with what else lies in an experiment's directory."""
    exp = shutil.copytree(toy_experiment, tmp_path / "exp")
    (exp / "about.json").write_text('{"hypothesis": "frame"}')
    for name in ("checkpoints/1epoch.pth", "decode_test/hyp.jsonl", ".done.4", "notes.txt"):
        (exp / name).parent.mkdir(exist_ok=True)
        (exp / name).write_text("not of the model")
    return exp


def contents(directory: Path) -> dict[str, bytes]:
    paths = [p for p in directory.rglob("*") if p.is_file()]
    return {p.relative_to(directory).as_posix(): p.read_bytes() for p in paths}


def test_a_saved_model_has_the_models_files_and_a_card_and_no_others(exp, tmp_path):
    Loaded.load(exp).save_pretrained(tmp_path / "saved", license="apache-2.0")
    saved = contents(tmp_path / "saved")
    assert saved.keys() == {
        *("README.md", "about.json", "config.yaml", "grammar.yaml", "model.safetensors"),
        *(f"tokenizer/{path.name}" for path in (exp / "tokenizer").iterdir()),
    }
    assert all(saved[name] == (exp / name).read_bytes() for name in saved.keys() - {"README.md"})
    assert b"license: apache-2.0" in saved["README.md"]


def test_a_card_that_is_there_already_stays(exp, tmp_path):
    (exp / "README.md").write_text("mine")
    Loaded.load(exp).save_pretrained(tmp_path / "saved")
    assert (tmp_path / "saved" / "README.md").read_text() == "mine"


def test_a_card_that_was_written_on_in_is_not_made_anew(exp, tmp_path):
    card = tmp_path / "saved" / "README.md"
    Loaded.load(exp).save_pretrained(card.parent)
    card.write_text("mine")
    Loaded.load(exp).save_pretrained(card.parent)
    assert card.read_text() == "mine"


def test_files_that_are_no_models_are_not_overwritten(exp, tmp_path):
    (tmp_path / "README.md").write_text("of a repository")
    with pytest.raises(ValueError, match=r"has README\.md and no model; expected a new"):
        Loaded.load(exp).save_pretrained(tmp_path)
    assert (tmp_path / "README.md").read_text() == "of a repository"


def test_a_licence_for_a_card_that_is_made_is_not_dropped(exp, tmp_path):
    (exp / "README.md").write_text("mine")
    with pytest.raises(ValueError, match=r"license: got 'mit' for a model with a card, expected"):
        Loaded.load(exp).save_pretrained(tmp_path / "saved", license="mit")


def test_saving_again_replaces_the_model_and_another_models_directory_is_refused(exp, tmp_path):
    model, saved = Loaded.load(exp), tmp_path / "saved"
    model.save_pretrained(saved)
    (saved / "grammar.yaml").write_text("older")
    model.save_pretrained(saved)
    assert (saved / "grammar.yaml").read_bytes() == (exp / "grammar.yaml").read_bytes()
    (saved / "decoder.onnx").write_bytes(b"of another")
    with pytest.raises(ValueError, match=r"another model \(decoder\.onnx\)"):
        model.save_pretrained(saved)
    with pytest.raises(ValueError, match="another directory"):
        model.save_pretrained(exp)


def test_weights_that_are_a_pickle_are_not_shared(exp, tmp_path):
    (exp / "model.safetensors").rename(exp / "model.pth")
    with pytest.raises(FileNotFoundError, match=r"model\.pth of before 0\.2 is not shared"):
        Loaded.load(exp).save_pretrained(tmp_path / "saved")
    assert not (tmp_path / "saved").exists()


def test_a_model_of_no_directory_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="got none"):
        Loaded(None, {}).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="which is not there"):
        Loaded(str(tmp_path / "gone"), {}).save_pretrained(tmp_path)


def test_a_directory_is_loaded_without_asking_the_hub(stub, exp):
    loaded = Loaded.from_pretrained(exp, device="cpu")
    assert (loaded.name, loaded.options, stub.asked) == (str(exp), {"device": "cpu"}, [])


def test_pushed_and_loaded_again_it_is_the_same(stub, exp):
    model = Loaded.load(exp)
    assert model.push_to_hub("me/kitchen", token="secret").startswith("https://hub/me/kitchen")
    assert stub.asked == [("token", "secret"), ("create", "me/kitchen", True, True)]
    assert b"\n# kitchen\n" in contents(stub.root / "me/kitchen")["README.md"]
    loaded = Loaded.from_pretrained("me/kitchen", revision="v1", token="mine")
    assert stub.asked[-1] == ("download", "commit of v1", "mine", {})
    fetched = contents(Path(loaded.name))
    assert fetched == contents(stub.root / "me/kitchen")
    assert fetched["model.safetensors"] == (exp / "model.safetensors").read_bytes()


def test_only_a_models_files_are_fetched(stub, exp):
    repository = stub.root / "someone/model"
    shutil.copytree(exp, repository)
    for name in (
        *("modeling_atat.py", "model.pth", "pytorch_model.bin", "tokenizer/run.py", "x/model.onnx"),
        *("tokenizer/a/b.json", "text_encoder/pytorch_model.bin", "grammar.yaml.bak"),
    ):
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text("import os")
    fetched = contents(Path(Loaded.from_pretrained("someone/model").name))
    assert fetched.keys() == set(hub.model_files(exp))


def test_too_much_or_no_model_is_refused_before_anything_is_fetched(stub, exp):
    (stub.root / "someone/text").mkdir(parents=True)
    (stub.root / "someone/text/config.yaml").write_text("seed: 1")
    with pytest.raises(FileNotFoundError, match="someone/text: no model of atat there"):
        Loaded.from_pretrained("someone/text")
    shutil.copytree(exp, stub.root / "someone/huge")
    (stub.root / "someone/huge/huge.onnx").touch()
    with pytest.raises(ValueError, match=r"got 1,000,00.* bytes, expected at most 4,000,000,000"):
        Loaded.from_pretrained("someone/huge")
    assert [what for what, *_ in stub.asked if what == "download"] == []


def test_without_a_network_what_was_fetched_is_loaded(stub, exp):
    shutil.copytree(exp, stub.root / "someone/model")
    before = Loaded.from_pretrained("someone/model").name
    stub.is_offline = True
    assert Loaded.from_pretrained("someone/model").name == before
    assert stub.asked[-1][3] == {"local_files_only": True}


def test_a_connection_that_breaks_is_an_os_error_with_the_models_name(stub, exp, monkeypatch):
    class ConnectError(Exception):
        """As of the Hub's HTTP library: no OSError."""

    def fails(*_, **__):
        raise ConnectError("name or service not known")

    monkeypatch.setattr(stub, "model_info", fails)
    monkeypatch.setattr(stub, "create_repo", fails)
    for call in (Loaded.from_pretrained, Loaded.load(exp).push_to_hub):
        with pytest.raises(OSError, match=r"me/kitchen: the Hub cannot be reached \(ConnectError"):
            call("me/kitchen")


@pytest.mark.parametrize(
    "name", ["no/such/directory", "kitchen", "../model", "/gone", "a b", Path("gone")]
)
def test_what_is_neither_directory_nor_name_of_the_hub_is_refused(
    stub, name, tmp_path, monkeypatch
):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FileNotFoundError, match="no such directory, and no name of the Hub"):
        Loaded.from_pretrained(name)
    assert stub.asked == []


def test_a_repository_of_another_form_is_no_place_to_push_to(stub, exp):
    with pytest.raises(ValueError, match="repo_id: got 'a/b/c'"):
        Loaded.load(exp).push_to_hub("a/b/c")
    assert stub.asked == []


def test_an_exported_model_is_whole_after_all_of_it(stub, toy_experiment, tmp_path):
    from atat.deployment.export import export
    from atat.models import exported_model

    export(toy_experiment, tmp_path / "out", "float32")
    Loaded.load(tmp_path / "out").push_to_hub("me/kitchen")
    fetched = Path(Loaded.from_pretrained("me/kitchen").name)
    exported_model.check(fetched)
    assert contents(fetched) == contents(tmp_path / "out")
    assert b"# out\n" in contents(fetched)["README.md"]  # as the export wrote it


def test_the_real_model_is_the_same_through_a_directory(toy_experiment, toy_wavs, tmp_path):
    from atat import SpeechToSemantics

    model = SpeechToSemantics.load(toy_experiment)
    model.save_pretrained(tmp_path / "saved")
    again = SpeechToSemantics.from_pretrained(tmp_path / "saved", with_confidence=False)
    before, after = (json.dumps(m(toy_wavs["anna-0"]).to_dict()["slots"]) for m in (model, again))
    assert before == after != "{}"
    assert np.isclose(model(toy_wavs["anna-0"]).score, again(toy_wavs["anna-0"]).score)
