"""YAML as nodes that know their lines: a second for the largest grammar, and no stack runs over."""

import yaml

MAX_DEPTH = 100  # lists and mappings in each other; a grammar has four


def compose(text: str) -> yaml.Node | None:
    """The root node of a YAML document, None where it is empty; no objects are constructed.

    Raises:
        yaml.YAMLError: it is not YAML. RecursionError: more than `MAX_DEPTH` in each other.
    """
    # libyaml is many times faster; its nodes are composed on the stack of C, which has no guard.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    depth = 0
    for event in yaml.parse(text, Loader=loader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise RecursionError
    return yaml.compose(text, Loader=loader)
