"""Grammars, sentences, target sequences, settings, and the files that a run writes."""

import contextlib
import json
from pathlib import Path

from tools.fuzz.mutations import json_mutated
from tools.fuzz.parsers import ROOT, Prepared, of_file, of_string, parser

GRAMMARS = (
    """context:
  expressions:
    setLight:
      - "[turn, switch] $state:state (the) $room:room [light, lights]"
      - "@please set the $room:room light to $pv.TwoDigitInteger:percent percent"
    stop: ["stop (now, please)"]
  slots:
    state: ["on", "off"]
    room: [kitchen, {in: lounge, out: living room}, "room 12"]
  macros:
    please: [please, would you kindly]
  fixed_slots:
    stop: {device: all}
""",
    "context: {expressions: {a: ['b c', 'd (e)']}}",
    'context:\n  expressions:\n    yes:\n      - "it\'s 5:30 pm and 50%"\n',
)
HASSIL = (
    """language: en
intents:
  HassTurnOn:
    data:
      - sentences: ["turn on [the] <area> light[s]", "(set|make) {brightness} [percent]"]
        slots: {domain: light}
  HassSetLevel:
    data:
      - sentences: ["it is {0..10:level}"]
lists:
  area:
    values: [kitchen, {in: "living[ ]room", out: lounge}]
  brightness:
    range: {from: 0, to: 100, step: 10}
expansion_rules:
  area: "{area} [room]"
""",
)
INI = (
    """[SetLight]
rooms = (kitchen | living room:lounge){room}
turn [the] light in the <rooms> (on | off){state}
set brightness to (0..100,5){level!int} percent
[Stop]
(:){device:all} stop
(:){device:all} stop <SetLight.rooms>
so what $names (:){device:all}
\\[really] stop (:){device:all}
""".replace("!int", ""),
)
SEQUENCES = (
    "orderDrink( get me a size( large )size coffeeDrink( latte )coffeeDrink )orderDrink",
    "Activate( turn on the Location( kitchen )Location Object( lights )Object )Activate",
    "Decrease( Volume( far too loud )Volume )Decrease",
    "Go( to Place( GetShop( a Food( green tea )Food shop )GetShop )Place )Go",
)
TREES = (
    "[IN:GET_EVENT Where can we take [SL:ATTRIBUTE_EVENT the kids ] ]",
    "[IN:GO to [SL:PLACE [IN:GET_SHOP a [SL:FOOD green tea ] shop ] ] ]",
)
SETTINGS = (
    """seed: 3
data: {max_missing: 0.5}
model: {width: 64, num_heads: 4, dropout: 0.1}
train:
  learning_rate: 1e-3
  sources:
    - {split: train, tasks: [asr, slu, nlu]}
decode:
  beam: 4
  runs:
    test: {split: test, task: slu, constraint: grammar}
""",
)
OVERRIDES = (
    "train.learning_rate=1e-3",
    "decode.runs={test: {beam: 3}}",
    "model.width=64",
    "seed=1",
)
TABLES = (
    """experiments:
  atat:
    about: all tasks
    config: {train: {num_steps: 10}}
    seeds: [1, 2]
  tuned: {init_from: atat, seeds: [1, 2], config: {model: {width: 64}}}
subsets:
  few: {intents: [go, stop]}
  unseen: {pairs: 0.5}
table:
  - {row: ours, experiment: atat, run: test, subset: few, paper: {slu_f1: 90.1}}
metrics: [slu_f1]
""",
)


def _use(grammar_path: Path) -> None:
    """What every use of a grammar does first."""
    from atat.grammar.grammar import Grammar

    grammar = Grammar.load(grammar_path)
    grammar.warnings()
    grammar.parse("turn on the kitchen light")


@parser(
    words="context: expressions: slots: macros: fixed_slots: $room:room $pv.TwoDigitInteger:n "
    "@please [a,b] (a) - !!python/object/apply:os.system &a *a <<: | > ? {in: out:"
)
def grammar(directory: Path) -> Prepared:
    """Our own form."""
    more = [path.read_text() for path in sorted((ROOT / "egs").glob("*/grammar*/*.y*ml"))[:4]]
    return of_file(directory / "grammar.yaml", [*GRAMMARS, *more], _use)


@parser(
    words="$room:room $state:state @please [ ] ( ) , $pv.Percent:p [on,off] (the) it's 50% o'clock"
)
def expression(directory: Path) -> Prepared:
    """One expression of a grammar that is right."""

    def read(path: Path) -> None:
        text = path.read_bytes().decode("utf-8", "replace")
        content = {
            "context": {
                "expressions": {"setLight": [text], "stop": ["stop"]},
                "slots": {"state": ["on", "off"], "room": ["kitchen"]},
                "macros": {"please": ["please", "kindly"]},
            }
        }
        whole = path.with_name("expression.yaml")
        whole.write_text(json.dumps(content), encoding="utf-8")
        _use(whole)

    seeds = (
        "[turn, switch] $state:state (the) $room:room [light, lights]",
        "@please dim it to $pv.TwoDigitInteger:percent percent at 5:30 (or (so, about) [then])",
    )
    return of_file(directory / "expression", seeds, read)


