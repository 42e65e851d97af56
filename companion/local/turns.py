"""Find where a turn begins and ends by sound: WebRTC's detector behind an adaptive level."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from companion.local.audio import EAR_BYTES_PER_MS

if TYPE_CHECKING:
    from pocketsphinx import Vad

    from companion.realtime import ServerVad

FRAME_MS = 20
FRAME_BYTES = FRAME_MS * EAR_BYTES_PER_MS
_START_FRAMES, _START_OF = 5, 7  # speech in 100 of 140 ms begins a turn: a click does not
_FLOOR_FROM, _FLOOR_TO = 20.0, 3000.0  # RMS of full scale 32768


class Edge(NamedTuple):
    """A turn's border. `at_ms` counts all audio of the session; `pcm` (16 kHz) is of the turn, and new."""

    kind: Literal["started", "stopped"]
    at_ms: int
    pcm: bytes


class Floor:
    """The level of the room: falls at once, rises slowly, so that speech does not lift it."""

    def __init__(self) -> None:
        self._rms = 200.0

    def above_db(self, rms: float, *, voiced: bool) -> float:
        """Return how far a frame is above the floor, and learn from it; a voice lifts it least."""
        above = 20 * float(np.log10(max(rms, 1.0) / self._rms))
        pull = 0.3 if rms < self._rms else 0.004 if voiced else 0.1
        self._rms = min(max(self._rms + pull * (rms - self._rms), _FLOOR_FROM), _FLOOR_TO)
        return above


class TurnFinder:
    """Fed with 16 kHz PCM16 of any length; yields the borders of turns.

    `threshold` 0 to 1 asks for 3 to 15 dB above the room's level.
    """

    def __init__(self, settings: ServerVad, start_ms: int) -> None:
        from pocketsphinx import Vad  # noqa: PLC0415 - only sessions with server turns load it

        self._vad: Vad = Vad(Vad.MEDIUM_STRICT, 16_000, FRAME_MS / 1000)
        self._settings = settings
        self._need_db = 3 + 12 * settings.threshold
        self._floor = Floor()
        self._held = b""
        self._at_ms = start_ms
        self._before: list[bytes] = []
        self._recent: list[bool] = []
        self._silence_ms = 0
        self.speaking = False

    def feed(self, pcm: bytes) -> tuple[list[Edge], bytes]:
        """Return the borders found, and the audio of the turn that is still going on."""
        edges: list[Edge] = []
        turn: list[bytes] = []
        data = self._held + pcm
        whole = len(data) - len(data) % FRAME_BYTES
        for at in range(0, whole, FRAME_BYTES):
            frame = data[at : at + FRAME_BYTES]
            edge = self._frame(frame, turn)
            if edge:
                edges.append(edge)
                turn = []
        self._held = data[whole:]
        return edges, b"".join(turn)

    def waiting(self) -> bytes:
        """Return the newest audio that belongs to no turn yet, for a client that commits by itself."""
        return b"".join(self._before)

    def reset(self) -> None:
        """Forget a turn that has begun."""
        self.speaking = False
        self._silence_ms = 0
        self._before, self._recent = [], []

    def _frame(self, frame: bytes, turn: list[bytes]) -> Edge | None:
        self._at_ms += FRAME_MS
        speech = self._is_speech(frame)
        if not self.speaking:
            return self._wait(frame, speech=speech)
        turn.append(frame)
        self._silence_ms = 0 if speech else self._silence_ms + FRAME_MS
        if self._silence_ms < self._settings.silence_duration_ms:
            return None
        self.reset()
        return Edge("stopped", self._at_ms, b"".join(turn))

    def _wait(self, frame: bytes, *, speech: bool) -> Edge | None:
        self._before.append(frame)
        self._recent = [*self._recent, speech][-_START_OF:]
        keep = self._settings.prefix_padding_ms // FRAME_MS + len(self._recent)
        self._before = self._before[-keep:]
        if sum(self._recent) < _START_FRAMES:
            return None
        start_ms = self._at_ms - FRAME_MS * len(self._before)
        opening = b"".join(self._before)
        self.reset()
        self.speaking = True
        return Edge("started", start_ms, opening)

    def _is_speech(self, frame: bytes) -> bool:
        samples = np.frombuffer(frame, "<i2").astype(np.float32)
        rms = float(np.sqrt(np.mean(samples * samples)))
        voiced = bool(self._vad.is_speech(frame))
        return self._floor.above_db(rms, voiced=voiced) > self._need_db and voiced
