import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from atat.config import config_file
from atat.config.schema import Config, DecodeRun, Source
from atat.data import kaldi_dir
from atat.data.tokenizer import Tokenizer
from atat.models import checkpoint
from atat.models.espnet_model import build
from atat.training import run_directory, warm_start
from tests import toy
from tests.tiny_training import run, settings, weights

OTHER = ["playMusic( play artist( the kitchen band )artist now )playMusic", *toy.SENTENCES[:2]]
OLD, NEW = Tokenizer.train(toy.SENTENCES, 60), Tokenizer.train(OTHER, 60)
PARTS = ("speech_encoder", "text_encoder", "decoder", "ctc")


def taught() -> Config:
    """Settings of an experiment that trained every task."""
    return settings(sources=[Source("train", ["asr", "mlm", "slu", "nlu"])])


def experiment(directory: Path, c: Config, tokenizer: Tokenizer = OLD, seed: int = 5) -> Path:
    """What a training leaves behind: here with random weights, biases among them."""
    config_file.save(c, directory / "config.yaml")
    tokenizer.save(directory / "tokenizer")
    torch.manual_seed(seed)
    model = build(c, tokenizer)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.0)
    checkpoint.write(model.state_dict(), c.model, tokenizer, directory)
    return directory


def started(c: Config, tokenizer: Tokenizer = OLD, seed: int = 7):
    """(what it starts from, its weights; those of the same model made afresh)."""
    torch.manual_seed(seed)
    fresh = build(c, tokenizer).state_dict()
    torch.manual_seed(seed)
    model = build(c, tokenizer)
    start = warm_start.match(model, c, tokenizer)
    start.fill(model)
    return start, model, fresh


def asking(exp: Path, **changes) -> Config:
    return settings(init_from=str(exp), **changes)


def test_with_one_vocabulary_everything_goes_over(tmp_path):
    exp = experiment(tmp_path / "exp", taught())
    start, model, _ = started(asking(exp))
    for name, value in model.state_dict().items():
        assert torch.equal(value, weights(exp)[name]), name
    assert model.pretrained.keys() == dict(model.named_parameters()).keys()
    loaded = sum(value.numel() for value in weights(exp).values())
    assert [sum(column) for column in zip(*start.counts.values(), strict=True)] == [loaded, 0, 0]


def test_rows_go_over_by_symbol(tmp_path):
    exp = experiment(tmp_path / "exp", taught())
    start, model, fresh = started(asking(exp), NEW)
    state, old = model.state_dict(), weights(exp)
    for name in ("decoder.embedding.weight", "decoder.output_bias", "ctc.weight", "ctc.bias"):
        for row, symbol in enumerate(NEW.symbols):
            if symbol in OLD.symbols:
                assert torch.equal(state[name][row], old[name][OLD.symbols.index(symbol)]), symbol
            else:
                assert torch.equal(state[name][row], fresh[name][row]), symbol
        carried = {NEW.symbols[row] for row in model.pretrained[name].tolist()}
        assert carried == set(NEW.symbols) & set(OLD.symbols)
    assert "playMusic(" in start.new_symbols and "setVolume(" in start.dropped_symbols
    assert torch.equal(state["decoder.norm.weight"], old["decoder.norm.weight"])
    width = 32
    loaded, new, dropped = start.counts["ctc"]
    assert loaded == len(start.rows_K) * (width + 1)
    assert (loaded + new, loaded + dropped) == tuple(len(t) * (width + 1) for t in (NEW, OLD))
    text = start.account()
    assert f"starts from {exp}" in text and f"{loaded:,}" in text
    assert f"symbols: {len(start.new_symbols)} new: " in text


def test_what_nothing_has_trained_is_new(tmp_path):
    exp = experiment(tmp_path / "exp", settings(sources=[Source("train", ["asr", "mlm"])]))
    start, model, fresh = started(asking(exp))
    assert start.counts["text_encoder"][0] == 0
    for name, value in model.state_dict().items():
        if name.startswith("text_encoder."):
            assert torch.equal(value, fresh[name])
    embedding, row = "decoder.embedding.weight", OLD.task_ids
    for task in ("asr", "mlm"):
        assert torch.equal(
            model.state_dict()[embedding][row[task]], weights(exp)[embedding][row[task]]
        )
    for task in ("slu", "nlu"):
        assert torch.equal(model.state_dict()[embedding][row[task]], fresh[embedding][row[task]])
    assert start.new_symbols == ["<slu>", "<nlu>"]
    with pytest.raises(ValueError, match=r"got text_encoder, which .* has not trained .*asr, mlm"):
        started(asking(exp, init_parts=["text_encoder"]))