@parser(
    words="language: intents: data: sentences: lists: expansion_rules: {area} <area> [s] (a|b) "
    "(a;b) range: from: to: step: values: in: out: wildcard: slots: requires_context: 0..10 @a"
)
def grammar_hassil(directory: Path) -> Prepared:
    """Home Assistant's templates."""
    return of_file(directory / "hassil.yaml", HASSIL, _use)


@parser(words="[A] <A.rooms> {room} {a:b} (a|b) [a] $list 0..100,5 :x (:){a:b} !int \\[ = # ;")
def grammar_sentences_ini(directory: Path) -> Prepared:
    """Rhasspy's."""
    (directory / "slots").mkdir(parents=True, exist_ok=True)
    (directory / "slots" / "names").write_text("anna\nbob:robert\n# none\n")
    return of_file(directory / "sentences.ini", INI, _use, "names")


@parser(
    words="please the a 50% 5:30pm $5 1st o'clock uh can you kitchen lights twenty-five hundred 's"
)
def typed_text(directory: Path) -> Prepared:
    """A sentence that somebody types."""
    from atat.grammar.grammar import Grammar
    from atat.inference.typed_text import TypedText

    path = directory / "grammar.yaml"
    path.write_text(GRAMMARS[0])
    typed = TypedText(Grammar.load(path))

    def read(sentence: str) -> None:
        if typed.read(sentence) is None:
            typed.why_not(sentence)

    seeds = ("Uh, set the kitchen light to 50%, please!", "turn on the lounge lights", "stop")
    return of_string(seeds, read)


@parser(words="turnOn( )turnOn size( )size ( ) a( )b a(b")
def target_sequence(directory: Path) -> Prepared:
    """A target sequence: a model's, or a file's."""
    from atat.semantics import bracket_trees, tag_nesting, triples
    from atat.semantics import target_sequence as sequences

    def read(sequence: str) -> None:
        sequences.words(sequence)
        sequences.tags(sequence)
        for reader in (triples.frame, bracket_trees.frame, bracket_trees.to_brackets):
            with contextlib.suppress(ValueError):
                reader(sequence)
        tag_nesting.of([sequence])
        sequences.frame(sequence)

    return of_string(SEQUENCES, read)


@parser(words="[IN:A [SL:B ] [IN: [SL: IN: SL: [IN:UNSUPPORTED [sl:a")
def tree(directory: Path) -> Prepared:
    """A bracket string."""
    from atat.semantics import bracket_trees

    return of_string(TREES, lambda text: bracket_trees.frame(bracket_trees.to_sequence(text)))


@parser(
    words="seed: data: model: train: decode: runs: include: sources: width: ${seed} 1e-3 !!float"
)
def settings(directory: Path) -> Prepared:
    """A file of settings."""
    from atat.config import config_file

    return of_file(
        directory / "settings.yaml",
        [*SETTINGS, "include: model_tiny.yaml\nseed: 2\n"],
        lambda path: config_file.load([path]),
        # What holds for several settings names them.
        *("settings", "train.", "decode.", "model.", "data.", "features.", "augment.", "seed"),
    )


@parser(words="train. decode.runs model.width = [ ] { } ${oc.env:HOME} seed= 1e-3 null")
def override(directory: Path) -> Prepared:
    """A setting on the command line."""
    from atat.config import config_file

    return of_string(OVERRIDES, lambda text: config_file.load([], [text]))


@parser(words="experiments: about: config: seeds: init_from: align: table: subsets: row: paper:")
def experiment_tables(directory: Path) -> Prepared:
    """A recipe's experiments."""
    from atat.config import experiment_tables as tables

    more = [
        text
        for path in sorted((ROOT / "egs").glob("*/tables.yaml"))
        if "without:" not in (text := path.read_text())  # which names another file
    ]
    return of_file(directory / "tables.yaml", [*TABLES, *more[:2]], tables.load)


@parser(draw=json_mutated)
def hyp_jsonl(directory: Path) -> Prepared:
    """Hypotheses of a run."""
    from atat.inference.hypotheses import read_hypotheses

    line = {"id": "a-1", "task": "slu", "hypothesis": SEQUENCES[0], "score": -1.5, "nbest": []}
    lines = [json.dumps(line), json.dumps(line | {"id": "a-2", "score": None})]
    return of_file(directory / "hyp.jsonl", ["\n".join(lines) + "\n"], read_hypotheses)


@parser(draw=json_mutated)
def train_jsonl(directory: Path) -> Prepared:
    """The curve of a training, as reports read it."""
    from atat.evaluation.experiment_records import Experiment

    line = {"epoch": 1, "step": 10, "minutes": 0.5, "train_loss": 3.5, "valid_loss": None}

    def read(path: Path) -> None:
        experiment = Experiment("a", path.parent)
        experiment.last("valid_loss")
        experiment.last("train_loss")

    seed = json.dumps(line) + "\n" + json.dumps(line | {"epoch": 2, "step": 20}) + "\n"
    return of_file(directory / "train.jsonl", [seed], read)


@parser(draw=json_mutated)
def run_json(directory: Path) -> Prepared:
    """The record of a run."""
    from atat.common.json_file import read_json

    record = {"run": "test", "split": "test", "task": "slu", "seconds": 1.5, "beam": 4}
    return of_file(directory / "run.json", [json.dumps(record, indent=2)], read_json)
