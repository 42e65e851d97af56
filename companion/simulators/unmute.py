"""Unmute's stand-in: health, voices, voice cloning, and the realtime socket with a conversation behind it.

Source: kyutai-labs/unmute, main_websocket.py and its event models.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse, Response
from starlette.routing import Route, WebSocketRoute

from companion.local.engine import Engine
from companion.settings import LocalSettings
from companion.simulators.mind import Mind
from companion.simulators.unmute_talk import Talk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute
    from starlette.websockets import WebSocket

    from companion.simulators import Options

MISTAKES = frozenset(
    {
        "unhealthy",  # the health page says so, the socket closes with 1011 at once
        "sick-socket",  # only the socket does
        "full",  # all places are taken: the handshake waits
        "old-instructions",  # no mistake: another version, which takes character and scenario
        "refuses-instructions",
        "busy",  # fatal after the update
        "stalls",  # fatal in the middle of a reply
        "warns",
        "late-transcripts",
        "unknown-events",
        "out-of-order",  # sound before response.created
        "fast",  # a reply at once instead of in real time
        "no-cloning",
        "bad-voices",  # a voice list that is none
    }
)
_PLACES = 4
_LARGEST_VOICE = 4 << 20  # bytes
_VOICE_S = 3600
_SICK = "Server is not healthy: tts is down"
_VOICES: list[dict[str, Any]] = [
    {
        "name": "Watercooler",
        "good": True,
        "comment": "kept back",
        "instructions": {"type": "smalltalk", "language": None},
        "source": {
            "source_type": "file",
            "path_on_server": "unmute-prod-website/p329_022.wav",
            "description": "From the VCTK corpus.",
            "description_link": "https://datashare.ed.ac.uk/handle/10283/3443",
        },
    },
    {
        "name": "Quiz show",
        "good": True,
        "instructions": {"type": "quiz_show", "language": None},
        "source": {
            "source_type": "freesound",
            "url": "https://freesound.org/s/519189/",
            "start_time": None,
            "sound_instance": {"id": 519189, "name": "voice", "username": "someone", "license": "CC0"},
            "path_on_server": "unmute-prod-website/freesound/519189.mp3",
        },
    },
    {"name": None, "good": True, "source": {"source_type": "file", "path_on_server": None}},
    {"name": "Hoarse", "good": False, "source": {"source_type": "file", "path_on_server": "no.wav"}},
]

log = logging.getLogger(__name__)


class Unmute:
    """The service: four places, and the voices that were added."""

    def __init__(self, options: Options, engine: Engine) -> None:
        self._engine = engine
        self._mistakes = options.mistakes
        self._places = asyncio.Semaphore(0 if "full" in options.mistakes else _PLACES)
        self._added: dict[str, float] = {}  # when each name ends, monotonic seconds

    async def health(self, _: Request) -> Response:
        """GET /v1/health"""
        up = {"tts_up": "unhealthy" not in self._mistakes, "stt_up": True, "llm_up": True}
        cloning = "no-cloning" not in self._mistakes
        return JSONResponse({**up, "voice_cloning_up": cloning, "ok": all(up.values())})

    async def voices(self, _: Request) -> Response:
        """GET /v1/voices: the good ones, without the comments."""
        if "bad-voices" in self._mistakes:
            return JSONResponse({"detail": "voices.yaml is missing"})
        good = [voice for voice in _VOICES if voice["good"]]
        return JSONResponse([{key: value for key, value in one.items() if key != "comment"} for one in good])

    async def add_voice(self, request: Request) -> Response:
        """POST /v1/voices: one file, kept for an hour."""
        length = request.headers.get("content-length", "")
        if not length.isdigit():
            return JSONResponse({"detail": "Length Required"}, 411)
        if int(length) > _LARGEST_VOICE:
            return JSONResponse({"detail": "File too large"}, 413)
        if "no-cloning" in self._mistakes:
            return JSONResponse({"detail": "Voice cloning is not available"}, 503)
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                missing = {"type": "missing", "loc": ["body", "file"], "msg": "Field required", "input": None}
                return JSONResponse({"detail": [missing]}, 422)
            size = len(await file.read())
        now = time.monotonic()
        self._added = {name: until for name, until in self._added.items() if until > now}
        name = f"custom:{uuid4()}"
        self._added[name] = now + _VOICE_S
        log.info("voice %s of %d bytes", name, size)
        return JSONResponse({"name": name})

    async def realtime(self, socket: WebSocket) -> None:
        """/v1/realtime: waits for a place, then accepts."""
        async with self._places:
            await socket.accept(subprotocol="realtime")
            if self._mistakes & {"unhealthy", "sick-socket"}:
                await socket.close(1011, _SICK)
                return
            mind = Mind(self._engine)
            await mind.start()
            try:
                await Talk(socket, mind, self._mistakes).run()
            finally:
                await mind.close()


def routes(service: Unmute) -> list[BaseRoute]:
    """Return what the service answers to."""
    return [
        Route("/v1/health", service.health),
        Route("/v1/voices", service.voices, methods=["GET"]),
        Route("/v1/voices", service.add_voice, methods=["POST"]),
        WebSocketRoute("/v1/realtime", service.realtime),
    ]


def build(options: Options) -> Starlette:
    """Return the service with an engine of its own."""
    engine = Engine(LocalSettings(), options.folder)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await engine.close()

    return Starlette(routes=routes(Unmute(options, engine)), lifespan=lifespan)
