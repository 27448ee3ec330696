"""Text as it is said: numbers, times, signs and titles in words, in grammars and typed commands."""

import re
import unicodedata

from num2words import num2words

_TITLES = {
    **{"dr": "doctor", "mr": "mister", "mrs": "missus", "ms": "miz"},
    **{"prof": "professor", "jr": "junior", "vs": "versus"},
}
_SIGNS = {"%": "percent", "&": "and", "+": "plus", "@": "at", "\u00b0": "degrees", "=": "equals"}

_TITLE = re.compile(rf"(?<!\w)({'|'.join(_TITLES)})\.(?!\w)", re.IGNORECASE)
_CURRENCIES = {"$": "dollar", "\u20ac": "euro", "\u00a3": "pound"}
_MONEY = re.compile(
    rf"(?<!\w)([{''.join(_CURRENCIES)}])(\d+(?:,\d{{3}})*)(\.\d+)?"
    r"( (?:hundred|thousand|million|billion)\b)?(?!\w|[.,]\d)"
)
# "6am", "6 AM", "8:30 p.m.", and not the "am" of "i am".
_HALF_DAY = re.compile(r"(?<=\d) ?([ap])(?:\.m\.|\.?m)(?!\w)", re.IGNORECASE)
_TIME = re.compile(r"(?<![\w:.,])([01]?\d|2[0-3]):([0-5]\d)(?![\w:])(?=( [ap]m)?)")
_ORDINAL = re.compile(r"(?<![\w.,:-])([1-9]\d{0,3})(?:st|nd|rd|th)(?!\w)", re.IGNORECASE)
# Up to 9999; other digits (a telephone number, 007) stay.
_NUMBER = re.compile(r"(?<![\w.,:-])(0|[1-9]\d{0,3}|[1-9],\d{3})(?:\.(\d+))?(?![\w:-]|[.,]\d)")
_SIGN = re.compile(rf"(?<=\d) ?([%\u00b0])(?![\w%])|(?<!\S)([{''.join(_SIGNS)}])(?!\S)")
_SCALES = {"c": "celsius", "\u2103": "celsius", "f": "fahrenheit", "\u2109": "fahrenheit"}
_SCALE = re.compile(r"(?<=\d) ?(?:\u00b0 ?([cf])|([\u2103\u2109]))(?!\w)", re.IGNORECASE)
_MINUS = re.compile(r"(?<!\w)[-\u2212\u2013] ?(?=\d)")
# What a number may stand behind without being another for it: brackets, quotes, commas, #.
_PARTING = r".,;:!?()\[\]{}\"'`#\u00a1\u00ab\u00b4\u00bb\u00bf\u2018-\u201f\u2026"
_DASH = r"-\u2010-\u2015\u2212"
_LEFT_SIGN = re.compile(
    r"(?:(?<=\d)(?: ?[ap]m| percent| degrees(?: celsius| fahrenheit)?)? ?"
    rf"([{_DASH}])|(?<!\w)([{_DASH}])|([^{_DASH}\w\s{_PARTING}])) ?(?=(?:minus )?\d)"
    r"|(?<=\d)([\"'\u2018-\u201f])(?=\d)"
)
_COMPOUND = re.compile(
    r"(?<![\w-])((?:twen|thir|for|fif|six|seven|eigh|nine)ty)-((?:one|two|three|four|five|six|seven"
    r"|eight|nine|first|second|third|fourth|fifth|sixth|seventh|eighth|ninth)(?![\w-]))",
    re.IGNORECASE,
)
_BEFORE_YEAR = re.compile(
    r"\b(in|since|until|year|january|february|march|april|may|june|july|august|september|october"
    r"|november|december)( (\w+ )?\w+(st|nd|rd|th))?,? $",
    re.IGNORECASE,
)


def spell_out(text: str) -> str:
    """Write a text as it is said.

    Whole numbers up to 9999, decimals, ordinals, times, money, percent and degrees (of Celsius and
    Fahrenheit too), a minus before a number, signs that stand alone, titles, and twenty-one without its hyphen. 1100 to 2099 are a
    year after "in", "since", "until", "year" or a month. What is not known stays as it is, as do
    letter case and all that is in words already.

    >>> spell_out("wake Dr. Wu at 8:30 or 6 a.m., not at 7")
    'wake doctor Wu at eight thirty or six am, not at seven'
    >>> spell_out("50% of 1250 at 21.5 degrees, Twenty-One times")
    'fifty percent of one thousand two hundred fifty at twenty one point five degrees, Twenty One times'
    >>> spell_out("the 2nd of May 2026"), spell_out("12:05, 7:00 and 7:00pm")
    ('the second of May twenty twenty six', "twelve oh five, seven o'clock and seven pm")
    >>> spell_out("-5 or \u2212 0.5"), spell_out("it's model A4-7, call 555123 or 007")
    ('minus five or minus zero point five', "it's model A4-7, call 555123 or 007")
    """  # noqa: E501
    text = _TIME.sub(_time, _spell_signs(text))
    text = _ORDINAL.sub(lambda match: ordinal(int(match[1])), text)
    text = _NUMBER.sub(_number, text)
    return _COMPOUND.sub(r"\1 \2", text)


