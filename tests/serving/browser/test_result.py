"""Tokens, results and typed sentences in JavaScript are Python's."""

import json

import numpy as np

from atat.grammar.grammar import Grammar
from atat.inference.beam_search import Hypothesis
from atat.inference.search_options import SearchOptions
from atat.inference.search_results import result_of
from atat.semantics.text_normalization import normalize


def test_tokens_are_pythons_either_way(run, about, bare_model):
    rng = np.random.default_rng(6)
    letters = "abeghiklmnorstuvwy'\u00e9"
    words = ["".join(rng.choice(list(letters), rng.integers(1, 9))) for _ in range(200)]
    words += ["turn on the kitchen lights", "set volume", "to", "ten", "twenty", "percent"]
    sequences = [rng.integers(2, len(bare_model.tokenizer), 12).tolist() for _ in range(200)]
    encoded, decoded = run(
        """const { Tokenizer } = await import("./tokenizer.js");
        const tokenizer = new Tokenizer(data.vocabulary);
        const encode = (x) => tokenizer.encode(x), decode = (x) => tokenizer.decode(x);
        return [data.words.map(encode), data.ids.map(decode)];""",
        {"vocabulary": about["vocabulary"], "words": words, "ids": sequences},
    )
    assert encoded == [bare_model.tokenizer.encode(word) for word in words]
    assert decoded == [bare_model.tokenizer.decode(ids) for ids in sequences]


def test_results_are_pythons_of_any_hypotheses(run, about, bare_model):
    rng, tokenizer = np.random.default_rng(7), bare_model.tokenizer
    grammar = Grammar.load(bare_model.grammar)
    written = {"turnOn": {"level": {"ten": "10", "twenty": "20"}}, "off": {"level": {"ten": "X"}}}
    grammar._written, grammar.fixed_slots = written, {"turnOn": {"power": "full"}}
    parts = [
        "turnOn(",
        ")turnOn",
        "room( kitchen )room",
        "level( ten )level",
        "level( twenty )level",
    ]
    parts += ["light", "room(", ")room", "room( living level( ten )level room )room"]
    both = ["level( ten )level", "level( twenty )level"]  # in either order they mean the same
    lists = [[f"turnOn( {' '.join(two)} )turnOn" for two in (both, both[::-1])] + ["light"]]
    for number in range(60):
        drawn = [[str(p) for p in rng.choice(parts, rng.integers(0, 4))] for _ in range(6)]
        if number % 3:
            drawn = [
                ["turnOn(", *(p for p in d if " " in p or p == "light"), ")turnOn"] for d in drawn
            ]
        lists.append([" ".join(d) for d in drawn if d] or ["light"])
    found = run(
        """const { read, resultOf } = await import("./result.js");
        return data.lists.flatMap((list) => [null, data.written].map((written) => {
          const about = { doubt: list.length % 2 ? "unsure" : null, accepted: false };
          return resultOf(list.map((semantics, i) => read(semantics, -i)), 3, written, about);
        }));""",
        {"lists": lists, "written": {"values": written, "fixed": grammar.fixed_slots}},
    )
    expected = []
    for sequences in lists:
        hypotheses = [
            Hypothesis(tuple(tokenizer.encode(s)), -float(i)) for i, s in enumerate(sequences)
        ]
        for of_grammar in (None, grammar):
            doubt = "unsure" if len(sequences) % 2 else None
            options = SearchOptions(nbest=3)
            result = result_of(
                hypotheses, options, tokenizer, of_grammar, {"accepted": False}, doubt
            )
            expected.append(json.loads(json.dumps(result.to_dict())))
    kinds = set()
    for got, wanted in zip(found, expected, strict=True):
        for one in (got, wanted, *got["nbest"], *wanted["nbest"]):  # how it is said is Python's
            one["reason"] = one["reason"] and one["reason"].split(":")[0]
        assert got == wanted
        kinds.add((got["reason"], got["spoken_slots"] is None, len(got["nbest"])))
    assert len(kinds) > 5


def test_typed_sentences_are_parsed_by_the_grammar(run, about, bare_model):
    texts = [
        "Turn on the kitchen lights!",
        "set the volume to ten",
        "set the volume to ten percent",
    ]
    texts += [
        "set the volume",
        "turn on the telly",
        "  Turn\u00a0ON the living-room, light ",
        "X-ray",
    ]
    texts += ["it\u2019s 'quoted'"]
    normal, readings, why = run(
        """const { TypedText, normalize } = await import("./typed-text.js");
        const typed = new TypedText(data.grammar), normal = data.texts.map(normalize);
        const readings = normal.map((x) => typed.readings(x));
        return [normal, readings, normal.map((x) => typed.whyNot(x))];""",
        {"grammar": about["grammar"], "texts": texts},
    )
    assert normal == [normalize(text, "-") for text in texts]
    grammar = Grammar.load(bare_model.grammar)
    assert readings == [grammar.readings(text) for text in normal] and sum(map(len, readings)) == 3
    assert why[4] == bare_model.typed.why_not(texts[4]) == "the grammar has no word 'telly'"
