"""A model in JavaScript gives Python's results, confidence among them."""

# B utterances, T frames, V vocabulary

import json
from types import SimpleNamespace

import numpy as np
import pytest

from atat import SpeechToSemantics
from atat.config.schema import Config
from atat.inference.confidence import CALIBRATED, Confidence, Measures
from atat.inference.length_batches import MAX_TEXT_TOKENS
from atat.serving import static_site
from tests.serving.browser.table_decoder import TABLE_DECODER, TableDecoder, as_json
from tests.toy import log_softmax

NUM_FRAMES, NUM_MEASURES = 12, len(Measures._fields)
EXACT = 2e-3  # of scores and probabilities, which Python has in float32
UNDERSTAND = (
    TABLE_DECODER
    + """
const { Model } = await import("./model.js");
const memory = { data: new Float32Array(1), dims: [1, 1, 1] };
const found = [];
for (const { about, logProbs, ctc } of data.cases) {
  const network = {
    encodeSpeech: async () => ({ memory, mask: [1], ctc: floats(ctc) }),
    decoder: async () => tableDecoder(logProbs),
  };
  const model = new Model(about, network);
  for (const nbest of data.nbests) found.push(await model.understand(floats(data.samples), nbest));
}
return found;
"""
)


def models(bare_model):
    """Models of random scores, calibrated for a beam that is narrower than n best would have it."""
    rng, tokenizer = np.random.default_rng(8), bare_model.tokenizer
    size = len(tokenizer)
    mask_BT = np.ones((1, NUM_FRAMES), bool)
    for number in range(24):
        logits_LVV = rng.normal(0, 3, (1, size, size))
        logits_LVV[..., tokenizer.eos] += 6  # they want to end
        ctc_BTV = log_softmax(rng.normal(0, 4, (1, NUM_FRAMES, size)))
        encoded = np.zeros((1, NUM_FRAMES, 1), np.float32), mask_BT, ctc_BTV
        network = SimpleNamespace(
            decoder=TableDecoder(log_softmax(logits_LVV)),
            encode_speech=lambda feats, encoded=encoded: encoded,
            **{"has_ctc": True, "ctc_tasks": (), "num_parameters": 0, "device": "cpu"},
            max_tokens=1000,
        )
        model = SpeechToSemantics(
            network, tokenizer, Config(), bare_model.grammar, bare_model.nested
        )
        constraint = ("grammar", "well_formed", "none")[number % 3]
        chosen = {"constraint": constraint, "beam": 1 + number % 4, "max_length": 12}
        options = model.options(ctc_weight=0.3, **chosen)
        model.confidence = Confidence(
            options={name: getattr(options, name) for name in CALIBRATED},
            names=list(Measures._fields),
            mean=[0.0] * NUM_MEASURES,
            scale=[1.0] * NUM_MEASURES,
            weights=[-0.3, 0.5, -0.4, -0.2],
            bias=0.0,
            threshold=0.5,
            about={},
        )
        yield model


def test_a_sentence_has_at_most_as_many_tokens_as_python_takes(run, bare_model):
    said = run(
        """const { Model } = await import("./model.js");
        const model = new Model(data.about, {});
        const understand = (num) => {
          model.tokenizer = { encode: () => Array(num).fill(1), encodeWord: () => [], unk: 0 };
          return model.understandText("go on").then((r) => r.reason, (error) => error.message);
        };
        return Promise.all(data.nums.map(understand));""",
        {
            "about": static_site.describe(bare_model, "toy") | {"files": {}, "grammar": None},
            "nums": [MAX_TEXT_TOKENS, MAX_TEXT_TOKENS + 1],
        },
    )
    assert said == ["this model takes no typed text", "The text is too long."]


def test_results_and_confidence_are_pythons_however_many_are_shown(run, bare_model):
    samples = np.random.default_rng(9).normal(0, 0.1, 8000).astype(np.float32)
    all_of_them, nbests = list(models(bare_model)), (1, 3)
    sent = [
        {
            "about": static_site.describe(model, "toy"),
            "logProbs": as_json(model.network.decoder.log_probs_LVV),
            "ctc": model.network.encode_speech([])[2].ravel().tolist(),
        }
        for model in all_of_them
    ]
    found = iter(run(UNDERSTAND, {"cases": sent, "nbests": nbests, "samples": samples.tolist()}))
    confidences = set()
    for model in all_of_them:
        for nbest in nbests:
            got = next(found)
            expected = json.loads(
                json.dumps(model(samples, sample_rate=16000, nbest=nbest).to_dict())
            )
            assert got["confidence"] == pytest.approx(expected["confidence"], abs=EXACT)
            assert got["slot_confidence"] == pytest.approx(expected["slot_confidence"], abs=EXACT)
            for key in ("intent", "slots", "semantics", "accepted", "is_understood"):
                assert got[key] == expected[key]
            shown = [[one["semantics"] for one in result["nbest"]] for result in (got, expected)]
            assert shown[0] == shown[1]
            scores = [one["score"] for one in expected["nbest"][1:]]
            assert scores == sorted(scores, reverse=True)
            confidences.add(got["confidence"])
    assert len(confidences) > len(all_of_them) / 2