def test_a_text_encoder_that_read_what_ctc_hears_was_trained_by_speech(tmp_path):
    c = settings(sources=[Source("train", ["asr"])])
    c.model.ctc_to_text_share = 1.0
    exp = experiment(tmp_path / "exp", c)
    for parts in (["all"], ["text_encoder"]):
        asked = asking(exp, init_parts=parts)
        asked.model.ctc_to_text_share = 1.0
        assert started(asked)[0].counts["text_encoder"][:2] > (0, 0)


def test_above_a_frozen_encoder_what_is_below_it_may_differ(tmp_path):
    c = settings(sources=[Source("train", ["asr", "slu"])])
    c.features.kind, c.model.frozen_encoder = "whisper", "tiny"
    c.model.frozen_encoder_width, c.model.frozen_encoder_layers = 64, 1
    exp = experiment(tmp_path / "exp", c)
    c.train.init_from, c.model.utterance_mean = str(exp), not c.model.utterance_mean
    c.model.front = "max" if c.model.front == "stride" else "stride"
    with torch.device("meta"):
        model = build(c, OLD)
    assert warm_start.match(model, c, OLD).counts["speech_encoder"][0]


def test_a_shared_token_was_trained_by_text_alone(tmp_path):
    there = settings(sources=[Source("train_text", ["nlu"])])
    there.model.shared_semantics_token = True
    start, *_ = started(asking(experiment(tmp_path / "exp", there)))
    assert start.new_symbols == ["<asr>", "<mlm>", "<nlu>"]


@pytest.mark.parametrize("task", ["asr", "slu"])
def test_speech_alone_teaches_what_stands_between_both_parts(tmp_path, task):
    there = settings(sources=[Source("train", [task])])
    there.model.transcript_first, there.model.ctc_weight = True, 0.0
    there.model.token_residual = False
    c = asking(experiment(tmp_path / "exp", there))
    c.model = there.model
    start, *_ = started(c)
    assert start.new_symbols == ["<mlm>", "<slu>"]


def test_rows_that_whisper_has_given_before_stay_slow(tmp_path):
    exp = experiment(tmp_path / "exp", settings(sources=[Source("train", ["asr", "slu"])]))
    start, model, _ = started(asking(exp), NEW)
    name, own = "decoder.embedding.weight", start.rows_K.tolist()
    other = next(row for row in range(len(NEW)) if row not in own)
    model.pretrained = {name: torch.tensor([other, own[0]]), "decoder.output_bias": None}
    start.fill(model)
    assert model.pretrained[name].tolist() == sorted([*own, other])
    assert model.pretrained["speech_encoder.layers.after_norm.weight"] is None


@pytest.mark.parametrize(
    ("parts", "prefixes"),
    [
        (["speech_encoder"], ("speech_encoder.", "cmvn_")),
        (["text_encoder"], ("text_encoder.", "decoder.embedding")),
        (["decoder"], ("decoder.", "residual_")),
        (["speech_encoder", "ctc"], ("speech_encoder.", "cmvn_", "ctc.")),
    ],
)
def test_parts_go_over_alone(tmp_path, parts, prefixes):
    exp = experiment(tmp_path / "exp", taught())
    start, model, fresh = started(asking(exp, init_parts=parts))
    for name, value in model.state_dict().items():
        expected = weights(exp)[name] if name.startswith(prefixes) else fresh[name]
        assert torch.equal(value, expected), name
    assert all(name.startswith(prefixes) for name in model.pretrained)
    assert ("symbols" in start.account()) == (parts != ["speech_encoder"])


