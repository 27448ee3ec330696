"""The words of a text, the same for training text, typed text and what Whisper recognised.

`normalize` is for text as people write it. `normalize_tokens` is its part for words that a corpus
has tokenised and annotated: what belongs together there is for the annotation to say.
"""

import re
import unicodedata

# What nobody sees: soft hyphen, zero-width characters, byte order mark.
_INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u2060\ufeff]")
_APOSTROPHE = re.compile("[\u2018\u2019\u02bc\u00b4`]")
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
    text = _APOSTROPHE.sub("'", unicodedata.normalize("NFKC", visible(text)))
    text = _HALF_DAY.sub(r" \1m", join_clitics(text))
    words = (word.strip("'" + keep) for word in normalize_tokens(text, keep).split())
    return " ".join(word for word in words if word)


def visible(text: str) -> str:
    r"""A text without soft hyphens, zero-width characters and the like.

    >>> visible("\u20605\u200b0")
    '50'
    """
    return _INVISIBLE.sub("", text)


def normalize_tokens(text: str, keep: str = "") -> str:
    """The words of tokenised text; every part of a text has the words that it has in the whole.

    Lower case; white space of any kind is one space; of punctuation only apostrophes stay, all
    other parts words, but for thousands' commas and the dots after single letters, which vanish.

    >>> normalize_tokens("Wake me at 6:30 A.M.,\\n  it's the kids' 1,000-mile day!")
    "wake me at 6 30 am it's the kids' 1000 mile day"
    """
    text = _INSIDE_WORD.sub("", text.lower().replace("\u2019", "'"))
    not_word = re.compile(rf"[^\w'{re.escape(keep)}]|_") if keep else _NOT_WORD
    return " ".join(word for word in not_word.sub(" ", text).split() if word.strip("'"))


def join_clitics(text: str) -> str:
    """A tokenised text with what belongs together in one word.

    >>> join_clitics("what 's the kids ' plan , do n't they leave at 6 o ' clock")
    "what's the kids ' plan , don't they leave at 6 o'clock"
    """
    return _NEGATION.sub("", _CLITIC.sub("'", text))
