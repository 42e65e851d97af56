"""Sessions at a self-hosted Unmute: nothing is minted; the server is looked at, and its voice found by name.

Source: kyutai-labs/unmute: GET /v1/health, GET /v1/voices, and the session object of its realtime socket.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import msgspec

from companion.errors import ConfigError, RequestError
from companion.upstream import Upstream, socket_url
from companion.wire import AudioFormat, Auth, Grant, without_live

if TYPE_CHECKING:
    from collections.abc import Sequence

    from companion.providers import MintRequest
    from companion.settings import Endpoint, SessionSettings, UnmuteSettings

OPUS = AudioFormat("ogg_opus", 24_000)
_ITS_OWN = {"voice", "instructions"}  # of the session's settings; the others are not Unmute's


class Health(msgspec.Struct, frozen=True):
    """GET /v1/health. `ok` needs all three; voice cloning is an extra."""

    ok: bool
    tts_up: bool = True
    stt_up: bool = True
    llm_up: bool = True

    @property
    def down(self) -> list[str]:
        """The services that are down."""
        up = {"text to speech": self.tts_up, "speech to text": self.stt_up, "language model": self.llm_up}
        return [name for name, is_up in up.items() if not is_up]


class Source(msgspec.Struct, frozen=True):
    """Where a voice comes from. `path_on_server` is what a session is given for its voice."""

    path_on_server: str | None = None


class Voice(msgspec.Struct, frozen=True):
    """One of GET /v1/voices; without a name or a path it cannot be asked for."""

    name: str | None = None
    source: Source = Source()


class Unmute:
    """A Provider without keys. The server remembers nothing: what was said is retold to a new session."""

    def __init__(self, settings: UnmuteSettings) -> None:
        self._url = settings.realtime_url or socket_url(settings.base_url, "/v1/realtime")
        self._upstream = Upstream(settings.base_url, settings.timeout_s)

    async def mint(self, request: MintRequest) -> Grant:
        """Look whether the server is well, and grant its socket."""
        health = await self._upstream.get("/v1/health", answer=Health)
        if not health.ok:
            text = f"the Unmute server is not well; down: {', '.join(health.down) or 'it does not say what'}"
            raise RequestError(503, "provider_unwell", text)
        session = session_of(request.endpoint)
        voice = request.endpoint.session.voice_name
        if voice:
            session["voice"] = await self._path(voice)
        return Grant(
            provider="unmute",
            dialect="unmute",
            session_id=f"unmute_{secrets.token_hex(8)}",
            resume=without_live(request.wish.turns),
            url=self._url,
            auth=Auth("none", ""),
            subprotocols=["realtime"],
            expires_at=None,
            session_ends_at=None,
            session=session,
            input=OPUS,
            output=OPUS,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._upstream.close()

    async def _path(self, voice: str) -> str:
        if voice.startswith("custom:") or "/" in voice:
            return voice
        return path_of(voice, await self._upstream.get("/v1/voices", answer=list[Voice]))


def session_of(endpoint: Endpoint) -> dict[str, Any]:
    """Return the session object without its voice; "fallback_instructions" are for other versions."""
    own, plain = endpoint.unmute, endpoint.session.instructions
    told = [part for part in (own.character, own.scenario, plain) if part]
    instructions: dict[str, Any] = {"type": "constant" if told else own.topic}
    if told:
        instructions["text"] = "\n\n".join(told)
    if instructions["type"] != "unmute_explanation":
        instructions["language"] = own.language
    scenario = "\n\n".join(part for part in (own.scenario, plain) if part)
    return {
        "instructions": instructions,
        "fallback_instructions": {"character": own.character, "scenario": scenario},
        "allow_recording": own.allow_recording,
    }


def paths_of(voices: Sequence[Voice]) -> list[tuple[str, str]]:
    """Return the name and the path of each voice that has both."""
    return [(one.name, one.source.path_on_server) for one in voices if one.name and one.source.path_on_server]


def path_of(name: str, voices: Sequence[Voice]) -> str:
    """Return what a session is given for a voice's name. Raises RequestError that lists the names."""
    known = paths_of(voices)
    for its_name, path in known:
        if its_name.casefold() == name.casefold():
            return path
    names = ", ".join(its_name for its_name, _ in known) or "none at all"
    raise RequestError(422, "voice_unknown", f'the Unmute server has no voice "{name}"; it has: {names}')


def make(settings: UnmuteSettings, endpoints: dict[str, Endpoint]) -> Unmute:
    """Return the provider; ConfigError when the settings cannot be used."""
    check(settings)
    for name, endpoint in endpoints.items():
        _check_endpoint(name, endpoint)
    return Unmute(settings)


def check(settings: UnmuteSettings) -> None:
    """Raise ConfigError when the server's addresses cannot be used."""
    kinds = (("base_url", ("http://", "https://")), ("realtime_url", ("ws://", "wss://")))
    for key, schemes in kinds:
        url: str = getattr(settings, key)
        host = url.partition("://")[2].partition("/")[0]
        if url and (not url.startswith(schemes) or not host):
            raise ConfigError(f'providers.unmute.{key} = "{url}" must begin with {" or ".join(schemes)}')
        if "@" in host:
            raise ConfigError(f"providers.unmute.{key} holds a password, which would be shown; leave it out")
    if not settings.base_url:
        raise ConfigError('providers.unmute.base_url is missing, as in base_url = "http://host:8000"')


def _check_endpoint(name: str, endpoint: Endpoint) -> None:
    at = f"endpoints.{name}"
    if endpoint.unmute.allow_recording and not endpoint.unmute.recording_consent:
        raise ConfigError(
            f"{at}.unmute.allow_recording lets the server keep all that is said; once everybody who will be "
            "heard agrees, say so with recording_consent = true"
        )
    if endpoint.session.voice and not endpoint.session.voice_name:
        raise ConfigError(f"{at}.session.voice: Unmute takes a voice's name alone")
    if endpoint.model:
        raise ConfigError(f"{at}.model: the Unmute server chooses its model; leave it out")
    for key in _changed(endpoint.session):
        raise ConfigError(f"{at}.session.{key}: Unmute has no such setting; leave it out")


def _changed(session: SessionSettings) -> list[str]:
    """Return the settings that are not left alone and that Unmute has not."""
    plain = type(session)()
    names = (field.name for field in msgspec.structs.fields(session))
    return [one for one in names if one not in _ITS_OWN and getattr(session, one) != getattr(plain, one)]