@pytest.mark.parametrize(
    ("section", "key", "value", "part"),
    [
        ("model", "speech_layers", 2, "speech_encoder"),
        ("model", "subsampling", 8, "speech_encoder"),
        ("model", "front", "max", "speech_encoder"),  # the same shapes
        ("model", "num_heads", 4, "speech_encoder"),  # the same shapes
        ("model", "speech_encoder", "transformer", "speech_encoder"),
        ("model", "utterance_mean", True, "speech_encoder"),
        ("features", "frame_shift_ms", 8.0, "speech_encoder"),
        ("features", "num_mel_bins", 40, "speech_encoder"),
        ("model", "text_ffn", 32, "text_encoder"),
        ("model", "decoder_layers", 3, "decoder"),
        ("model", "width", 16, "speech_encoder"),
    ],
)
def test_another_architecture_is_one_line_that_names_the_setting(
    tmp_path, section, key, value, part
):
    exp = experiment(tmp_path / "exp", taught())
    c = asking(exp)
    old = getattr(getattr(c, section), key)
    setattr(getattr(c, section), key, value)
    with torch.device("meta"):
        model = build(c, OLD)
    with pytest.raises(
        ValueError, match=rf"another {part}: .*{section}\.{key} is {old} there, {value}"
    ):
        warm_start.match(model, c, OLD)
    if key not in ("width", "num_heads"):
        c.train.init_parts = [other for other in PARTS if other != part]
        assert warm_start.match(model, c, OLD).counts[part][0] <= OLD_EMBEDDING


OLD_EMBEDDING = 32 * len(OLD)  # the text encoder brings it


def test_another_whisper_below_is_refused(tmp_path):
    """Both have the same shapes; the states that are kept are of the one that is named."""

    def above(base: str, **train) -> Config:
        c = settings(sources=[Source("train", ["asr", "slu"])], **train)
        c.features.kind, c.model.frozen_encoder = "whisper", base
        c.model.frozen_encoder_width, c.model.frozen_encoder_layers = 64, 1
        return c

    exp = experiment(tmp_path / "exp", above("tiny"))
    with torch.device("meta"):
        model = build(above("tiny.en"), OLD)
    with pytest.raises(ValueError, match=r"model\.frozen_encoder is tiny there, tiny\.en here"):
        warm_start.match(model, above("tiny.en", init_from=str(exp)), OLD)
    assert warm_start.match(model, above("tiny", init_from=str(exp)), OLD).counts["speech_encoder"][
        0
    ]


def test_ctc_and_the_token_residual_may_be_on_one_side_only(tmp_path):
    without, have = taught(), taught()
    without.model.ctc_weight, without.model.token_residual = 0.0, False
    exp = experiment(tmp_path / "without", without)
    start, model, fresh = started(asking(exp))
    assert start.counts["ctc"][0] == 0 and start.counts["ctc"][1] > 0
    assert torch.equal(model.state_dict()["residual_norm.weight"], fresh["residual_norm.weight"])
    exp = experiment(tmp_path / "have", have)
    without.train.init_from = str(exp)
    start, _, _ = started(without)
    assert start.counts["ctc"][2] > 0 and start.counts["decoder"][2] == 1 + 2 * 32


@pytest.mark.parametrize(
    ("title", "value", "parts", "line"),
    [
        (
            "features.trim_db",
            35.0,
            ["all"],
            "heard otherwise: features.trim_db is None there, 35.0",
        ),
        (
            "features.level_db",
            -20.0,
            ["speech_encoder"],
            "heard otherwise: features.level_db is No",
        ),
        ("features.trim_db", 35.0, ["decoder"], None),
        ("model.token_residual", False, ["all"], "read otherwise: model.token_residual is True th"),
        ("model.ctc_to_text_share", 0.5, ["decoder"], "read otherwise: model.ctc_to_text_share is"),
        (
            "model.shared_semantics_token",
            True,
            ["text_encoder"],
            "read otherwise: model.shared_sem",
        ),
        ("model.shared_semantics_token", True, ["speech_encoder", "ctc"], None),
        ("model.dropout", 0.5, ["all"], None),
    ],
)
def test_what_is_heard_or_read_otherwise_than_the_start_did_is_a_line(
    tmp_path, title, value, parts, line
):
    c = asking(experiment(tmp_path / "exp", taught()), init_parts=parts)
    section, key = title.split(".")
    setattr(getattr(c, section), key, value)
    said = started(c)[0].account().splitlines()
    found = [one for one in said if "otherwise" in one]
    assert len(found) == (line is not None) and (not line or found[0].startswith(f"  {line}"))


