"""What the description of the API (OpenAPI) says of bodies and answers."""

from typing import Any

MAX_TEXTS, MAX_CHARACTERS = 64, 1000  # of a request, of one of its texts

AUDIO_BODIES: dict[str, Any] = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "format": "binary"}},
            "required": ["file"],
        }
    },
    "audio/*": {"schema": {"type": "string", "format": "binary"}},
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    "audio/L16;rate=16000": {"schema": {"type": "string", "format": "binary"}},
}
_SENTENCE = {"type": "string", "maxLength": MAX_CHARACTERS}
TEXT_BODY: dict[str, Any] = {
    "application/json": {
        "schema": {
            "type": "object",
            "properties": {
                "text": {
                    "oneOf": [
                        _SENTENCE,
                        {"type": "array", "items": _SENTENCE, "maxItems": MAX_TEXTS},
                    ]
                }
            },
            "required": ["text"],
        }
    }
}
_RESULT = {
    "intent": "turnOnLight",
    "slots": {"room": "kitchen"},
    "semantics": "turnOnLight( turn on the room( kitchen )room lights )turnOnLight",
    "score": -0.55,
    "reason": None,
    "nbest": [],
    "unknown": [],
    "duration_s": 2.01,
    "seconds": 0.12,
    "confidence": 0.999,
    "accepted": True,
    "slot_confidence": {"room": 0.9991},
    "spoken_slots": None,
    "error": None,
    "is_understood": True,
}
_WHY = {
    408: "The body did not come in time.",
    413: "The body is too large (--max_mb).",
    415: "Of another content type.",
    422: "Audio, text or options that cannot be used; the error says why.",
    503: "Too many requests are waiting; try again after Retry-After seconds.",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Responses of a route: the result, and errors as {"error": "one line"}."""
    schema = {"type": "object", "properties": {"error": {"type": "string"}}}
    of_errors: dict[int | str, dict[str, Any]] = {
        status: {"description": _WHY[status], "content": {"application/json": {"schema": schema}}}
        for status in statuses
    }
    example = {"application/json": {"schema": {"type": "object"}, "example": _RESULT}}
    return {
        200: {"description": "The result (`Result.to_dict()`).", "content": example}
    } | of_errors
