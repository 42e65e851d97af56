"""The parts as the configuration wants them: the longest turn outlives its session whole."""

from __future__ import annotations

import time
import wave
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pytest

from device.config import BackendConfig, Config, StateConfig, load
from device.errors import BackendError, ConfigError
from device.parts import Parts, _make_enrolment
from device.system.identity import Claim, Identity

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from device.audio.ring import Ring

RATE = 48_000


class Nobody:
    """A listener whom nothing that is told concerns."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class Outlet:
    """A session that counts the sound it is sent."""

    input_rate = 24_000
    where = "here"

    def __init__(self) -> None:
        self.bytes, self.ended = 0, False

    def send_audio(self, pcm: bytes) -> None:
        self.bytes += len(pcm)

    def end_turn(self) -> None:
        self.ended = True

    @property
    def seconds(self) -> float:
        return self.bytes / 2 / self.input_rate


def _parts(folder: Path) -> Parts:
    with wave.open(str(folder / "mic.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
    config = folder / "config.toml"
    config.write_text(
        'board = "simulated"\n[backend]\nkind = "token"\nurl = "http://127.0.0.1:1"\n'
        f'realtime_url = "ws://127.0.0.1:1"\n[state]\ndir = "{folder}/state"\n[audio]\ndriver = "wav"\n'
        f'[audio.input]\ndevice = "{folder}/mic.wav"\n[audio.output]\ndevice = "{folder}/out.wav"\n'
    )
    return Parts(load(config).config, cast("Any", Nobody()))


def test_the_longest_turn_is_sent_again_whole_after_the_longest_wait(tmp_path: Path) -> None:
    parts = _parts(tmp_path)
    uplink, ring = parts.uplink, cast("Ring", parts.uplink._source)
    pressed_at = time.monotonic()
    ring.mark(pressed_at)
    first, second = Outlet(), Outlet()
    uplink.begin(pressed_at, 0)
    uplink.attach(cast("Any", first))
    for _ in range(120):  # as long as a turn may be
        ring.write(np.ones(RATE, np.int16))
        uplink.pump()
        uplink.pump()
    assert first.seconds > 119
    uplink.detach()
    uplink.end(pressed_at + 119.98)
    for _ in range(15):  # as long as it may wait
        ring.write(np.ones(RATE, np.int16))
        uplink.pump()
    uplink.attach(cast("Any", second))
    while not second.ended:
        uplink.pump()
    parts.store.close()
    parts.close()
    assert abs(second.seconds - 120) < 0.05
    assert uplink.frames_dropped == 0


def _asked(folder: Path, **backend: Any) -> str | None:
    """Return what a request would show; "claim" when that is tried first, None when a file decides."""
    settings = BackendConfig(url="http://127.0.0.1:1", **backend)
    enrolment = _make_enrolment(
        Config(backend=settings, state=StateConfig(str(folder))), cast("Any", Nobody())
    )
    try:
        return enrolment.header() if enrolment else None
    except BackendError as error:
        return "claim" if "cannot be reached" in str(error) else str(error)


def test_which_credential_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    credentials, state = tmp_path / "credentials", tmp_path / "state"
    credentials.mkdir()
    state.mkdir()
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(ConfigError, match="pressel enroll --claim-file FILE, then restart"):
        _asked(state)
    assert _asked(state, kind="unmute") is None
    assert _asked(state, token_file="anything") is None
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    (credentials / "pressel_token").write_text("pst_1")
    assert _asked(state) == "Bearer pst_1"
    Identity(state).put_claim(Claim("http://127.0.0.1:1", "pressel_claim_1"))
    assert _asked(state) == "claim"
    Identity(state).refuse_claim()
    assert _asked(state) == "Bearer pst_1"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert "this device is not enrolled" in (_asked(state) or "")
