"""Sentences of rendered stand-ins of corpora with labels of their own: ours, with their labels.

A `{name}` in a template stands for any of `toy_sentences.FILLERS[name]`.
"""

import random
import re
from itertools import zip_longest
from typing import Any

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
# SLURP: (scenario, action) -> templates, in which [words](type) is an entity. SLURP's names.
REQUESTS: dict[tuple[str, str], list[str]] = {
    ("alarm", "set"): [
        "let me sleep until [{hour}](time) [{day}](date)",
        "get me out of bed [{day}](date) at [{hour}](time)",
    ],
    ("alarm", "remove"): [
        "i don't need the alarm [{day}](date)",
        "no alarm at [{hour}](time) [{day}](date)",
    ],
    ("audio", "volume_mute"): ["hush for [{duration}](time)", "not a sound {day} please"],
    ("calendar", "query"): [
        "when is [{name}'s](person) [{occasion}](event_name)",
        "who comes to the [{occasion}](event_name) [{day}](date)",
    ],
    ("calendar", "set"): [
        "i have a [{occasion}](event_name) with [{name}](person) [{day}](date)",
        "write down [{name}'s](person) [{occasion}](event_name) [{month}](date)",
    ],
    ("email", "sendemail"): [
        "write to [my {kin}](relation) that {news}",
        "let [{name}](person) know that {news}",
    ],
    ("iot", "hue_lightchange"): ["make the [{house_room}](house_place) [{colour}](color_type)"],
    ("iot", "hue_lightoff"): ["make the [{house_room}](house_place) dark", "it's too bright {day}"],
    ("lists", "createoradd"): [
        "i must not forget to {chore}",
        "put {chore} on the [{name}](list_name) list",
    ],
    ("play", "music"): [
        "let us hear [{genre}](music_genre) by [{name}](artist_name)",
        "put on a [{genre}](music_genre) {record}",
    ],
    ("qa", "currency"): ["how many [{money}](currency_name) for {number} [{money}](currency_name)"],
    ("weather", "query"): [
        "what's the sky like in [{city}](place_name) [{day}](date)",
        "is there going to be [{sky}](weather_descriptor) [{day}](date)",
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


def request(what: tuple[str, str], rng: random.Random) -> str:
    """A filled template of `REQUESTS`."""
    return expand("{ask}" + rng.choice(REQUESTS[what]), rng)


def annotated(number: int, what: tuple[str, str], sentence: str) -> dict[str, Any]:
    """A line of SLURP's lists, without recordings, of a filled template of `REQUESTS`.

    >>> line = annotated(7, ("calendar", "query"), "when is [ben's](person) birthday")
    >>> line["sentence_annotation"], line["entities"]
    ("when is [person : ben's] birthday", [{'span': [2, 3], 'type': 'person'}])
    >>> [token["surface"] for token in line["tokens"]]
    ['when', 'is', 'ben', "'s", 'birthday']
    """
    tokens: list[str] = []
    entities = []
    # Text, then words and type in turn: ["when is ", "ben's", "person", " birthday"].
    parts = re.split(r"\[(.*?)\]\((\w+)\)", sentence)
    for text, filler, kind in zip_longest(parts[::3], parts[1::3], parts[2::3]):
        tokens += _apart(text)
        if kind is not None:
            words = _apart(filler)
            span = list(range(len(tokens), len(tokens) + len(words)))
            entities.append({"span": span, "type": kind})
            tokens += words
    scenario, action = what
    return {
        "slurp_id": number,
        "sentence": re.sub(r"\[(.*?)\]\(\w+\)", r"\1", sentence),
        "sentence_annotation": re.sub(r"\[(.*?)\]\((\w+)\)", r"[\2 : \1]", sentence),
        "intent": f"{scenario}_{action}",
        "action": action,
        "tokens": [{"surface": token, "id": place} for place, token in enumerate(tokens)],
        "scenario": scenario,
        "recordings": [],
        "entities": entities,
    }


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


def _apart(text: str) -> list[str]:
    """The tokens of a text: what is contracted is a token of its own."""
    return re.sub(r"(?<=\w)('s|n't)\b", r" \1", text).split()
