"""Grants for a self-hosted Unmute, straight from its own HTTP calls: there is nothing to mint.

Source: kyutai-labs/unmute: GET /v1/health, GET /v1/voices; a voice is sent by its path on the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from device.core.grant import Encoding, Grant, GrantRequest
from device.dialects.dialect import printable
from device.errors import BackendError
from device.net.backend import get

if TYPE_CHECKING:
    from collections.abc import Sequence

_HEALTH_S = 3.0  # the vendor's own client gives up after this
_OPUS = Encoding("ogg_opus", 24000)


class Health(msgspec.Struct):
    """GET /v1/health; voice cloning is not needed."""

    ok: bool
    tts_up: bool = True
    stt_up: bool = True
    llm_up: bool = True

    def down(self) -> str:
        """Name what is down."""
        states = {"tts": self.tts_up, "stt": self.stt_up, "llm": self.llm_up}
        return ", ".join(name for name, up in states.items() if not up) or "it does not say what"


class Source(msgspec.Struct):
    """Where a voice lies."""

    path_on_server: str | None = None


class Voice(msgspec.Struct):
    """One of GET /v1/voices; without a name or a path it cannot be asked for."""

    name: str | None = None
    source: Source = msgspec.field(default_factory=Source)


class UnmuteBackend:
    """`url`: of the server, with "/api" behind its reverse proxy. `voice`: a name or path, "" for its own."""

    def __init__(
        self,
        url: str,
        *,
        character: str = "",
        scenario: str = "",
        language: str | None = None,
        voice: str = "",
        allow_recording: bool = False,
    ) -> None:
        self._url = url.rstrip("/")
        self._voice = voice
        self._session = {**instructions(character, scenario, language), "allow_recording": allow_recording}

    def mint(self, request: GrantRequest, _now: float) -> Grant:
        """Look whether the server is well and has the voice; it remembers nothing, so the device retells."""
        self._check_health()
        session: dict[str, Any] = {**self._session, **self._chosen()}
        scheme, _, rest = self._url.partition("://")
        return Grant(
            dialect="unmute",
            url=f"{'wss' if scheme == 'https' else 'ws'}://{rest}/v1/realtime",
            subprotocols=("realtime",),
            provider="unmute",
            resume="seeded" if request.turns else "fresh",
            input=_OPUS,
            output=_OPUS,
            session=session,
        )

    def _check_health(self) -> None:
        health = _read(get(f"{self._url}/v1/health", _HEALTH_S), Health, "health")
        if not health.ok:
            raise BackendError(f"the Unmute server at {self._url} is not well; down: {health.down()}")

    def _chosen(self) -> dict[str, str]:
        if not self._voice or self._voice.startswith("custom:") or "/" in self._voice:
            return {"voice": self._voice} if self._voice else {}
        voices = _read(get(f"{self._url}/v1/voices"), list[Voice], "voice list")
        return {"voice": path_of(self._voice, voices)}


def instructions(character: str, scenario: str, language: str | None) -> dict[str, Any]:
    """Return the instructions in the shape of today's server, and in that of other versions."""
    text = "\n\n".join(filter(None, (character, scenario)))
    told = {"type": "constant", "text": text} if text else {"type": "smalltalk"}
    return {
        "instructions": {**told, "language": language},
        "fallback_instructions": {"character": character, "scenario": scenario},
    }


def path_of(name: str, voices: Sequence[Voice]) -> str:
    """Return what the server wants to be sent for a voice. Raises BackendError that lists the names."""
    known = [
        (one.name, one.source.path_on_server) for one in voices if one.name and one.source.path_on_server
    ]
    for its_name, path in known:
        if its_name.lower() == name.lower():
            return path
    names = ", ".join(its_name for its_name, _ in known) or "none at all"
    line = f'the Unmute server has no voice "{printable(name, 60)}"; it has: {printable(names, 300)}'
    raise BackendError(line, fatal=True)


def _read(body: Any, shape: Any, what: str) -> Any:
    try:
        return msgspec.convert(body, shape)
    except msgspec.ValidationError as error:
        raise BackendError(f"the Unmute server's {what} makes no sense: {printable(str(error))}") from None
