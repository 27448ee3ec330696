"""Confidence: the probability that intent and slots are all right, from measures of the search.

`examine` decodes, and measures how far the best hypothesis is from what would make it doubtful;
`Confidence`, fitted by `python -m atat.calibrate`, turns that into probabilities.
"""

# B utterances, T memory frames, V vocabulary; N examples, K measures.

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from atat.common import advice
from atat.common.files import atomic_write
from atat.common.json_file import WRONG_JSON
from atat.config.tasks import TAGGED_TASKS
from atat.data.tokenizer import Tokenizer
from atat.inference.beam_search import CTC_FLOOR, Hypothesis
from atat.inference.ctc_prefix_score import log_likelihood
from atat.inference.network import Encoded
from atat.inference.result import About, Reading, read, score_of
from atat.inference.search_options import SearchOptions
from atat.models import checkpoint
from atat.models.experiment_files import CONFIDENCE

FORMAT = 3
# Fitted with a wider search without the constraint, whose cost was hardly larger.
EARLIER_FORMAT = 2
NBEST = 4  # hypotheses among which a rival is looked for
# Tokens that the unconstrained search may take more than the constrained one. It shows that
# something else was said, whatever that is; in noise it would ramble on to `max_length`.
FREE_ROOM = 4
MAX_MARGIN = 10.0  # nats; of a best hypothesis without a rival, too
# Costs spread over orders of magnitude, and what is right has hardly any: their logarithms tell
# right from foreign where the costs themselves leave all that is foreign at the edge (docs/log.md).
SMALL_COST = 0.01
# How far from its mean a measure can pull, in deviations: noise can be arbitrarily far off.
MAX_Z = 4.0
# The least deviation of a measure. CTC's cost is nothing at all wherever a good model is right in
# validation: what hardly varies there tells most where it does (docs/log.md).
MIN_SCALE = 0.3
# Options that change what the measures mean. The number of results shown does not.
CALIBRATED = ("task", "constraint", "ctc_weight", "beam", "max_length", "length_bonus")


class Measures(NamedTuple):
    """Measures of the best hypothesis, the features of the regression; logarithms are natural.

    Attributes:
        cost: logarithm of its negative score a token, the end counted.
        margin: its score over that of the best hypothesis with another meaning, 0 to MAX_MARGIN.
        constraint_cost: logarithm of what constrained decoding takes from the best score, a token.
        ctc_cost: logarithm of what CTC's best path has over that of the words, a token.
    """

    cost: float
    margin: float
    constraint_cost: float
    ctc_cost: float


@dataclass(frozen=True)
class Examined:
    """What `examine` finds of one utterance.

    Attributes:
        hypotheses: best first; none where the constraint accepts nothing.
        measures: of the best; None without one.
        slot_margins: slot of the best -> as `margin`, over the best hypothesis that has another
            value for it.
    """

    hypotheses: list[Hypothesis]
    measures: Measures | None
    slot_margins: dict[str, float]


class Searched(Protocol):
    """What `examine` needs of a predictor (`SpeechToSemantics`, which needs this module)."""

    tokenizer: Tokenizer

    def encode_features(self, feats: Sequence[np.ndarray]) -> Encoded:
        """As `SpeechToSemantics.encode_features`."""

    def search_encoded(
        self,
        memory_BTD: np.ndarray,
        mask_BT: np.ndarray,
        ctc_BTV: np.ndarray | None,
        options: SearchOptions,
    ) -> list[list[Hypothesis]]:
        """As `SpeechToSemantics.search_encoded`."""


