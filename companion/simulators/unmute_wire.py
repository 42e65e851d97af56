"""What Unmute's server says about a client's message: nothing, or pydantic's list of what is wrong with it.

Source: kyutai-labs/unmute, the event models of its realtime socket.
"""

from __future__ import annotations

import json
import secrets
from typing import Any

_LANGUAGES = ("en", "fr", "en/fr", "fr/en", None)
_SPOKEN = ("smalltalk", "guess_animal", "quiz_show", "news")
_KINDS = ("constant", *_SPOKEN, "unmute_explanation")
_EVENTS = ("session.update", "input_audio_buffer.append", "unmute.input_audio_buffer.append_anonymized")
Details = list[dict[str, Any]]


class Invalid(Exception):  # noqa: N818 - the vendor's word
    """A message that the models refuse; `details` as pydantic gives them."""

    def __init__(self, details: Details) -> None:
        super().__init__("Invalid message")
        self.details = details


def read(text: str, *, seed_shape: bool) -> dict[str, Any]:
    """Return the event, its session filled up with defaults. Raises Invalid.

    `seed_shape`: another version of the server, that takes instructions as character and scenario.
    """
    try:
        event = json.loads(text)
    except ValueError as error:
        raise Invalid([_detail("json_invalid", [], f"Invalid JSON: {error}", text)]) from error
    if not isinstance(event, dict):
        raise Invalid([_detail("model_attributes_type", [], "Input should be a valid dictionary", event)])
    kind = _tag(event, [], _EVENTS)
    if kind == "session.update":
        return {"type": kind, "session": _session(event, seed_shape=seed_shape)}
    audio = event.get("audio", 0)
    if not isinstance(audio, str):
        missing = "audio" not in event
        raise Invalid([_wrong([kind, "audio"], "string_type", "a valid string", audio, missing=missing)])
    return {"type": kind, "audio": audio}


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """Return a server's event with a fresh id."""
    return {"type": kind, "event_id": f"event_{secrets.token_urlsafe(15)[:21]}", **fields}


def error(kind: str, message: str, details: Details | None = None) -> dict[str, Any]:
    """Return the event `error`; `kind`: warning, invalid_request_error or fatal."""
    fault = {"type": kind, "code": None, "message": message, "param": None, "details": details}
    return event("error", error=fault)


def _session(message: dict[str, Any], *, seed_shape: bool) -> dict[str, Any]:
    at = ["session.update", "session"]
    session = message.get("session")
    if not isinstance(session, dict):
        missing = "session" not in message
        raise Invalid([_wrong(at, "model_type", "a valid dictionary", session or message, missing=missing)])
    details: Details = []
    voice, consent = session.get("voice"), session.get("allow_recording")
    if voice is not None and not isinstance(voice, str):
        details.append(_wrong([*at, "voice"], "string_type", "a valid string", voice))
    if not isinstance(consent, bool):
        missing = "allow_recording" not in session
        shown = session if missing else consent
        details.append(
            _wrong([*at, "allow_recording"], "bool_type", "a valid boolean", shown, missing=missing)
        )
    instructions = session.get("instructions")
    try:
        if instructions is not None:
            instructions = (_seed if seed_shape else _instructions)(instructions, [*at, "instructions"])
    except Invalid as invalid:
        details += invalid.details
    if details:
        raise Invalid(details)
    return {"instructions": instructions, "voice": voice, "allow_recording": consent}


def _instructions(given: Any, at: list[str]) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise Invalid([_wrong(at, "model_attributes_type", "a valid dictionary", given)])
    kind = _tag(given, at, _KINDS)
    if kind == "unmute_explanation":
        return {"type": kind}
    language = given.get("language")
    if language not in _LANGUAGES:
        text = "'en', 'fr', 'en/fr' or 'fr/en'"
        raise Invalid([_wrong([*at, kind, "language"], "literal_error", text, language)])
    if kind != "constant":
        return {"type": kind, "language": language}
    text = given.get("text", 0)
    if not isinstance(text, str):
        missing = "text" not in given
        raise Invalid([_wrong([*at, kind, "text"], "string_type", "a valid string", text, missing=missing)])
    return {"type": kind, "text": text, "language": language}


def _seed(given: Any, at: list[str]) -> dict[str, Any]:
    """Check the shape that the vendor's older page shows."""
    for name in ("character", "scenario"):
        if not isinstance(given, dict) or not isinstance(given.get(name), str):
            raise Invalid([_wrong([*at, name], "string_type", "a valid string", given, missing=True)])
    return {"character": given["character"], "scenario": given["scenario"]}


def _tag(given: dict[str, Any], at: list[str], known: tuple[str, ...]) -> str:
    tag = given.get("type")
    if tag is None:
        text = "Unable to extract tag using discriminator 'type'"
        raise Invalid([_detail("union_tag_not_found", at, text, given)])
    if tag not in known:
        names = ", ".join(f"'{name}'" for name in known)
        text = f"Input tag '{tag}' found using 'type' does not match any of the expected tags: {names}"
        raise Invalid([_detail("union_tag_invalid", at, text, given)])
    return str(tag)


def _wrong(at: list[str], kind: str, wanted: str, given: Any, *, missing: bool = False) -> dict[str, Any]:
    if missing:
        return _detail("missing", at, "Field required", given)
    return _detail(kind, at, f"Input should be {wanted}", given)


def _detail(kind: str, at: list[str], text: str, given: Any) -> dict[str, Any]:
    url = f"https://errors.pydantic.dev/2.11/v/{kind}"
    return {"type": kind, "loc": at, "msg": text, "input": given, "url": url}
