"""Grammars drawn by hypothesis, with what they mean."""

import itertools

from hypothesis import strategies as st

from atat.grammar.grammar import Grammar

SLOTS = {"t": [("on",), ("off",), ("half", "on")], "u": [("on",), ("x",)]}


def load(tmp_path, text):
    (tmp_path / "g.yaml").write_text(text, encoding="utf-8")
    return Grammar.load(tmp_path / "g.yaml")


# The oracle: expressions made together with the set of token sequences that they mean.
def one_of(pairs):
    texts, meanings = zip(*pairs, strict=True)
    return texts, set().union(*meanings)


def in_brackets(pairs):
    texts, meaning = one_of(pairs)
    return f"[{', '.join(texts)}]", meaning


def optional(pairs):
    texts, meaning = one_of(pairs)
    return f"({','.join(texts)})", meaning | {()}


def in_sequence(pairs):
    texts, meanings = zip(*pairs, strict=True)
    joined = {sum(parts, ()) for parts in itertools.product(*meanings)}
    return " ".join(texts), joined


def slot(kind, name):
    return f"${kind}:{name}", {(f"{name}(", *value, f"){name}") for value in SLOTS[kind]}


WORD = st.sampled_from("ab").map(lambda word: (word, {(word,)}))
SLOT = st.builds(slot, st.sampled_from(sorted(SLOTS)), st.sampled_from("mn"))
PART = st.recursive(
    WORD | SLOT,
    lambda part: (
        st.lists(part, min_size=1, max_size=3).map(in_brackets)
        | st.lists(part, min_size=1, max_size=2).map(optional)
        | st.lists(part, min_size=1, max_size=3).map(in_sequence)
    ),
    max_leaves=6,
)
EXPRESSION = PART.map(lambda pair: (f"go {pair[0]}", {("go", *tokens) for tokens in pair[1]}))
INTENTS = st.dictionaries(
    st.sampled_from(["i", "j"]), st.lists(EXPRESSION, min_size=1, max_size=3), min_size=1
)


def render(intents):
    lines = ["context:", "  expressions:"]
    for intent, expressions in intents.items():
        lines += [f"    {intent}:", *(f'      - "{text}"' for text, _ in expressions)]
    lines.append("  slots:")
    for kind, values in SLOTS.items():
        lines += [f"    {kind}:", *(f'      - "{" ".join(value)}"' for value in values)]
    return "\n".join(lines)
