"""A realtime server for tests and benches: mints at once or late, answers at once, notes when what came."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
from websockets.exceptions import ConnectionClosed
from websockets.sync.server import ServerConnection, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

RATE = 24_000
Script = Callable[["Talk", str], None]  # the connection and the reply's id


@dataclass
class RealtimeServer:
    """What the server is told, and what it saw. Times: monotonic seconds, one clock with the device."""

    reply: NDArray[np.int16]
    mint_s: float = 0.0
    status: int = 200  # of the mint
    seeds: list[str] = field(default_factory=list)  # the words of items created by the device
    script: Script | None = None  # says each reply in the place of the usual one
    session_s: float | None = None  # that a session is said to last
    falls: int = 0  # so many sessions more fall as soon as they are open
    opened: list[float] = field(default_factory=list)  # when each session was
    peers: list[ServerConnection] = field(default_factory=list)
    speed: float = 4.0  # times real time
    words: str = "a tone"  # of every reply
    tokens: int = 0  # that a reply costs; 0: nothing is told
    url: str = ""
    realtime_url: str = ""
    audio: list[bytes] = field(default_factory=list)
    sessions: list[list[bytes]] = field(default_factory=list)  # the audio of each that had any, oldest first
    first_append: list[float] = field(default_factory=list)
    last_append: float = 0.0
    commits: list[float] = field(default_factory=list)
    first_delta: list[float] = field(default_factory=list)
    truncated_ms: list[int] = field(default_factory=list)

    def expire(self) -> None:
        """Say that the session's time is up, and leave the connections open."""
        text = "Your session hit the maximum duration of 60 minutes."
        fault = {"type": "invalid_request_error", "code": "session_expired", "message": text}
        for peer in self.peers:
            peer.send(json.dumps({"type": "error", "event_id": "event_end", "error": fault}))

    def cut(self) -> None:
        """Break every connection, without a word."""
        for peer in self.peers:
            with suppress(OSError):
                peer.socket.shutdown(socket.SHUT_RDWR)
        self.peers.clear()

    def heard(self) -> NDArray[np.int16]:
        """Return the user's audio since the last `forget`, as one signal."""
        return np.frombuffer(b"".join(self.audio), np.int16)

    def heard_in(self, session: int) -> NDArray[np.int16]:
        """Return the user's audio of one session, as one signal; -1 is the last."""
        return np.frombuffer(b"".join(self.sessions[session]), np.int16)

    def forget(self) -> None:
        """Begin a new measurement."""
        for seen in (self.audio, self.first_append, self.commits, self.first_delta, self.truncated_ms):
            seen.clear()


