"""Writes a grammar in the form that rhino_file.py reads."""

import json
from itertools import accumulate
from pathlib import Path

from atat.grammar.expressions import (
    MAX_BYTES,
    MAX_DEPTH,
    Choice,
    Expression,
    GrammarFile,
    Phrase,
    Slot,
    Word,
)


def write(path: str | Path, content: GrammarFile) -> str:
    """A grammar as a YAML text.

    Args:
        path: of the file it comes from, for messages.
        content: what the file says; its words are spelled out already.

    Raises:
        ValueError: it would take more than 1 MiB.
    """
    sizes: dict[int, int] = {}
    total = sum(_size(one, sizes) for all_of in content.intents.values() for one in all_of)
    if total > MAX_BYTES:
        raise ValueError(
            f"{path}: rules and alternatives make {total} bytes of sentences once they are written "
            f"out, expected at most {MAX_BYTES}: use lists for what is a slot's value, and rules "
            "within fewer other rules"
        )
    lines = [f"# Translated from {path.name if isinstance(path, Path) else path}."]
    lines += ["context:", "  expressions:"]
    for intent, expressions in content.intents.items():
        lines.append(f"    {json.dumps(intent)}:")
        texts = dict.fromkeys(_text(expression) for expression in expressions)
        if any(_depth(text) > MAX_DEPTH for text in texts):
            raise ValueError(
                f"{path}: intent '{intent}': brackets and rules are nested deeper than {MAX_DEPTH}"
            )
        lines += [f"      - {json.dumps(text, ensure_ascii=False)}" for text in texts]
    if content.slot_types:
        lines.append("  slots:")
        for kind, values in content.slot_types.items():
            lines.append(f"    {json.dumps(kind)}:")
            for said in values:
                lines.append(f"      - {_value(said, content.written[kind][said])}")
    if content.fixed_slots:
        lines.append("  fixed_slots:")
        for intent, slots in content.fixed_slots.items():
            lines.append(f"    {json.dumps(intent)}: {json.dumps(slots, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def _depth(text: str) -> int:
    depth = accumulate((c in "[(") - (c in ")]") for c in text)
    return max(depth, default=0)


def _value(said: str, written: str) -> str:
    if written.lower() == said:
        return json.dumps(written, ensure_ascii=False)
    return json.dumps({"in": said, "out": written}, ensure_ascii=False)


def _size(expression: Expression, known: dict[int, int]) -> int:
    """At least as many characters as the text takes; shared parts are counted once a use."""
    if id(expression) not in known:
        match expression:
            case Word(text):
                size = len(text) + 1
            case Slot(kind, name):
                size = len(kind) + len(name) + 3
            case Phrase(parts) | Choice(parts):
                size = 2 + sum(_size(part, known) + 2 for part in parts)
        known[id(expression)] = size
    return known[id(expression)]


def _text(expression: Expression) -> str:
    """As rhino_file.py reads it; empty where nothing is said."""
    match expression:
        case Word(text):
            return text
        case Slot(kind, name):
            return f"${kind}:{name}"
        case Phrase(parts):
            return " ".join(filter(None, map(_text, parts)))
        case Choice():
            options = list(dict.fromkeys(_options(expression)))
            said = [option for option in options if option]
            if len(said) < len(options):
                return f"({', '.join(said)})" if said else ""
            return said[0] if len(said) == 1 else f"[{', '.join(said)}]"


def _options(choice: Choice) -> list[str]:
    """The texts of a choice's options, those of choices within it among them."""
    texts: list[str] = []
    for option in choice.options:
        texts += _options(option) if isinstance(option, Choice) else [_text(option)]
    return texts
