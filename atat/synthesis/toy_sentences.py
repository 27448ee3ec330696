"""Sentences of our own, drawn by seed: those of other domains, and what rendered stand-ins say.

A `{name}` in a template stands for any of `FILLERS[name]`.
"""

import random
import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

MAX_DRAWS = 200  # for a sentence that is not there yet
Made = TypeVar("Made")


class Tree(NamedTuple):
    """A sentence with a tree: as it was typed, its tokens, and the bracket string over these."""

    raw: str
    tokenised: str
    brackets: str


ROOMS = {"kitchen": "kitchen", "bedroom": "bedroom", "washroom": "bathroom"}  # name: how it is said

# Domain -> templates of bracket strings.
TREES = {
    "event": [
        "[IN:GET_EVENT any [SL:CATEGORY_EVENT {event} ] {when} ? ]",
        "[IN:GET_EVENT are there [SL:CATEGORY_EVENT {event} ] in {place} ]",
        "[IN:GET_EVENT what 's on in {place} {when} ? ]",
        "[IN:GET_EVENT where can i take [SL:ATTRIBUTE_EVENT {guests} ] {when} ]",
        "[IN:GET_EVENT find [SL:ATTRIBUTE_EVENT {guests} ] some [SL:CATEGORY_EVENT {event} ] ]",
        "[IN:UNSUPPORTED_EVENT who won the {event} in the {point} {day} ]",
    ],
    "navigation": [
        "[IN:GET_DISTANCE how far is {goal} from {place} ? ]",
        "[IN:GET_DIRECTIONS how do i get to {goal} ]",
        "[IN:GET_DIRECTIONS show me the way to {goal} without [SL:PATH_AVOID {road} ] ]",
        "[IN:GET_INFO_TRAFFIC what 's the traffic like in {place} {when} ? ]",
        "[IN:GET_ESTIMATED_DURATION how long is the [SL:METHOD_TRAVEL {ride} ] to {goal} ]",
        "[IN:GET_ESTIMATED_ARRIVAL when will i be at {goal} if i leave {departure} ? ]",
        "[IN:UNSUPPORTED_NAVIGATION is the {point} still open {day} ]",
    ],
    "alarm": [
        "[IN:CREATE_ALARM wake me {when} ]",
        "[IN:CREATE_ALARM i need an alarm {when} please ]",
        "[IN:DELETE_ALARM no alarm {when} ]",
        "[IN:GET_ALARM do i have alarms {when} ? ]",
        "[IN:SNOOZE_ALARM let me sleep [SL:DURATION {number} more minutes ] ]",
    ],
    "messaging": [
        "[IN:SEND_MESSAGE tell {person} that [SL:CONTENT_EXACT {news} ] ]",
        "[IN:SEND_MESSAGE let {person} know [SL:CONTENT_EXACT {news} ] {when} ]",
        "[IN:GET_MESSAGE did {sender} write {when} ? ]",
    ],
    "music": [
        "[IN:PLAY_MUSIC put on [SL:MUSIC_GENRE {genre} ] ]",
        "[IN:PLAY_MUSIC let us hear [SL:MUSIC_GENRE {genre} ] by [SL:MUSIC_ARTIST_NAME {name} ] ]",
        "[IN:PLAY_MUSIC put the [SL:MUSIC_TYPE {record} ] by [SL:MUSIC_ARTIST_NAME {name} ] on ]",
        "[IN:PLAY_MUSIC put on a [SL:MUSIC_GENRE {genre} ] [SL:MUSIC_TYPE {record} ] by "
        "[SL:MUSIC_ARTIST_NAME {name} ] ]",
        "[IN:PAUSE_MUSIC hold the [SL:MUSIC_TYPE {record} ] for a moment ]",
        "[IN:SKIP_TRACK_MUSIC not this [SL:MUSIC_TYPE {record} ] , the next one ]",
        "[IN:LIKE_MUSIC this [SL:MUSIC_GENRE {genre} ] [SL:MUSIC_TYPE {record} ] is great ]",
    ],
    "reminder": [
        # SL:TODO is a slot (what one is to be reminded of), nothing left undone.
        "[IN:CREATE_REMINDER do n't let me forget to [SL:TODO {chore} ] {when} ]",
        "[IN:CREATE_REMINDER nag {reminded} to [SL:TODO {chore} ] {when} ]",
        "[IN:GET_REMINDER what 's left to do {when} ? ]",
        "[IN:DELETE_REMINDER i need not [SL:TODO {chore} ] any more ]",
    ],
    "timer": [
        "[IN:CREATE_TIMER count down [SL:DATE_TIME {duration} ] for the {clock} ]",
        "[IN:CREATE_TIMER {clock} for [SL:DATE_TIME {duration} ] starting now ]",
        "[IN:ADD_TIME_TIMER give the {clock} [SL:DATE_TIME {duration} ] more ]",
        "[IN:PAUSE_TIMER hold the {clock} at [SL:DATE_TIME {duration} ] ]",
    ],
    "weather": [
        "[IN:GET_WEATHER will there be [SL:WEATHER_ATTRIBUTE {sky} ] in {place} ? ]",
        "[IN:GET_WEATHER is it going to be [SL:WEATHER_ATTRIBUTE {sky} ] {when} ]",
        "[IN:GET_SUNRISE when does the sun rise in {place} {when} ? ]",
    ],
}