def test_it_is_said_how_many_test_sentences_the_start_has_met(tmp_path):
    texts = {"old/data/train": ["on", "off", "on"], "old/data/asr": ["up"]}
    texts |= {"new/data/train": ["off"], "new/data/test": ["on", "on", "up", "down"]}
    for path, said in texts.items():
        split = kaldi_dir.DataDir(text={f"{path}-{i}": text for i, text in enumerate(said)})
        kaldi_dir.write(tmp_path / path, split)
    old, new = tmp_path / "old" / "data", tmp_path / "new" / "data"
    sources = [Source("train", ["slu", "nlu"]), Source("asr", ["asr", "mlm"])]
    exp = experiment(tmp_path / "old" / "exp" / "atat", settings(sources=sources))
    c = asking(exp)
    c.decode.runs = {"test": DecodeRun("test"), "asr": DecodeRun("test", task="asr")}
    start, *_ = started(c)
    assert start.tests_met(c, new) == []  # of data that nobody knows
    known = {"data": kaldi_dir.fingerprint(old / split for split in ("train", "asr"))}
    (exp / "env.json").write_text(json.dumps(known))
    assert start.tests_met(c, new) == [
        f"  it has met, of the 4 utterances of test, the words of 2 in train, 1 in asr ({old})"
    ]
    assert start.tests_met(c, old) == []  # its own data
    (old / "asr" / "text").write_text("a another\n")
    assert start.tests_met(c, new) == []  # not what it was trained on


def test_what_cannot_be_started_from_is_one_line_and_changes_nothing(tmp_path):
    toy.write(tmp_path)
    exp = experiment(tmp_path / "exp", taught())
    before = (exp / checkpoint.FILE).read_bytes()
    target = experiment(tmp_path / "target", taught())

    def prepare(**changes):
        run_directory.prepare_experiment(asking(**changes), tmp_path / "data", target, True)

    with pytest.raises(ValueError, match="cannot start from itself"):
        prepare(exp=tmp_path / "x" / ".." / "target")
    with pytest.raises(FileNotFoundError, match="no such experiment directory"):
        prepare(exp=tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"init_parts: got \['ears'\], expected some of all"):
        prepare(exp=exp, init_parts=["ears"])
    with pytest.raises(ValueError, match=r"init_parts: got \[\]"):
        prepare(exp=exp, init_parts=[])
    with pytest.raises(ValueError, match=r"pretrained_schedule: got \[-5, 0\.0\]"):
        prepare(exp=exp, pretrained_schedule=[[-5, 0.0]])
    (exp / checkpoint.FILE).write_bytes(before[:1000])
    with pytest.raises(ValueError, match="not a model file"):
        prepare(exp=exp)
    assert (target / checkpoint.FILE).is_file() and not (target / "checkpoints").exists()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """The toy corpus, with another vocabulary than the experiment beside it."""
    root = tmp_path_factory.mktemp("init")
    toy.write(root)
    vocabulary = [*toy.SENTENCES, "fly( away )fly"]
    Tokenizer.train(vocabulary, 60).save(root / "data" / "tokenizer")
    experiment(root / "from", taught())
    return root


def short(corpus: Path, schedule: list[list[float]], **changes) -> Config:
    options = dict(num_steps=8, num_epochs=2, pretrained_schedule=schedule, batch_frames=2000)
    return asking(corpus / "from", **(options | changes))


@pytest.mark.several_processes
def test_at_rate_0_old_values_stand_still_and_new_rows_learn(corpus, capfd):
    c = short(corpus, [[500, 0.0]], num_processes=2, num_steps=2, num_epochs=1)
    exp = run(c, corpus, "still")
    assert "starts from" in capfd.readouterr().out
    assert json.loads((exp / "env.json").read_text())["init_from"]["experiment"] == str(
        corpus / "from"
    )
    new = Tokenizer.load(corpus / "data" / "tokenizer")
    old, trained = weights(corpus / "from"), weights(exp)
    torch.manual_seed(c.seed)
    start, model, _ = started(c, new)
    assert "fly(" in start.new_symbols
    for name, rows in model.pretrained.items():
        if rows is None:
            assert torch.equal(trained[name], old[name]), name
        else:
            assert torch.equal(trained[name][rows], model.state_dict()[name][rows]), name
    row = new.symbols.index("fly(")
    assert trained["decoder.output_bias"][row] != 0


