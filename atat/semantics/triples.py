"""Labels of the form (action, object, location) as target sequences, and back.

Rules: the paper's appendix A (docs/paper.md, "Target sequences"). The action wraps the transcript.
The location's word becomes `Location( kitchen )Location`. The object's word becomes
`Object( lights )Object`; where it does not occur, a tag named after the object wraps the transcript
inside the action. Words are matched whole and in any case; `none` has no tag.
"""

import re
from typing import NamedTuple

from atat.semantics import target_sequence
from atat.semantics.target_sequence import Frame, Node

NONE = "none"
LOCATION, OBJECT = "Location", "Object"
# location: how it is also said. Said so, it is that location.
SAID = {"washroom": "bathroom"}

_NAME = re.compile(r"[a-z][a-z0-9'-]*( [a-z][a-z0-9'-]*)*")
_LABEL = re.compile(r"([A-Z][a-z0-9'-]*)+")


class Triple(NamedTuple):
    """What an utterance asks for, in lower case; `none` where there is no object or location."""

    action: str
    object: str = NONE
    location: str = NONE


def to_sequence(triple: Triple, transcript: str) -> str:
    """The target sequence of a transcript, whose case is kept.

    Raises:
        ValueError: the transcript does not hold the location, or the triple could not be read back.

    >>> to_sequence(Triple("activate", "lights", "kitchen"), "turn on the kitchen lights")
    'Activate( turn on the Location( kitchen )Location Object( lights )Object )Activate'
    >>> to_sequence(Triple("decrease", "volume"), "far too loud")
    'Decrease( Volume( far too loud )Volume )Decrease'
    """
    children: list[Node | str] = list(transcript.split())
    if triple.location != NONE:
        names = (triple.location, SAID.get(triple.location, triple.location))
        if not any(_tag(children, LOCATION, name) for name in names):
            raise ValueError(f"{_shown(triple)}: '{transcript}' does not say the location")
    if triple.object != NONE and not _tag(children, OBJECT, triple.object):
        children = [Node(_label(triple.object), tuple(children))]
    sequence = target_sequence.build(Node(_label(triple.action), tuple(children)))
    try:
        back = from_sequence(sequence)
    except ValueError as e:
        raise ValueError(f"{_shown(triple)}: '{transcript}' gives {sequence}: {e}") from e
    if back != triple:
        raise ValueError(f"{_shown(triple)}: '{transcript}' gives {sequence}: {_shown(back)}")
    return sequence


def from_sequence(sequence: str) -> Triple:
    """The triple of a target sequence; the inverse of `to_sequence`.

    Raises:
        ValueError: not well formed, or tags that no triple gives; the message says which.

    >>> from_sequence("Increase( Heat( turn up the Location( bathroom )Location )Heat )Increase")
    Triple(action='increase', object='heat', location='washroom')
    """
    root = target_sequence.parse(sequence)
    inside, found = root, {}
    tags = _tags(root)
    if len(tags) == 1 and tags[0].label not in (LOCATION, OBJECT):
        (inside,) = tags
        if len(root.children) > 1:
            raise ValueError(f"words stand between '{root.label}' and '{inside.label}'")
        found[OBJECT] = _name(inside.label)
    for tag in _tags(inside):
        if tag.label not in (LOCATION, OBJECT):
            raise ValueError(
                f"tag '{tag.label}' inside '{inside.label}', expected Location, Object"
            )
        if tag.label in found:
            raise ValueError(f"a second {tag.label.lower()} in '{root.label}'")
        words = [child for child in tag.children if isinstance(child, str)]
        if not words or len(words) < len(tag.children):
            raise ValueError(f"tag '{tag.label}' is empty or has a tag inside, expected its words")
        found[tag.label] = " ".join(words).lower()
    if NONE in found.values():
        raise ValueError("'none' has a tag, expected that it has not")
    location = found.get(LOCATION, NONE)
    of_said = {said: name for name, said in SAID.items()}
    return Triple(_name(root.label), found.get(OBJECT, NONE), of_said.get(location, location))


def frame(sequence: str) -> Frame:
    """The triple as intent and slots, by which it is scored.

    Raises:
        ValueError: as `from_sequence`.

    >>> frame("Bring( get me the Object( newspaper )Object )Bring")
    Frame(intent='bring', slots=(('object', 'newspaper'),))
    """
    action, *values = from_sequence(sequence)
    slots = zip(("object", "location"), values, strict=True)
    return Frame(action, tuple((name, value) for name, value in slots if value != NONE))


def _tag(children: list[Node | str], name: str, value: str) -> bool:
    """Put the first occurrence of the value's words inside a tag; whether there was one."""
    words = value.split()
    for start in range(len(children) - len(words) + 1):
        span = children[start : start + len(words)]
        if [word.lower() for word in span if isinstance(word, str)] == words:
            children[start : start + len(words)] = [Node(name, tuple(span))]
            return True
    return False


def _tags(node: Node) -> list[Node]:
    return [child for child in node.children if isinstance(child, Node)]


def _label(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"got the name '{name}', expected words of lower-case letters")
    return "".join(word.capitalize() for word in name.split())


def _name(label: str) -> str:
    if not _LABEL.fullmatch(label):
        raise ValueError(f"got the tag '{label}', expected words that start with a capital letter")
    return re.sub("(?<!^)(?=[A-Z])", " ", label).lower()


def _shown(triple: Triple) -> str:
    return "({})".format(", ".join(triple))
