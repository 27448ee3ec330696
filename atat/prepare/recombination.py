"""More sentences of a corpus, by recombination (Jia and Liang 2016): values of slots change places.

A recogniser learns the sentences that it hears, not their words alone; so it is given others of the
same kind.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Collection

from atat.prepare.top_format import Sentence
from atat.semantics import target_sequence
from atat.semantics.target_sequence import Node

TRIES = 10  # draws, in the mean, for one that is new


def recombine(
    sentences: list[Sentence],
    num: int,
    taken: Collection[str],
    say: Callable[[str], str],
    seed: int,
) -> list[Sentence]:
    """New sentences: those of a corpus, with each slot of the outermost tag filled by what a slot
    of that name has in any of them, as often as it has it.

    Args:
        sentences: with semantics; those without slots give none.
        num: how many; fewer come where nothing else can be said.
        taken: texts that are none of them, beside those of `sentences`.
        say: makes the text of the words in semantics (`top_splits.speller`).
        seed: of the draw.
    """
    chance = random.Random(f"{seed} recombination")
    trees = [(s.domain, target_sequence.parse(s.semantics)) for s in sentences if s.semantics]
    fillers: dict[str, list[Node]] = defaultdict(list)
    for _, tree in trees:
        for child in tree.children:
            if isinstance(child, Node):
                fillers[child.label].append(child)
    trees = [(domain, tree) for domain, tree in trees if _has_slots(tree)]
    seen = {*taken, *(sentence.text for sentence in sentences)}

    def drawn() -> Sentence:
        domain, tree = chance.choice(trees)
        children = [
            chance.choice(fillers[c.label]) if isinstance(c, Node) else c for c in tree.children
        ]
        semantics = target_sequence.build(Node(tree.label, tuple(children)))
        return Sentence("", domain, say(target_sequence.words(semantics)), semantics)

    found: dict[str, Sentence] = {}
    for sentence in (drawn() for _ in range(TRIES * num if trees else 0)):
        if len(found) == num:
            break
        if sentence.text not in seen:
            found.setdefault(sentence.text, sentence)
    return [
        Sentence(f"recombined-{number:06d}", s.domain, s.text, s.semantics)
        for number, s in enumerate(found.values())
    ]


def _has_slots(tree: Node) -> bool:
    return any(isinstance(child, Node) for child in tree.children)