def examine(model: Searched, feats: Sequence[np.ndarray], options: SearchOptions) -> list[Examined]:
    """Decode one batch as `SpeechToSemantics.search_features` does, and measure.

    With a constraint, a second, greedy search without it shows what it costs.

    Args:
        model: trained.
        feats: log mel features, float32 (T, F) each.
        options: of the search.
    """
    encoded = model.encode_features(feats)
    found_B = model.search_encoded(*encoded, replace(options, nbest=max(NBEST, options.nbest)))
    free_B = found_B
    if options.constraint != "none":
        # Of both parts the search takes twice as many (`transcripts`).
        halves = (-(-f[0].num_scored // 2) for f in found_B if f)
        longest = max(*(len(f[0].tokens) for f in found_B if f), *halves, 0)
        unconstrained = replace(
            options,
            constraint="none",
            beam=1,
            nbest=1,
            max_length=min(options.max_length, longest + FREE_ROOM),
        )
        free_B = model.search_encoded(*encoded, unconstrained)
    _, mask_BT, ctc_BTV = encoded
    tokenizer = model.tokenizer
    spoken_B = [
        [token for token in found[0].tokens if token not in tokenizer.tag_ids] if found else []
        for found in found_B
    ]
    ctc_cost_B = [0.0] * len(feats)
    if ctc_BTV is not None:
        ctc_cost_B = ctc_costs(ctc_BTV, mask_BT, spoken_B, tokenizer.blank)
    examined = []
    for found, free, ctc_cost in zip(found_B, free_B, ctc_cost_B, strict=True):
        if not found:
            examined.append(Examined([], None, {}))
            continue
        best = found[0]
        readings = [
            read(tokenizer.decode(h.tokens), h.score, options.task in TAGGED_TASKS) for h in found
        ]
        measures = Measures(
            cost=log_cost(-best.score / best.num_scored),
            margin=margin(readings, meaning),
            # A greedy search may miss the best that there is.
            constraint_cost=log_cost(
                (free[0].score - best.score) / best.num_scored if free else 0.0
            ),
            ctc_cost=log_cost(ctc_cost),
        )
        slot_margins = {name: margin(readings, slot_value(name)) for name in readings[0].slots}
        examined.append(Examined(found, measures, slot_margins))
    return examined


def log_cost(cost: float) -> float:
    """Logarithm of a cost of nats, at least that of SMALL_COST.

    >>> [round(log_cost(cost), 6) for cost in (-3.0, 0.0, 0.99)]
    [-4.60517, -4.60517, 0.0]
    """
    return math.log(max(cost, 0.0) + SMALL_COST)


def meaning(reading: Reading) -> object:
    """Equal for two predictions that mean the same: intent and slots, or the words."""
    return (reading.intent, reading.slots) if reading.intent is not None else reading.semantics


def slot_value(name: str) -> Callable[[Reading], object]:
    """The value that a prediction has for a slot, None where it has not."""
    return lambda reading: reading.slots.get(name)


def margin(readings: Sequence[Reading], part: Callable[[Reading], object]) -> float:
    """Score of the first over the first that differs from it in a part, at most MAX_MARGIN.

    Args:
        readings: predictions, best first.
        part: of a prediction, what is compared.

    >>> go, other = (Reading("go", {"to": town}, "", score) for town, score in
    ...              (("oslo", -1.0), ("rome", -3.5)))
    >>> margin([go, other], meaning), margin([go, other], lambda reading: reading.intent)
    (2.5, 10.0)
    """
    best = readings[0]
    rivals = (score_of(r) for r in readings[1:] if part(r) != part(best))
    return min(score_of(best) - next(rivals, -math.inf), MAX_MARGIN)


def ctc_costs(
    ctc_BTV: np.ndarray, mask_BT: np.ndarray, labels_B: list[list[int]], blank: int
) -> list[float]:
    """Log-probability of CTC's best path over that of the labels, a label and the end.

    Args:
        ctc_BTV: CTC's log-softmax outputs, float.
        mask_BT: bool, True where a frame is real.
        labels_B: token ids without tags, of each utterance.
        blank: id of CTC's blank.

    Returns:
        Nats a token, one an utterance.
    """
    best_B = np.where(mask_BT, ctc_BTV.max(-1), 0.0).sum(1)
    likelihood_B = np.maximum(log_likelihood(ctc_BTV, mask_BT, labels_B, blank), CTC_FLOOR)
    num_labels_B = np.array([len(labels) for labels in labels_B])
    return (np.maximum(best_B - likelihood_B, 0.0) / (num_labels_B + 1)).tolist()


@dataclass(frozen=True)
class Confidence:
    """A logistic regression over standardised measures, and the threshold that goes with it.

    Attributes:
        options: those of CALIBRATED that it holds for.
        names: the measures in use; mean, scale, weights: one each.
        threshold: the least probability that is accepted.
        about: what it was fitted on and what was measured then.
    """

    options: dict[str, Any]
    names: list[str]
    mean: list[float]
    scale: list[float]
    weights: list[float]
    bias: float
    threshold: float
    about: dict[str, Any]

    def probability(self, measures: Sequence[Measures | None]) -> np.ndarray:
        """float64 (N,): that each utterance is understood right; 0 where there is no hypothesis."""
        known = [m for m in measures if m is not None]
        result_N = np.zeros(len(measures))
        if known:
            x_NK = np.array([[getattr(m, name) for name in self.names] for m in known])
            z_NK = standardise(x_NK, np.array(self.mean), np.array(self.scale))
            is_known_N = np.array([m is not None for m in measures])
            result_N[is_known_N] = sigmoid(z_NK @ np.array(self.weights) + self.bias)
        return result_N

    def slot_probabilities(self, examined: Examined) -> dict[str, float]:
        """That each slot of the best hypothesis is right.

        The utterance's probability with the margin over the next that has another value for the
        slot, in place of that over the next that means anything else. It is never below the
        utterance's: where all is right, so is each slot.
        """
        if examined.measures is None:
            return {}
        measures = [
            examined.measures._replace(margin=margin) for margin in examined.slot_margins.values()
        ]
        lowest = self.probability([examined.measures])[0]
        slots_S = np.maximum(self.probability(measures), lowest)
        return dict(zip(examined.slot_margins, slots_S.tolist(), strict=True))


class Judge:
    """Confidence of a result, and whether it reaches the threshold."""

    def __init__(self, confidence: Confidence, threshold: float) -> None:
        self._confidence, self._threshold = confidence, threshold

    def __call__(self, examined: Examined) -> tuple[About, str | None]:
        """A result's `confidence`, `accepted` and `slot_confidence`, and why it is not accepted,
        None where it is."""
        probability = float(self._confidence.probability([examined.measures])[0])
        slots = self._confidence.slot_probabilities(examined)
        accepted = probability >= self._threshold
        about = About(
            confidence=round(probability, 4),
            accepted=accepted,
            slot_confidence={name: round(value, 4) for name, value in slots.items()},
        )
        doubt = f"confidence {probability:.3f}, expected {self._threshold:.3f} or more"
        return about, None if accepted else doubt


def judge(
    confidence: Confidence | None, options: dict[str, Any], threshold: float | None
) -> Judge | None:
    """The judge of results of these options; None where nothing was calibrated for them.

    Args:
        confidence: of the experiment, None where it is not calibrated.
        options: of the search, by name.
        threshold: instead of the calibrated one; 0 takes all, with any options.

    Raises:
        ValueError: a threshold that is no probability, or that there is nothing to compare with.
    """
    if threshold is not None and not 0.0 <= threshold <= 1.0:
        raise ValueError(f"threshold: got {threshold}, expected 0 to 1")
    wanted = {name: options[name] for name in CALIBRATED}
    if confidence is not None and confidence.options == wanted:
        return Judge(confidence, confidence.threshold if threshold is None else threshold)
    if not threshold:
        return None
    if confidence is None:
        raise ValueError(
            f"threshold: the experiment has no {CONFIDENCE}; python -m atat.calibrate makes it"
        )
    expected = _other_options(confidence, wanted)
    raise ValueError(f"threshold: the experiment is calibrated for other options: {expected}")


def judging(
    confidence: Confidence | None, options: dict[str, Any], threshold: float | None
) -> tuple[Judge | None, str | None]:
    """As `judge`, and the doubt that is in all results where there is none.

    A model that was calibrated acts on nothing that it cannot judge: with other options of the
    search noise would be an intent again. A threshold of 0 says that this is wanted.
    """
    found = judge(confidence, options, threshold)
    if found is not None or confidence is None or threshold is not None:
        return found, None
    if options["task"] not in TAGGED_TASKS:
        return None, None
    return None, (
        f"not judged: confidence is fitted for {_other_options(confidence, options)}; threshold 0 "
        "takes what other options find"
    )


def _other_options(confidence: Confidence, options: dict[str, Any]) -> str:
    """What it was fitted for that these options are not."""
    different = [name for name in CALIBRATED if confidence.options[name] != options[name]]
    return ", ".join(f"{name} {confidence.options[name]}" for name in different)


def standardise(x_NK: np.ndarray, mean_K: np.ndarray, scale_K: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1, within MAX_Z of the mean."""
    return ((x_NK - mean_K) / scale_K).clip(-MAX_Z, MAX_Z)


def sigmoid(x: np.ndarray) -> np.ndarray:
    """The logistic function, without overflow."""
    return 0.5 * (1 + np.tanh(x / 2))


def save(confidence: Confidence, exp: Path) -> None:
    """Write EXP/confidence.json, of an experiment or an exported model."""
    content = {"format": FORMAT, "model": checkpoint.digest(exp), **asdict(confidence)}
    with atomic_write(exp / CONFIDENCE) as file:
        file.write(json.dumps(content, indent=1) + "\n")


def load(exp: Path) -> Confidence | None:
    """Read what `save` wrote; None where nothing is calibrated.

    Raises:
        ValueError: the file is damaged, or belongs to other weights.
    """
    path = exp / CONFIDENCE
    if not path.is_file():
        return None
    again = advice.again(exp, "rerun atat.calibrate, or remove it")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") not in (EARLIER_FORMAT, FORMAT):
            raise ValueError(f"expected format {FORMAT}")
        digest = content.pop("model")
        confidence = Confidence(**content)
        sizes = {len(x) for x in (confidence.names, confidence.mean, confidence.scale)}
        numbers = [confidence.bias, confidence.threshold, *confidence.mean, *confidence.scale]
        if not all(type(one) in (int, float) for one in (*numbers, *confidence.weights)):
            raise ValueError("it has values that are no numbers")
        if sizes != {len(confidence.weights)} or set(confidence.options) != set(CALIBRATED):
            raise ValueError("its parts do not fit together")
        if min(confidence.scale) <= 0:
            raise ValueError("it has values out of range")
        value = confidence.probability([Measures(*[0.0] * len(Measures._fields))])[0]
        if not math.isfinite(value) or not 0.0 <= confidence.threshold <= 1.0:
            raise ValueError("it has values out of range")
    except WRONG_JSON as e:
        raise ValueError(f"{path}: damaged ({e}); {again}") from e
    if digest != checkpoint.digest(exp):
        raise ValueError(f"{path}: was fitted for another model; {again}")
    return confidence
