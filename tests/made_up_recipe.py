"""A recipe with experiments made up here: what stages 1 to 6 leave, without training."""

import json
import random
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np

from atat import report
from atat.config import experiment_tables
from atat.data import kaldi_dir
from atat.data.kaldi_dir import DataDir
from atat.evaluation import results, scoring
from atat.semantics.target_sequence import Node, build

ROOMS = ("kitchen", "bedroom", "attic")


TABLES = """
experiments:
  e2e: {about: "SLU only"}
  atat: {about: "SLU + ASR + NLU, one model"}
  atat_zeroshot: {about: "no speech with semantics for 2 intents", config: {}}
  later: {}
subsets: {unseen: {intents: [setTimer, stop]}}
table:
  - {row: E2E, experiment: e2e, run: test, paper: {em_hyp: 91.7, em_full: 83.4}}
  - {row: AT-AT, experiment: atat, run: test, against: e2e, paper: {em_hyp: 99.5, em_full: 99.0}}
  - {row: "AT-AT, transcript", experiment: atat, run: test_asr}
  - {row: E2E on the unseen, experiment: e2e, run: test, subset: unseen}
  - row: "AT-AT zero-shot, <nlu> token | text"
    experiment: atat_zeroshot
    run: test_nlu
    subset: unseen
    against: e2e
  - {row: Not there, experiment: later, run: test}
"""


def sentence(rng: random.Random, intents=("lightsOn", "lightsOff", "setTimer", "stop")) -> str:
    intent = rng.choice(intents)
    if intent == "stop":
        return build(Node("stop", ("please", "stop")))
    if intent == "setTimer":
        minutes = rng.choice(["five", "ten", "twenty"])
        return build(Node("setTimer", ("timer", "for", Node("minutes", (minutes,)))))
    word = "on" if intent == "lightsOn" else "off"
    return build(Node(intent, ("lights", word, "in", "the", Node("room", (rng.choice(ROOMS),)))))


