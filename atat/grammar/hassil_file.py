"""Reads sentence templates of Home Assistant, as the package `hassil` parses them.

    language: en
    intents:
      SetBrightness:
        data:
          - sentences: ["(set|change) [the] {area} brightness to {brightness}[%| percent]"]
    lists:
      area: {values: [kitchen, {in: "living room[s]", out: living_room}]}
      brightness: {range: {from: 0, to: 100}}
    expansion_rules: {name: "[the] lamp"}      # used as <name>

A template is a string of characters there (`light[s]`, `(bed|living)room`, `{brightness}%`) and one
of words here: `_Joiner` follows its pieces with what is left of a word when a piece ends. Source:
developers.home-assistant.io/docs/voice/intent-recognition/template-sentence-syntax.
"""

from collections.abc import Callable, Iterator
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import yaml

from atat.common import cli
from atat.grammar.expressions import MAX_DEPTH, Choice, Expression, GrammarFile, Phrase, Slot, Word
from atat.grammar.number_range import MAX_NUMBER, numbers
from atat.grammar.template_readers import MAX_VALUES, NOTHING, Translation, choice, phrase, words
from atat.grammar.yaml_nodes import NodeReader, YamlNode

KEYS = ("intents", "lists", "expansion_rules")  # one of them is at the top of such a file
MAX_ENDINGS = 100  # of a word that is made of several pieces
MAX_PERMUTED = 5  # parts of (a;b;c), which are said in any order

_TOP = {"language", *KEYS, "skip_words", "settings", "responses"}
# What Home Assistant does with a sentence once it is recognised, and hints to its matcher.
_LEFT_OUT = {"response", "metadata", "settings", "responses", "required_keywords"}
_LEFT_OUT |= {"inferred_domain", "name_domains"}
_CONTEXT = ("requires_context", "excludes_context")
_BLOCK = {"sentences", "slots", "lists", "expansion_rules", *_CONTEXT} | _LEFT_OUT - {"responses"}

Ends = dict[str, Expression]  # what is left of a word at the end -> what was said before it
_SYNTAX = set("(){}<>[]|@")
_AFTER_SLOT = "\0"  # in place of the rest of a word


def read(path: Path, root: YamlNode) -> GrammarFile:
    """The grammar of a file of such templates.

    Raises:
        ValueError: what is wrong with it, or has no counterpart here, with file and line; or
            hassil is not installed.
    """
    try:
        import hassil  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"{path}: this is a file of Home Assistant's sentence templates, for which the package "
            f"hassil is needed: {cli.how_to_install('home')}"
        ) from error
    return _Reader(path).read(root)


