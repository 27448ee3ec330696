"""The card of a model (README.md, as the Hugging Face Hub has it): what it is, what was measured.

All of it is read from the experiment's own records. What was not measured is not in it, and neither
is a licence, which is for whoever publishes the model to choose.
"""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from atat.common.advice import rerun
from atat.common.json_file import read_json
from atat.config import config_file
from atat.config.schema import Config
from atat.inference.hypotheses import is_outdated
from atat.models import checkpoint
from atat.models.experiment_files import CONFIDENCE

FILE = "README.md"
PAPER = "https://arxiv.org/abs/2012.08549"
# Metric of scores.json -> its identifier on the Hub, and what it is called there.
METRICS = {
    "em_hyp": ("exact_match", "Exact match of intent and slots"),
    "intent_accuracy": ("accuracy", "Intent accuracy"),
    "slot_f1": ("f1", "Slot F1"),
    "tree_f1": ("f1", "Bracket F1"),
    "slu_f1": ("f1", "SLU-F1"),
    "wer": ("wer", "Word error rate"),
}
TASKS = {
    "asr": "automatic-speech-recognition",
    "mlm": "automatic-speech-recognition",
    "slu": "spoken-language-understanding",
    "nlu": "natural-language-understanding",
}
ON_HUB = re.compile(r"[\w.-]+/[\w.-]+|bert-[\w-]+")  # names there, neither paths nor packages
MAX_NAMES = 60  # of intents or slots that are written out

Score = dict[str, Any]  # of one metric: value, low, high, n, as fractions


