import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from atat import train
from atat.config import config_file
from atat.config.schema import Source
from atat.data import kaldi_dir
from atat.models import checkpoint
from atat.models.decoder import Decoder
from atat.training import distributed, launch, run_directory
from atat.training.collator import Collator
from tests import toy
from tests.tiny_training import lines, run, settings, stop_at, weights


@pytest.fixture
def corpus(tmp_path):
    toy.write(tmp_path)
    return tmp_path


def test_four_utterances_are_learned_by_heart_in_every_task(corpus):
    exp = run(settings(num_steps=300), corpus, "atat")
    last = lines(exp)[-1]
    assert {task: last[f"em_{task}"] for task in ("asr", "slu", "nlu")} == dict(asr=1, slu=1, nlu=1)
    assert (exp / "checkpoints" / "tensorboard").is_dir()
    assert json.loads((exp / "env.json").read_text())["seed"] == 1


def test_the_same_seed_gives_the_same_losses_and_another_does_not(corpus):
    c = settings()
    first, second = (lines(run(c, corpus, name)) for name in ("a", "b"))
    assert [x["train_loss"] for x in first] == [x["train_loss"] for x in second]
    c.seed = 2
    assert lines(run(c, corpus, "c"))[-1]["train_loss"] != first[-1]["train_loss"]


def start(root: Path, name: str, *overrides: str) -> subprocess.Popen:
    """Train in a process of its own."""
    config_file.save(settings(), root / "resolved.yaml")
    command = [sys.executable, "-m", "atat.train", "--config", str(root / "resolved.yaml")]
    command += ["--data", str(root / "data"), "--dump", str(root / "dump")]
    command += ["--exp", str(root / "exp" / name), *overrides]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def test_a_killed_loader_ends_the_training_with_one_line_and_the_epochs_before_stay(
    corpus, monkeypatch
):
    monkeypatch.setattr(Collator, "__call__", Collator.__call__)  # so that it is put back
    stop_at(25, signal.SIGKILL)  # in the third epoch, in the process that makes its batches
    with pytest.raises(ChildProcessError) as error:
        run(settings(num_workers=1), corpus, "atat")
    assert str(error.value) == distributed.DIED
    assert [line["epoch"] for line in lines(corpus / "exp" / "atat")] == [1, 2]


@pytest.mark.parametrize(
    ("num_processes", "number"),
    [
        (1, signal.SIGKILL),
        pytest.param(2, signal.SIGTERM, marks=pytest.mark.several_processes),
    ],
)
def test_an_ended_training_goes_on_as_if_nothing_had_been(num_processes, number, corpus):
    c = settings(num_steps=48, num_epochs=6, learning_rate=1e-3)
    whole = lines(run(c, corpus, "whole"))
    assert all(key in whole[-1] for key in ("em_slu", "em_asr", "em_nlu"))
    more = [f"train.{name}={getattr(c.train, name)}" for name in ("num_steps", "num_epochs")]
    more += [f"train.num_processes={num_processes}", "train.learning_rate=1e-3"]
    process = start(corpus, "ended", *more)
    ended = corpus / "exp" / "ended"
    log = ended / "train.jsonl"
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and not (
        log.exists() and len(log.read_text().split("\n")) > 2
    ):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.01)
    process.send_signal(number)
    said, _ = process.communicate(timeout=240)
    assert "Traceback" not in said
    if number == signal.SIGTERM:
        assert process.returncode == 75 and "SIGTERM: stopped in epoch" in said
    assert not (ended / checkpoint.FILE).exists()
    # In one process, and in this one.
    assert run_directory.prepare_experiment(c, corpus / "data", ended, True) == "resumed"
    launch.train(c, corpus / "data", corpus / "dump", ended)
    assert [x["epoch"] for x in lines(ended)] == list(range(1, 7))
    tolerance = 0.0 if num_processes == 1 else 1e-5  # to the last digit, or to rounding
    assert [x["train_loss"] for x in lines(ended)] == pytest.approx(
        [x["train_loss"] for x in whole], abs=tolerance, rel=0.0
    )


def test_other_settings_and_a_finished_training_start_anew(corpus):
    c = settings()
    exp = corpus / "exp" / "atat"
    (corpus / "data" / "about.json").write_text('{"hypothesis": "tree"}')
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "started"
    assert (exp / "about.json").read_text() == '{"hypothesis": "tree"}'
    (corpus / "data" / "about.json").unlink()  # nor is it there of another training
    launch.train(c, corpus / "data", corpus / "dump", exp)
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "started"
    torch.save({}, exp / "checkpoints" / "checkpoint.pth")
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "resumed"
    (exp / "confidence.json").touch()
    c.train.learning_rate = 1e-4
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "started"
    assert not (exp / "confidence.json").exists()  # it judged the model that is gone
    assert not (exp / "about.json").exists()
    assert not (exp / "checkpoints" / "checkpoint.pth").exists()


