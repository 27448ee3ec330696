"""Reads Rhasspy's `sentences.ini`.

    [SetLight]
    rooms = (kitchen | living room:lounge){room}     # a rule, used as <rooms>
    turn [the] light in the <rooms> (on | off){state}
    set brightness to (0..100){level}

A section is an intent, a line a sentence or `name = rule`. `[a]` may be left out, `(a | b)` is one
of, `{name}` makes a slot of what stands before it, `said:written` and `{name:written}` write a
value in another way, `<Intent.rule>` is another intent's rule, `$list` the lines of the file
`slots/list` beside this one, `0..100,5` a range, `(:){name:value}` a slot that nobody says.
Brackets hold whole words.
Source: rhasspy.readthedocs.io/en/latest/training.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path

from atat.grammar.expressions import MAX_BYTES, MAX_DEPTH, Expression, GrammarFile, Slot
from atat.grammar.number_range import numbers
from atat.grammar.template_readers import MAX_VALUES, NOTHING, Translation, choice, phrase, words
from atat.grammar.yaml_nodes import NAME

_SECTION = re.compile(rf"\[({NAME})\]")
_RULE = re.compile(rf"({NAME})\s*=\s*(.*)")
_TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<mark>[()\[\]|])|\{(?P<tag>[^{}]*)\}|<(?P<rule>[^<>]*)>"
    r"|\$(?P<list>[\w./,-]+)|(?P<range>-?\d+\.\.-?\d+(?:,\d+)?)(?=[\s()\[\]|{}<>:!]|$)"
    r"|(?P<convert>![\w/]+)|(?P<colon>:)|(?P<text>(?:\\.|[^\\\s()\[\]|{}<>$!:])+)"
)
_TAG = re.compile(rf"({NAME})(?::([^!]*))?(!.*)?")


@dataclass(eq=False)
class _Piece:
    """A part of a template.

    Attributes:
        kind: text, phrase, choice or slot.
        parts: of a phrase, choice or slot (then one).
        text: of a text, as the file has it; of a slot, its name.
        written: what is written for it instead, if anything.
    """

    kind: str
    parts: list["_Piece"] = field(default_factory=list)
    text: str = ""
    written: str | None = None


@dataclass
class _Line:
    """A sentence or a rule, where it stands and in which intent."""

    number: int
    intent: str
    text: str


def read(path: Path, text: str) -> GrammarFile:
    """The grammar of such a file.

    Args:
        path: of the file; lists are looked for in `slots` beside it.
        text: what it has.

    Raises:
        ValueError: what is wrong with it, or has no counterpart here, with file and line.
    """
    return _Reader(path).read(text)


def lists(path: Path, text: str) -> list[Path]:
    """The files that the lists of such a file are in, those that lists name too, as far as they are
    there; a list that only a comment names may be among them.

    Args:
        path: of the file.
        text: what it has.
    """
    found: dict[Path, None] = {}
    left = [text]
    while left:
        for name in re.findall(r"\$([\w./,-]+)", left.pop()):
            file = _list_file(path, name)
            if file is not None and file not in found and file.is_file():
                found[file] = None
                left.append(file.read_text(encoding="utf-8", errors="replace"))
    return list(found)


def _list_file(path: Path, name: str) -> Path | None:
    """Where a list is looked for; None where it is a program with arguments."""
    is_plain = re.fullmatch(r"[\w-]+(/[\w-]+)*", name)
    return path.parent / "slots" / name if is_plain else None


class _Reader:
    """One pass over the lines; rules are parsed as they are used."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.result = Translation(path)
        self.rules: dict[tuple[str, str], _Line] = {}
        self.parsed: dict[tuple[str, str], _Piece] = {}
        self.open_rules: list[tuple[str, str]] = []
        self.line = _Line(1, "", "")
        self.expressions: dict[int, Expression] = {}
        self.kept: list[_Piece] = []  # so that none has the `id` of another

    def read(self, text: str) -> GrammarFile:
        """The grammar of the file's text."""
        sentences: list[_Line] = []
        intent = ""
        for number, line in enumerate(text.splitlines(), 1):
            line = line.strip()
            self.line = _Line(number, intent, line)
            if not line or line[0] in "#;":
                continue
            if section := _SECTION.fullmatch(line):
                intent = section[1]
            elif line.startswith("[") and line.endswith("]") and line.count("[") == 1:
                raise self.error(
                    f"intent '{line}', expected a letter, then letters, digits, '_' or '-' (a "
                    "sentence that begins with a bracket is written \\[so])"
                )
            elif not intent:
                raise self.error(f"'{line[:60]}' stands before the first [Intent]")
            elif rule := _RULE.fullmatch(line):
                if (intent, rule[1]) in self.rules:
                    raise self.error(f"duplicate rule '{rule[1]}' in [{intent}]")
                self.rules[intent, rule[1]] = _Line(number, intent, rule[2])
            else:
                sentences.append(_Line(number, intent, re.sub(r"^\\(?=\[)", "", line)))
        for self.line in sentences:
            piece = self.parse(self.line.text)
            fixed, piece = self.without_fixed(piece)
            self.result.add(self.line.intent, self.expression(piece), fixed, self.where())
        return self.result.finish()

    def where(self) -> str:
        """File and line, as messages begin with them."""
        return f"{self.path}:{self.line.number}:"

    def error(self, message: str) -> ValueError:
        """The error to raise for the line that is being read."""
        return ValueError(f"{self.where()} {message}")

    # Parsing ---------------------------------------------------------------------------------

    def parse(self, text: str) -> _Piece:
        """A template as a tree."""
        self.result.count_template(text, self.where())
        tokens, place = [], 0
        while place < len(text):
            match = _TOKEN.match(text, place)
            if match is None:
                raise self.error(f"'{text[place]}' in '{text[:60]}' is not supported")
            tokens.append(match)
            place = match.end()
        self.check_whole_words(text, tokens)
        tokens.reverse()  # the next one is popped
        piece = self.alternatives(text, tokens, "", 0)
        self.kept.append(piece)
        return piece

    def check_whole_words(self, text: str, tokens: list[re.Match[str]]) -> None:
        """Refuse a bracket that touches a word: what it holds would be words of their own."""
        for left, right in pairwise(tokens):
            ends = re.search(r"[^\W_]$|'$", left["text"] or "")
            begins = re.match(r"[^\W_]|'", right["text"] or "")
            if (ends and right[0][0] in "([<") or (begins and left[0][-1] in ")]>}"):
                raise self.error(
                    f"'{left[0]}{right[0]}' in '{text[:60]}': brackets hold whole words, expected "
                    "a space between (write (light | lights), not light[s])"
                )

    def alternatives(
        self, text: str, tokens: list[re.Match[str]], closing: str, depth: int
    ) -> _Piece:
        """Phrases separated by `|` up to the closing bracket, or to the end.

        Args:
            text: the template, for messages.
            tokens: what is left of it, last first; those of this part are popped.
            closing: the bracket; "" at the top.
            depth: of brackets around.
        """
        if depth > MAX_DEPTH:
            raise self.error(f"brackets are nested deeper than {MAX_DEPTH}")
        options, parts = [], list[_Piece]()
        while True:
            token = tokens.pop() if tokens else None
            mark = token["mark"] if token is not None else ""
            if token is None or mark in (")", "]"):
                if mark != closing:
                    got = f"'{mark}'" if mark else "the end"
                    raise self.error(
                        f"got {got} in '{text[:60]}', expected '{closing or 'the end'}'"
                    )
                options.append(_Piece("phrase", parts))
                return options[0] if len(options) == 1 else _Piece("choice", options)
            if mark == "|":
                options.append(_Piece("phrase", parts))
                parts = []
            elif token["space"] is None:
                parts.append(self.part(text, token, tokens, depth))

    def part(
        self, text: str, token: re.Match[str], tokens: list[re.Match[str]], depth: int
    ) -> _Piece:
        """A word, bracket, rule, list or range, with what is attached to it."""
        if token["mark"]:
            piece = self.alternatives(text, tokens, ")" if token[0] == "(" else "]", depth + 1)
            if token[0] == "[":
                piece = _Piece("choice", [_Piece("phrase"), piece])
        elif token["rule"] is not None:
            piece = self.rule(token["rule"])
        elif token["list"]:
            piece = self.list_of(token["list"])
        elif token["range"]:
            piece = self.range(token["range"])
        elif token["text"]:
            piece = _Piece("text", text=re.sub(r"\\(.)", r"\1", token["text"]))
        elif token["colon"]:
            tokens.append(token)
            piece = _Piece("phrase")
        else:
            raise self.error(f"'{token[0]}' in '{text[:60]}' stands after nothing")
        while tokens and (tokens[-1]["colon"] or self.is_tag(tokens)):
            piece = self.attached(text, piece, tokens, depth)
        if tokens and tokens[-1]["convert"]:
            raise self.error(f"'{tokens[-1]['convert']}': converters are not run; values are texts")
        return piece

    @staticmethod
    def is_tag(tokens: list[re.Match[str]]) -> bool:
        """Whether a tag is next, perhaps after a space, which is removed."""
        if len(tokens) > 1 and tokens[-1]["space"] and tokens[-2]["tag"] is not None:
            tokens.pop()
        return tokens[-1]["tag"] is not None

    def attached(self, text: str, piece: _Piece, tokens: list[re.Match[str]], depth: int) -> _Piece:
        """A piece with its substitution or tag."""
        token = tokens.pop()
        if token["colon"]:
            written = ""
            if tokens and (tokens[-1]["text"] or tokens[-1][0] == "("):
                other = self.part(text, tokens.pop(), tokens, depth)
                if other.kind == "slot":  # said:written{name}
                    inner = _Piece("phrase", [piece], written=self.plain(other.parts[0]))
                    return _Piece("slot", [inner], other.text, other.written)
                written = self.plain(other)
            return _Piece("phrase", [piece], written=written)
        tag = _TAG.fullmatch(token["tag"])
        if tag is None:
            raise self.error(f"tag '{token[0]}', expected {{name}} or {{name:value}}")
        if tag[3]:
            raise self.error(f"'{tag[3]}' in '{token[0]}': converters are not run; leave it out")
        return _Piece("slot", [piece], tag[1], tag[2])

    def plain(self, piece: _Piece) -> str:
        """The one text of a substitution's right side."""
        texts = list(islice(self.both(piece), 2))
        if len(texts) != 1:
            raise self.error("a substitution has several values behind its ':'")
        return texts[0][1]

    def rule(self, reference: str) -> _Piece:
        """The piece of `<rule>` or `<Intent.rule>`."""
        intent, _, name = reference.rpartition(".")
        key = intent or self.line.intent, name
        if key not in self.rules:
            raise self.error(f"no rule '{name}' in [{key[0]}] for <{reference}>")
        if key in self.open_rules:
            trail = [name for _, name in [*self.open_rules[self.open_rules.index(key) :], key]]
            raise self.error(f"rules form a cycle: {' -> '.join(trail)}")
        if len(self.open_rules) > MAX_DEPTH:
            raise self.error(f"rules are nested deeper than {MAX_DEPTH}")
        if key not in self.parsed:
            user, self.line = self.line, self.rules[key]
            self.open_rules.append(key)
            self.parsed[key] = self.parse(self.line.text)
            # Here, before rules of rules of it say a million words.
            self.result.check_length(self.expression(self.parsed[key]), self.where())
            self.open_rules.pop()
            self.line = user
        return self.parsed[key]

    def list_of(self, name: str) -> _Piece:
        """The lines of a list's file."""
        key = "$", name
        if key not in self.parsed:
            file = _list_file(self.path, name)
            if file is None:
                raise self.error(f"list '${name}': programs with arguments are not run")
            if not file.is_file():
                raise self.error(
                    f"list '${name}': there is no {file} (programs are not run); write it as a "
                    f"rule, {name.replace('/', '_')} = (this | that)"
                )
            if file.stat().st_size > MAX_BYTES:
                raise self.error(f"{file}: {file.stat().st_size} bytes, at most {MAX_BYTES}")
            try:
                lines = file.read_text(encoding="utf-8-sig").splitlines()
            except UnicodeDecodeError as error:
                raise self.error(f"{file}: not UTF-8 text") from error
            said = [line.strip() for line in lines if line.strip() and line.lstrip()[0] != "#"]
            if not said:
                raise self.error(f"{file}: the list is empty")
            self.open_rules.append(key)
            if len(self.open_rules) > MAX_DEPTH:
                raise self.error(f"lists are nested deeper than {MAX_DEPTH}")
            self.parsed[key] = _Piece("choice", [self.parse(line) for line in said])
            self.open_rules.pop()
        return self.parsed[key]

    def range(self, text: str) -> _Piece:
        """The numbers of `0..100` or `0..100,5`."""
        ends, _, step = text.partition(",")
        start, stop = ends.split("..")
        try:
            values = numbers(int(start), int(stop), int(step or 1))
        except ValueError as error:
            raise self.error(f"range '{text}': {error}, at most {MAX_VALUES} numbers") from error
        self.result.count_values(len(values), self.where())
        return _Piece(
            "choice", [_Piece("text", text=said, written=n) for said, n in values.items()]
        )

    # Meaning ---------------------------------------------------------------------------------

    def without_fixed(self, piece: _Piece) -> tuple[dict[str, str], _Piece]:
        """Slots that a sentence implies, `(:){name:value}`, and the rest of it."""
        if piece.kind != "phrase" or piece.written is not None:
            return {}, piece
        fixed, parts = {}, []
        for part in piece.parts:
            if part.kind == "slot" and part.written and not any(t for t, _ in self.first(part)):
                fixed[part.text] = part.written
            else:
                parts.append(part)
        return fixed, _Piece("phrase", parts) if fixed else piece

    def first(self, slot: _Piece) -> Iterable[tuple[str, str]]:
        """Two of a slot's values at most."""
        return islice(self.both(slot.parts[0]), 2)

    def expression(self, piece: _Piece) -> Expression:
        """What a piece says."""
        if id(piece) not in self.expressions:
            self.expressions[id(piece)] = self.new_expression(piece)
            self.kept.append(piece)
        return self.expressions[id(piece)]

    def new_expression(self, piece: _Piece) -> Expression:
        """As `expression`, of a piece that was not there yet."""
        match piece.kind:
            case "text":
                return phrase(*words(piece.text, self.where()))
            case "phrase":
                return phrase(*map(self.expression, piece.parts))
            case "choice":
                return choice(map(self.expression, piece.parts)) if piece.parts else NOTHING
        self.result.check_length(self.expression(piece.parts[0]), self.where())
        values: dict[str, str] = {}
        for said, written in islice(self.both(piece.parts[0]), MAX_VALUES + 1):
            said = " ".join(one.text for one in words(said, self.where()))
            written = written if piece.written is None else piece.written
            if not said:
                raise self.error(f"slot '{piece.text}' can be said with no word")
            if values.setdefault(said, written) != written:
                raise self.error(
                    f"slot '{piece.text}': '{said}' is both '{values[said]}' and '{written}'"
                )
            if len(values) > MAX_VALUES:
                raise self.error(f"slot '{piece.text}' has more than {MAX_VALUES} values")
        self.result.count_values(len(values), self.where())
        return Slot(self.result.slot_type(piece.text, values), piece.text)

    def both(self, piece: _Piece) -> Iterator[tuple[str, str]]:
        """All that a piece says, and what is written for it."""
        match piece.kind:
            case "text":
                pairs: Iterator[tuple[str, str]] = iter([(piece.text, piece.text)])
            case "choice":
                pairs = (pair for part in piece.parts for pair in self.both(part))
            case "phrase":
                pairs = self.joined(piece.parts)
            case _:
                raise self.error(f"slot '{piece.text}' stands within another slot")
        for said, written in pairs:
            yield said, written if piece.written is None else piece.written

    def joined(self, parts: list[_Piece]) -> Iterator[tuple[str, str]]:
        """What parts say one after the other."""
        if not parts:
            yield "", ""
            return
        for said, written in self.both(parts[0]):
            for more, more_written in self.joined(parts[1:]):
                yield f"{said} {more}".strip(), f"{written} {more_written}".strip()
