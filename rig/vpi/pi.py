"""What a person does with the virtual Pi: press the button, speak, listen, look at the light."""

from __future__ import annotations

import io
import time
import wave
from typing import TYPE_CHECKING, Any

import numpy as np

from device.dsp.resample import Resampler
from rig.speech import SPOKEN_HZ
from rig.vpi.agent import GuestError
from rig.vpi.machine import Machine

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from rig.vpi.agent import Job

    Samples = NDArray[np.int16]

BUTTON, WAKE, LED = 23, 24, 25  # BCM lines of the board `i2s-mems-pair`, which the virtual Pi wears
CARD_HZ = 16_000  # a third of the work of 48 kHz
SOCKET = "/var/lib/pressel/control.sock"
# A loopback card: what is played into device 0 is what device 1 captures, and the other way round.
CARD = "Loopback: PCM (hw:0,1)"
_OURS = "plughw:Loopback,0"
_LEAD_S = 0.3
REPLY_S = 240.0  # of ours: an emulated processor beside other work
_TAIL_S = 0.6  # a loopback card repeats what its buffer held last when the player stops

AUDIO = f"""\
[audio.input]
device = "{CARD}"
format = "s16"
rate_hz = {CARD_HZ}
channels = 1
channel = 0
gain_db = 0.0
highpass_hz = 0
dead_after_s = 0 # a loopback card gives zeros while nobody speaks

[audio.output]
device = "{CARD}"
format = "s16"
rate_hz = {CARD_HZ}
channels = 1
rests = true # 150 blocks a second of silence are much for an emulated processor
"""


class Recording:
    """What the speaker plays from now until `stop`."""

    def __init__(self, job: Job, stop: Any) -> None:
        self._job, self._end = job, stop

    def stop(self) -> Samples:
        """Return everything that was played, 16 kHz mono."""
        self._end()
        return np.frombuffer(self._job.wait().raw, np.int16)


class Pi(Machine):
    """A virtual Pi with a finger on its button, a mouth and an ear."""

    def hold(self, line: int = BUTTON) -> None:
        """Press a button and keep it down."""
        self.agent.ask("pull", line=line, up=False)

    def release(self, line: int = BUTTON) -> None:
        """Let a button go."""
        self.agent.ask("pull", line=line, up=True)

    def press(self, line: int = BUTTON, seconds: float = 0.2) -> None:
        """Press a button for a moment."""
        self.hold(line)
        time.sleep(seconds)
        self.release(line)

    def say(self, samples: Samples, rate: int = SPOKEN_HZ) -> float:
        """Speak into the microphone, to the end; returns the seconds that it took."""
        began = time.monotonic()
        voice = Resampler(rate, CARD_HZ).process(samples) if rate != CARD_HZ else samples
        sound = np.pad(voice, (int(_LEAD_S * CARD_HZ), int(_TAIL_S * CARD_HZ)))
        done = self.agent.run(f"aplay -q -D {_OURS} --buffer-time=400000 -", _wav(sound))
        if done.status:
            raise GuestError(f"nothing can be said into the microphone: {done.output.strip()}")
        return time.monotonic() - began

    def listen(self) -> Recording:
        """Take down what the speaker plays from now on."""
        name = f"/run/vpi/recorder-{time.monotonic_ns()}"
        record = f"arecord -q -D {_OURS} -t raw -f S16_LE -c 1 -r {CARD_HZ} --buffer-time=400000"
        job = self.agent.begin(f"{record} --process-id-file {name}; exit 0")
        deadline = time.monotonic() + 20.0
        while self.agent.run(f"test -s {name}").status:
            if time.monotonic() > deadline:
                raise GuestError("the recorder of the speaker does not start")
        return Recording(job, lambda: self.agent.run(f"kill -INT $(cat {name}); rm -f {name}"))

    def talk(self, samples: Samples, rate: int = SPOKEN_HZ) -> Samples:
        """Speak with the button held, and return what the speaker played until the reply had ended."""
        replies = self.ask("status")["counters"]["replies"]
        recording = self.listen()
        try:
            self.hold()
            self.say(samples, rate)
            self.release()
            deadline = time.monotonic() + REPLY_S
            while not self._has_replied(replies):
                if time.monotonic() > deadline:
                    raise GuestError(
                        "no reply has come to its end: script/appliance sh journalctl -u pressel"
                    )
                time.sleep(0.2)
        finally:
            sound = recording.stop()
        return sound

    def _has_replied(self, before: int) -> bool:
        now = self.ask("status")
        return bool(now["counters"]["replies"] > before and now["state"] in ("ready", "idle"))

    def ask(self, command: str, **more: Any) -> dict[str, Any]:
        """Ask Pressel one thing over its control socket. Raises GuestError without a daemon."""
        answer: dict[str, Any] = self.agent.ask("control", path=SOCKET, request={"cmd": command, **more})[
            "answer"
        ]
        return answer


def load(file: Path) -> tuple[Samples, int]:
    """Read a WAV file of 16 bits; the first channel and its rate. Raises GuestError."""
    try:
        with wave.open(str(file), "rb") as sound:
            if sound.getsampwidth() != 2:
                raise GuestError(f"{file} has {sound.getsampwidth() * 8} bits: 16 are needed")
            data = np.frombuffer(sound.readframes(sound.getnframes()), np.int16)
            return data.reshape(-1, sound.getnchannels())[:, 0], sound.getframerate()
    except (OSError, EOFError, wave.Error) as error:
        raise GuestError(f"{file} cannot be read as WAV: {error}") from error


def save(file: Path, samples: Samples) -> None:
    """Write 16 kHz mono."""
    file.write_bytes(_wav(samples))


def _wav(samples: Samples) -> bytes:
    target = io.BytesIO()
    with wave.open(target, "wb") as sound:
        sound.setparams((1, 2, CARD_HZ, 0, "NONE", "not compressed"))
        sound.writeframes(samples.tobytes())
    return target.getvalue()
