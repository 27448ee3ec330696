"""Target sequences: words inside typed tags, `intent( words slot( value )slot )intent`.

Tokens are separated by single spaces: an opening tag `Name(`, its closing tag `)Name`, or a word.
The format is the paper's (appendix A); docs/paper.md, "Target sequences", has its examples.
"""

import re
from dataclasses import dataclass

MAX_DEPTH = 100  # far beyond any annotation; keeps recursion over a tree safe

_LABEL = re.compile(r"[^\s()]+")


@dataclass(frozen=True)
class Frame:
    """What an utterance asks for: an intent, and (slot name, value) pairs in reading order."""

    intent: str
    slots: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> tuple[str, tuple[tuple[str, str], ...]]:
        """Equal for two frames that ask for the same, whatever the order of their slots (EM Hyp).

        >>> a = Frame("go", (("from", "rome"), ("to", "oslo")))
        >>> a.key == Frame("go", (("to", "oslo"), ("from", "rome"))).key
        True
        """
        return self.intent, tuple(sorted(self.slots))


@dataclass(frozen=True)
class Node:
    """A tag and what stands inside it, in order: words and further nodes."""

    label: str
    children: tuple["Node | str", ...] = ()


def parse(semantics: str) -> Node:
    """Read a target sequence as a tree.

    Raises:
        ValueError: it is not well formed; the message says why and at which token.

    >>> parse("setColor( make it color( deep red )color )setColor")
    Node(label='setColor', children=('make', 'it', Node(label='color', children=('deep', 'red'))))
    """
    if not semantics:
        raise ValueError("the sequence is empty, expected 'intent( ... )intent'")
    root: Node | None = None
    open_labels: list[str] = []
    open_children: list[list[Node | str]] = []
    for number, token in enumerate(semantics.split(" "), start=1):
        where = f"token {number} '{token}'"
        if root is not None:
            raise ValueError(f"{where} stands after the end of '{root.label}'")
        kind, label = _classify(token, where)
        if kind == "open":
            if len(open_labels) == MAX_DEPTH:
                raise ValueError(f"{where}: tags are nested deeper than {MAX_DEPTH}")
            open_labels.append(label)
            open_children.append([])
        elif not open_labels:
            raise ValueError(f"{where} stands before the first tag, expected 'intent('")
        elif kind == "word":
            open_children[-1].append(label)
        elif label != open_labels[-1]:
            raise ValueError(f"{where} closes '{open_labels[-1]}(', expected '){open_labels[-1]}'")
        else:
            node = Node(open_labels.pop(), tuple(open_children.pop()))
            if open_children:
                open_children[-1].append(node)
            else:
                root = node
    if root is None:
        raise ValueError(f"'{open_labels[-1]}(' is never closed")
    return root


def frame(semantics: str) -> Frame:
    """Intent and slots of a target sequence; carrier words are left out.

    A slot's value is the words directly inside it, joined by a space; a nested slot is a slot of
    its own and follows the one around it.

    Raises:
        ValueError: as `parse`.

    >>> frame("orderDrink( get me a size( large )size coffeeDrink( latte )coffeeDrink )orderDrink")
    Frame(intent='orderDrink', slots=(('size', 'large'), ('coffeeDrink', 'latte')))
    """
    root = parse(semantics)
    slots: list[tuple[str, str]] = []

    def collect(node: Node) -> None:
        for child in node.children:
            if isinstance(child, Node):
                value = " ".join(word for word in child.children if isinstance(word, str))
                slots.append((child.label, value))
                collect(child)

    collect(root)
    return Frame(root.label, tuple(slots))


def build(what: Frame | Node) -> str:
    """The target sequence of a tree, or of a frame (then without carrier words).

    Raises:
        ValueError: a label or a word cannot stand in a sequence (empty, a space or a parenthesis).

    >>> build(Frame("orderDrink", (("size", "large"), ("coffeeDrink", "iced mocha"))))
    'orderDrink( size( large )size coffeeDrink( iced mocha )coffeeDrink )orderDrink'
    """
    if isinstance(what, Frame):
        slots = tuple(Node(name, tuple(value.split())) for name, value in what.slots)
        what = Node(what.intent, slots)
    tokens: list[str] = []
    _append(what, tokens, depth=1)
    return " ".join(tokens)


def words(semantics: str) -> str:
    """What was said: the sequence without its tags. Also works on a malformed sequence.

    >>> words("setColor( make it color( deep red )color )setColor")
    'make it deep red'
    """
    return " ".join(token for token in semantics.split() if not is_tag(token))


def tags(semantics: str) -> list[str]:
    """The tags of a sequence in order, with repetitions.

    >>> tags("setColor( make it color( deep red )color )setColor")
    ['setColor(', 'color(', ')color', ')setColor']
    """
    return [token for token in semantics.split() if is_tag(token)]


def is_tag(token: str) -> bool:
    """Whether the token is an opening or closing tag.

    >>> [is_tag(token) for token in ("size(", ")size", "size", "(", "a(b", "(size)")]
    [True, True, False, False, False, False]
    """
    if token.endswith("("):
        return _LABEL.fullmatch(token[:-1]) is not None
    return token.startswith(")") and _LABEL.fullmatch(token[1:]) is not None


def _classify(token: str, where: str) -> tuple[str, str]:
    """("open", label), ("close", label) or ("word", word)."""
    if not token:
        raise ValueError(f"{where} is empty: tokens are separated by single spaces")
    if is_tag(token):
        return ("open", token[:-1]) if token.endswith("(") else ("close", token[1:])
    if not _LABEL.fullmatch(token):
        raise ValueError(f"{where} is neither a word nor 'Name(' nor ')Name'")
    return "word", token


def _append(node: Node, tokens: list[str], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError(f"tag '{node.label}': tags are nested deeper than {MAX_DEPTH}")
    _check(node.label, "tag")
    tokens.append(f"{node.label}(")
    for child in node.children:
        if isinstance(child, Node):
            _append(child, tokens, depth + 1)
        else:
            _check(child, "word")
            tokens.append(child)
    tokens.append(f"){node.label}")


def _check(text: str, what: str) -> None:
    if not _LABEL.fullmatch(text):
        raise ValueError(f"{what} '{text}' is empty or has a space or a parenthesis in it")
