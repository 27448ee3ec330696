"""Sentences drawn from a model's grammar, for people to try."""

import random
from pathlib import Path
from threading import Lock
from typing import Any

from atat.grammar.grammar import Grammar
from atat.grammar.sentence_dealer import Dealer


class ExampleSentences:
    """Draws sentences, of one intent after the other; may be shared by threads."""

    def __init__(self, grammar: str | Path | None) -> None:
        """
        Args:
            grammar: its file, read at the first call; None: there are no examples.
        """
        self._grammar, self._lock = grammar, Lock()
        self._dealer: Dealer | None = None
        self._next = 0

    def draw(self, num: int) -> list[dict[str, Any]]:
        """Different sentences, with what each means: "text" and "intent"; fewer where there are
        not as many."""
        if self._grammar is None:
            return []
        with self._lock:
            if self._dealer is None:
                self._dealer = Dealer(Grammar.load(self._grammar), random.Random("examples"))
            intents = self._dealer.grammar.intents
            drawn: dict[str, dict[str, Any]] = {}
            for _ in range(4 * num):  # a small grammar says the same again
                if len(drawn) == num:
                    break
                sentence = self._dealer.draw(intents[self._next % len(intents)])
                self._next += 1
                self._dealer.use(sentence)
                drawn.setdefault(
                    sentence.words, {"text": sentence.words, "intent": sentence.intent}
                )
            return list(drawn.values())
