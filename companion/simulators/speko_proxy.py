"""The proxy socket of the simulated Speko: PCM16 in binary frames, everything else JSON with the field `t`.

Source: spekoai 0.1.3 (realtime.py) and the vendor's browser client, which show every frame of the protocol.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from starlette.websockets import WebSocketDisconnect, WebSocketState

from companion.simulators.speko_reply import Playing, answer

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.simulators.mind import Mind
    from companion.simulators.speko_mint import Minted, Tool

_TTL_MISTAKE_S = 3.0
_SHORTEST_MS = 100  # of a turn, as the providers behind the proxy have it
_READY_RATES: dict[str, dict[str, Any]] = {
    "bad-rates": {"inputSampleRate": 44_100, "outputSampleRate": "fast"},
    "no-rates": {},
}


class Control(msgspec.Struct, frozen=True, tag_field="t", tag="control"):
    """`commit` and `end_turn` end the user's turn, `clear` takes it back."""

    action: Literal["commit", "clear", "end_turn"]


class Interrupt(msgspec.Struct, frozen=True, tag_field="t", tag="interrupt"):
    """Stop the reply."""


class ToolResult(msgspec.Struct, frozen=True, tag_field="t", tag="tool_result"):
    """What the client's function gave."""

    call_id: str = msgspec.field(name="callId")
    output: str


