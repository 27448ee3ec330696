"""Reads a grammar file: the YAML form of Rhino, every mistake named with its line.

    context:
      expressions:
        setLight:                                   # an intent
          - "[turn, switch] $state:state (the) $room:room [light, lights]"
      slots:
        state: ["on", "off"]
        room: [kitchen, living room]
      macros:                                       # optional: phrases to reuse as @please
        please: [please, kindly]

`[a, b]` is one of, `(a)` and `(a, b)` may be left out, `$type:name` is a slot whose values are
listed under its type, `@name` one phrase of a macro. `$pv.TwoDigitInteger:name` and its like need
no list. Source: picovoice.ai/docs/tips/syntax-cheat-sheet. Numbers, times, signs and titles are
read as they are said (atat/grammar/spelling.py).

Two things Rhino does not have: a value `{in: lounge, out: living room}` is said in one way (or, as
`in: [lounge, den]`, in several) and written in another, and `fixed_slots: {setLight: {device:
light}}`, beside `slots`, gives an intent slots that nobody says. Templates of Home Assistant and of
Rhasspy are translated into this form.
"""

import re
from collections.abc import Collection
from itertools import pairwise
from pathlib import Path

import yaml

from atat.common.nearest_name import nearest
from atat.grammar import format_detection
from atat.grammar.builtin_slots import BUILT_IN
from atat.grammar.expressions import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_WORDS,
    Choice,
    Expression,
    GrammarFile,
    Phrase,
    Slot,
    Word,
    length,
)
from atat.grammar.spelling import NotAWordError, spell_out, word
from atat.grammar.yaml_nodes import NAME, NodeReader, YamlNode

MAX_NOTES = 3  # of numbers that are read in words, and the like; a slot may have a hundred

_SLOT = re.compile(rf"\$((?:pv\.)?{NAME}):({NAME})")
_TOKEN = re.compile(r"\s+|[\[\](),]|[^\s\[\](),]+")
_RANGE = re.compile(r"(\d{1,3}) ?(?:\.\.\.?|[-\u2013\u2026]) ?(\d{1,3})")
_OTHER_CHOICE = set("{|}")  # of other template languages
_CLOSING = {"[": "]", "(": ")"}
_NOT_SAID = re.compile(r"([\[\](),]|[$@][^\s\[\](),]*)")  # what stands between the words


