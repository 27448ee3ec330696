"""Decoded examples to calibrate a model on: in-domain speech, and negatives."""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from atat.common import cli, parallel
from atat.config import config_file
from atat.config.schema import Config, DecodeRun
from atat.data import audio, feature_store, kaldi_dir
from atat.evaluation import metrics, scoring
from atat.grammar.grammar import Grammar
from atat.inference import decode_inputs, decode_runs
from atat.inference.length_batches import batches
from atat.inference.result import read, slots
from atat.semantics import target_sequence
from atat.synthesis import negatives

if TYPE_CHECKING:
    from atat.inference.confidence import Examined, Measures
    from atat.inference.predictor import SpeechToSemantics
    from atat.inference.search_options import SearchOptions

# Near misses to make (half of them are fitted on): so many for an hour of other negatives, at most.
NEAR_PER_HOUR, MAX_NEAR = 150, 300
PIECE_S = 8.0  # longer audio out of the domain is cut into parts that are each accepted or not
TOGETHER = 64  # recordings held at a time

Speech = tuple[str, np.ndarray, float]  # id, features (T, F), seconds of audio
IN_DOMAIN = "in domain"


@dataclass
class Example:
    """A decoded utterance.

    Attributes:
        kind: `in domain`, or of what kind a negative is.
        duration_s: of its audio.
        examined: None for an utterance that stage 2 dropped.
        right: whether intent and slots are the reference's.
        right_slots: whether each slot of the hypothesis is.
    """

    id: str
    kind: str
    duration_s: float
    examined: "Examined | None"
    right: bool = False
    right_slots: dict[str, bool] | None = None

    @property
    def measures(self) -> "Measures | None":
        """Measures of the best hypothesis; None without one."""
        return self.examined.measures if self.examined else None


def observe(
    model: "SpeechToSemantics", options: "SearchOptions", speech: Iterable[Speech]
) -> Iterator[tuple[str, float, "Examined"]]:
    """Decode speech and measure.

    Args:
        model: trained.
        options: of the search.
        speech: id, features (T, F) and duration in seconds of each; T is 0 without speech.

    Yields:
        Id, duration in seconds, and hypotheses with measures: none where there is no speech.
    """
    from atat.inference.confidence import Examined, examine

    source = iter(speech)
    while group := list(itertools.islice(source, TOGETHER)):
        limit = model.settings.decode.batch_frames
        silent = [entry for entry in group if not len(entry[1])]
        yield from ((id_, duration_s, Examined([], None, {})) for id_, _, duration_s in silent)
        group = [entry for entry in group if len(entry[1])]
        for batch in batches([len(feats_TF) for _, feats_TF, _ in group], limit):
            found = examine(model, [group[i][1] for i in batch], options)
            for i, examined in zip(batch, found, strict=True):
                yield group[i][0], group[i][2], examined


def in_domain(
    model: "SpeechToSemantics",
    options: "SearchOptions",
    speech: Iterable[Speech],
    references: dict[str, str] | None,
    exp: Path,
    data: Path,
) -> list[Example]:
    """Decode speech of a split and compare it with its references.

    Args:
        model: trained.
        options: of the search.
        speech: of the split, as `observe` takes it.
        references: utterance id -> target sequence; None where the split has none.
        exp: directory of the experiment.
        data: that of the splits.

    Raises:
        ValueError: the split has no semantics.
    """
    if references is None:
        raise ValueError(f"{data}: the split has no 'semantics' to compare with")
    key = scoring.hypothesis_key(exp, data)
    examples = []
    observed = cli.progress(observe(model, options, speech), desc="decoding")
    for id_, duration_s, examined in observed:
        example = Example(id_, IN_DOMAIN, duration_s, examined)
        if examined.hypotheses:
            hypothesis = model.tokenizer.decode(examined.hypotheses[0].tokens)
            example.right = metrics.judge(references[id_], hypothesis, key).em_hyp
            wanted = slots(target_sequence.frame(references[id_]))
            got = read(hypothesis, 0.0, True).slots
            example.right_slots = {name: wanted.get(name) == got[name] for name in got}
        examples.append(example)
    return examples