class _Reader(NodeReader):
    """One pass over the YAML nodes."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.result = Translation(path)
        self.left_out: dict[str, None] = {}
        self.joiner: _Joiner  # with the lists and rules of the file

    def read(self, root: YamlNode) -> GrammarFile:
        """The grammar of the root node."""
        self.check_tree(root)
        top = self.mapping(root, "the file", _TOP)
        language = self.scalar(top["language"], "'language'").value if "language" in top else "en"
        if language.lower().replace("_", "-").split("-")[0] != "en":
            raise self.error(
                top["language"],
                f"language '{language}', expected en: voices and models are English",
            )
        intents = self.section(top, "intents")
        if not intents:
            raise self.error(root, "no 'intents' in this file of hassil templates")
        lists, rules = self.section(top, "lists"), self.section(top, "expansion_rules")
        self.joiner = _Joiner(self, self.result, lists, rules)
        self.left_out |= dict.fromkeys(key for key in top if key in _LEFT_OUT)
        for intent, node in intents.items():
            data = self.mapping(node, f"intent '{intent}'", {"data"}).get("data", node)
            if not isinstance(data, yaml.SequenceNode):
                raise self.error(node, f"intent '{intent}': expected 'data: - sentences: [...]'")
            for block in data.value:
                self.block(intent, block)
        content = self.result.finish()
        if self.left_out:
            content.notes.append(
                f"{self.path}: left out, as Home Assistant keeps them: {', '.join(self.left_out)}"
            )
        if "skip_words" in top:
            content.notes.append(
                f"{self.where(top['skip_words'])} skip_words are left out: say where they may "
                "stand, as in '[please] turn on'"
            )
        return content

    def check_tree(self, root: YamlNode) -> None:
        """Refuse aliases, by which a small file says as much as it likes."""
        seen, left = set(), [root]
        while left:
            node = left.pop()
            if id(node) in seen:
                raise self.error(
                    node, "is used twice (&, *), which templates do not do: write it out"
                )
            seen.add(id(node))
            if isinstance(node, yaml.MappingNode):
                left += [one for pair in node.value for one in pair]
            elif isinstance(node, yaml.SequenceNode):
                left += node.value

    def block(self, intent: str, node: YamlNode) -> None:
        """Some sentences of an intent."""
        what = f"'data' of intent '{intent}'"
        block = self.mapping(node, what, _BLOCK)
        for key in _CONTEXT:
            if key in block and block[key].value:
                raise self.error(
                    block[key],
                    f"'{key}' has no counterpart: a model hears words, not the state of a home; "
                    "leave it out, or give these sentences an intent of their own",
                )
        self.left_out |= dict.fromkeys(key for key in block if key in _LEFT_OUT)
        fixed = {
            name: self.scalar(value, f"slot '{name}' of intent '{intent}'").value
            for name, value in self.section(block, "slots").items()
        }
        lists, rules = self.section(block, "lists"), self.section(block, "expansion_rules")
        joiner = self.joiner
        if lists or rules:
            joiner = _Joiner(self, self.result, joiner.lists | lists, joiner.rules | rules)
        for item in self.items(block.get("sentences", node), f"'sentences' of intent '{intent}'"):
            self.result.add(intent, joiner.sentence(item), fixed, self.where(item))


class _Joiner:
    """Templates of characters as expressions of words."""

    def __init__(
        self,
        reader: NodeReader,
        result: Translation,
        lists: dict[str, YamlNode],
        rules: dict[str, YamlNode],
    ) -> None:
        self.reader, self.result, self.lists, self.rules = reader, result, lists, rules
        self.at: YamlNode  # of what is being read, for messages
        self.open_rules: list[str] = []
        self.in_list: str | None = None
        self.parsed: dict[str, Any] = {}  # rules
        self.types: dict[str, str] = {}  # list -> slot type
        self.known: dict[tuple[int, str], Ends] = {}  # by piece, and what is left of a word
        self.kept: list[Any] = []  # pieces, so that none has the `id` of another

    def sentence(self, item: yaml.ScalarNode) -> Expression:
        """What a template says."""
        self.at = item
        return self.whole(self.parse(item))

    def whole(self, piece: Any) -> Expression:
        """What a piece says that begins and ends as words do."""
        ends = self.after(piece, "")
        return choice([phrase(said, *self.words(rest)) for rest, said in ends.items()])

    def error(self, message: str) -> ValueError:
        """The error to raise for what is being read."""
        return self.reader.error(self.at, message)

    def words(self, rest: str) -> tuple[Word, ...]:
        """The words that a word's pieces make, joined."""
        return () if rest == _AFTER_SLOT else words(rest, self.reader.where(self.at))

    def parse(self, item: yaml.ScalarNode) -> Any:
        """A template as hassil's tree."""
        from hassil.parse_expression import parse_sentence
        from hassil.parser import ParseError

        text = item.value
        self.result.count_template(text, self.reader.where(item))
        self.check_depth(text)
        try:
            piece = parse_sentence(text).expression
        except (ParseError, AssertionError, ValueError) as error:
            reason = str(error)[:100]
            raise self.error(f"'{text[:60]}' is not a template of hassil: {reason}") from error
        self.kept.append(piece)
        return piece

    def check_depth(self, text: str) -> None:
        """Refuse deep brackets before the parser goes down into them."""
        depth, escaped = 0, False
        for c in text:
            if not escaped:
                depth += (c in "([") - (c in ")]")
                if depth > MAX_DEPTH:
                    raise self.error(f"brackets are nested deeper than {MAX_DEPTH}")
            escaped = c == "\\" and not escaped

    # Pieces of a template --------------------------------------------------------------------

    def after(self, piece: Any, rest: str) -> Ends:
        """What a piece says after `rest` of a word."""
        key = id(piece), rest
        if key not in self.known:
            self.known[key] = self.after_new(piece, rest)
        return self.known[key]

    def after_new(self, piece: Any, rest: str) -> Ends:
        """As `after`, of a piece that was not there yet."""
        from hassil import expression as of

        match piece:
            case of.TextChunk(text=text):
                return self.text(text, rest)
            case of.Alternative(items=items):
                return self.merged([self.after(item, rest) for item in items])
            case of.Permutation(items=items):
                return self.permuted(items, rest)
            case of.Group(items=items):
                return self.sequence(items, rest)
            case of.RuleReference(rule_name=name):
                return self.rule(name, rest)
            case of.ListReference():
                return self.slot(piece, rest)
        raise AssertionError(piece)

    def merged(self, all_ends: list[Ends]) -> Ends:
        """One of several."""
        found: dict[str, list[Expression]] = {}
        for ends in all_ends:
            for rest, said in ends.items():
                found.setdefault(rest, []).append(said)
        if len(found) > MAX_ENDINGS:
            raise self.error(f"more than {MAX_ENDINGS} words are made of pieces at one place")
        return {rest: choice(said) for rest, said in found.items()}

    def sequence(self, items: list[Any], rest: str) -> Ends:
        """One after the other."""
        done: list[Expression] = []
        ends: Ends = {rest: NOTHING}
        for item in items:
            ends = self.merged(
                [
                    {left: phrase(said, more) for left, more in self.after(item, before).items()}
                    for before, said in ends.items()
                ]
            )
            if len(ends) == 1:  # said whatever follows
                ((left, said),) = ends.items()
                done.append(said)
                ends = {left: NOTHING}
        return {left: phrase(*done, said) for left, said in ends.items()}

    def permuted(self, items: list[Any], rest: str) -> Ends:
        """In any order."""
        if len(items) > MAX_PERMUTED:
            raise self.error(f"{len(items)} parts in any order, expected at most {MAX_PERMUTED}")
        return self.merged([self.sequence(list(order), rest) for order in permutations(items)])

    def text(self, text: str, rest: str) -> Ends:
        """Characters; white space ends a word."""
        said: list[Expression] = []
        while text:
            if text[0].isspace():
                said += self.words(rest)
                text, rest = text.lstrip(), ""
                continue
            piece = text.split(maxsplit=1)[0]
            text = text[len(piece) :]
            if rest == _AFTER_SLOT:
                if piece[0] in "%\u00b0":
                    rest = piece.rstrip(".,;:!?")
                elif piece.strip(".,;:!?"):
                    raise self.error(f"'{piece}' at the end of a slot: write ' {piece}'")
            else:
                rest += piece
        return {rest: phrase(*said)}

    def rule(self, name: str, rest: str) -> Ends:
        """A rule, read where it is used."""
        if name not in self.rules:
            raise self.error(f"no rule '<{name}>' under 'expansion_rules' of this file")
        if name in self.open_rules:
            trail = [*self.open_rules[self.open_rules.index(name) :], name]
            raise self.error(f"expansion rules form a cycle: {' -> '.join(trail)}")
        if len(self.open_rules) > MAX_DEPTH:
            raise self.error(f"expansion rules are nested deeper than {MAX_DEPTH}")
        user = self.at
        self.at = self.rules[name]
        self.open_rules.append(name)
        if name not in self.parsed:
            self.parsed[name] = self.parse(self.reader.scalar(self.at, f"rule '{name}'"))
        ends = self.after(self.parsed[name], rest)
        for said in ends.values():  # here, before rules of rules of it say a million words
            self.result.check_length(said, self.reader.where(self.at))
        self.open_rules.pop()
        self.at = user
        return ends

    # Lists -----------------------------------------------------------------------------------

    def slot(self, reference: Any, rest: str) -> Ends:
        """A value of a list."""
        name, slot = reference.list_name, reference.slot_name
        if self.in_list is not None:
            raise self.error(f"list '{self.in_list}' has the list '{name}' in a value")
        if rest:
            before = "another slot" if rest == _AFTER_SLOT else f"'{rest}'"
            raise self.error(f"'{{{name}}}' follows {before} without a space")
        if reference.is_capture:
            raise self.error(f"'{{{name}}}': captures (@) are for responses")
        if not self.reader.is_name(slot):
            raise self.error(f"slot '{slot}', expected a letter, then letters, digits, '_' or '-'")
        if reference.is_inline_range:
            values = self.guarded(lambda: numbers(*reference.get_inline_range()))
            kind = self.result.slot_type(
                f"range-{name.replace('..', '-').replace(',', '-')}", values
            )
        else:
            kind = self.list_type(name)
        return {_AFTER_SLOT: Slot(kind, slot)}

    def list_type(self, name: str) -> str:
        """The slot type of a list."""
        if name not in self.lists:
            raise self.error(
                f"no list '{name}' under 'lists' of this file (Home Assistant fills in name, area "
                "and floor by itself: write down those of the home)"
            )
        if name not in self.types:
            user, self.at, self.in_list = self.at, self.lists[name], name
            self.types[name] = self.result.slot_type(name, self.list_values(name))
            self.at, self.in_list = user, None
        return self.types[name]

    def list_values(self, name: str) -> dict[str, str]:
        """What is said of a list -> what is written."""
        keys = {"values", "range", "wildcard", "metadata"}
        fields = self.reader.mapping(self.at, f"list '{name}'", keys)
        if "range" in fields:
            return self.range_values(name, fields["range"])
        if "values" not in fields:
            raise self.error(
                f"list '{name}' is a wildcard, for which there is no counterpart: a model knows "
                "the values that it is trained on; write them under 'values'"
            )
        node = fields["values"]
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            raise self.error(f"'values' of list '{name}': expected a list that is not empty")
        values: dict[str, str] = {}
        for entry in node.value:
            self.at = entry
            said, written = self.value(name, entry)
            for text in said:
                if values.setdefault(text, written or text) != (written or text):
                    raise self.error(
                        f"list '{name}': '{text}' is '{values[text]}' above, and '{written}' here"
                    )
            if len(values) > MAX_VALUES:
                raise self.error(f"list '{name}' has more than {MAX_VALUES} values")
            self.result.count_values(len(said), self.reader.where(entry))
        return values

    def value(self, name: str, entry: YamlNode) -> tuple[list[str], str | None]:
        """What is said of one value, and what is written; None: what is said."""
        what, written = f"a value of list '{name}'", None
        if isinstance(entry, yaml.MappingNode):
            fields = self.reader.mapping(entry, what, {"in", "out", "context", "metadata"})
            if "in" not in fields:
                raise self.error(f"{what}: expected 'in' and 'out'")
            item = self.reader.scalar(fields["in"], what)
            if "out" in fields:
                written = self.reader.scalar(fields["out"], what).value
        else:
            item = self.reader.scalar(entry, what)
            written = None if set(item.value) & _SYNTAX else item.value
        if set(item.value) & {*_SYNTAX, "\\", ";"}:
            expression = self.whole(self.parse(item))
            self.result.check_length(expression, self.reader.where(item))
            said = list(islice(_texts(expression), MAX_VALUES + 1))
        else:
            said = [" ".join(one.text for one in words(item.value, self.reader.where(item)))]
        if len(said) > MAX_VALUES:
            raise self.error(f"{what}: more than {MAX_VALUES} ways to say it")
        if "" in said:
            raise self.error(f"{what} can be empty")
        return said, written

    def range_values(self, name: str, node: YamlNode) -> dict[str, str]:
        """The numbers of a range."""
        self.at = node
        what = f"'range' of list '{name}'"
        keys = {"from", "to", "step", "type", "fractions", "multiplier"}
        known = keys | {"digits", "words", "words_language"}
        items = self.reader.mapping(node, what, known).items()
        fields = {key: self.reader.scalar(item, what).value for key, item in items}
        if not {"from", "to"} <= set(fields):
            raise self.error(f"{what}: expected 'from' and 'to'")
        parts = {"halves": 2, "tenths": 10}
        if fields.get("fractions", "halves") not in parts:
            raise self.error(f"{what}: 'fractions' is halves or tenths")
        return self.guarded(
            lambda: numbers(
                int(fields["from"]),
                int(fields["to"]),
                int(fields.get("step", 1)),
                parts[fields["fractions"]] if "fractions" in fields else 1,
                float(fields["multiplier"]) if "multiplier" in fields else None,
            )
        )

    def guarded(self, make: Callable[[], dict[str, str]]) -> dict[str, str]:
        """Numbers of a range, or the error with its line."""
        try:
            values = make()
        except ValueError as error:
            raise self.error(
                f"a range of numbers: {error}; expected whole numbers up to {MAX_NUMBER}, at most "
                f"{MAX_VALUES} of them, 'from' before 'to'"
            ) from error
        self.result.count_values(len(values), self.reader.where(self.at))
        return values


def _texts(expression: Expression) -> Iterator[str]:
    """All that an expression without slots says."""
    match expression:
        case Word(text):
            yield text
        case Choice(options):
            for option in options:
                yield from _texts(option)
        case Phrase(()):
            yield ""
        case Phrase(parts):
            for first in _texts(parts[0]):
                for rest in _texts(Phrase(parts[1:])):
                    yield f"{first} {rest}".strip()
