"""The call that all predictors share: audio or text, one or several."""

from collections.abc import Callable, Sequence
from typing import Any

from atat.inference.result import Result


def one_or_several(
    source: Any,
    text: str | Sequence[str] | None,
    of_audio: Callable[[list[Any]], list[Result]],
    of_texts: Callable[[list[str]], list[Result]],
) -> Result | list[Result]:
    """Predict from what is given: a result for a single input, a list of results for a list.

    Args:
        source: audio (a file, samples), or a list or tuple of them; None where there is text.
        text: a sentence, or several; None where there is audio.
        of_audio, of_texts: predict from a list.

    Raises:
        ValueError: both are given, or neither.
    """
    if (source is None) == (text is None):
        raise ValueError("got both audio and text or neither, expected one of them")
    if text is not None:
        return of_texts([text])[0] if isinstance(text, str) else of_texts(list(text))
    if isinstance(source, list | tuple):
        return of_audio(list(source))
    return of_audio([source])[0]