# Read prose.
PROSE = [
    "the {adjective} {noun} {verb} the {noun} and {verb} the {adjective} {noun}",
    "before the {noun} {verb} it a {adjective} {noun} had come {day}",
    "{number} {adjective} days went by until the {noun} {verb} a {noun}",
    "nobody knew why the {noun} of the {adjective} {noun} {verb} us",
]

FILLERS = {
    "room": list(ROOMS.values()),
    "house_room": [
        *("kitchen", "bedroom", "living room", "garage", "attic", "dining room", "cellar"),
        *("guest room", "hallway", "nursery", "office", "bathroom"),
    ],
    "every": ["all", "all the", "all of the", "the", "both"],
    "number": [
        *("five", "ten", "twelve", "fifteen", "twenty", "twenty five", "thirty", "forty", "fifty"),
        *("fifty five", "sixty", "seventy", "eighty", "ninety"),
    ],
    "duration": ["{number} minutes", "{number} seconds", "{number} minutes {number} seconds"],
    "clock": ["[SL:METHOD_TIMER timer ]", "[SL:METHOD_TIMER stopwatch ]"],
    "ask": ["", "please ", "hey ", "now ", "listen ", "okay "],
    "colour": ["red", "blue", "green", "yellow", "orange", "purple", "pink", "white", "warm white"],
    "event": [
        *("concerts", "parades", "plays", "poetry nights", "food fairs", "dance shows", "movies"),
        *("craft fairs", "chess games", "art walks", "races", "puppet shows"),
    ],
    "guests": ["the kids", "my parents", "a friend", "the whole family", "two old ladies", "dogs"],
    "when": ["[SL:DATE_TIME {day} ]", "[SL:DATE_TIME {day} at {hour} ]", "[SL:DATE_TIME {month} ]"],
    "day": ["today", "tonight", "tomorrow", "on monday", "on friday", "this weekend", "next week"],
    "hour": ["noon", "six", "seven thirty", "nine", "ten", "four in the afternoon", "midnight"],
    "month": ["in march", "in june", "in the spring", "before christmas", "after new year"],
    "departure": ["[SL:DATE_TIME_DEPARTURE {day} ]", "[SL:DATE_TIME_DEPARTURE at {hour} ]"],
    "city": [
        *("oslo", "boston", "denver", "lisbon", "perth", "dublin", "cairo", "austin", "lima"),
        *("kyoto", "vienna", "glasgow"),
    ],
    "point": ["harbour", "museum", "stadium", "old bridge", "town hall", "zoo", "library", "lake"],
    "place": [
        "[SL:LOCATION {city} ]",
        "[SL:LOCATION the {point} ]",
        "[SL:LOCATION [IN:GET_LOCATION [SL:CATEGORY_LOCATION the {point} ] ] ]",
    ],
    "goal": [
        "[SL:DESTINATION {city} ]",
        "[SL:DESTINATION [IN:GET_LOCATION [SL:POINT_ON_MAP the {point} ] ] ]",
        "[SL:DESTINATION [IN:GET_LOCATION_HOME [SL:CONTACT {name} ] 's house ] ]",
        "[SL:DESTINATION [IN:GET_RESTAURANT_LOCATION the [SL:TYPE_FOOD {food} ] place ] ]",
    ],
    "food": ["coffee", "noodle", "pizza", "soup", "pancake", "curry"],
    "road": ["the motorway", "main street", "the tunnel", "toll roads"],
    "ride": ["drive", "walk", "bus ride", "train ride", "bike ride"],
    "name": ["anna", "ben", "clara", "david", "ella", "felix", "grace", "henry", "iris", "jonas"],
    "person": [
        "[SL:RECIPIENT {name} ]",
        "[SL:RECIPIENT [IN:GET_CONTACT [SL:CONTACT_RELATED my ] [SL:TYPE_RELATION {kin} ] ] ]",
    ],
    "sender": ["[SL:SENDER {name} ]", "[SL:SENDER my {kin} ]"],
    "reminded": ["[SL:PERSON_REMINDED me ]", "[SL:PERSON_REMINDED {name} ]"],
    "kin": ["mother", "father", "sister", "brother", "aunt", "boss"],
    "news": [
        *("dinner is ready", "i am late", "the train is full", "we are home", "it snows here"),
        *("the cat is back", "lunch is on me", "the door was open"),
    ],
    "genre": ["jazz", "folk", "blues", "techno", "salsa", "opera", "reggae", "country", "swing"],
    "record": ["song", "album", "track", "playlist", "record"],
    "chore": [
        *("water the plants", "buy milk", "call the bank", "feed the fish", "pay the rent"),
        *("book a table", "clean the car", "write to grandma"),
    ],
    "money": ["dollars", "euros", "pounds", "francs", "rupees"],
    "occasion": ["birthday", "wedding", "haircut", "exam", "job interview", "choir practice"],
    "sky": ["rain", "snow", "fog", "sunny", "windy", "cold", "stormy", "clear", "a heat wave"],
    "adjective": [
        *("quiet", "golden", "narrow", "ancient", "gentle", "bitter", "hollow", "northern"),
        *("crooked", "silver", "patient", "distant"),
    ],
    "noun": [
        *("river", "captain", "garden", "letter", "window", "soldier", "village", "shadow"),
        *("winter", "miller", "tower", "orchard", "stranger", "lantern", "forest", "daughter"),
    ],
    "verb": [
        "followed",
        "remembered",
        "crossed",
        "feared",
        "carried",
        "watched",
        "forgot",
        "found",
    ],
}