def corrupt(rng: random.Random, sequence: str) -> str:
    kind = rng.randrange(4)
    if kind == 0:
        return sequence[: len(sequence) // 2].rsplit(" ", 1)[0]
    if kind == 1:
        return sequence.replace("lightsOn", "lightsOff").replace(" on ", " off ")
    return re.sub("|".join(ROOMS), "cellar", sequence).replace("ten", "tin")


def make_experiment(directory: Path, minutes=10.0, epochs=8, level=0.9, tasks=("slu",)):
    directory.mkdir(parents=True)
    (directory / "model.pth").write_bytes(b"")
    (directory / "config.yaml").write_text("seed: 1\n")
    env = {"seed": 1, "commit": "0123456789abcdef", "command": "python -m atat.train", "torch": "2"}
    env |= {"cpu": "Imaginary CPU", "machine": "Linux x86_64", "num_parameters": 2_200_000}
    (directory / "env.json").write_text(json.dumps(env))
    with (directory / "train.jsonl").open("w") as file:
        for epoch in range(1, epochs + 1):
            done = epoch / epochs
            line = {"epoch": epoch, "minutes": minutes * done, "cpu_minutes": 0.9 * minutes * done}
            line |= {"step": 1234 * epoch // epochs}
            line |= {"train_loss": 4 - 3 * done, "valid_loss": 0.3 + 3 * np.exp(-4 * done)}
            line |= {f"em_{t}": level * (1 - np.exp(-5 * max(0, done - 0.1))) for t in tasks}
            file.write(json.dumps(line) + "\n")


def make_run(directory: Path, references: dict[str, str], errors: float, task="slu", seed=0):
    rng = random.Random(seed)
    directory.mkdir(parents=True)
    record = {"run": directory.name, "split": "test", "task": task, "beam": 4, "seconds": 50.0}
    record |= {"constraint": "none", "ctc_weight": 0.0, "num_utterances": len(references)}
    record |= {"source": "speech", "audio_seconds": 200.0}
    (directory / "run.json").write_text(json.dumps(record))
    with (directory / "hyp.jsonl").open("w") as file:
        for id_, reference in references.items():
            wrong = rng.random() < errors
            line = {"id": id_, "hypothesis": corrupt(rng, reference) if wrong else reference}
            file.write(json.dumps(line | {"score": -1.0, "nbest": [], "task": task}) + "\n")


def make_recipe(root: Path, num_utterances=60) -> dict[str, Path]:
    """A recipe with three trained experiments of four; returns the arguments of atat.report."""
    rng = random.Random(5)
    references = {f"s{i % 12:02d}-{i:04d}": sentence(rng) for i in range(num_utterances)}
    text = {id_: words(sequence) for id_, sequence in references.items()}
    write = {"text": text, "semantics": references}
    wavs = {id_: str(root / "wav" / f"{id_} 100%.wav") for id_ in references}
    speakers = {id_: id_.split("-")[0] for id_ in references}
    kaldi_dir.write(root / "data" / "test", DataDir(wav_scp=wavs, utt2spk=speakers, **write))
    (root / "data" / "about.json").write_text(
        json.dumps({"speech": "rendered by espeak; test voices: <flite> & others."})
    )
    exp = root / "exp"
    make_experiment(exp / "e2e", 11, level=0.7)
    make_experiment(exp / "atat", 12, level=0.93, tasks=("slu", "nlu", "asr"))
    make_experiment(exp / "atat_zeroshot", 9, level=0.8, tasks=("slu", "nlu"))
    make_run(exp / "e2e" / "decode_test", references, 0.5, seed=1)
    make_run(exp / "atat" / "decode_test", references, 0.1, seed=2)
    make_run(exp / "atat" / "decode_test_asr", text, 0.1, task="asr", seed=3)
    make_run(exp / "atat_zeroshot" / "decode_test_nlu", references, 0.4, task="nlu", seed=4)
    (root / "tables.yaml").write_text(TABLES)
    for experiment in ("e2e", "atat", "atat_zeroshot"):
        rescore(root, experiment)
    return {
        "tables": root / "tables.yaml", "expdir": exp, "data": root / "data", "out": root / "out"
    }  # fmt: skip


def words(sequence: str) -> str:
    return " ".join(token for token in sequence.split() if "(" not in token and ")" not in token)


def rescore(root: Path, experiment: str):
    subsets = experiment_tables.load(root / "tables.yaml").subsets
    for directory in scoring.run_directories(root / "exp" / experiment):
        scoring.score_run(directory, root / "data", subsets)


def run_report(paths: dict[str, Path], monkeypatch, *more: str):
    arguments = [text for key, path in paths.items() for text in (f"--{key}", str(path))]
    monkeypatch.setattr(sys, "argv", ["atat.report", *arguments, *more])
    report.main()


def load(paths: dict[str, Path]) -> results.Results:
    place = results.Place(paths["expdir"], paths["data"])
    return results.Results(experiment_tables.load(paths["tables"]), [place])


class Page(HTMLParser):
    """What a browser would see: title, elements with their attributes, text of table cells."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.cells: list[str] = []
        self.title = ""
        self._open = self._is_title = False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._is_title = tag == "title"
        if tag in ("td", "th"):
            self._open = True
            self.cells.append("")

    def handle_endtag(self, tag):
        self._open = self._open and tag not in ("td", "th")

    def handle_data(self, data):
        if self._is_title and not self.title:
            self.title = data
        if self._open:
            self.cells[-1] += data


def table_rows(text: str, title: str) -> list[list[str]]:
    """Cells of the Markdown table below a heading."""
    block = text.split(f"## {title}\n\n")[1].split("\n\n")[0]
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in block.splitlines()]
    return [[cell.strip() for cell in row] for row in rows if "---" not in row[0]]
