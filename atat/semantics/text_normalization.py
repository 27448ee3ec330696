"""The words of a text, the same for training text, typed text and what Whisper recognised.

`normalize` is for text as people write it. `normalize_tokens` is the same for text that may be in
parts: what a corpus or a data directory has apart ("mom 's") is for its annotation to say.
"""

import re
import unicodedata

HYPHEN = "-"  # stays inside of a grammar's words, and of a data directory's
# What nobody sees: soft hyphen, zero-width characters, byte order mark.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_APOSTROPHE = re.compile("[\u2018\u2019\u02bc\u00b4`]")
_CLITICS = frozenset(("'s", "'m", "'d", "'t", "'re", "'ve", "'ll"))  # where they stand apart
_PLAIN = re.compile("[a-z]+(?:[ '][a-z]+)*")
# Thousands and abbreviations stay one word: 1,000 and p.m.
_INSIDE_WORD = re.compile(r"(?<=\d),(?=\d{3})|(?<=\b[^\W\d_])\.")
_NOT_WORD = re.compile(r"[^\w']|_")
_CLITIC = re.compile(r"(?<=\w) ?['\u2019] ?(?=(?:s|m|d|t|re|ve|ll|clock)\b)", re.IGNORECASE)
_NEGATION = re.compile(r" (?=n['\u2019]t\b)", re.IGNORECASE)
_HALF_DAY = re.compile(r"(?<=\d) ?([ap])(?:\.m\b\.?|m\b)", re.IGNORECASE)  # "5pm", "7:30 p.m."


def normalize(text: str, keep: str = "") -> str:
    r"""The words of a text as training texts have them.

    Lower case, single spaces; punctuation and signs part words, but for apostrophes inside of
    words and what `keep` names. A number is parted from am and pm.

    Args:
        text: as it was written.
        keep: further characters that stay inside of words, such as the hyphen of a grammar.

    Raises:
        ValueError: no text, or no Unicode.

    >>> normalize("Wake me at 7:30 p.m., it\u2019s a family-friendly $1,000 day!")
    "wake me at 7 30 pm it's a family friendly 1000 day"
    >>> normalize("What 's on at 5PM ? 'Jaws'?"), normalize("an E-mail - please", keep="-")
    ("what's on at 5 pm jaws", 'an e-mail please')
    """
    if not isinstance(text, str) or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"text {text!r}: expected a sentence, in Unicode characters")
    words = normalize_tokens(join_clitics(_folded(text)), keep).split()
    return " ".join(word.lstrip("'") for word in words)


def visible(text: str) -> str:
    r"""A text without soft hyphens, zero-width characters and the like.

    >>> visible("\u20605\u200b0")
    '50'
    """
    return _INVISIBLE.sub("", text)


def normalize_tokens(text: str, keep: str = "") -> str:
    """As `normalize`, of tokenised text: what stands apart stays apart.

    Every part of a text has the words that it has in the whole.

    Args:
        text: a sentence or a part of one.
        keep: as of `normalize`.

    >>> normalize_tokens("Wake me at 6:30 A.M.,\\n  it's the kids' 1,000-mile day, mom 's too!")
    "wake me at 6 30 am it's the kids 1000 mile day mom 's too"
    """
    if _PLAIN.fullmatch(text):
        return text
    text = _INSIDE_WORD.sub("", _HALF_DAY.sub(r" \1m", _folded(text)))
    not_word = re.compile(rf"[^\w'{re.escape(keep)}]|_") if keep else _NOT_WORD
    text = not_word.sub(_mark_or_space, text)
    bare = (w if w in _CLITICS else w.strip(f"'{keep}") for w in text.split())
    return unicodedata.normalize("NFC", " ".join(filter(None, bare)))


def _folded(text: str) -> str:
    """Lower case, plain apostrophes and spaces, composed accents, nothing invisible."""
    text = _APOSTROPHE.sub("'", _INVISIBLE.sub("", text))
    return text if text.islower() and text.isascii() else _composed(text)


def _composed(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower())


def _mark_or_space(match: re.Match[str]) -> str:
    """Accents and vowel signs that no letter is composed with stay, all else parts words."""
    return match[0] if unicodedata.category(match[0])[0] == "M" else " "


def join_clitics(text: str) -> str:
    """A tokenised text with what belongs together in one word.

    >>> join_clitics("what 's the kids ' plan , do n't they leave at 6 o ' clock")
    "what's the kids ' plan , don't they leave at 6 o'clock"
    """
    return _NEGATION.sub("", _CLITIC.sub("'", text))
