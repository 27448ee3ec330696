"""Beam search in JavaScript finds Python's hypotheses."""

# L positions, T frames, V vocabulary

import numpy as np
import pytest

from atat.inference import constraints
from atat.inference.beam_search import search
from atat.inference.ctc_prefix_score import log_likelihood
from tests.serving.browser.table_decoder import TABLE_DECODER, TableDecoder, as_json
from tests.toy import log_softmax

EXACT = 1e-3  # of scores, which Python has in float32


SEARCH = (
    TABLE_DECODER
    + """
const { search } = await import("./search.js");
const { acceptorOf } = await import("./constraints.js");
const { CtcPrefixScorer } = await import("./ctc.js");
const { about, cases } = data;
const { symbols, eos, blank } = about.vocabulary;
const V = symbols.length;
return Promise.all(cases.map(({ logProbs, ctc, silent, constraint, ...options }) => {
  const scorer = ctc && new CtcPrefixScorer(floats(ctc), V, { blank, eos, silent });
  const acceptor = acceptorOf(about, constraint);
  return search(tableDecoder(logProbs), { ...options, eos, ctc: scorer, acceptor });
}));
"""
)


def cases(rng, vocab_size, first_token, eos, tags):
    """Options of searches, with scores that leave no ties and now and then none at all."""
    for _ in range(120):
        logits_LVV = rng.normal(0, 3, (1, vocab_size, vocab_size))
        logits_LVV[..., eos] += rng.choice([0, 4, 6, 8])  # they want to end, more or less
        log_probs_LVV = log_softmax(logits_LVV)
        log_probs_LVV[rng.random(log_probs_LVV.shape) < 0.05] = -np.inf
        weight = float(rng.choice([0.0, 0.3, 1.0]))
        # By CTC alone, all that is impossible would be equal.
        num_frames = 40 if weight == 1 else int(rng.integers(1, 12))
        ctc_TV = log_softmax(rng.normal(0, 4, (num_frames, vocab_size)))
        yield {
            "logProbs": log_probs_LVV,
            "ctc": ctc_TV if weight else None,
            "ctcWeight": weight,
            "silent": tags if weight < 1 else [],  # neither would they differ
            "constraint": str(rng.choice(["grammar", "well_formed", "none", "none"])),
            "beam": int(rng.integers(1, 6)),
            "nbest": int(rng.integers(1, 6)),
            "maxLength": int(rng.integers(1, 14)),
            "lengthBonus": float(rng.choice([0.0, 0.0, 0.4, -0.2, 3.0])),
            "firstToken": first_token,
        }


def patient(vocab_size, first_token, eos, piece):
    """A search whose best hypothesis is behind until the bonus has made up for its first token."""
    log_probs_LVV = np.full((1, vocab_size, vocab_size), -20.0, np.float32)
    log_probs_LVV[0, first_token, [eos, piece]] = -0.5, -3.0
    log_probs_LVV[0, piece, [eos, piece]] = -1.0, -0.01
    scores = {"logProbs": log_probs_LVV, "ctc": None, "ctcWeight": 0.0, "silent": []}
    options = {"constraint": "none", "beam": 2, "nbest": 1, "maxLength": 14, "lengthBonus": 0.5}
    return scores | options | {"firstToken": first_token}


def test_search_finds_pythons_hypotheses_on_random_scores(run, about, bare_model):
    tokenizer, rng = bare_model.tokenizer, np.random.default_rng(4)
    size, first = len(tokenizer), tokenizer.task_ids["slu"]
    banned = sorted({tokenizer.blank, tokenizer.pad, tokenizer.unk, *tokenizer.task_ids.values()})
    given = list(cases(rng, size, first, tokenizer.eos, sorted(tokenizer.tag_ids)))
    given.append(patient(size, first, tokenizer.eos, size - 1))
    sent = [c | {"banned": banned, "logProbs": as_json(c["logProbs"])} for c in given]
    for case in sent:
        case["ctc"] = None if case["ctc"] is None else case["ctc"].ravel().tolist()
    found = run(SEARCH, {"about": about, "cases": sent})
    num_found = 0
    for case, got in zip(given, found, strict=True):
        acceptor = None
        if case["constraint"] == "grammar":
            acceptor = constraints.make(tokenizer, "grammar", True, bare_model.grammar)
        elif case["constraint"] == "well_formed":
            acceptor = constraints.WellFormed(tokenizer, bare_model.nested)
        ctc_TV = case["ctc"]
        (expected,) = search(
            TableDecoder(case["logProbs"]),
            np.zeros((1, 1, 1), np.float32),
            np.ones((1, 1), bool),
            np.array([first]),
            eos=tokenizer.eos,
            beam=case["beam"],
            nbest=case["nbest"],
            max_length=case["maxLength"],
            banned=banned,
            acceptor=acceptor,
            ctc_log_probs_BTV=None if ctc_TV is None else ctc_TV[None],
            ctc_mask_BT=None if ctc_TV is None else np.ones((1, len(ctc_TV)), bool),
            ctc_weight=case["ctcWeight"],
            ctc_silent_tokens=case["silent"],
            length_bonus=case["lengthBonus"],
        )
        assert [tuple(h["tokens"]) for h in got] == [h.tokens for h in expected]
        for h, e in zip(got, expected, strict=True):
            assert h["score"] == pytest.approx(e.score, abs=EXACT)
        num_found += len(expected)
    assert num_found > 40


def test_ctc_gives_words_their_likelihood(run):
    rng = np.random.default_rng(5)
    ctc_TV = log_softmax(rng.normal(0, 2, (9, 6)))
    labels = [[], [3], [3, 3], [1, 2, 3], [5, 5, 5, 5, 5], [1] * 6]
    found = run(
        """const { CtcPrefixScorer } = await import("./ctc.js");
        const scorer = new CtcPrefixScorer(floats(data.ctc), 6, { blank: 0, eos: 4, silent: [] });
        return data.labels.map((labels) => scorer.logLikelihood(labels));""",
        {"ctc": ctc_TV.ravel().tolist(), "labels": labels},
    )
    expected = log_likelihood(
        np.repeat(ctc_TV[None], len(labels), 0), np.ones((len(labels), 9), bool), labels
    )
    assert [x is None for x in found] == np.isneginf(expected).tolist() == [False] * 5 + [True]
    np.testing.assert_allclose(found[:5], expected[:5], atol=EXACT)
