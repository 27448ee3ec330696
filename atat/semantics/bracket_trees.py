"""Trees in bracket strings, `[IN:GO [SL:TO home ] ]`, as target sequences, and back.

Intents hold words and slots, slots hold words and intents, and the root is an intent. So whether a
tag is an intent or a slot follows from its depth, and tags need no prefix, as in the paper's
examples (docs/paper.md, "Target sequences").
"""

import re

from atat.semantics import target_sequence
from atat.semantics.target_sequence import MAX_DEPTH, Frame, Node

KINDS = ("IN", "SL")  # of the root, of what is directly inside it, and so on alternately

_PART = r"[A-Z][A-Z0-9]*"
_BRACKET = re.compile(rf"\[(IN|SL):({_PART}(?:_{_PART})*)")
_TAG = re.compile(r"(?:[A-Z][a-z0-9]*)+")
_TAG_PART = re.compile(r"[A-Z][a-z0-9]*")


def to_sequence(brackets: str) -> str:
    """The target sequence of a bracket string.

    Raises:
        ValueError: as `read`; or a word has a parenthesis in it, which a sequence cannot hold.

    >>> to_sequence("[IN:GET_EVENT Where can we take [SL:ATTRIBUTE_EVENT the kids ] ]")
    'GetEvent( Where can we take AttributeEvent( the kids )AttributeEvent )GetEvent'
    """
    return target_sequence.build(read(brackets))


def to_brackets(sequence: str) -> str:
    """The bracket string of a target sequence, the inverse of `to_sequence`.

    Raises:
        ValueError: as `target_sequence.parse` and `write`.

    >>> to_brackets("GetEvent( any AttributeEvent( kids )AttributeEvent events )GetEvent")
    '[IN:GET_EVENT any [SL:ATTRIBUTE_EVENT kids ] events ]'
    """
    return write(target_sequence.parse(sequence))


def read(brackets: str) -> Node:
    """Read a bracket string as a tree of the tags and words of a target sequence.

    Raises:
        ValueError: it is not well formed; the message says why and at which token.

    >>> read("[IN:GET_EVENT tonight ]")
    Node(label='GetEvent', children=('tonight',))
    """
    root: Node | None = None
    labels: list[str] = []
    children: list[list[Node | str]] = []
    for number, token in enumerate(brackets.split(), start=1):
        where = f"token {number} '{token}'"
        if root is not None:
            raise ValueError(f"{where} stands after the end of the tree")
        if token == "]":
            if not labels:
                raise ValueError(f"{where} closes nothing")
            node = Node(labels.pop(), tuple(children.pop()))
            if children:
                children[-1].append(node)
            else:
                root = node
        elif "[" in token or "]" in token:
            labels.append(_opened(token, where, depth=len(labels)))
            children.append([])
        elif not labels:
            raise ValueError(f"{where} stands before the tree, expected '[IN:...'")
        else:
            children[-1].append(token)
    if labels:
        raise ValueError(f"'[{KINDS[(len(labels) - 1) % 2]}:{_name(labels[-1])}' is never closed")
    if root is None:
        raise ValueError("the tree is empty, expected '[IN:... ]'")
    return root


def write(tree: Node) -> str:
    """The bracket string of a tree, the inverse of `read`.

    Raises:
        ValueError: a label that no bracket has, or a word with a bracket in it.
    """
    tokens: list[str] = []

    def append(node: Node, depth: int) -> None:
        if depth >= MAX_DEPTH:
            raise ValueError(f"tag '{node.label}': tags are nested deeper than {MAX_DEPTH}")
        tokens.append(f"[{KINDS[depth % 2]}:{_name(node.label)}")
        for child in node.children:
            if isinstance(child, Node):
                append(child, depth + 1)
            elif child.split() != [child] or "[" in child or "]" in child:
                raise ValueError(f"word '{child}' is empty or has a space or a bracket in it")
            else:
                tokens.append(child)
        tokens.append("]")

    append(tree, 0)
    return " ".join(tokens)


def frame(sequence: str) -> Frame:
    """What a tree asks for: its intent, and its slots with all that is inside them.

    Two sequences have equal frames (`Frame.key`) exactly if their trees are the same but for the
    words that intents carry, which say nothing beyond the label, and for the order of the root's
    slots. Source: Aghajanyan et al. 2020, decoupled representation; the column
    `decoupled_normalized_seqlogical`.

    Raises:
        ValueError: the sequence is malformed.

    >>> frame("Go( to Place( GetShop( a Food( green tea )Food shop )GetShop )Place )Go")
    Frame(intent='Go', slots=(('Place', 'GetShop( Food( green tea )Food )GetShop'),))
    """

    def without_carriers(node: Node, depth: int) -> Node:
        nodes = tuple(without_carriers(c, depth + 1) for c in node.children if isinstance(c, Node))
        is_leaf_slot = depth % 2 == 1 and not nodes
        return Node(node.label, node.children if is_leaf_slot else nodes)

    root = target_sequence.parse(sequence)
    slots = [without_carriers(c, 1) for c in root.children if isinstance(c, Node)]
    values = (" ".join(target_sequence.build(slot).split()[1:-1]) for slot in slots)
    return Frame(root.label, tuple(zip((slot.label for slot in slots), values, strict=True)))


def _opened(token: str, where: str, depth: int) -> str:
    """The tag of an opening bracket."""
    match = _BRACKET.fullmatch(token)
    kind = KINDS[depth % 2]
    if match is None:
        raise ValueError(f"{where} is an unknown bracket, expected '[{kind}:NAME' or ']'")
    if match[1] != kind:
        raise ValueError(
            f"{where}: got {match[1]}, expected {kind}: intents (IN) hold slots (SL), and slots "
            "intents"
        )
    if depth == MAX_DEPTH:
        raise ValueError(f"{where}: brackets are nested deeper than {MAX_DEPTH}")
    # "GET_EVENT" -> "GetEvent": one capital a part, so that the parts can be told again.
    return "".join(part.capitalize() for part in match[2].split("_"))


def _name(tag: str) -> str:
    """The name in the bracket of a tag: "GetEvent" -> "GET_EVENT"."""
    if not _TAG.fullmatch(tag):
        raise ValueError(f"tag '{tag}' is of no tree, expected a name such as 'GetEvent'")
    return "_".join(part.upper() for part in _TAG_PART.findall(tag))
