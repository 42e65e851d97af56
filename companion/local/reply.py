"""Make one reply: the brain's sentences, spoken one by one, sent ahead of real time but not without bound."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING

from companion.errors import BrainError
from companion.local.audio import WIRE_BYTES_PER_MS

if TYPE_CHECKING:
    from companion.local.engine import Engine
    from companion.local.response import Response
    from companion.local.session import Session

log = logging.getLogger(__name__)

CHUNK_BYTES = 100 * WIRE_BYTES_PER_MS


async def make_reply(
    engine: Engine, session: Session, response: Response, heard: asyncio.Event, room: asyncio.Event
) -> None:
    """Finish the reply. `heard` is set when a turn has got its words, `room` while the socket keeps up."""
    while session.untranscribed:
        heard.clear()
        await heard.wait()
    turns = session.conversation.turns()
    response.asked(turns)
    try:
        async with aclosing(engine.brain.reply(turns, response.settings.instructions)) as sentences:
            async for sentence in sentences:
                said = _within(sentence, response)
                if said:
                    await _say(engine, response, said, room)
                if said != sentence:
                    response.finish("incomplete", "max_output_tokens")
                    return
    except BrainError as error:
        log.warning("no reply: %s", error)
        response.finish(
            "failed", error={"type": "server_error", "code": "brain_error", "message": str(error)}
        )
    except Exception:
        log.exception("a reply failed")
        response.finish(
            "failed", error={"type": "server_error", "code": "internal_error", "message": "see the log"}
        )
    else:
        response.finish("completed")


def _within(sentence: str, response: Response) -> str:
    """Return as much of the sentence as the token limit leaves; a word counts as one token."""
    most = response.settings.max_tokens
    if most is None or response.words + len(sentence.split()) <= most:
        return sentence
    return " ".join(sentence.split()[: most - response.words])


async def _say(engine: Engine, response: Response, sentence: str, room: asyncio.Event) -> None:
    pcm = await engine.speak(sentence, response.settings.speed) if response.settings.spoken else b""
    response.sentence(sentence, len(pcm))
    for at in range(0, len(pcm), CHUNK_BYTES):
        response.sound(pcm[at : at + CHUNK_BYTES], time.monotonic())
        await asyncio.sleep(_wait_s(response, engine.settings.send_ahead_ms))
        await room.wait()


def _wait_s(response: Response, ahead_ms: int) -> float:
    """Return how long to wait so that no more than `ahead_ms` of sound waits for the client's speaker."""
    since = response.first_sound_at
    played_ms = (time.monotonic() - since) * 1000 if since is not None else 0.0
    return max(0.0, response.item.audio_ms - played_ms - ahead_ms) / 1000
