"""The call that all predictors share: audio or text, one or several."""

import numbers
from collections.abc import Callable, Sequence
from typing import Any

from atat.inference.audio_arguments import is_with_rate
from atat.inference.result import Result


def one_or_several(
    source: Any,
    text: str | Sequence[str] | None,
    threshold: float | None,
    extract_features: Callable[[Any], Any],
    predict: Callable[[list[Any]], list[Result]],
    of_texts: Callable[[list[str]], list[Result]],
) -> Result | list[Result]:
    """Predict from what is given: a result for a single input, a list of results for a list.

    Args:
        source: audio (a file, samples, samples with their rate), or a list or tuple of them; None
            where there is text.
        text: a sentence, or several; None where there is audio.
        threshold: least confidence, which text has none of.
        extract_features: reads one audio input.
        predict: predicts from a list of what `extract_features` gave.
        of_texts: predicts from a list.

    Returns:
        Of a list, an input that cannot be used gives a result with `error`.

    Raises:
        ValueError: both are given, or neither; a threshold for text; what the functions raise, but
            for an input among several that `extract_features` refuses, or `of_texts` where it takes
            another one.
    """
    if (source is None) == (text is None):
        raise ValueError("got both audio and text or neither, expected one of them")
    if text is not None and threshold is not None:
        raise ValueError("threshold: got one for text, expected it for audio alone")
    if text is not None:
        return of_texts([text])[0] if isinstance(text, str) else _of_texts(list(text), of_texts)
    if not isinstance(source, list | tuple) or is_with_rate(source):
        return predict([extract_features(source)])[0]
    if source and isinstance(source[0], numbers.Real):
        raise ValueError("got a list of numbers, expected samples as an array (numpy.asarray)")
    return _of_several(source, extract_features, predict)


def _of_texts(texts: list[str], of_texts: Callable[[list[str]], list[Result]]) -> list[Result]:
    """Results of those that can be used, and errors of the others, in order."""
    try:
        return of_texts(texts)
    except ValueError:
        results: list[Result] = []
        for text in texts:
            try:
                results += of_texts([text])
            except ValueError as e:
                results.append(_unusable(e))
        if all(result.error for result in results):  # of an option, perhaps
            raise
        return results


def _unusable(e: Exception) -> Result:
    error = " ".join(str(e).split())
    return Result(None, {}, "", None, error, error=error)


def _of_several(
    sources: Sequence[Any],
    extract_features: Callable[[Any], Any],
    predict: Callable[[list[Any]], list[Result]],
) -> list[Result]:
    """Results of those that can be used, and errors of the others, in order."""
    failed: dict[int, Result] = {}
    heard = []
    for i, source in enumerate(sources):
        try:
            heard.append(extract_features(source))
        except (ValueError, OSError) as e:
            failed[i] = _unusable(e)
    understood = iter(predict(heard))
    return [failed[i] if i in failed else next(understood) for i in range(len(sources))]
