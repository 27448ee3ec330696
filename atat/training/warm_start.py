"""Start a training from the parameters of a trained experiment: `train.init_from`, `init_parts`.

Parameters go over by name, those that have a row a symbol (embedding, output, CTC) by symbol: the
vocabularies may differ. What the other training never touched is new here too: its text encoder,
where it had no NLU, and the tokens of tasks that it did not train.
"""

# V vocabulary, K symbols that both vocabularies have

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import torch
from torch import Tensor

from atat.common.files import sha256
from atat.common.json_file import read_json
from atat.config import config_file
from atat.config.schema import Config
from atat.config.tasks import TASKS, token_of
from atat.data import kaldi_dir, split_overlap
from atat.data.tokenizer import Tokenizer
from atat.models.checkpoint import model_path, read_weights
from atat.models.espnet_model import AtatModel
from atat.training.start_parts import (
    PARTS,
    another,
    check_directory,
    differing,
    meaning,
    tasks_of,
    trained_parts,
)

EMBEDDING = "decoder.embedding.weight"
BY_SYMBOL = (EMBEDDING, "decoder.output_bias", "ctc.weight", "ctc.bias")  # (V, ...) each

# No reason to refuse, since training adapts to it, but worth a line: which part of a recording is
# heard and how loud it is, and by which way the decoder gets words.
HEARING = ("features.trim_db", "features.level_db")
READING = (
    *("model.token_residual", "model.ctc_to_text_share", "model.shared_semantics_token"),
    "model.transcript_first",
)


@dataclass
class Start:
    """What a model starts from.

    Attributes:
        experiment: directory of the trained experiment.
        weights: name -> values; of the tensors BY_SYMBOL only K rows.
        rows_K: where these rows belong in the new vocabulary.
        counts: part -> numbers that were loaded, are new, were dropped.
        new_symbols, dropped_symbols: of the new vocabulary, of the old one.
        otherwise: what differs of HEARING and READING, a line each.
    """

    experiment: Path
    weights: dict[str, Tensor]
    rows_K: Tensor
    counts: dict[str, tuple[int, int, int]]
    new_symbols: list[str]
    dropped_symbols: list[str]
    otherwise: list[str]

    def fill(self, model: AtatModel) -> None:
        """Put the values into the model, and note in `model.pretrained` which they are."""
        state = model.state_dict()
        for name, values in self.weights.items():
            if name in BY_SYMBOL:
                state[name][self.rows_K] = values.to(state[name])
            else:
                state[name].copy_(values)
        for name, _ in model.named_parameters():
            if name in self.weights:
                rows_K = self.rows_K if name in BY_SYMBOL else None
                earlier = model.pretrained.get(name)  # rows of Whisper's, where it has others
                if rows_K is not None and earlier is not None:
                    rows_K = torch.cat([earlier, rows_K]).unique()
                model.pretrained[name] = rows_K

    def summary(self) -> dict[str, object]:
        """For `env.json`; another model in the same directory has another digest."""
        digest = sha256(model_path(self.experiment).read_bytes())
        counts = {part: list(numbers) for part, numbers in self.counts.items()}
        return {"experiment": str(self.experiment), "sha256": digest, "loaded_new_dropped": counts}

    def account(self) -> str:
        """What was loaded, is new, was dropped: a table and the symbols; and what is otherwise."""
        rows: list[tuple[str, ...]] = [("", "loaded", "new", "dropped")]
        rows += [(part, *(f"{n:,}" for n in numbers)) for part, numbers in self.counts.items()]
        lines = [f"starts from {self.experiment}"]
        lines += [f"  {row[0]:<14}" + "".join(f"{cell:>13}" for cell in row[1:]) for row in rows]
        if len(self.rows_K):
            lines.append(f"  symbols: {len(self.rows_K)} loaded")
            for what, symbols in (("new", self.new_symbols), ("dropped", self.dropped_symbols)):
                shown = " ".join(symbols[:8]) + (" ..." if len(symbols) > 8 else "")
                lines.append(f"  symbols: {len(symbols)} {what}{': ' if symbols else ''}{shown}")
        return "\n".join([*lines, *(f"  {line}" for line in self.otherwise)])

    def tests_met(self, settings: Config, data: Path) -> list[str]:
        """How much of the tests the start has met: a sentence each, with how many utterances have
        the words of one that it was trained on.

        Nothing is said where the start's data are not where a recipe has them, or are others by
        now; nor where they are the experiment's own, of which the report tells.

        Args:
            settings: of the experiment that starts from it.
            data: directory of its splits.
        """
        there = config_file.load_resolved(self.experiment / "config.yaml")
        names = list(dict.fromkeys(source.split for source in there.train.sources))
        about = self.experiment / "env.json"
        known = read_json(about).get("data") if about.is_file() else None
        up = self.experiment.parent
        for beside in (up / "data", up.parent / "data"):
            places = [beside / name for name in names]
            is_there = all(map(Path.is_dir, places)) and beside.resolve() != data.resolve()
            if is_there and kaldi_dir.fingerprint(places) == known:
                break
        else:
            return []
        found = []
        for test in sorted({run.split for run in settings.decode.runs.values()}):
            num, met = split_overlap.num_met(data / test, places)
            if num:
                counts = split_overlap.said(test, num, dict(zip(names, met, strict=True)))
                found.append(f"  it has met, {counts} ({beside})")
        return found