def card(
    exp_dir: Path,
    license: str | None = None,
    name: str | None = None,
    precision: str | None = None,
) -> str:
    """The card of a trained experiment.

    Args:
        exp_dir: the experiment's directory: config.yaml and, as far as they are there, env.json,
            grammar.yaml, confidence.json, conditions/scores.json and decode_*/scores.json.
        license: identifier that the Hub knows (apache-2.0, cc-by-4.0, ...); None: none is stated.
        name: of the model; None: the directory's.
        precision: of the weights of what was exported from it, if the card is for that.

    Returns:
        Markdown with a YAML header.

    Raises:
        ValueError, FileNotFoundError: a record that cannot be read, by name.
    """
    settings = config_file.load_resolved(exp_dir / "config.yaml")
    name = name or exp_dir.resolve().name
    runs, outdated = _runs(exp_dir)
    parts = [
        _header(name, settings, runs, license, precision),
        f"# {name}",
        f"An [AT-AT]({PAPER}) model: one sequence-to-sequence model that takes speech or text, and "
        "writes words, or words tagged with intent and slots.",
        _use(),
        _grammar(exp_dir),
        _measured(exp_dir, settings, runs, outdated, precision),
        _training(exp_dir, settings),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(
    name: str,
    settings: Config,
    runs: Sequence[dict[str, Any]],
    license: str | None,
    precision: str | None,
) -> str:
    import yaml

    about: dict[str, Any] = {"library_name": "atat", "language": "en"}  # what its words are
    if license is not None:
        about["license"] = license
    tags = ["atat", "speech", *dict.fromkeys(TASKS[t] for t in _tasks(settings) if t in TASKS)]
    about["tags"] = tags
    pretrained = (settings.model.frozen_encoder, settings.model.text_pretrained)
    if bases := [base for base in pretrained if base and ON_HUB.fullmatch(base)]:
        about["base_model"] = bases
    when = "" if precision is None else ", before its export"
    results = [result for run in runs if (result := _result(run, when))]
    if results:
        metrics = (metric["type"] for result in results for metric in result["metrics"])
        about["metrics"] = list(dict.fromkeys(metrics))
        about["model-index"] = [{"name": name, "results": results}]
    text = yaml.safe_dump(about, sort_keys=False, allow_unicode=True, width=100)
    return f"---\n{text}---"


def _result(run: dict[str, Any], when: str) -> dict[str, Any] | None:
    """A run as the Hub's model-index has it; None without a metric that it knows."""
    metrics = [
        {"type": type_, "name": title, "value": round(run["scores"][key]["value"], 4)}
        for key, (type_, title) in METRICS.items()
        if key in run["scores"]
    ]
    if not metrics:
        return None
    task = TASKS.get(run["task"], run["task"])
    # "local": it is in no collection of the Hub.
    data = {"type": "local", "name": run["split"], "split": run["split"]}
    return {"task": {"type": task, "name": run["run"] + when}, "dataset": data, "metrics": metrics}


def _sources(settings: Config) -> list[str]:
    """Splits with the tasks that they served.

    >>> _sources(config_file.load([], ["train.sources=[{split: train, tasks: [slu, asr]}]"]))
    ['train (slu, asr)']
    """
    return [f"{source.split} ({', '.join(source.tasks)})" for source in settings.train.sources]


def _effort(train_log: Path) -> list[tuple[str, object]]:
    """How long training took and how much it heard, of its log; nothing where that does not say."""
    try:
        lines = train_log.read_text(encoding="utf-8", errors="replace").splitlines()
        epochs = [json.loads(line) for line in lines]
        minutes, cpu_minutes = (float(epochs[-1][key]) for key in ("minutes", "cpu_minutes"))
        hours = sum(float(epoch["audio_s"]) for epoch in epochs) / 3600
    except (OSError, ValueError, TypeError, KeyError, IndexError):
        return []
    heard = [("speech heard, repetitions among it", f"{hours:.1f} h")] if hours else []
    return [("training", f"{minutes:.0f} min ({cpu_minutes:.0f} CPU-min)"), *heard]


def _tasks(settings: Config) -> list[str]:
    return list(dict.fromkeys(task for s in settings.train.sources for task in s.tasks))


def _use() -> str:
    return """## Use

```python
from atat import SpeechToSemantics

model = SpeechToSemantics.from_pretrained("DIRECTORY OR NAME ON THE HUB")
result = model("command.wav")  # or model(text="...")
result.is_understood, result.intent, result.slots
```"""


def _grammar(exp_dir: Path) -> str:
    if not (exp_dir / "grammar.yaml").is_file():
        return ""
    from atat.grammar.grammar import Grammar

    grammar = Grammar.load(exp_dir / "grammar.yaml")
    lines = [
        f"Its grammar, `grammar.yaml`, has {grammar.count():,} sentences.",
        f"Intents ({len(grammar.intents)}): {_names(grammar.intents)}.",
    ]
    if grammar.slots:
        lines.append(f"Slots ({len(grammar.slots)}): {_names(list(grammar.slots))}.")
    return "## What it understands\n\n" + "\n\n".join(lines)


def _names(names: Sequence[str]) -> str:
    left = len(names) - MAX_NAMES
    return ", ".join(f"`{name}`" for name in names[:MAX_NAMES]) + (
        f", and {left} more" * (left > 0)
    )


# What was measured


def _runs(exp_dir: Path) -> tuple[list[dict[str, Any]], int]:
    """Scored runs (run.json, with `scores`), and how many are left out, being of an earlier
    model."""
    found, outdated = [], 0
    model = _model(exp_dir)
    for path in sorted(exp_dir.glob("decode_*/scores.json")):
        if is_outdated(path.parent, exp_dir, model):
            outdated += 1
            continue
        about = read_json(path.parent / "run.json")
        for key in ("run", "split", "task"):
            if not isinstance(about.get(key), str):
                raise ValueError(f"{path.parent / 'run.json'}: '{key}' is missing; {rerun(5)}")
        found.append(about | {"scores": read_json(path)})
    return found, outdated


def _measured(
    exp_dir: Path,
    settings: Config,
    runs: Sequence[dict[str, Any]],
    outdated: int,
    precision: str | None,
) -> str:
    parts = [_scores(runs), *_of_model(exp_dir)]
    parts = [part for part in parts if part]
    if not parts:
        parts = ["Nothing was measured of this model."]
    elif precision is not None:
        parts.insert(
            0, f"Measured of the model as trained; this is its export, with {precision} weights."
        )
    if outdated:
        parts.append(f"Left out: {outdated} scored runs of an earlier model.")
    if runs and (voices := settings.data.voices):
        by = "; ".join(f"{split} by {', '.join(sorted(v))}" for split, v in sorted(voices.items()))
        parts.append(f"Speech of these splits is rendered by synthesisers, not recorded: {by}.")
    if settings.data.stand_in:
        parts.append("The corpus is a stand-in that the recipe rendered: no number is about the "
                     "corpus that it is named after.")  # fmt: skip
    return "## What was measured\n\n" + "\n\n".join(parts)


def _scores(runs: Sequence[dict[str, Any]]) -> str:
    shown = [key for key in METRICS if any(key in run["scores"] for run in runs)]
    if not shown:
        return ""
    rows = [["run", "split", "task", "constraint", *(METRICS[key][1] for key in shown), "n"]]
    for run in runs:
        scores = run["scores"]
        n = next((str(score["n"]) for score in scores.values()), "")
        cells = [_percent(scores[key]) if key in scores else "" for key in shown]
        constraint = run.get("constraint") or "none"
        rows.append([run["run"], run["split"], run["task"], constraint, *cells, n])
    return f"{_table(rows)}\n\nIn brackets, 95 % intervals over the n utterances of the split."


def _of_model(exp_dir: Path) -> Iterable[str]:
    """What `atat.calibrate` and `atat.conditions` wrote of the model that is there now."""
    digest = _model(exp_dir)
    for name, show in ((CONFIDENCE, _confidence), ("conditions/scores.json", _conditions)):
        if (exp_dir / name).is_file():
            record = read_json(exp_dir / name)
            if digest is not None and record.get("model") == digest:
                yield show(record)


def _model(exp_dir: Path) -> str | None:
    """Digest of the model, trained or exported; None where there is none."""
    return checkpoint.digest(exp_dir) if checkpoint.last_written(exp_dir).is_file() else None


def _confidence(record: dict[str, Any]) -> str:
    measured = record.get("about", {}).get("measured_on_the_other_half")
    if not measured:
        return ""
    said = []
    if accepted := measured.get("accepted"):
        said.append(f"{_percent(accepted)} of {accepted['n']} utterances of validation speech are "
                    "accepted")  # fmt: skip
    if false := measured.get("false_accepts"):
        said.append(
            f"{false['k']} of other audio (silence, noise, other domains) in {false['hours']:.2f} "
            f"hours: {false['value']:.1f} an hour ({false['low']:.1f}\u2013{false['high']:.1f})"
        )
    if not said:
        return ""
    text = f"Confidence: at the threshold {measured['threshold']:.2f}, {', and '.join(said)}."
    if right := measured.get("exact_match_accepted"):
        text += f" Of those accepted, {_percent(right)} are right."
    return text + " Measured on the half that nothing was fitted on."


def _conditions(record: dict[str, Any]) -> str:
    rows = [["recording condition", "right", "understood", "understood, and wrong", "n"]]
    for line in record.get("scores", []):
        shares = [_percent(line[key]) for key in ("em_hyp", "understood", "understood_wrong")]
        rows.append([line["condition"], *shares, str(line["em_hyp"]["n"])])
    return _table(rows) if len(rows) > 1 else ""


def _percent(score: Score) -> str:
    """A share with its interval.

    >>> _percent({"value": 0.9, "low": 0.8, "high": 0.95, "n": 50})
    '90.0 % (80.0\u201395.0)'
    """
    low, high = 100 * score["low"], 100 * score["high"]
    return f"{100 * score['value']:.1f} % ({low:.1f}\u2013{high:.1f})"


def _table(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


# How it was made


def _training(exp_dir: Path, settings: Config) -> str:
    path = exp_dir / "env.json"
    env = read_json(path) if path.is_file() else {}
    facts: list[tuple[str, object]] = [("seed", settings.seed)]
    titles = {
        "num_parameters": "parameters",
        "commit": "commit of atat",
        "python": "Python",
        "torch": "torch",
        "espnet": "ESPnet",
        "cpu": "CPU",
        "num_cpus": "cores",
    }
    facts += [(title, env[key]) for key, title in titles.items() if key in env]
    facts += [("learned from", ", ".join(_sources(settings)))]
    facts += _effort(exp_dir / "train.jsonl")
    facts += [("features", settings.features.kind)]
    if settings.model.frozen_encoder:
        facts.append(("frozen encoder", settings.model.frozen_encoder))
    if settings.model.text_pretrained:
        facts.append(("text encoder", settings.model.text_pretrained))
    if settings.train.init_from:
        facts.append(("started from", Path(settings.train.init_from).name))
    rows = [["", ""], *([title, str(value)] for title, value in facts)]
    return "## How it was made\n\n" + _table(rows) + "\n\nAll settings are in `config.yaml`."
