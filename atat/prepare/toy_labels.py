"""Sentences of rendered stand-ins of corpora with labels of their own: ours, with their labels.

A `{name}` in a template stands for any of `toy_sentences.FILLERS[name]`.
"""

import random
import re

from atat.semantics import bracket_trees
from atat.semantics.target_sequence import Node
from atat.synthesis.toy_sentences import ROOMS, expand

# Fluent Speech Commands: (action, object) -> what is said without a room, and with one.
COMMANDS: dict[tuple[str, str], tuple[list[str], list[str]]] = {
    ("activate", "lamp"): (["put the lamp on", "lamp on please", "it is too dark to read"], []),
    ("activate", "lights"): (
        ["put the lights on", "we need all lights", "it is dark in here"],
        ["put the {room} lights on", "lights on in the {room}", "it is dark in the {room}"],
    ),
    ("activate", "music"): (["let us hear music", "put some music on", "play something"], []),
    ("bring", "juice"): (["i would like my juice", "fetch me some juice"], []),
    ("bring", "newspaper"): (["where is my newspaper fetch it", "fetch the newspaper"], []),
    ("bring", "shoes"): (["i need my shoes now", "fetch me the shoes"], []),
    ("bring", "socks"): (["fetch me warm socks", "my socks please"], []),
    ("change language", "none"): (["i want another language", "use a different language"], []),
    ("change language", "Chinese"): (["speak Chinese from now on", "please use Chinese"], []),
    ("change language", "English"): (["speak English from now on", "please use English"], []),
    ("change language", "German"): (["speak German from now on", "please use German"], []),
    ("change language", "Korean"): (["speak Korean from now on", "please use Korean"], []),
    ("deactivate", "lamp"): (["put the lamp out", "no lamp please", "let me sleep now"], []),
    ("deactivate", "lights"): (
        ["put the lights out", "we need no lights", "it is far too bright"],
        ["put the {room} lights out", "no lights in the {room}", "it is too bright in the {room}"],
    ),
    ("deactivate", "music"): (["no more music", "silence please", "put the music off"], []),
    ("decrease", "heat"): (
        ["less heat please", "it is too hot", "put the heating down"],
        ["less heat in the {room}", "the {room} is too hot", "put the {room} heating down"],
    ),
    ("decrease", "volume"): (["less volume please", "that is much too loud", "hush"], []),
    ("increase", "heat"): (
        ["more heat please", "it is freezing", "put the heating up"],
        ["more heat in the {room}", "the {room} is freezing", "put the {room} heating up"],
    ),
    ("increase", "volume"): (["more volume please", "i cannot hear that", "louder"], []),
}

# SNIPS smart-lights: intent -> templates, in which [words](slot) is a slot.
LIGHTS = {
    "SwitchLightOn": [
        "light in the [{house_room}](room) please",
        "can you give me some light in the [{house_room}](room)",
        "put on the lights of the [{house_room}](room)",
        "put on {every} lights",
    ],
    "SwitchLightOff": [
        "no light in the [{house_room}](room)",
        "put out the lights of the [{house_room}](room)",
        "make the [{house_room}](room) dark",
        "put out {every} lights",
    ],
    "IncreaseBrightness": [
        "make it brighter in the [{house_room}](room)",
        "a little more light in the [{house_room}](room) please",
        "more light on {every} sides",
    ],
    "DecreaseBrightness": [
        "make it dimmer in the [{house_room}](room)",
        "a little less light in the [{house_room}](room) please",
        "dim {every} lights",
    ],
    "SetLightBrightness": [
        "i want [{number}](brightness) percent in the [{house_room}](room)",
        "put the [{house_room}](room) lights at [{number}](brightness) percent",
        "{every} lights at [{number}](brightness)",
    ],
    "SetLightColor": [
        "i want the [{house_room}](room) to be [{colour}](color)",
        "make the lights [{colour}](color) in the [{house_room}](room)",
        "[{colour}](color) in {every} rooms",
    ],
}
ENTITIES = {"room": "house_room", "brightness": "snips/percentage", "color": "color"}


def triples() -> list[tuple[str, str, str, list[str]]]:
    """(action, object, location, how it is said) of the 31 intents of Fluent Speech Commands."""
    found = []
    for (action, thing), (plain, inside) in COMMANDS.items():
        found.append((action, thing, "none", plain))
        for room, said in ROOMS.items() if inside else ():
            found.append((action, thing, room, [text.format(room=said) for text in inside]))
    return found


def chunks(sentence: str) -> list[dict[str, str]]:
    """A filled template of `LIGHTS` as SNIPS writes it: pieces of text, some with a slot.

    >>> chunks("[red](color) in all rooms")
    [{'text': 'red', 'entity': 'color', 'slot_name': 'color'}, {'text': ' in all rooms'}]
    """
    # Text, then words and slot in turn: ["", "red", "color", " in all rooms"].
    parts = re.split(r"\[(.*?)\]\((\w+)\)", sentence)
    found = [{"text": parts[0]}] if parts[0] else []
    for words, slot, text in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        found.append({"text": words, "entity": ENTITIES[slot], "slot_name": slot})
        found += [{"text": text}] if text else []
    return found


def light(intent: str, rng: random.Random) -> str:
    """A filled template of an intent of `LIGHTS`."""
    return expand("{ask}" + rng.choice(LIGHTS[intent]), rng)


def decoupled(brackets: str) -> str:
    """A bracket string without the words that no slot holds.

    >>> decoupled("[IN:GET_EVENT what's on [SL:DATE_TIME today ] ]")
    '[IN:GET_EVENT [SL:DATE_TIME today ] ]'
    """
    kept, opened = [], []
    for token in brackets.split():
        if token.startswith("["):
            opened.append(token)
        elif token == "]":
            opened.pop()
        elif opened[-1].startswith("[IN:"):
            continue
        kept.append(token)
    return " ".join(kept)


def flat_chunks(brackets: str) -> list[dict[str, str]]:
    """A bracket string as SNIPS NLU writes it: pieces of text, some with a slot; outer slots alone.

    >>> flat_chunks("[IN:GET_EVENT what is on [SL:DATE_TIME [IN:X today ] ] ]")
    [{'text': 'what is on '}, {'text': 'today', 'entity': 'date_time'}]
    """
    root = bracket_trees.read(brackets)
    found: list[dict[str, str]] = []
    for child in root.children:
        if isinstance(child, str):
            if not found or "entity" in found[-1]:
                found.append({"text": " " if found else ""})
            found[-1]["text"] += f"{child} "
        else:
            if found and "entity" in found[-1]:
                found.append({"text": " "})
            name = re.sub(r"(?<!^)(?=[A-Z])", "_", child.label).lower()
            found.append({"text": " ".join(_words(child)), "entity": name})
    return found


def _words(node: Node) -> list[str]:
    return [w for c in node.children for w in ([c] if isinstance(c, str) else _words(c))]
