"""Files from the web, within limits of size and time; only where a caller asked for it."""

import time

MAX_BYTES = 64 * 2**20
TIMEOUT_S = 30.0  # in all
CHUNK_BYTES = 2**16


def is_url(source: object) -> bool:
    """Whether a source is an address of the web and no file's path.

    >>> is_url("https://example.org/a.wav"), is_url("a.wav")
    (True, False)
    """
    return isinstance(source, str) and source.lower().startswith(("http://", "https://"))


def fetch(url: str, max_bytes: int = MAX_BYTES, timeout_s: float = TIMEOUT_S) -> bytes:
    """The content of an address.

    Args:
        url: http or https; it may redirect to another of these, and to nothing else.
        max_bytes: more is refused.
        timeout_s: for all of it.

    Raises:
        ValueError: it cannot be had within the limits.
    """
    import urllib.error
    import urllib.request  # a tenth of a small model's start
    from http.client import HTTPException

    ends_s = time.monotonic() + timeout_s
    # No handlers of file: and ftp:, to which a redirect might lead.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.HTTPRedirectHandler(),
    ):
        opener.add_handler(handler)
    content = bytearray()
    try:
        with opener.open(url, timeout=timeout_s) as response:
            while chunk := response.read1(CHUNK_BYTES):
                content += chunk
                if len(content) > max_bytes:
                    raise ValueError(f"{url}: larger than {max_bytes >> 20} MiB")
                if time.monotonic() > ends_s:
                    raise ValueError(f"{url}: not there within {timeout_s:g} s")
    except (OSError, HTTPException) as e:
        reason = f"HTTP {e.code} {e.reason}" if isinstance(e, urllib.error.HTTPError) else e
        raise ValueError(f"{url}: cannot be had: {reason}") from e
    return bytes(content)
