"""The models that conf/ offers."""

from collections import Counter
from dataclasses import asdict

import pytest
import torch
import yaml

from atat.config import config_file, experiment_tables
from atat.config.schema import FeaturesConfig, Source
from atat.data.text_tokenization import text_tokenizer
from atat.data.tokenizer import Tokenizer
from atat.models import whisper
from atat.models.espnet_model import build
from atat.training import launch
from atat.training.batching import Batches
from atat.training.training_data import TrainingData
from tests import tones

CONF = config_file.BASE.parent
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *tones.WORDS]


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Directory of a BERT of one small layer."""
    from transformers import BertConfig, BertModel, BertTokenizer

    directory = tmp_path_factory.mktemp("bert")
    (directory / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    BertTokenizer(str(directory / "vocab.txt")).save_pretrained(directory)
    sizes = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(BertConfig(vocab_size=len(VOCABULARY), **sizes)).save_pretrained(directory)
    return directory


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_the_papers_model_takes_training_steps_in_all_its_tasks(tmp_path, bert, device):
    from espnet2.schedulers.noam_lr import NoamLR

    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    tones.write(tmp_path, FeaturesConfig())
    settings = config_file.load([CONF / "model_paper.yaml"], [f"model.text_pretrained={bert}"])
    sources = [Source("train", ["asr", "mlm", "slu", "nlu"])]
    settings.train.sources, settings.train.text_batch = sources, 2
    settings.train.batch_frames = 600
    tokenizer = tones.TOKENIZER
    encode = text_tokenizer(settings.model, tokenizer)
    examples = TrainingData(sources, tmp_path / "data", tmp_path / "dump", tokenizer, encode)
    batches = Batches(examples, settings, tokenizer, training=True)
    model = build(settings, tokenizer).to(device)
    options = launch.espnet_options(settings)
    assert options["optim"] == "adam" and options["scheduler"] == "noamlr"
    optimizer = torch.optim.Adam(model.parameters(), **options["optim_conf"])
    schedule = NoamLR(optimizer, **options["scheduler_conf"])
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    for step, speech, text in batches.sampler.steps(0, 2):
        _, batch = batches.collate(step, speech, text)
        loss, stats, _ = model(**{name: value.to(device) for name, value in batch.items()})
        loss.backward()
        assert all(torch.isfinite(stats[f"loss_{task}"]).item() for task in sources[0].tasks)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    unused = ("text_encoder.encoder.pooler",)  # BERT's, for sentences; it gets no gradient
    for name, value in model.named_parameters():
        assert torch.equal(value, before[name]) == name.startswith(unused), name


def test_the_papers_schedule_of_pretrained_parameters_ends_after_800_steps():
    settings = config_file.load([CONF / "model_paper.yaml"])
    assert sum(steps for steps, _ in settings.train.pretrained_schedule) == 800
    assert (settings.train.mlm_share, settings.train.mlm_fill) == (0.15, "zero")


@pytest.mark.parametrize("recipe", sorted(p.parent.name for p in CONF.parent.glob("egs/*/conf")))
def test_the_papers_model_is_one_in_all_recipes_and_fits_a_gpu(recipe):
    paths = [CONF.parent / "egs" / recipe / "conf" / "recipe.yaml", CONF / "model_paper.yaml"]
    settings = config_file.load(paths, ["train.num_gpus=1"])
    librispeech = config_file.load(
        [CONF.parent / "egs" / "librispeech" / "conf" / "recipe.yaml", paths[1]]
    )
    assert settings.model == librispeech.model  # so that one can start from the other
    # Not the shorter trainings of our small models, which would end before the rate falls.
    train = settings.train
    assert train.num_steps >= 5 * train.noam_warmup_steps and train.tasks_per_utterance == "all"
    assert train.task_weights == dict.fromkeys(("asr", "mlm", "slu", "nlu"), 1.0)


def test_the_tiny_model_is_that_of_the_commands():
    tiny = config_file.load([CONF / "model_tiny.yaml"]).model
    commands = config_file.load([CONF.parent / "egs" / "commands" / "conf" / "recipe.yaml"]).model
    for name in ("utterance_mean", "frozen_encoder", "dropout"):  # no sizes
        setattr(commands, name, getattr(tiny, name))
    assert tiny == commands


@pytest.mark.parametrize("recipe", ["commands", "barista", "top_zeroshot", "music_lowres"])
def test_a_recipe_stands_on_frozen_whisper(recipe, tmp_path):
    settings = config_file.load(
        [CONF.parent / "egs" / recipe / "conf" / "recipe.yaml", CONF / "frozen_whisper.yaml"]
    )
    tokenizer = Tokenizer.train(["go( to( rome )to )go"], 60)
    with torch.device("meta"):
        model = build(settings, tokenizer)
    sizes = Counter()
    for name, parameter in model.named_parameters():
        sizes["frozen" if name.startswith("frozen_encoder.") else "trained"] += parameter.numel()
        assert parameter.requires_grad != name.startswith("frozen_encoder.")
    assert 8.0e6 < sizes["frozen"] < 8.5e6 and sizes["trained"] < 4.0e6


RECIPES = sorted(CONF.parent.glob("egs/*/conf/recipe.yaml"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parts[-3])
def test_every_recipe_may_start_from_whispers_decoder(recipe):
    settings = config_file.load([recipe, CONF / "whisper_decoder.yaml"])
    tokenizer = Tokenizer.train(["go( to( rome )to )go"], 60)
    with torch.device("meta"):
        model = build(settings, tokenizer)
    given = whisper.match(model, settings.model, tokenizer).weights
    decoder = {name for name, _ in model.named_parameters() if name.startswith("decoder.")}
    assert decoder - set(given) == {"decoder.output_bias"}  # Whisper has none


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.parts[-3])
def test_every_recipe_trains_on_gpus_as_the_docs_say(recipe):
    train = config_file.load([recipe, CONF / "gpus.yaml"], ["train.num_gpus=8"]).train
    assert (train.num_gpus, train.num_processes, train.sync) == (8, 1, "gradients")


BUDGETS = sorted(CONF.parent.glob("egs/*/conf/budget_*.yaml"))


@pytest.mark.parametrize("budget", BUDGETS, ids=lambda path: f"{path.parts[-3]}-{path.stem}")
def test_a_budget_reaches_the_first_experiment_of_its_recipe(budget):
    recipe = budget.parent.parent
    first = next(iter(experiment_tables.load(recipe / "tables.yaml").experiments.values()))
    resolved = asdict(
        config_file.load([recipe / "conf" / "recipe.yaml", budget], [], [first.config])
    )
    asked = yaml.safe_load(budget.read_text())
    assert asked == {
        section: {name: resolved[section][name] for name in values}
        for section, values in asked.items()
    }