def read(path: str | Path) -> GrammarFile:
    """Read and check a grammar file.

    Raises:
        FileNotFoundError: no such file. ValueError: anything else that is wrong with it, as one
            line that starts with file and line number; all words that cannot be read at once.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such grammar file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_BYTES}")
    try:
        text = path.read_text(encoding="utf-8-sig")  # which some editors write
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text: {error.reason}") from error
    root, text, notes = format_detection.own_form(path, text)
    reader = _Reader(path)
    try:
        result = reader.read(root, text)
    except ValueError as error:
        raise ValueError("; ".join([*reader.bad_words, str(error)])) from error
    if reader.bad_words:
        raise ValueError(
            f"{'; '.join(reader.bad_words)}: words have letters, apostrophes and hyphens; spell "
            f"them as they are said (AC/DC -> ac dc, 007 -> double oh seven){''.join(reader.hints)}"
        )
    result.notes[:0] = notes
    return result


class _Reader(NodeReader):
    """One pass over the YAML nodes; macros and slots are looked up by name as they are used."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.slots: dict[str, tuple[str, ...]] = {}
        self.macro_nodes: dict[str, YamlNode] = {}
        self.macros: dict[str, Choice] = {}
        self.open_macros: list[str] = []
        self.used: set[str] = set()
        self.written: dict[str, dict[str, str]] = {}
        self.spelled: list[str] = []  # notes on what was spelled out
        self.one_choice: list[str] = []  # notes on brackets that choose nothing
        self.not_english: dict[str, None] = {}  # words
        self.bad_words: list[str] = []  # errors
        self.hints: dict[str, None] = {}  # what else can be done about them

    def read(self, root: YamlNode, text: str) -> GrammarFile:
        """The grammar of a file's root node and content."""
        top = self.mapping(root, "the file", {"context"})
        if "context" not in top:
            raise self.error(root, "no 'context', expected 'context: expressions: ...'")
        keys = {"expressions", "slots", "macros", "fixed_slots"}
        context = self.mapping(top["context"], "'context'", keys)
        intent_nodes = self.section(context, "expressions")
        if not intent_nodes:
            raise self.error(root, "the grammar is empty: no intents under 'context: expressions'")
        slot_nodes = self.section(context, "slots")
        self.macro_nodes = self.section(context, "macros")
        for name, node in slot_nodes.items():
            self.refuse_range(name, node)
        self.check_slot_cycles(slot_nodes)
        for name, node in slot_nodes.items():
            self.slots[name] = self.slot_values(name, node)
        result = GrammarFile(text)
        for name, node in intent_nodes.items():
            result.intents[name] = [
                self.whole_expression(item) for item in self.items(node, f"intent '{name}'")
            ]
        for name in self.macro_nodes:
            self.macro(name)
        for name, node in self.section(context, "fixed_slots").items():
            if name not in result.intents:
                raise self.error(node, f"'fixed_slots': no intent '{name}' in 'expressions'")
            result.fixed_slots[name] = self.fixed_slots(name, node)
        for prefix, nodes in (("$", slot_nodes), ("@", self.macro_nodes)):
            for name, node in nodes.items():
                if prefix + name not in self.used:
                    result.notes.append(f"{self.where(node)} {prefix}{name} is used nowhere")
        result.notes += self.first_of(self.one_choice, "brackets have one choice")
        result.notes += self.first_of(self.spelled, "numbers and signs are read as they are said")
        if self.not_english:
            result.notes.append(
                f"{self.path}: not English, as voices and models are: {', '.join(self.not_english)}"
            )
        result.slot_types = {k: v for k, v in self.slots.items() if f"${k}" in self.used}
        result.written = {kind: self.written[kind] for kind in result.slot_types}
        return result

    def first_of(self, notes: list[str], more: str) -> list[str]:
        """The first of many notes of a kind, and how many more there are."""
        if (left := len(notes) - MAX_NOTES) > 0:
            return [*notes[:MAX_NOTES], f"{self.path}: {left} more {more}"]
        return notes

    # Slots and macros ------------------------------------------------------------------------

    def check_slot_cycles(self, slot_nodes: dict[str, YamlNode]) -> None:
        """Values refer to nothing (Rhino knows no such thing); say so, and call a cycle a cycle."""
        refers = {
            name: [
                (item, other)
                for item, _ in self.values(node, f"slot '{name}'")
                for other in re.findall(rf"[$@]({NAME})", item.value)
            ]
            for name, node in slot_nodes.items()
        }
        for name, references in refers.items():
            for item, first in references:
                trail = [name, first]
                while trail[-1] != name and trail[-1] not in trail[:-1] and refers.get(trail[-1]):
                    trail.append(refers[trail[-1]][0][1])
                if trail[-1] == name:
                    raise self.error(item, f"slots form a cycle: {' -> '.join(trail)}")
                raise self.error(
                    item, f"slot '{name}': '{item.value}': a slot's values are plain phrases"
                )

    def slot_values(self, name: str, node: YamlNode) -> tuple[str, ...]:
        """The values of a slot type, as they are said; how the file has them goes to `written`."""
        values: dict[str, str] = {}
        num_bad = len(self.bad_words)
        for item, written in self.values(node, f"slot '{name}'"):
            if bracket := re.search(r"[\[\](),$@]", item.value):
                raise self.error(
                    item,
                    f"slot '{name}': '{bracket.group()}' in '{item.value}' is not supported: a "
                    "slot's values are plain phrases, one an entry, or {in: five dollars, out: $5}",
                )
            self.refuse_range(name, item)
            words = self.spell_out(item, item.value).split()
            value = " ".join(self.word(item, word) for word in words)
            if not value:
                raise self.error(item, f"slot '{name}' has an empty value")
            if value in values:
                raise self.error(item, f"slot '{name}' has the value '{value}' twice")
            if len(words) > MAX_WORDS:
                raise self.error(item, f"slot '{name}': a value of more than {MAX_WORDS} words")
            values[value] = " ".join(written.split())
        if len(self.bad_words) > num_bad:
            self.hints[", or {in: five kilograms, out: 5kg}"] = None
        self.written[name] = values
        return tuple(values)

    def refuse_range(self, name: str, node: YamlNode) -> None:
        """ValueError for the values of a slot, or one of them, where these are a range."""
        text = ""
        if isinstance(node, yaml.ScalarNode) and (match := _RANGE.fullmatch(node.value)):
            text = node.value if int(match[1]) < int(match[2]) else ""
        elif isinstance(node, yaml.MappingNode):
            text = next((key.value for key, _ in node.value if key.value == "range"), "")
        if text:
            raise self.error(
                node,
                f"slot '{name}': '{text}' is a range, expected a list, $pv.TwoDigitInteger:{name} "
                "or Home Assistant's form, which has ranges",
            )

    def values(self, node: YamlNode, what: str) -> list[tuple[yaml.ScalarNode, str]]:
        """Values of a slot type: what is said, and how it is written."""
        if not isinstance(node, yaml.SequenceNode) or not any(
            isinstance(entry, yaml.MappingNode) for entry in node.value
        ):
            return [(item, item.value) for item in self.items(node, what)]
        values = []
        for entry in node.value:
            if isinstance(entry, yaml.MappingNode):
                both = self.mapping(entry, f"a value of {what}", {"in", "out"})
                if set(both) != {"in", "out"}:
                    raise self.error(entry, f"a value of {what}: expected 'in' and 'out'")
                many = isinstance(both["in"], yaml.SequenceNode)
                said = self.items(both["in"], what) if many else [self.scalar(both["in"], what)]
                written = self.scalar(both["out"], what).value
                values += [(one, written) for one in said]
            else:
                values.append((self.scalar(entry, what), entry.value))
        return values

    def fixed_slots(self, intent: str, node: YamlNode) -> dict[str, str]:
        """Slot -> value, of slots that all sentences of an intent imply."""
        what = f"'fixed_slots' of '{intent}'"
        return {
            name: " ".join(self.scalar(value, what).value.split())
            for name, value in self.mapping(node, what, None).items()
        }

    def macro(self, name: str) -> Choice:
        """The phrases of a macro, parsed when it is first used."""
        if name not in self.macros:
            self.open_macros.append(name)
            items = self.items(self.macro_nodes[name], f"macro '{name}'")
            self.macros[name] = Choice(tuple(self.whole_expression(item) for item in items))
            self.open_macros.pop()
        return self.macros[name]

    # Expressions -----------------------------------------------------------------------------

    def whole_expression(self, item: yaml.ScalarNode) -> Expression:
        """Parse one entry of an intent or a macro: 1 to MAX_WORDS words."""
        tokens = self.tokens(item)
        expression = self.alternatives(item, tokens, None)
        shortest, longest = length(expression, self.slots, {})
        if shortest == 0:
            raise self.error(item, f"'{item.value}' can be empty, expected at least one word")
        if longest > MAX_WORDS:
            raise self.error(item, f"a sentence can have {longest} words, at most {MAX_WORDS}")
        return expression

    def tokens(self, item: yaml.ScalarNode) -> list[str]:
        """The tokens, last first, so that the next one is popped."""
        parts = _NOT_SAID.split(item.value)
        parts[::2] = [self.spell_out(item, part) for part in parts[::2]]
        tokens = _TOKEN.findall("".join(parts))
        for left, right in pairwise(tokens):
            if (_is_text(left) and right in "[(") or (left in "])" and _is_text(right)):
                raise self.error(
                    item,
                    f"'{left}{right}' in '{item.value}': brackets hold whole words, expected a "
                    "space between (write [light, lights], not light(s))",
                )
        return [token for token in reversed(tokens) if not token.isspace()]

    def alternatives(
        self, item: yaml.ScalarNode, tokens: list[str], bracket: str | None, depth: int = 0
    ) -> Expression:
        """Phrases separated by commas up to the closing bracket, or one phrase up to the end.

        Args:
            item: the entry, for messages.
            tokens: what is left of it, last first; those of this part are popped.
            bracket: the opening one, `[` or `(`; None at the top.
            depth: of brackets around.
        """
        if depth > MAX_DEPTH:
            raise self.error(item, f"brackets are nested deeper than {MAX_DEPTH}")
        options: list[Expression] = []
        parts: list[Expression] = []
        while True:
            token = tokens.pop() if tokens else None
            if token is None and bracket is not None:
                raise self.error(item, f"'{bracket}' is never closed in '{item.value}'")
            if token is None or token in "]),":
                if bracket is None and token is not None:
                    hint = "a list of choices stands in [ ]" if token == "," else "nothing opens it"
                    raise self.error(item, f"'{token}' in '{item.value}': {hint}")
                if bracket and token in ("]", ")") and token != _CLOSING[bracket]:
                    raise self.error(item, f"'{bracket}' is closed by '{token}' in '{item.value}'")
                if not parts:
                    raise self.error(item, f"an empty phrase in '{item.value}'")
                options.append(parts[0] if len(parts) == 1 else Phrase(tuple(parts)))
                parts = []
                if token != ",":
                    break
            else:
                parts.append(self.part(item, token, tokens, depth))
        if bracket == "[" and len(options) == 1:
            text = _plain_text(options[0])
            self.one_choice.append(
                f"{self.where(item)} '[{text}]' has one choice and must be said; ({text}) may be "
                "left out"
            )
        chosen = options[0] if len(options) == 1 else Choice(tuple(options))
        return Choice((Phrase(()), chosen)) if bracket == "(" else chosen

    def part(self, item: yaml.ScalarNode, token: str, tokens: list[str], depth: int) -> Expression:
        """Parse a word, slot, macro or bracket.

        Args:
            item: the entry, for messages.
            token: its first token, popped already.
            tokens: what is left of the entry, last first.
            depth: of brackets around.
        """
        if token in _CLOSING:
            return self.alternatives(item, tokens, token, depth + 1)
        if token.startswith("$"):
            return self.slot(item, token)
        if not token.startswith("@"):
            return Word(self.word(item, token))
        name = token[1:]
        if name not in self.macro_nodes:
            raise self.error(item, f"undefined macro '{token}'; {_known(name, self.macro_nodes)}")
        if name in self.open_macros:
            trail = [*self.open_macros[self.open_macros.index(name) :], name]
            raise self.error(item, f"macros form a cycle: {' -> '.join(trail)}")
        if len(self.open_macros) > MAX_DEPTH:
            raise self.error(item, f"macros are nested deeper than {MAX_DEPTH}")
        self.used.add(token)
        return self.macro(name)

    def slot(self, item: yaml.ScalarNode, token: str) -> Slot:
        """The slot of a token `$type:name`."""
        match = _SLOT.fullmatch(token)
        if match is None:
            raise self.error(item, f"slot '{token}', expected $type:name")
        kind, name = match.groups()
        if kind.startswith("pv."):
            if kind not in BUILT_IN:
                raise self.error(item, f"no built-in slot '${kind}'; {_known(kind, BUILT_IN)}")
            self.slots[kind] = tuple(BUILT_IN[kind])
            self.written[kind] = BUILT_IN[kind]
        elif kind not in self.slots:
            is_built_in = not nearest(kind, self.slots) and nearest(f"pv.{kind}", BUILT_IN)
            known = BUILT_IN if is_built_in else self.slots
            raise self.error(
                item, f"undefined slot type '{kind}' in '{token}'; {_known(kind, known)}"
            )
        self.used.add(f"${kind}")
        return Slot(kind, name)

    def spell_out(self, item: yaml.ScalarNode, text: str) -> str:
        """Plain text as it is said; where that differs, there is a note of it."""
        said = spell_out(text)
        if said != text:
            self.spelled.append(f"{self.where(item)} '{text.strip()}' is read '{said.strip()}'")
        return said

    def word(self, item: yaml.ScalarNode, text: str) -> str:
        """The word in lower case, with a plain apostrophe; an error is kept if it is none."""
        try:
            said = word(text)
        except NotAWordError as error:
            self.bad_words.append(f"{self.where(item)} {error}")
            if not _OTHER_CHOICE.isdisjoint(text):
                self.hints["; choices are [a, b]"] = None
            return text
        if not said.isascii():
            self.not_english[said] = None
        return said


def _is_text(token: str) -> bool:
    return token not in "[]()," and not token.isspace()


def _plain_text(expression: Expression) -> str:
    """The words of an expression, for messages; what has more than words is cut short."""
    match expression:
        case Word(text):
            return text
        case Phrase(parts) if all(isinstance(part, Word) for part in parts):
            return " ".join(map(_plain_text, parts))
    return "..."


def _known(name: str, names: Collection[str]) -> str:
    if near := nearest(name, names) or nearest(f"pv.{name}", names):
        return f"did you mean '{near}'?"
    return f"defined are: {', '.join(names)}" if names else "none is defined"
