"""One client of the simulated Unmute: it hears all the time, and finds by itself who speaks when.

Source: the notes on the vendor's unmute_handler: time is measured by received sound.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from starlette.websockets import WebSocketDisconnect

from companion.local.items import Turn
from companion.simulators import unmute_wire as wire
from companion.simulators.mind import retold
from companion.simulators.ogg import FRAME_BYTES, RATE_HZ, OggError, OpusReader, OpusWriter
from companion.simulators.unmute_reply import Reply, Stalled

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.simulators.mind import Mind

log = logging.getLogger(__name__)
_PROMPT_S = 7.0  # of silence, until the server takes it for the user's "..."
_UNINTERRUPTED_S = 3.0  # from the session's beginning
_HANG_UP_S = 1.0
_OPENING = Turn("user", "Hello.")  # the vendor's way to make its model begin
_TOO_MANY = "Too many people are connected to service 'tts'. Please try again later."
_TIMED_OUT = "Service 'stt' timed out. Please try again later."
_INTERNAL = "Internal server error :( Complain to Kyutai"


class Talk:
    """Serves one accepted socket until it closes. `mind` is started and closed by the caller."""

    def __init__(self, socket: WebSocket, mind: Mind, mistakes: frozenset[str]) -> None:
        self._socket = socket
        self._mind = mind
        self._mistakes = mistakes
        self._session: dict[str, Any] = {"instructions": None, "voice": None}
        self._reader: OpusReader | None = None  # from the first page on
        self._writer = OpusWriter()
        self._received_s = 0.0
        self._waiting_since: float | None = 0.0  # None while somebody speaks
        self._reply: Reply | None = None
        self._task: asyncio.Task[None] | None = None
        self._begun = False
        self._told_s = 0.0  # when the additional outputs went out last

    async def run(self) -> None:
        """Take messages until the client or a fatal error ends it."""
        if "warns" in self._mistakes:
            await self._fault("warning", "Looking for the resources, expect some latency.")
        try:
            with suppress(WebSocketDisconnect, RuntimeError):  # RuntimeError: it is closed from this side
                while True:
                    await self._take(await self._socket.receive_text())
        finally:
            await self._stop()

    async def _take(self, text: str) -> None:
        try:
            message = wire.read(text, seed_shape="old-instructions" in self._mistakes)
        except wire.Invalid as invalid:
            await self._fault("invalid_request_error", "Invalid message", invalid.details)
            return
        try:
            if message["type"] == "session.update":
                await self._update(message["session"])
            else:
                await self._hear(base64.b64decode(message["audio"]))
        except (binascii.Error, IndexError, OggError) as error:
            log.warning("the client's sound: %s", error)
            await self._fatal(_INTERNAL)

    async def _update(self, session: dict[str, Any]) -> None:
        if "refuses-instructions" in self._mistakes and session["instructions"]:
            text = "Value error, no instructions are taken here"
            at = ["session.update", "session", "instructions"]
            detail = {"type": "value_error", "loc": at, "msg": text, "input": None, "url": ""}
            await self._fault("invalid_request_error", "Invalid message", [detail])
            return
        self._session = session
        if not self._mind.turns:
            self._mind.turns += retold(str((session["instructions"] or {}).get("text", "")))
        await self._say("session.updated", session=session)
        if "busy" in self._mistakes:
            await self._fatal(_TOO_MANY)

    # --- hearing

    async def _hear(self, data: bytes) -> None:
        if self._reader is None:
            if not data[5] & 2:
                return  # no stream begins here
            self._reader = OpusReader()
        pcm = self._reader.feed(data)
        if not pcm:
            return
        self._received_s += len(pcm) / 2 / RATE_HZ
        if not self._begun and self._session["instructions"]:
            self._begun = True
            self._mind.turns.append(_OPENING)
            await self._answer()
        for edge in await self._mind.listen(pcm):
            await (self._speech_began() if edge.kind == "started" else self._speech_ended())
        await self._idle()

    async def _idle(self) -> None:
        if self._waiting_since is None:
            return
        if self._received_s - self._waiting_since >= _PROMPT_S:
            self._mind.turns.append(Turn("user", "..."))
            await self._say("input_audio_buffer.speech_stopped")
            await self._answer()
        elif self._received_s - self._told_s >= 1:
            await self._tell()

    async def _speech_began(self) -> None:
        self._waiting_since = None
        await self._say("input_audio_buffer.speech_started")
        if self._reply and self._received_s > _UNINTERRUPTED_S:
            await self._interrupt()

    async def _speech_ended(self) -> None:
        words = (await self._mind.heard()).split()
        if words and self._reply:
            heard = self._mind.turns.pop()
            await self._interrupt()
            self._mind.turns.append(heard)
        late = "late-transcripts" in self._mistakes
        if not late:
            await self._transcribe(words)
        await self._say("input_audio_buffer.speech_stopped")
        if late:
            await self._transcribe(words)
        if words:
            await self._answer()
        elif self._reply is None:
            self._waiting_since = self._received_s

    async def _transcribe(self, words: list[str]) -> None:
        for word in ("", *words):
            kind = "conversation.item.input_audio_transcription.delta"
            await self._say(kind, delta=word, start_time=round(self._received_s, 2))

    # --- speaking

    async def _answer(self) -> None:
        await self._stop()
        self._waiting_since = None
        self._reply = Reply(self._mind, self._writer, self._say, self._mistakes)
        self._task = asyncio.create_task(self._run(self._reply))

    async def _run(self, reply: Reply) -> None:
        given = self._session["instructions"] or {}
        response = {
            "object": "realtime.response",
            "status": "in_progress",
            "voice": self._session["voice"] or "default",
            "chat_history": self._history(),
        }
        try:
            text = await reply.run(str(given.get("text", "")), response=response)
        except Stalled:
            await self._fatal(_TIMED_OUT)
            return
        self._reply, self._waiting_since = None, self._received_s
        await self._tell()
        if text.endswith("bye!"):
            await asyncio.sleep(_HANG_UP_S)
            await self._close(1000, "")

    async def _tell(self) -> None:
        self._told_s = self._received_s
        outputs = {"chat_history": self._history(), "debug_dict": {}, "debug_plot_data": []}
        await self._say("unmute.additional_outputs", args=outputs)

    async def _interrupt(self) -> None:
        reply = self._reply
        await self._stop()
        if reply:
            reply.cut()
        self._waiting_since = None
        await self._say("response.audio.delta", delta=self._writer.write(bytes(FRAME_BYTES)))
        await self._say("unmute.interrupted_by_vad")

    async def _stop(self) -> None:
        task, self._task, self._reply = self._task, None, None
        if task:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def _history(self) -> list[dict[str, str]]:
        given = self._session["instructions"] or {}
        begun = [{"role": "system", "content": str(given.get("text", given))}]
        return begun + [{"role": turn.role, "content": turn.text} for turn in self._mind.turns]

    # --- the socket

    async def _say(self, kind: str, **fields: Any) -> None:
        if isinstance(fields.get("delta"), bytes):
            fields["delta"] = base64.b64encode(fields["delta"]).decode()
        if "unknown-events" in self._mistakes:
            fields["unmute_extra"] = {"nested": [1]}
            await self._send(wire.event(f"unmute.future.{kind}", delta=None))
        await self._send(wire.event(kind, **fields))

    async def _fault(self, kind: str, message: str, details: wire.Details | None = None) -> None:
        await self._send(wire.error(kind, message, details))

    async def _fatal(self, message: str) -> None:
        await self._fault("fatal", message)
        await self._close(1011, message)

    async def _send(self, event: dict[str, Any]) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):  # the client has gone
            await self._socket.send_json(event)

    async def _close(self, code: int, reason: str) -> None:
        with suppress(WebSocketDisconnect, RuntimeError):
            await self._socket.close(code, reason)
