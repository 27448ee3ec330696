"""A small SNIPS NLU in its published layout, for tests."""

import json
from pathlib import Path

from atat.prepare import snips_nlu

# Sentences as (text, slot) chunks: first those of train, then those of validate.
PLAY = [
    [("Play ", None), ("jazz", "genre"), (" by Ana", None)],
    [("play some ", None), ("Rock", "genre")],
]
OTHERS = [[("one ", None), ("two", "object_name"), ("  three\n", None)], [("four five", None)]]
ADDED = [[("add ", None), ("cita rom\u00e1ntica", "playlist"), (" there", None)], OTHERS[1]]


def write_snips_nlu(directory: Path) -> Path:
    """Seven intents of two sentences each in train, one in validate; one file is latin-1."""
    for intent in snips_nlu.INTENTS:
        folder = directory / "2017-06-custom-intent-engines" / intent
        folder.mkdir(parents=True)
        sentences = {"PlayMusic": PLAY, "AddToPlaylist": ADDED}.get(intent, OTHERS)
        # What follows the sentence keeps those of different intents apart.
        sentences = [[*chunks, (f" {intent}", None)] for chunks in sentences]
        held_out = [[("please say ", None), (intent, "state")]]
        for split, written in (("train", sentences), ("validate", held_out)):
            path = folder / snips_nlu.FILES[split].format(intent)
            path.write_bytes(encoded(intent, written))
    return directory


def encoded(intent: str, sentences: list[list[tuple[str, str | None]]]) -> bytes:
    """A file of an intent, in the encoding that the corpus has for it."""
    content = {
        intent: [
            {
                "data": [
                    {"text": t} if slot is None else {"text": t, "entity": slot} for t, slot in s
                ]
            }
            for s in sentences
        ]
    }
    encoding = "latin-1" if intent == "AddToPlaylist" else "utf-8"
    return json.dumps(content, ensure_ascii=False).encode(encoding)