def match(model: AtatModel, settings: Config, tokenizer: Tokenizer) -> Start:
    """Find what of the experiment `train.init_from` fits the model, which may be on `meta`.

    Raises:
        FileNotFoundError: there is no trained experiment. ValueError: a part that is asked for is
            of another architecture or was not trained there, or the files are damaged.
    """
    assert settings.train.init_from is not None
    exp = Path(settings.train.init_from)
    check_directory(exp)
    there = config_file.load_resolved(exp / "config.yaml")
    old_tokenizer = Tokenizer.load(exp / "tokenizer")
    weights = read_weights(model_path(exp), old_tokenizer)
    tasks = tasks_of(there)
    parts = trained_parts(settings.train.init_parts, there, exp)
    state = model.state_dict()
    for part in parts:
        _check(part, state, weights, settings, there, exp)

    old_rows = {symbol: row for row, symbol in enumerate(old_tokenizer.symbols)}
    form = there.model.shared_semantics_token, there.model.transcript_first
    trained = {token_of(task, *form) for task in tasks}
    if there.model.transcript_first:
        trained.add("nlu")  # it stands between what is said and what it means
    untrained = {f"<{task}>" for task in TASKS if task not in trained}
    shared = [s for s in tokenizer.symbols if s in old_rows and s not in untrained]
    new_rows = {symbol: row for row, symbol in enumerate(tokenizer.symbols)}
    from_K = torch.tensor([old_rows[symbol] for symbol in shared], dtype=torch.long)
    taken = {}
    for name in state.keys() & weights.keys():
        # Our text encoder reads the decoder's embedding: one is nothing without the other.
        reads = name == EMBEDDING and "text_encoder" in parts
        if part_of(name) in parts or (reads and settings.model.text_encoder == "transformer"):
            taken[name] = weights[name][from_K] if name in BY_SYMBOL else weights[name]
    by_symbol = any(name in BY_SYMBOL for name in taken)
    return Start(
        exp,
        taken,
        torch.tensor([new_rows[symbol] for symbol in shared if by_symbol], dtype=torch.long),
        {part: _count(part, taken, state, weights) for part in PARTS},
        [symbol for symbol in tokenizer.symbols if symbol not in set(shared)],
        [symbol for symbol in old_tokenizer.symbols if symbol not in set(shared)],
        list(_otherwise(parts, settings, there)),
    )


def part_of(name: str) -> str:
    """The part that a tensor of the model belongs to.

    >>> [part_of(name) for name in ("decoder.norm.bias", "cmvn_mean_F", "residual_gain")]
    ['decoder', 'speech_encoder', 'decoder']
    """
    if name.startswith("cmvn_"):  # the encoder expects what it was trained on
        return "speech_encoder"
    if name.startswith("frozen_encoder."):
        return "speech_encoder"
    return "decoder" if name.startswith("residual_") else name.split(".")[0]


def _check(
    part: str,
    state: dict[str, Tensor],
    weights: dict[str, Tensor],
    here: Config,
    there: Config,
    exp: Path,
) -> None:
    """Raise ValueError unless the part is the same function in both."""
    shapes = [
        {
            name: tuple(value.shape[1:] if name in BY_SYMBOL else value.shape)
            for name, value in tensors.items()
            if part_of(name) == part and not name.startswith("residual_")
        }
        for tensors in (weights, state)
    ]
    if part == "ctc" and not all(shapes):
        return  # one of them has none
    differs = differing(here, there)
    if shapes[0] == shapes[1] and not meaning(part, here) & differs.keys():
        return
    unlike = [
        name
        for name in sorted(shapes[0].keys() | shapes[1].keys())
        if shapes[0].get(name) != shapes[1].get(name)
    ]
    of_shapes: dict[str, tuple[object, object]]
    of_shapes = {f"'{name}'": (shapes[0].get(name), shapes[1].get(name)) for name in unlike[:1]}
    raise ValueError(another(part, differs or of_shapes, exp))


def _otherwise(parts: list[str], here: Config, there: Config) -> Iterator[str]:
    """A line for each way, of hearing and of reading, in which the loaded parts are used otherwise
    than they were trained."""
    ways = (("heard", ("speech_encoder",), HEARING), ("read", ("text_encoder", "decoder"), READING))
    for verb, concerned, titles in ways:
        pairs = [(title, attrgetter(title)(there), attrgetter(title)(here)) for title in titles]
        said = [f"{title} is {old} there, {new} here" for title, old, new in pairs if old != new]
        if said and set(parts) & set(concerned):
            yield f"{verb} otherwise: {'; '.join(said)}"


def _count(
    part: str, taken: dict[str, Tensor], state: dict[str, Tensor], weights: dict[str, Tensor]
) -> tuple[int, int, int]:
    """Numbers of a part: loaded, new, dropped."""
    loaded, needed, given = (
        sum(value.numel() for name, value in tensors.items() if part_of(name) == part)
        for tensors in (taken, state, weights)
    )
    return loaded, needed - loaded, given - loaded