def test_a_training_that_was_stopped_keeps_its_place_in_the_schedule(corpus, monkeypatch):
    from atat.training.espnet_task import AtatTrainer

    c = short(corpus, [[2, 0.0], [3, 0.2], [2, 0.5]], num_steps=8)
    whole = run(c, corpus, "whole")
    state = torch.load(whole / "checkpoints" / "checkpoint.pth", weights_only=True)
    assert state["optimizers"][0]["param_groups"][0]["num_updates"] == 8

    train_one_epoch = AtatTrainer.train_one_epoch.__func__

    def stopped(cls, *args, reporter, **rest):
        if reporter.get_epoch() == 2:
            raise KeyboardInterrupt
        return train_one_epoch(cls, *args, reporter=reporter, **rest)

    with monkeypatch.context() as patch:
        patch.setattr(AtatTrainer, "train_one_epoch", classmethod(stopped))
        with pytest.raises(KeyboardInterrupt):
            run(c, corpus, "stopped")
    exp = corpus / "exp" / "stopped"
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "resumed"
    resumed = run(c, corpus, "stopped")
    for name, value in weights(whole).items():
        torch.testing.assert_close(weights(resumed)[name], value, rtol=1e-5, atol=1e-6)

    # Another model in the same place is another start.
    (exp / checkpoint.FILE).unlink()
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "resumed"
    experiment(corpus / "from", taught(), seed=6)
    assert run_directory.prepare_experiment(c, corpus / "data", exp, True) == "started"


@pytest.mark.parametrize(("parts", "left"), [(["all"], 0.0), (["speech_encoder"], 0.1)])
def test_a_ctc_that_was_taught_is_not_taught_again(corpus, parts, left, monkeypatch, capsys):
    monkeypatch.setattr(warm_start.Start, "tests_met", lambda *_: ["it has met all"])
    c = short(corpus, [], init_parts=parts, flat_start_fraction=0.1, ctc_first_fraction=0.1)
    exp = corpus / "exp" / "taught"
    run_directory.prepare_experiment(c, corpus / "data", exp, True)
    assert capsys.readouterr().out.endswith("\nit has met all\n")
    kept = config_file.load_resolved(exp / "config.yaml").train
    assert kept.flat_start_fraction == kept.ctc_first_fraction == left
    assert c.train == kept  # what is trained with


def test_the_option_names_what_to_start_from(corpus):
    config_file.save(settings(), corpus / "resolved.yaml")
    command = [sys.executable, "-m", "atat.train", "--config", str(corpus / "resolved.yaml")]
    for option in ("data", "dump", "exp"):
        command += [f"--{option}", str(corpus / option)]
    done = subprocess.run(
        [*command, "--init_from", str(corpus / "nowhere")], capture_output=True, text=True
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
    assert f"{corpus / 'nowhere'}: no such experiment directory" in done.stderr


def test_whisper_learns_slowly_throughout_and_a_start_by_its_schedule(monkeypatch):
    from atat.training import espnet_task

    c = settings(whisper_factor=0.25, pretrained_schedule=[[1, 0.0], [1, 0.5]])
    model = build(c, OLD)
    names = list(dict(model.named_parameters()))[:4]
    both, whispers, started_, new = (model.get_parameter(name) for name in names)
    model.from_whisper = {names[0]: None, names[1]: None}
    model.pretrained = {names[0]: None, names[2]: None}
    monkeypatch.setattr(espnet_task, "_load", lambda args: (c, OLD))
    made = classmethod(lambda cls, args, model: [torch.optim.SGD(model.parameters(), lr=1.0)])
    monkeypatch.setattr(espnet_task.AbsTask, "build_optimizers", made)
    (optimizer,) = espnet_task.AtatTask.build_optimizers(None, model)
    before = [p.detach().clone() for p in (both, whispers, started_, new)]
    for _ in range(3):
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        optimizer.step()
    moved = [
        float((old - p.detach()).mean())
        for old, p in zip(before, (both, whispers, started_, new), strict=True)
    ]
    assert moved == pytest.approx([0.25 * 1.5, 0.75, 1.5, 3.0], abs=1e-4)
