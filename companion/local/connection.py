"""One client's WebSocket: reads, sends, hears, replies and saves, each in its own task around one Session."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import logging
import time
from typing import TYPE_CHECKING, Any

import msgspec
from starlette.websockets import WebSocketDisconnect, WebSocketState

from companion.limits import Bucket
from companion.local.audio import EAR_BYTES_PER_MS
from companion.local.events import WireError
from companion.local.items import Conversation, new_id
from companion.local.memory import Remembered
from companion.local.reply import make_reply
from companion.local.session import Session

if TYPE_CHECKING:
    from starlette.websockets import WebSocket

    from companion.local.engine import Engine
    from companion.local.items import Item
    from companion.local.response import Response
    from companion.local.secrets import Pass

log = logging.getLogger(__name__)

_FEW, _MANY = (
    16,
    4000,
)  # events that wait to be sent: a reply pauses above the first, the client is dropped above the last
_PIECE_BYTES = 1000 * EAR_BYTES_PER_MS
_BEHIND = 3000  # pieces that wait to be heard: above it no more is read from the socket
_FLUSH_S = 1.0
_LAST_WORDS_S = 10.0  # that a committed turn may take to get its words after the end
_RESTART, _RESTART_S = 1012, 2.0  # where the server itself ends, which has no more than serve.LEAVE_S


class Connection:
    """The Hands of a Session. `run` returns when the socket is closed and the memory is on disk."""

    def __init__(
        self, engine: Engine, socket: WebSocket, opens: Pass, items: list[Item], *, shows_items: bool
    ) -> None:
        self._engine = engine
        self._shows_items = shows_items
        self._socket = socket
        self._opens = opens
        self._length_s = engine.settings.session_minutes * 60
        permits = Bucket(engine.settings.replies_per_minute, time.monotonic())
        self._outbox: asyncio.Queue[str | None] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._ear: asyncio.Queue[bytes | str | None] = asyncio.Queue()
        self._keeps_up = asyncio.Event()
        self._keeps_up.set()
        self._heard = asyncio.Event()
        self._dirty = asyncio.Event()
        self._ending = asyncio.Event()
        self._ended = asyncio.Event()
        self._hears = self._deaf = False
        self._why: tuple[int, str] = (1000, "")
        self._reply: asyncio.Task[None] | None = None
        expires_at = int(time.time() + self._length_s)
        conversation = Conversation(items)
        self._session = Session(
            opens.session_id, opens.effective, conversation, self, permits=permits, expires_at=expires_at
        )

    @property
    def device(self) -> str:
        """Whose session it is."""
        return self._opens.device

    @property
    def has_items(self) -> bool:
        """Tell whether anything was said."""
        return bool(self._session.conversation.items)

    async def run(self) -> None:
        """Serve the client until either side ends it or the session is too old."""
        log.info("session %s of %s opened", self._opens.session_id, self._opens.device)
        self._session.open(shows_items=self._shows_items)
        sender, ear = asyncio.create_task(self._send_all()), asyncio.create_task(self._hear_all())
        saver, reader = asyncio.create_task(self._save_all()), asyncio.create_task(self._read_all())
        watch = asyncio.create_task(self._ending.wait())
        try:
            done, _ = await asyncio.wait(
                {sender, ear, reader, watch}, timeout=self._length_s, return_when="FIRST_COMPLETED"
            )
            if not done:
                self._expire()
            for task in done:
                if not task.cancelled() and task.exception():
                    log.error(
                        "session %s: %s failed",
                        self._opens.session_id,
                        task.get_name(),
                        exc_info=task.exception(),
                    )
                    self._why = (1011, "internal error")
        finally:
            await self._finish(sender, ear, saver, reader, watch)

    async def end(self, code: int, reason: str) -> None:
        """Close the session from outside and wait until its memory is saved."""
        self._why = (code, reason)
        self._ending.set()
        await self._ended.wait()

    # Hands of the session

    def emit(self, event: dict[str, Any]) -> None:
        """Send a server event, in order."""
        text = msgspec.json.encode({**event, "event_id": new_id("event")}).decode()
        self._outbox.put_nowait(text)
        if self._outbox.qsize() > _FEW:
            self._room.clear()
        if self._outbox.qsize() > _MANY:
            self._why = (1008, "the client does not read")
            self._ending.set()

    def hear(self, pcm: bytes) -> None:
        for at in range(0, len(pcm), _PIECE_BYTES):
            self._ear.put_nowait(pcm[at : at + _PIECE_BYTES])
        if self._ear.qsize() > _BEHIND:
            self._keeps_up.clear()

    def hear_end(self, item_id: str) -> None:
        self._ear.put_nowait(item_id)

    def hear_nothing(self) -> None:
        self._ear.put_nowait("")

    def reply(self, response: Response) -> None:
        self._reply = asyncio.create_task(
            make_reply(self._engine, self._session, response, self._heard, self._room)
        )
        self._reply.add_done_callback(lambda _: self.changed())

    def stop_reply(self) -> None:
        if self._reply:
            self._reply.cancel()

    def changed(self) -> None:
        self._dirty.set()

    # the tasks

    async def _read_all(self) -> None:
        while True:
            await self._keeps_up.wait()
            try:
                message = await self._socket.receive()
            except (WebSocketDisconnect, RuntimeError):
                return
            if message["type"] == "websocket.disconnect":
                self._why = (int(message.get("code") or 1005), "")
                return
            text = message.get("text")
            if text is None:
                self._session.refuse(WireError("invalid_event", "Events are JSON text frames, not binary."))
            else:
                self._session.receive(text, time.monotonic())

    async def _send_all(self) -> None:
        while (text := await self._outbox.get()) is not None:
            try:
                await self._socket.send_text(text)
            except (WebSocketDisconnect, RuntimeError):
                return
            if self._outbox.qsize() <= _FEW:
                self._room.set()

    async def _hear_all(self) -> None:
        decoder = await self._engine.take_decoder()
        self._hears = True
        try:
            while (order := await self._ear.get()) is not None and self._listens:
                if self._ear.qsize() <= _BEHIND:
                    self._keeps_up.set()
                if isinstance(order, bytes):
                    await self._engine.work(decoder.feed, order)
                elif order:
                    await self._transcribe(order, decoder.finish)
                else:
                    await self._engine.work(decoder.reset)
        finally:
            await self._engine.give_back(decoder)

    @property
    def _listens(self) -> bool:
        """Whether to go on hearing: a turn that was committed keeps its words, though the client has gone."""
        return not self._ending.is_set() or (bool(self._session.untranscribed) and not self._deaf)

    async def _transcribe(self, item_id: str, finish: Any) -> None:
        try:
            words = await self._engine.work(finish)
        except RuntimeError as error:
            self._session.not_transcribed(item_id, str(error))
        else:
            self._session.transcribed(item_id, words)
        self._heard.set()

    async def _save_all(self) -> None:
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            await self._save()

    async def _save(self) -> None:
        items = [copy.copy(item) for item in self._session.conversation.items if item.status != "in_progress"]
        if not items:
            return
        state = Remembered(self._opens.session_id, self._opens.device, time.time(), items)
        try:
            await self._engine.work(self._engine.memory.save, state)
        except OSError as error:
            log.error("session %s cannot be saved: %s", self._opens.session_id, error)  # noqa: TRY400 - one line

    # the end

    def _expire(self) -> None:
        minutes = f"{self._engine.settings.session_minutes:g}"
        text = f"Your session hit the maximum duration of {minutes} minutes."
        self._session.refuse(WireError("session_expired", text))
        self._why = (1001, text)

    async def _finish(self, sender: Any, ear: Any, saver: Any, *others: Any) -> None:
        self._session.lost(time.monotonic())
        self._outbox.put_nowait(None)
        self._ear.put_nowait(None)
        self._ending.set()
        await self._save()  # the last words may take long, or be cut off
        await asyncio.wait({sender}, timeout=_FLUSH_S)
        if self._session.untranscribed:
            await asyncio.wait({ear}, timeout=_RESTART_S if self._why[0] == _RESTART else _LAST_WORDS_S)
        self._deaf = True
        if not self._hears:
            ear.cancel()  # it waits for the models
        for task in (sender, saver, *others):
            task.cancel()
        await asyncio.gather(sender, ear, saver, *others, return_exceptions=True)
        await self._save()
        code, reason = self._why
        if self._socket.application_state is WebSocketState.CONNECTED:
            # A client that does not read takes no close either.
            with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self._socket.close(code if code != 1005 else 1000, reason)
        log.info("session %s ended: %d %s", self._opens.session_id, code, reason)
        self._ended.set()