def test_other_data_under_the_same_name_start_anew(corpus):
    c, exp = settings(), corpus / "exp" / "atat"
    run_directory.prepare_experiment(c, corpus / "data", exp, True)
    (exp / "checkpoints" / "checkpoint.pth").touch()
    split = kaldi_dir.read(corpus / "data" / "train")
    first = split.ids[0]
    split.semantics[first] = split.semantics[split.ids[1]]
    split.text[first] = split.text[split.ids[1]]
    kaldi_dir.write(corpus / "data" / "train", split)
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "started"
    assert not (exp / "checkpoints" / "checkpoint.pth").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="names the loopback device as Linux does")
def test_several_processes_without_a_loopback_device_are_refused(corpus, monkeypatch):
    monkeypatch.setattr(distributed, "no_loopback", lambda: "Network is unreachable")
    with pytest.raises(ValueError, match=r"num_processes: got 2, .*unreachable.*set it to 1"):
        run(settings(num_processes=2), corpus, "two")


def test_mixed_precision_on_a_cpu_learns_as_float32_does(corpus):
    kinds = set()

    def note(module, _, output):
        if isinstance(module, Decoder):
            kinds.add(output.dtype)

    with torch.nn.modules.module.register_module_forward_hook(note):
        mixed = lines(run(settings(use_amp=True), corpus, "mixed"))
    whole = lines(run(settings(), corpus, "whole"))
    assert kinds == {torch.bfloat16}
    assert [line["train_loss"] for line in mixed] != [line["train_loss"] for line in whole]
    for ours, theirs in zip(mixed, whole, strict=True):
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.02)
    assert {value.dtype for value in weights(corpus / "exp" / "mixed").values()} <= {
        torch.float32,
        torch.int64,
    }


@pytest.mark.parametrize(
    "flags, lacks", [("fpu avx2", True), ("avx512f avx512_bf16", False), ("asimd bf16", False)]
)
def test_a_cpu_without_bfloat16_is_known_by_its_flags(flags, lacks, tmp_path):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    assert launch.lacks_bfloat16(tmp_path / "cpuinfo") is lacks
    assert not launch.lacks_bfloat16(tmp_path / "missing")


@pytest.mark.parametrize(("lacks", "is_said"), [(True, True), (False, False)])
def test_mixed_precision_that_does_not_pay_is_said(corpus, command, monkeypatch, lacks, is_said):
    monkeypatch.setattr(launch, "train", lambda *arguments: None)
    monkeypatch.setattr(launch, "lacks_bfloat16", lambda: lacks)
    config_file.save(settings(use_amp=True), corpus / "recipe.yaml")
    given = ["--config", corpus / "recipe.yaml", "--exp", corpus / "exp"]
    given += ["--data", corpus / "data", "--dump", corpus / "dump"]
    code, _, err = command(train.main, *given)
    assert code == 0 and ("train.use_amp: this CPU has no instructions" in err) == is_said


def test_speech_only_and_text_only_train(corpus):
    for tasks in (["slu"], ["nlu"]):
        exp = run(settings(sources=[Source("train", tasks)], num_steps=6), corpus, tasks[0])
        assert f"em_{tasks[0]}" in lines(exp)[-1]


def test_the_papers_schedule_is_that_of_vaswani(corpus):
    c = settings(schedule="noam", num_steps=12, num_epochs=12, noam_warmup_steps=4, noam_factor=2.0)
    exp = run(c, corpus, "noam")
    for line in lines(exp):
        step = line["step"]
        # ESPnet logs the rate after the step's update of it, and starts to count at 1.
        rates = [2.0 * 32**-0.5 * min(s**-0.5, s * 4**-1.5) for s in (step, step + 1)]
        assert any(line["learning_rate"] == pytest.approx(rate, rel=1e-3) for rate in rates)


