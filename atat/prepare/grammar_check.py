"""`--check` of recipes that learn from a grammar: what it holds, what is trained and tested."""

import sys
from collections import Counter
from collections.abc import Collection

from atat.config.schema import Config
from atat.grammar.grammar import Grammar, slots_of
from atat.prepare import spoken_grammar
from atat.semantics import target_sequence
from atat.synthesis import pronunciation

MAX_ALIKE = 5  # lines on values that sound the same


def print_check(grammar: Grammar, settings: Config, rendered: tuple[str, ...]) -> None:
    """Print what a grammar holds and what of it would be trained and tested; writes nothing.

    Args:
        grammar: of all that is said.
        settings: `data` and `seed` are used.
        rendered: the splits that synthesisers speak.

    Raises:
        ValueError: as `spoken_grammar.check_voices`; a synthesiser that is not there.
    """
    spoken_grammar.check_voices(settings.data.voices, rendered)
    for split in rendered:
        spoken_grammar.plan_speech([], split, settings)
    print(
        f"{grammar.path}: intents {len(grammar.intents)}, slots {len(grammar.slots)}, "
        f"sentences {grammar.count():,}"
    )
    for warning in _alike(grammar, settings.data.pronunciations):
        print(f"warning: {warning}", file=sys.stderr)
    drawn = spoken_grammar.draw(grammar, settings.data, settings.seed)
    trained = {target_sequence.words(s) for split in ("train", "train_text") for s in drawn[split]}
    frames = {
        split: [(target_sequence.frame(s).intent, s) for s in drawn[split]] for split in drawn
    }
    per_intent = {split: Counter(intent for intent, _ in found) for split, found in frames.items()}
    held_out = Counter(i for i, s in frames["test"] if target_sequence.words(s) not in trained)
    width = max(map(len, [*grammar.intents, "intent"])) + 2
    print(
        f"\n{'intent':<{width}}{'sentences':>20}{'train':>8}{'valid':>8}{'test':>8}{'held out':>10}"
    )
    for intent, count in grammar.count_by_intent().items():
        train, valid, test = (per_intent[split][intent] for split in spoken_grammar.SPOKEN)
        print(f"{intent:<{width}}{count:>20,}{train:>8}{valid:>8}{test:>8}{held_out[intent]:>10}")
    print("\nten sentences of training:")
    for sequence in drawn["train"][:10]:
        print(f"  {sequence}")
    words = {word for symbols in grammar.automaton(with_tags=False).arcs for word in symbols}
    spoken_grammar.say_unused_pronunciations(settings, words)
    guessed = pronunciation.not_in_dictionary(words - settings.data.pronunciations.keys())
    if guessed:
        print(
            f"\nnot in the pronunciation dictionary, so that synthesisers guess how they sound "
            f"(data.pronunciations can help): {', '.join(guessed)}"
        )


def _alike(grammar: Grammar, other: Collection[str]) -> list[str]:
    """A line for the values of a slot that sound the same and mean another; `other` words have a
    pronunciation that is not the dictionary's."""
    slots = {
        slot: intent
        for intent, many in grammar.expressions.items()
        for one in many
        for slot in slots_of(one)
    }
    found: dict[str, None] = {}  # in order
    for slot, intent in slots.items():
        by_sound: dict[str, list[str]] = {}
        for value in grammar.slot_types[slot.type]:
            by_sound.setdefault(pronunciation.sound(value, other), []).append(value)
        for values in by_sound.values():
            if len({grammar.written(intent, slot.name, value) for value in values}) > 1:
                found[
                    f"{', '.join(map(repr, values))} of slot {slot.name} sound the same: drop one, "
                    "or give all of them one 'out'"
                ] = None
    lines = list(found)
    if len(lines) > MAX_ALIKE:
        lines[MAX_ALIKE:] = [f"{len(lines) - MAX_ALIKE} more slot values sound the same as others"]
    return lines
