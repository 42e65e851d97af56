"""Builds the daemon's parts from the configuration, and starts and closes them in order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, assert_never

import msgspec

from device.audio.capture import Capture
from device.audio.earcons import earcon
from device.audio.playback import Playback
from device.audio.ring import Ring
from device.cards import open_cards
from device.config import read_token, ring_seconds
from device.dsp.resample import Resampler
from device.dsp.vad import Vad
from device.errors import ConfigError
from device.net.link import Link
from device.net.uplink import Uplink
from device.net.warm import WarmBackend
from device.panel.simulated import SimulatedPanel
from device.system.control import ControlServer
from device.system.ledger import Ledger
from device.system.metrics import Counters, Latencies
from device.system.notify import Notifier
from device.system.recent import Recent
from device.system.recording import Recorder, TappedOutput
from device.system.store import Store
from device.system.watchdog import Watchdog
from device.token_session import session_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.chaos import Chaos
    from device.config import Config
    from device.core.events import Side
    from device.core.grant import GrantRequest
    from device.enrol import Enrolment
    from device.net.backend import Backend
    from device.ports import Panel


class Listener(Protocol):
    """Whom the parts report to, each in its own thread."""

    def edge(self, line: str, active: bool, at: float) -> None: ...
    def speech(self, began: bool, at: float) -> None: ...
    def sent(self, mark: str, at: float) -> None: ...
    def sounded(self, reply_id: str) -> None: ...
    def heard(self, reply_id: str) -> None: ...
    def tell(self, level: str, text: str) -> None: ...
    def command(self, request: dict[str, Any]) -> dict[str, Any] | Callable[[], dict[str, Any]]: ...
    def card_lost(self, side: Side, reason: str) -> None: ...
    def card_back(self, side: Side) -> None: ...
    def microphone_dead(self, reason: str | None) -> None: ...
    def store_troubled(self, text: str) -> None: ...
    def store_recovered(self, text: str) -> None: ...
    def enrolment_troubled(self, text: str) -> None: ...
    def enrolment_recovered(self, text: str) -> None: ...


class Parts:
    """Everything of one daemon that has a thread, a file or a socket."""

    def __init__(self, config: Config, daemon: Listener, chaos: Chaos | None = None) -> None:
        self._config = config
        self.chaos = chaos
        self.open_link = chaos.open_link if chaos else Link
        folder = Path(config.state.dir)
        disk = chaos.disk() if chaos else None
        self.store = Store(folder, daemon.store_troubled, disk, on_recovered=daemon.store_recovered)
        self._enrolment = _make_enrolment(config, daemon)
        self._plain_backend = backend = _make_backend(config, self._enrolment)
        self._backend = chaos.backend(backend) if chaos else backend
        if config.backend.warm:
            self._backend = WarmBackend(self._backend)
        self.panel = _make_panel(config)
        source, sink = open_cards(config.audio, daemon, chaos)
        self._source, self._sink = source, sink
        self._block = source.rate // 50
        ring = Ring(ring_seconds(config.talk), source.rate)
        self._vad = Vad(source.rate, config.vad)
        self.recent = Recent(folder / "events.json")
        self.ledger = Ledger(folder, config.backend.endpoint, lambda text: daemon.tell("warning", text))
        self.recorder = _make_recorder(config, daemon)
        self.uplink = Uplink(
            ring,
            source.rate,
            Resampler,
            daemon.sent,
            after_release_ms=config.talk.after_release_ms,
            witnesses=(self.ledger, self.recorder) if self.recorder else (self.ledger,),
        )
        microphone = config.audio.input
        self.capture = Capture(
            source,
            ring,
            channel=microphone.channel,
            gain_db=microphone.gain_db,
            highpass_hz=microphone.highpass_hz,
            speech=self._vad,
            on_speech=daemon.speech,
            on_block=self.uplink.pump,
        )
        self.playback = Playback(
            TappedOutput(sink, self.recorder.played) if self.recorder else sink,
            ready=sink.ready,
            on_started=daemon.sounded,
            on_drained=daemon.heard,
        )
        self.control = ControlServer(folder / "control.sock", daemon.command)
        self.counters = Counters()
        self.latencies = Latencies()
        self.notify = Notifier()
        self._on_edge = daemon.edge
        self._loop_at = 0.0
        clocks = {
            "the microphone": lambda: self.capture.last_block_at,
            "the speaker": lambda: self.playback.last_block_at,
            "the main loop": lambda: self._loop_at,
        }
        self._watchdog = Watchdog(clocks, self.notify.watchdog)

    def start(self) -> None:
        """Set everything going; the button last, so that a press finds ears."""
        if self.chaos:
            self.chaos.start()
        self.ledger.start()
        if self.recorder:
            self.recorder.start()
            self.ledger.note("debugging recording is on: what is sent and played is kept")
            self.playback.chime(earcon("notice", self.playback.rate))  # whoever is in the room is told
        self.capture.start()
        self.playback.start()
        self.control.start()
        if self._enrolment:
            self._enrolment.start()
        self.panel.start(self._on_edge)
        self._watchdog.start()

    def close(self, on_next: Callable[[str], None] = lambda _part: None) -> None:
        """Release everything but the state folder; safe when only half was started.

        `on_next` is told which part comes next, as any of them may hang.
        """
        for part, close in (
            ("the watchdog", self._watchdog.close),
            ("the control socket", self.control.close),
            ("the enrolment", self._enrolment.close if self._enrolment else lambda: None),
            ("the panel", self.panel.close),
            ("the microphone", self.capture.stop),
            ("the privacy ledger", self.ledger.close),
            ("the recording", self.recorder.close if self.recorder else lambda: None),
            ("the speaker", self.playback.stop),
            ("the microphone", self._source.close),
            ("the speaker", self._sink.close),
            ("the line to systemd", self.notify.close),
        ):
            on_next(part)
            close()

    def backend(self) -> Backend:
        """Where grants come from."""
        return self._backend

    def check(self) -> str | None:
        """Return the companion's name for this device, None where none is asked. Raises BackendError."""
        from device.net.backend import CompanionBackend  # noqa: PLC0415 # see _make_backend

        return self._plain_backend.check() if isinstance(self._plain_backend, CompanionBackend) else None

    def identity(self) -> dict[str, str] | None:
        """Return how the companion knows this device, None when it is not enrolled."""
        return self._enrolment.shown() if self._enrolment else None

    def warm(self, request: GrantRequest) -> None:
        """Have a grant for this request ready, where the owner wants that."""
        if isinstance(self._backend, WarmBackend):
            self._backend.warm(request)

    def speaking(self) -> bool:
        """Whether the local voice detector hears speech right now."""
        return self._vad.speaking

    def rest(self, idle: bool) -> None:
        """Let the audio threads take longer steps while no session is open."""
        self.capture.idle(idle)
        self.playback.idle(idle)

    def beat(self, now: float) -> None:
        """Take note that the main loop went round; the watchdog wants to see it once in `LIMIT_S`."""
        self._loop_at = now

    def card_fault(self) -> str | None:
        """What is wrong with the sound card at this moment, None when nothing is."""
        return self._source.fault or self._sink.fault

    def count(self) -> dict[str, int]:
        """Return the counters of the status answer."""
        return {
            "frames_captured": self.capture.frames // self._block,
            "frames_played": self.playback.frames // (self.playback.rate // 50),
            "frames_sent": self.uplink.frames_sent,
            "frames_dropped": self.uplink.frames_dropped,
            "overruns": self.capture.overruns,
            "underruns": self.playback.underruns,
            "dead_microphones": self._source.health.deaths if self._source.health else 0,
            **self.counters.as_dict(),
        }