def expand(template: str, rng: random.Random) -> str:
    """A template with every `{name}` filled in."""
    return re.sub(r"\{(\w+)\}", lambda found: expand(rng.choice(FILLERS[found[1]]), rng), template)


def draw(make: Callable[[], Made], num: int, taken: set[Made]) -> list[Made]:
    """Different things that `make` gives, none of them in `taken`, which has them then.

    Raises:
        ValueError: there are not so many.
    """
    found: list[Made] = []
    for _ in range(MAX_DRAWS * num):
        if len(found) == num:
            break
        if (made := make()) not in taken:
            taken.add(made)
            found.append(made)
    if len(found) < num:
        raise ValueError(f"got {len(found)} different sentences, expected {num}: add templates")
    return found


def tree(domain: str, rng: random.Random) -> Tree:
    """A sentence of a domain, with its tree."""
    brackets = expand(rng.choice(TREES[domain]), rng)
    tokens = [token for token in brackets.split() if token != "]" and not token.startswith("[")]
    raw = re.sub(r" (?=[?,]|'s\b|n't\b)", "", " ".join(tokens))
    return Tree(raw[0].upper() + raw[1:], " ".join(tokens), brackets)


def normalised(text: str) -> str:
    """A sentence or a bracket string without punctuation and the spaces before `'s` and `n't`.

    >>> normalised("[IN:GET_EVENT what 's on [SL:DATE_TIME today ] ? ]")
    "[IN:GET_EVENT what's on [SL:DATE_TIME today ] ]"
    """
    return re.sub(r"(?<=\w) (?='s\b|n't\b)", "", re.sub(r" [?,](?= |$)", "", text))
