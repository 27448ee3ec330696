"""Target sequences: words inside typed tags, `intent( words slot( value )slot )intent`.

Tokens are separated by single spaces: an opening tag `Name(`, its closing tag `)Name`, or a word.
The format is the paper's (appendix A); docs/paper.md, "Target sequences", has its examples.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

MAX_DEPTH = 100  # far beyond any annotation; keeps recursion over a tree safe

_LABEL = re.compile(r"[^\s()]+")
_CACHED = 1 << 16  # tokens that need not be looked at again; a quarter as many skeletons


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
        kind, label = _classify(token)
        wrong = ""
        if root is not None:
            wrong = f" stands after the end of '{root.label}'"
        elif kind == "":
            wrong = " is neither a word nor 'Name(' nor ')Name'"
            if not token:
                wrong = " is empty: tokens are separated by single spaces"
        elif kind == "open":
            if len(open_labels) == MAX_DEPTH:
                wrong = f": tags are nested deeper than {MAX_DEPTH}"
            open_labels.append(label)
            open_children.append([])
        elif not open_labels:
            wrong = " stands before the first tag, expected 'intent('"
        elif kind == "word":
            open_children[-1].append(label)
        elif label != open_labels[-1]:
            wrong = f" closes '{open_labels[-1]}(', expected '){open_labels[-1]}'"
        else:
            node = Node(open_labels.pop(), tuple(open_children.pop()))
            if open_children:
                open_children[-1].append(node)
            else:
                root = node
        if wrong:
            raise ValueError(f"token {number} '{token}'{wrong}")
    if root is None:
        raise ValueError(f"'{open_labels[-1]}(' is never closed")
    return root


def skeleton(semantics: str) -> str:
    """The tags of a sequence that is well formed, which is all that is checked.

    Raises:
        ValueError: as `parse`.

    >>> skeleton("setColor( make it color( deep red )color )setColor")
    'setColor( color( )color )setColor'
    """
    tokens = semantics.split(" ")
    kinds = [_classify(token)[0] for token in tokens]
    bare = " ".join(token for token, kind in zip(tokens, kinds, strict=True) if kind != "word")
    try:
        # Inside of the outermost tags, words may stand anywhere: then the tags alone decide, and
        # there are few ways to nest those.
        if "word" in (kinds[0], kinds[-1]) or "" in kinds:
            raise ValueError
        _check_tags(bare)
    except ValueError:
        parse(semantics)  # says what is wrong
        raise
    return bare


@lru_cache(_CACHED // 4)
def _check_tags(bare: str) -> None:
    parse(bare)


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
    return " ".join([token for token in semantics.split() if not is_tag(token)])


def tags(semantics: str) -> list[str]:
    """The tags of a sequence in order, with repetitions.

    >>> tags("setColor( make it color( deep red )color )setColor")
    ['setColor(', 'color(', ')color', ')setColor']
    """
    return [token for token in semantics.split() if is_tag(token)]


@lru_cache(_CACHED)
def is_tag(token: str) -> bool:
    """Whether the token is an opening or closing tag.

    >>> [is_tag(token) for token in ("size(", ")size", "size", "(", "a(b", "(size)")]
    [True, True, False, False, False, False]
    """
    return _classify(token)[0] in ("open", "close")


@lru_cache(_CACHED)
def _classify(token: str) -> tuple[str, str]:
    """("open", label), ("close", label), ("word", word), or twice nothing: it is none of these."""
    if _LABEL.fullmatch(token):
        return "word", token
    if token.endswith("(") and _LABEL.fullmatch(token[:-1]):
        return "open", token[:-1]
    if token.startswith(")") and _LABEL.fullmatch(token[1:]):
        return "close", token[1:]
    return "", ""


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