class Proxy:
    """One client's session, from `ready` to the end. `rates`: Hz in and out, as negotiated."""

    def __init__(
        self, socket: WebSocket, mind: Mind, minted: Minted, rates: tuple[int, int], mistakes: frozenset[str]
    ) -> None:
        self.mistakes = mistakes
        self._socket = socket
        self._mind = mind
        self._minted = minted
        self._in_rate, self._out_rate = rates
        self._heard_bytes = 0
        self._reply: asyncio.Task[None] | None = None
        self._playing: Playing | None = None
        self._calls: dict[str, asyncio.Future[str]] = {}

    async def run(self) -> None:
        """Serve until either side ends it."""
        await self._mind.start()
        ends = asyncio.create_task(self._end_at_ttl())
        try:
            await self._greet()
            await self._read_all()
        except WebSocketDisconnect:
            pass
        finally:
            ends.cancel()
            await self._stop()
            await self._mind.close()

    # --- what the server says

    async def send(self, kind: str, **fields: Any) -> None:
        """Send one text frame."""
        if "unknown-frames" in self.mistakes:
            await self._socket.send_json({"t": "latency", "providerMs": 12})
            fields["traceId"] = secrets.token_hex(4)
        await self._socket.send_json({"t": kind, **fields})

    async def transcript(self, role: str, text: str, *, final: bool) -> None:
        """Tell what was said; a frame that is not final replaces the one before it."""
        if "no-transcripts" not in self.mistakes:
            await self.send("transcript", role=role, text=text, final=final)

    async def sound(self, pcm: bytes) -> None:
        """Send one piece of the reply at the output rate."""
        await self._socket.send_bytes(pcm)

    async def call(self, tool: Tool) -> str:
        """Have the client carry out a function and return its output."""
        call_id = f"call_{secrets.token_hex(6)}"
        self._calls[call_id] = asyncio.get_running_loop().create_future()
        await self.send("tool_call", callId=call_id, name=tool.name, arguments="{}")
        return await self._calls[call_id]

    async def fail(self, code: str, text: str) -> None:
        """Report an error that leaves the session open."""
        await self.send("error", code=code, message=text)

    async def close(self, code: int, reason: str) -> None:
        """Close the socket, if it is still there."""
        if self._socket.application_state is WebSocketState.CONNECTED:
            with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                await self._socket.close(code, reason)

    async def _greet(self) -> None:
        if "error-before-ready" in self.mistakes:
            await self.fail("S2S_PROVIDER_CONNECT_FAILED", "openai-realtime: invalid model")
            await self.close(1011, "Provider connect failed")
            return
        if "no-ready" in self.mistakes:
            return
        rates: dict[str, Any] = {"inputSampleRate": self._in_rate, "outputSampleRate": self._out_rate}
        for mistake in self.mistakes & _READY_RATES.keys():
            rates = _READY_RATES[mistake]
        await self.send("ready", **rates)
        if "error-after-ready" in self.mistakes:
            await self.fail("S2S_PROVIDER_RATE_LIMITED", "the provider asks for patience")

    async def _end_at_ttl(self) -> None:
        await asyncio.sleep(_TTL_MISTAKE_S if "ends-at-ttl" in self.mistakes else self._minted.ttl_s)
        with contextlib.suppress(RuntimeError, WebSocketDisconnect):
            await self.send("end", reason="ttl")
        await self.close(1000, "session ended")

    # --- what the client says

    async def _read_all(self) -> None:
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("bytes") is not None:
                await self._hear(message["bytes"])
            else:
                await self._obey(message["text"])

    async def _hear(self, pcm: bytes) -> None:
        if len(pcm) % 2:
            await self.fail("INVALID_AUDIO", f"{len(pcm)} bytes are no whole PCM16 samples")
            return
        self._heard_bytes += len(pcm)
        if "server-turns" not in self.mistakes:
            await self._mind.hear(pcm)
            return
        for edge in await self._mind.listen(pcm):
            if edge.kind == "stopped":
                await self._answer()
            elif self._playing and self._playing.sounds(time.monotonic()):
                await self._stop()
                await self.send("interruption", at="user")

    async def _obey(self, text: str) -> None:
        try:
            order = msgspec.json.decode(text, type=Control | Interrupt | ToolResult)
        except msgspec.DecodeError as error:
            await self.fail("INVALID_MESSAGE", str(error))
            return
        match order:
            case Control("clear"):
                self._heard_bytes = 0
                await self._mind.forget_utterance()
            case Control():
                await self._commit()
            case Interrupt():
                await self._stop()
            case ToolResult(call_id, output):
                await self._called(call_id, output)

    async def _called(self, call_id: str, output: str) -> None:
        waiting = self._calls.pop(call_id, None)
        if waiting is None or waiting.done():
            await self.fail("UNKNOWN_TOOL_CALL", f"there is no open call {call_id}")
        else:
            waiting.set_result(output)

    async def _commit(self) -> None:
        heard_ms = self._heard_bytes * 500 // self._in_rate
        if heard_ms < _SHORTEST_MS:
            text = f"input_audio_buffer_commit_empty: {heard_ms} ms of audio, {_SHORTEST_MS} are needed"
            await self.fail("S2S_PROVIDER_ERROR", text)
        elif self._reply and not self._reply.done():
            await self.fail("S2S_PROVIDER_ERROR", "conversation_already_has_active_response")
        else:
            await self._answer()

    async def _answer(self) -> None:
        """End the user's turn and begin the reply to it."""
        await self._stop()
        heard_ms, self._heard_bytes = self._heard_bytes * 500 // self._in_rate, 0
        words = await self._mind.heard()
        self._playing = Playing(self._out_rate, time.monotonic)
        self._reply = asyncio.create_task(self._make_reply(words, heard_ms, self._playing))

    async def _make_reply(self, words: str, heard_ms: int, playing: Playing) -> None:
        late = "late-transcripts" in self.mistakes
        try:
            if not late:
                await self._understood(words)
            await answer(self, self._mind, self._minted.asked, words, playing)
            if late:
                await self._understood(words)
            await self.send(
                "usage", inputAudioTokens=heard_ms // 100, outputAudioTokens=int(playing.item.audio_ms) // 50
            )
        except (RuntimeError, WebSocketDisconnect):
            return  # the client has gone

    async def _understood(self, words: str) -> None:
        """Tell the user's words as a recogniser does: first in pieces, then whole."""
        said = words.split()
        for count in range(2, len(said), 2):
            await self.transcript("user", " ".join(said[:count]), final=False)
        if words:
            await self.transcript("user", words, final=True)

    async def _stop(self) -> None:
        """Stop the reply and forget what of it cannot have been heard yet, by this server's own clock."""
        if self._reply:
            self._reply.cancel()
            await asyncio.gather(self._reply, return_exceptions=True)
            self._reply = None
        self._calls.clear()
        if self._playing:
            self._playing.cut(self._mind.turns, time.monotonic())
            self._playing = None