def _make_panel(config: Config) -> Panel:
    panel = config.panel
    if panel.driver == "simulated":
        return SimulatedPanel()
    from device.panel.apa102 import Chain  # noqa: PLC0415 # only with the next
    from device.panel.gpio import GpioPanel  # noqa: PLC0415 # the RPi.GPIO API is on a Pi only

    assert panel.button is not None  # noqa: S101 # the configuration has been checked
    return GpioPanel(
        button=panel.button,
        wake=panel.wake,
        led=panel.led,
        active_low=panel.active_low,
        wake_active_low=panel.wake_active_low,
        edges=panel.edges,
        led_active_low=panel.led_active_low,
        chain=Chain(**msgspec.structs.asdict(panel.apa102)) if panel.light == "apa102" else None,
        debounce_ms=panel.debounce_ms,
    )


def _make_recorder(config: Config, daemon: Listener) -> Recorder | None:
    """Return what keeps the sound for debugging, None where the owner does not want that."""
    if not config.state.record_audio:
        return None
    return Recorder(Path(config.state.dir) / "recordings", lambda text: daemon.tell("warning", text))


def _make_enrolment(config: Config, daemon: Listener) -> Enrolment | None:
    """Return what signs requests to the companion, None where a token's file is named, or no companion."""
    backend = config.backend
    if backend.kind != "companion" or backend.token_file is not None:
        return None
    from device.enrol import Enrolment  # noqa: PLC0415 # see below
    from device.system.identity import Identity  # noqa: PLC0415 # the same

    identity = Identity(Path(config.state.dir))
    try:
        token = read_token(backend)
    except ConfigError:
        if not identity.begun():
            raise
        token = None
    return Enrolment(
        identity,
        backend.url,
        token,
        allow_insecure=backend.allow_insecure,
        on_trouble=daemon.enrolment_troubled,
        on_recovered=daemon.enrolment_recovered,
    )


def _make_backend(config: Config, enrolment: Enrolment | None) -> Backend:
    backend = config.backend
    match backend.kind:  # only the one in use is loaded: it is half of the start-up
        case "companion":
            from device.net.backend import CompanionBackend  # noqa: PLC0415 # see above

            credential = enrolment or read_token(backend)
            return CompanionBackend(backend.url, credential, allow_insecure=backend.allow_insecure)
        case "token":
            from device.net.token_backend import TokenBackend  # noqa: PLC0415 # see above

            return TokenBackend(
                backend.url,
                backend.realtime_url,
                backend.model,
                session_settings(config),
                backend.dialect,
                codec=backend.codec,
            )
        case "realtime-session":
            from device.net.realtime_session_backend import (  # noqa: PLC0415 # see above
                RealtimeSessionBackend,
            )

            return RealtimeSessionBackend(backend.url, allow_insecure=backend.allow_insecure)
        case "unmute":
            from device.net.unmute_backend import UnmuteBackend  # noqa: PLC0415 # see above

            own = config.unmute
            return UnmuteBackend(
                backend.url,
                character=own.character,
                scenario=own.scenario,
                language=own.language,
                voice=own.voice,
                allow_recording=own.recording_consent,
            )
    assert_never(backend.kind)