@pytest.mark.parametrize(("fraction", "num_steps"), [(0.1, 9), (0.25, 3), (0.5, 1), (0.3, 20)])
def test_a_schedule_of_a_few_steps_begins(fraction, num_steps):
    c = settings(warmup_fraction=fraction, num_steps=num_steps, num_epochs=1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    conf = launch.espnet_options(c)["scheduler_conf"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, **conf)
    rates = []
    for _ in range(num_steps):
        rates += schedule.get_last_lr()
        optimizer.step()
        schedule.step()
    assert 0 < max(rates) <= c.train.learning_rate * 1.001


def test_no_more_epochs_are_averaged_than_there_are():
    """Of more than that ESPnet would average none, and take the best alone."""
    c = settings(num_steps=6, num_epochs=2, average_checkpoints=5)
    assert launch.espnet_options(c)["keep_nbest_models"] == 2


def test_a_broken_average_is_refused(corpus, tmp_path):
    exp = tmp_path / "exp"
    toy_tokenizer = launch.Tokenizer.load(corpus / "data" / "tokenizer")
    toy_tokenizer.save(exp / "tokenizer")
    path = tmp_path / "average.pth"
    with pytest.raises(ValueError, match="no averaged model"):
        launch.finish(path, exp)
    torch.save({}, path)
    with pytest.raises(ValueError, match="is empty"):
        launch.finish(path, exp)
    torch.save({"w": torch.tensor([1.0, float("nan")])}, path)
    with pytest.raises(ValueError, match="not finite"):
        launch.finish(path, exp)
    assert not (exp / checkpoint.FILE).exists()


def test_a_full_disk_leaves_the_old_checkpoint(tmp_path, monkeypatch):
    from atat.common import espnet_compat

    path = tmp_path / "1epoch.pth"
    espnet_compat.save_aside({"w": torch.ones(2)}, path)

    mkstemp = tempfile.mkstemp

    def full(**where):
        handle, name = mkstemp(**where)
        os.dup2(os.open("/dev/full", os.O_WRONLY), handle)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OSError, match="No space"):
        espnet_compat.save_aside({"w": torch.zeros(100_000)}, path)
    assert torch.load(path, weights_only=True)["w"].tolist() == [1.0, 1.0]
    assert [p.name for p in tmp_path.iterdir()] == ["1epoch.pth"]


NOWHERE = "train.sources=[{split: nowhere, tasks: [slu]}]"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.num_stepz=3"], "did you mean 'train.num_steps'"),
        (["train.schedule=linear"], "expected one of cosine, noam"),
        ([NOWHERE], "nowhere"),
        (["train.valid_splits=[nowhere]"], "nowhere"),
        (["decode.runs={a: {split: test}}"], "4 utterances of 'test' (decode.runs) are in 'train'"),
        (["model.text_encoder=pretrained", "model.text_pretrained=./none"], "no tokenizer in"),
        pytest.param(
            ["train.num_gpus=1"],
            "expected 0: torch finds no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        pytest.param(
            ["train.num_processes=2", "train.sources=[{split: train, tasks: [asr, mlm]}]"],
            "no such word alignments",
            marks=pytest.mark.several_processes,
        ),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(corpus, overrides, message):
    model = corpus / "exp" / "wrong" / checkpoint.FILE
    model.parent.mkdir(parents=True)
    model.touch()
    process = start(corpus, "wrong", *overrides)
    output, _ = process.communicate(timeout=240)
    assert process.returncode == 2
    assert message in output and "Traceback" not in output
    assert model.exists()


def test_what_a_user_names_for_nothing_is_said(corpus, command, monkeypatch):
    monkeypatch.setattr(launch, "train", lambda *arguments: None)
    config_file.save(settings(noam_factor=3.0), corpus / "recipe.yaml")
    (corpus / "mine.yaml").write_text("train: {init_parts: [decoder], num_steps: 40}\n")
    given = ["--config", corpus / "recipe.yaml", "--config", corpus / "mine.yaml"]
    given += ["--data", corpus / "data", "--dump", corpus / "dump", "--exp", corpus / "exp"]
    assert command(train.main, *given, "train.sync_every=9")[::2] == (
        0,
        "no effect here: train.init_parts (there is no train.init_from)\n"
        "no effect here: train.sync_every (train.sync is gradients)\n",
    )


def files(exp: Path) -> dict[str, tuple[bytes, int]]:
    found = [path for path in exp.rglob("*") if path.is_file()]
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in found}


def test_a_trained_model_is_there_until_another_is_trained(corpus, monkeypatch):
    exp, more = corpus / "exp" / "atat", (corpus / "data", corpus / "dump")
    launch.run(settings(num_steps=3), *more, exp, True)
    (exp / "confidence.json").touch()
    before = files(exp)
    other = settings(num_steps=3)
    other.seed = 2

    def ends(error):
        def training(settings, data, dump, exp):
            (exp / "checkpoints" / "checkpoint.pth").write_text("of the other")
            (exp / "train.jsonl").write_text("of the other")
            raise error

        monkeypatch.setattr(launch, "train", training)
        with pytest.raises(type(error)):
            launch.run(other, *more, exp, True)

    # Found in training (it diverged), but nothing has been changed.
    ends(ValueError("diverged"))
    assert files(exp) == before
    # A full disk or Ctrl-C: the other goes on, and the model waits.
    ends(KeyboardInterrupt())
    assert not (exp / checkpoint.FILE).exists() and not (exp / "confidence.json").exists()
    ends(ValueError("diverged"))
    assert (exp / "checkpoints" / "checkpoint.pth").exists()
    assert (exp / run_directory.PREVIOUS / checkpoint.FILE).is_file()
    monkeypatch.undo()
    launch.run(other, *more, exp, False)
    assert (exp / checkpoint.FILE).is_file() and not (exp / run_directory.PREVIOUS).exists()