class Talk:
    """One connection."""

    def __init__(self, server: RealtimeServer, peer: ServerConnection) -> None:
        self._server = server
        self._peer = peer
        self._replies = 0
        self._cancel = threading.Event()
        self._fresh = True
        self._heard: list[bytes] = []

    def run(self) -> None:
        self._server.peers.append(self._peer)
        self.say("session.created", session=self._session())
        try:
            for message in self._peer:
                self._take(json.loads(message))
        except ConnectionClosed:
            pass
        self._cancel.set()

    def _take(self, event: dict[str, Any]) -> None:
        now = time.monotonic()
        match event["type"]:
            case "session.update":
                self._open(now)
            case "conversation.item.create":
                self._server.seeds += [part["text"] for part in event["item"].get("content", [])]
            case "input_audio_buffer.append":
                self._hear(base64.b64decode(event["audio"]), now)
            case "input_audio_buffer.commit":
                self._server.commits.append(now)
                self._fresh = True
                self.say("input_audio_buffer.committed", item_id=f"user_{now}")
                kind = "conversation.item.input_audio_transcription.completed"
                self.say(kind, item_id=f"user_{now}", transcript="hello")
            case "input_audio_buffer.clear":
                self._fresh = True
            case "response.create":
                self._replies += 1
                self._cancel = threading.Event()
                threading.Thread(
                    target=self._answer, args=(f"resp_{self._replies}", self._cancel), daemon=True
                ).start()
            case "response.cancel":
                self._cancel.set()
            case "conversation.item.truncate":
                self._server.truncated_ms.append(event["audio_end_ms"])

    def _hear(self, audio: bytes, now: float) -> None:
        if self._fresh:
            self._server.first_append.append(now)
        self._fresh = False
        self._server.last_append = now
        if not self._heard:
            self._server.sessions.append(self._heard)
        self._heard.append(audio)
        self._server.audio.append(audio)

    def _session(self) -> dict[str, Any]:
        lasts_s = self._server.session_s
        ends = {} if lasts_s is None else {"expires_at": time.time() + lasts_s}
        return {"id": "sess_rig", "type": "realtime", **ends}

    def _open(self, now: float) -> None:
        self.say("session.updated", session=self._session())
        self._server.opened.append(now)
        if self._server.falls > 0:
            self._server.falls -= 1
            self._peer.close(1011, "internal error")

    def _answer(self, name: str, cancel: threading.Event) -> None:
        """Say the reply as the script has it, or as usual; a peer that has gone hears none."""
        with suppress(ConnectionClosed):
            if self._server.script:
                self._server.script(self, name)
            else:
                self.reply(name, cancel)

    def reply(self, name: str, cancel: threading.Event | None = None) -> None:
        """Send the reply in pieces of 100 ms, faster than real time."""
        piece = RATE // 10
        cancel = cancel or self._cancel
        status = "completed"
        self.begin(name)
        self.words(name, self._server.words)
        for start in range(0, len(self._server.reply), piece):
            if not start:
                self._server.first_delta.append(time.monotonic())
            self.sound(name, self._server.reply[start : start + piece])
            if cancel.wait(0.1 / self._server.speed):
                status = "cancelled"
                break
        self.end(name, status)

    # --- what a script can have it say

    def begin(self, name: str) -> None:
        """Announce a reply."""
        self.say("response.created", response={"id": name, "status": "in_progress"})

    def words(self, name: str, text: str) -> None:
        """Say a piece of a reply's words."""
        self.say("response.output_audio_transcript.delta", response_id=name, delta=text)

    def sound(self, name: str, samples: NDArray[np.int16]) -> None:
        """Say a piece of a reply's sound."""
        delta = base64.b64encode(samples.tobytes()).decode()
        self.say("response.output_audio.delta", response_id=name, item_id=f"item_{name}", delta=delta)

    def end(self, name: str, status: str = "completed") -> None:
        """End a reply."""
        usage = {"usage": {"total_tokens": self._server.tokens}} if self._server.tokens else {}
        self.say("response.done", response={"id": name, "status": status, "output": [], **usage})

    def say(self, kind: str, **fields: Any) -> None:
        """Send an event."""
        self._peer.send(json.dumps({"type": kind, **fields}))

    def send(self, frame: str | bytes) -> None:
        """Send a frame as it is."""
        self._peer.send(frame)


@contextmanager
def realtime_server(reply: NDArray[np.int16]) -> Iterator[RealtimeServer]:
    """Serve `POST /token` and the WebSocket on free loopback ports."""
    facts = RealtimeServer(reply)

    class Mint(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            threading.Event().wait(facts.mint_s)
            body = json.dumps({"value": "ek_rig", "expires_at": time.time() + 600}).encode()
            self.send_response(facts.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    mint = ThreadingHTTPServer(("127.0.0.1", 0), Mint)
    live = serve(lambda peer: Talk(facts, peer).run(), "127.0.0.1", 0, compression=None)
    for run in (mint.serve_forever, live.serve_forever):
        threading.Thread(target=run, daemon=True).start()
    facts.url = f"http://127.0.0.1:{mint.server_port}"
    facts.realtime_url = f"ws://127.0.0.1:{live.socket.getsockname()[1]}/v1/realtime"
    try:
        yield facts
    finally:
        mint.shutdown()
        mint.server_close()
        live.shutdown()