def out_of_domain(
    exp: Path, options: "SearchOptions", files: dict[str, Path], num_jobs: int = 1
) -> list[Example]:
    """Decode negatives, in parts of at most PIECE_S.

    Args:
        exp: the experiment's directory, which each process loads the model from.
        options: of the search.
        files: id -> audio file; the kind of a negative is its id up to the first `-`.
        num_jobs: processes.
    """
    names = list(files.items())
    groups = [names[i : i + TOGETHER] for i in range(0, len(names), TOGETHER)]
    function = functools.partial(_decode_files, exp=exp, options=options)
    found = parallel.run(
        function, groups, num_jobs, total=len(groups), desc="negatives", chunk_size=1
    )
    return [example for group in found for example in group]


def _decode_files(
    files: list[tuple[str, Path]], exp: Path, options: "SearchOptions"
) -> list[Example]:
    """Of a few files, in one of the processes that share the work."""
    model = decode_runs.model_of(exp)
    rate_hz = model.settings.features.sample_rate_hz

    def heard() -> Iterator[Speech]:
        for id_, path in files:
            samples = audio.read(path, rate_hz, max_duration_s=float("inf"))
            for number, part in enumerate(negatives.pieces(samples, rate_hz, PIECE_S)):
                recording = model.extract_features(part, rate_hz)
                yield f"{id_}#{number}", recording.feats_TF, recording.duration_s

    return [
        Example(id_, id_.partition("-")[0], duration_s, examined)
        for id_, duration_s, examined in observe(model, options, heard())
    ]


def near_misses(
    exp: Path, data: Path, references: dict[str, str], seed: int, hours: float
) -> list[str]:
    """Near misses of validation's sentences, to stand beside so many hours of other negatives; none
    where the experiment has no grammar, and none that the split `foreign` of `data` says."""
    if not (exp / "grammar.yaml").is_file():
        return []
    grammar = Grammar.load(exp / "grammar.yaml")
    texts = [target_sequence.words(references[id_]) for id_ in sorted(references)]
    num = min(math.ceil(NEAR_PER_HOUR * hours), MAX_NEAR)
    seed_here = f"{seed} {negatives.CALIBRATION}"
    foreign = data / "foreign"  # of spoken_grammar, trained on
    trained = set(kaldi_dir.texts(foreign)) if foreign.is_dir() else set()
    return negatives.near_misses(
        texts, num, seed_here, lambda text: text in trained or bool(grammar.parse(text))
    )


def decoded_examples(
    exp: Path,
    data: Path,
    dump: Path,
    settings: Config,
    run: DecodeRun,
    wanted: dict[str, Any],
    negative_files: list[Path],
    num_jobs: int,
) -> tuple["SearchOptions", list[Example]]:
    """The search options of a run, and by them the examples.

    Args:
        exp: directory of the experiment.
        data: that of the splits.
        dump: that of their features.
        settings: the experiment's.
        run: whose options are calibrated.
        wanted: `split` of validation, and `hours` of negatives to make.
        negative_files: audio instead of these.
        num_jobs: processes.

    Raises:
        ValueError: the split has no semantics.
    """
    from atat.inference.predictor import SpeechToSemantics

    split = data / wanted["split"]
    dump = feature_store.of_kind(data, dump, settings.features, num_jobs)
    inputs = decode_inputs.open_inputs(DecodeRun(split=wanted["split"]), data, dump, exp)
    reader, semantics = inputs.reader, kaldi_dir.read(split).semantics
    assert reader is not None  # a run from speech has features
    if semantics is None:
        raise ValueError(f"{split}: has no semantics, expected what was meant")
    model = SpeechToSemantics.load(exp, with_confidence=False)
    options = model.options(**decode_runs.search_options(run, model.settings))
    if negative_files:
        files = negatives.find(negative_files)
    else:
        files = _made_negatives(exp, data, semantics, settings, wanted["hours"], num_jobs)
    frame_s = settings.features.frame_shift_ms / 1000
    speech = ((i, reader[i], n * frame_s) for i, n in inputs.sizes.items())
    examples = in_domain(model, options, speech, semantics, exp, data)
    examples += [Example(id_, IN_DOMAIN, 0.0, None) for id_ in inputs.dropped]
    examples += out_of_domain(exp, options, files, num_jobs)
    return options, examples


def _made_negatives(
    exp: Path, data: Path, semantics: dict[str, str], settings: Config, hours: float, num_jobs: int
) -> dict[str, Path]:
    """Id -> file of negatives from the seed, and near misses of what the references say."""
    known = {word for s in semantics.values() for word in target_sequence.words(s).split()}
    cache = config_file.ROOT / settings.data.cache
    misses = near_misses(exp, data, semantics, settings.seed, hours)
    return negatives.make(hours, settings.seed, known, settings.data, cache, num_jobs, misses)