def left_sign(text: str) -> str | None:
    """The first sign before or between numbers that `spell_out` has no words for; None without.

    >>> left_sign("set to <5"), left_sign("1/2"), left_sign("10-20"), left_sign("10am-12pm")
    ('<', '/', '-', '-')
    >>> left_sign("-5 or $5, (5) + 5% at 5:30; a 5-minute walk - for #5")
    """
    match = _LEFT_SIGN.search(_spell_signs(text))
    return next(filter(None, match.groups())) if match is not None else None


def _spell_signs(text: str) -> str:
    """A text with what stands around numbers in words; titles too."""
    text = _TITLE.sub(lambda match: _TITLES[match[1].lower()], text)
    text = _MONEY.sub(_money, text)
    text = _MINUS.sub("minus ", text)
    text = _HALF_DAY.sub(lambda match: f" {match[1].lower()}m", text)
    text = _SCALE.sub(lambda m: f" degrees {_SCALES[m[1].lower() if m[1] else m[2]]}", text)
    return _SIGN.sub(lambda m: f" {_SIGNS[m[1]]}" if m[1] else _SIGNS[m[2]], text)


class NotAWordError(ValueError):
    """A text that cannot be a word of a grammar; the message has the sign that is not in words."""


def word(text: str) -> str:
    """A word in lower case, with a plain apostrophe.

    Raises:
        NotAWordError: it has other than Latin letters, apostrophes and hyphens, or no letter.

    >>> word("O\u2019Clock"), word("X-ray")
    ("o'clock", 'x-ray')
    """
    said = unicodedata.normalize("NFC", text.replace("\u2019", "'").lower())
    bad = next((c for c in said if not (_is_latin(c) or c in "'-")), None)
    if bad is not None or not any(map(str.isalpha, said)):
        raise NotAWordError(f"'{bad or said}' in '{text}' is not supported")
    return said


def _is_latin(character: str) -> bool:
    """Whether it is a letter of the Latin script, with or without an accent."""
    return character.isalpha() and unicodedata.name(character, "").startswith("LATIN ")


def cardinal(number: int) -> str:
    """A whole number in words, without "and", commas and hyphens.

    >>> cardinal(0), cardinal(21), cardinal(1250)
    ('zero', 'twenty one', 'one thousand two hundred fifty')
    """
    return _plain(num2words(number))


def ordinal(number: int) -> str:
    """The rank of a whole number of 1 or more in words.

    >>> ordinal(1), ordinal(12), ordinal(45)
    ('first', 'twelfth', 'forty fifth')
    """
    return _plain(num2words(number, to="ordinal"))


def _plain(words: str) -> str:
    return words.replace(",", "").replace("-", " ").replace(" and ", " ")


def _time(match: re.Match[str]) -> str:
    hour, minute = cardinal(int(match[1])), int(match[2])
    if minute:
        return f"{hour} {'oh ' * (minute < 10)}{cardinal(minute)}"
    if match[3]:
        return hour
    return f"{hour} o'clock" if 1 <= int(match[1]) <= 12 else f"{hour} hundred"


def _money(match: re.Match[str]) -> str:
    sign, amount, decimals, scale = match.groups(default="")
    unit = _CURRENCIES[sign] + "s" * (match[0] != f"{sign}1")
    if len(decimals) == 3 and not scale:
        return f"{amount} {unit} {int(decimals[1:]) or ''}".rstrip()
    return f"{amount}{decimals}{scale} {unit}"


def _number(match: re.Match[str]) -> str:
    whole, decimals = int(match[1].replace(",", "")), match[2]
    if decimals:
        return " ".join([cardinal(whole), "point", *map(cardinal, map(int, decimals))])
    before = match.string[: match.start()]
    if 1100 <= whole <= 2099 and "," not in match[1] and _BEFORE_YEAR.search(before):
        return _plain(num2words(whole, to="year"))
    return cardinal(whole)
