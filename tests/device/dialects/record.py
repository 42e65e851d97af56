"""Record a conversation with a simulator: python -m tests.device.dialects.record openai [--mistake M].

The companion mints, the device's own link connects, the dialect talks; long sound is shortened. `--play`
writes a recording's "out" lines anew, after a change that is meant.
"""

from __future__ import annotations

import argparse
import base64
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from companion.simulators import KEY
from device.codecs import make_encoder
from device.core.events import Opened, ReplyEnded
from device.core.grant import Grant
from device.dialects.dialect import Decoded, Dialect, ReplyAudio, Send
from device.dsp.resample import Resampler
from device.errors import ProtocolError
from device.net.attempt import DIALECTS
from device.net.link import Link
from rig.processes import Simulator
from rig.services import SERVICES
from tests.companion.talk import running, speech
from tests.device.dialects.replay import Frame, Line, dump, load, step_of

_FUNCTION = '[endpoints.default]\nprovider = "outspeed"\noutspeed.function_url = "{http}/legacy"\n'
_KEPT_SOUNDS = 3  # of a reply's pieces of sound
_KEPT_CHARS = 64  # of their base64


class Recorder:
    """One session, and the steps that are kept of it."""

    def __init__(self, grant: Grant) -> None:
        self.steps: list[Line] = []
        self._link = Link(grant)
        self._dialect: Dialect = DIALECTS[grant.dialect](1, grant, (), 0.0)
        self._encoder = make_encoder(grant.input.encoding, grant.input.rate)
        self._rate = grant.input.rate
        self._sounds = 0
        self._take(self._call("opening"))

    def until(self, kind: type[Any], times: int = 1) -> Any:
        """Read on until that has come so often; returns the last."""
        found: list[Any] = []
        while len(found) < times:
            frame = self._link.receive()
            assert frame is not None
            try:
                decoded = self._dialect.decode(frame)
            except ProtocolError:
                decoded = []
            self._keep(frame, decoded)
            self._take(decoded)
            found += [one for one in decoded if isinstance(one, kind)]
        return found[-1]

    def speak(self, words: str) -> None:
        """Say the words and end the turn."""
        samples = Resampler(24_000, self._rate).process(np.frombuffer(speech(words), "<i2"))
        for piece in self._encoder.encode(samples.astype("<i2").tobytes()):
            for at in range(0, len(piece), 4800):
                self._link.send(self._dialect.audio(piece[at : at + 4800]))
        self.order("end_turn")

    def order(self, name: str, *args: Any) -> None:
        """Give the dialect an order."""
        self._take(self._call(name, *args))

    def close(self) -> None:
        self.order("closing")
        self._link.close()

    def _call(self, name: str, *args: Any) -> list[Decoded]:
        self.steps.append({"call": name, "args": list(args)})
        answer: list[Decoded] = getattr(self._dialect, name)(*args)
        return answer

    def _keep(self, frame: Frame, decoded: list[Decoded]) -> None:
        if any(isinstance(one, ReplyAudio) for one in decoded):
            self._sounds += 1
            if self._sounds > _KEPT_SOUNDS:
                return
        elif any(isinstance(one, ReplyEnded) for one in decoded):
            self._sounds = 0
        self.steps.append(step_of(shortened(frame)))

    def _take(self, decoded: list[Decoded]) -> None:
        for one in decoded:
            if isinstance(one, Send):
                self._link.send(one.frame)


def shortened(frame: Frame) -> Frame:
    """Return a frame with less sound in it."""
    if isinstance(frame, bytes):
        return frame[: _KEPT_CHARS // 2 + len(frame) % 2]
    try:
        message = json.loads(frame)
    except json.JSONDecodeError:
        return frame
    kind = str(message.get("type"))  # Speko names it "t", and has its sound in binary frames
    if "delta" in message.get("audio", ()):  # Delphi's, which may be cut anywhere
        text = message["audio"]["delta"]
        audio = {**message["audio"], "delta": text[: _KEPT_CHARS + len(text) % 4]}
        return json.dumps({**message, "audio": audio}, separators=(",", ":"))
    name = "data" if kind == "audio" else "delta"
    sound = message.get(name)
    sounds = kind == "audio" or "audio.delta" in kind
    if not sounds or not isinstance(sound, str) or len(sound) <= _KEPT_CHARS:
        return frame
    odd = len(base64.b64decode(sound)) % 2
    short = base64.b64encode(base64.b64decode(sound)[: _KEPT_CHARS // 2 + odd]).decode()
    return json.dumps({**message, name: short}, separators=(",", ":"))


def conversation(grant: Grant) -> list[Line]:
    """Two turns, the second reply interrupted, and a third in writing."""
    recorder = Recorder(grant)
    recorder.until(Opened)
    recorder.speak("my name is peter")
    recorder.until(ReplyEnded)
    recorder.speak("tell me a story")
    sound = recorder.until(ReplyAudio, times=3)
    recorder.order("interrupt", sound.item_id, 1)
    recorder.until(ReplyEnded)
    recorder.order("say", "what is my name")
    recorder.until(ReplyEnded)
    recorder.close()
    return recorder.steps


def in_writing(grant: Grant) -> list[Line]:
    """The same where the server finds the ends of turns, or hears nothing: words are exact."""
    recorder = Recorder(grant)
    if grant.dialect == "delphi":  # the others are open at once
        recorder.until(Opened)
    recorder.order("say", "my name is peter")
    recorder.until(ReplyEnded)
    recorder.order("say", "tell me a story")
    sound = recorder.until(ReplyAudio, times=3)
    recorder.order("interrupt", sound.item_id, 1)
    recorder.order("say", "what is my name")
    recorder.until(ReplyEnded)
    recorder.close()
    return recorder.steps


def record(path: Path, name: str, mistakes: list[str], wish: Line, *, again: bool) -> None:
    """Hold the conversation with a simulator and write its recording; `again`: of the one that resumes it."""
    simulator = SERVICES[name].simulator if name in SERVICES else "outspeed"
    assert simulator
    with tempfile.TemporaryDirectory() as scratch, Simulator(Path(scratch), simulator, *mistakes) as service:
        folder = Path(scratch)
        (folder / "key").write_text(KEY)
        tables = SERVICES[name].tables if name in SERVICES else _FUNCTION
        for mark, value in {"http": service.url, "ws": f"ws{service.url[4:]}", "key": "key"}.items():
            tables = tables.replace(f"{{{mark}}}", value)
        with running(folder, tables) as companion:
            speaks = name in SERVICES and SERVICES[name].person == "speaks"
            talk = conversation if speaks else in_writing
            grant = companion.grant(**wish)
            steps = talk(msgspec.convert(grant, Grant))
            if again:
                grant = companion.grant(resume_session=grant["session_id"], turns=2, **wish)
                steps = talk(msgspec.convert(grant, Grant))
    grant |= {"auth": {"kind": "bearer", "value": "x"}, "url": "ws://x/v1/realtime"}
    dump(path, {"grant": grant}, steps)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", nargs="?", help="a service, or outspeed-legacy")
    parser.add_argument("--again", action="store_true", help="the session that resumes the first one")
    parser.add_argument("--mistake", action="append", default=[])
    parser.add_argument("--codec", choices=["pcm16", "g711_ulaw", "g711_alaw"], help="the device's wish")
    parser.add_argument("--write", help="the recording's name, when it is not the simulator's")
    parser.add_argument("--play", type=Path, action="append", default=[], help="a recording")
    given = parser.parse_args()
    for path in given.play:
        dump(path, *load(path))
    if given.name:
        path = Path(__file__).parent / "fixtures" / f"{given.write or given.name}.jsonl"
        record(
            path, given.name, given.mistake, {"codec": given.codec} if given.codec else {}, again=given.again
        )


if __name__ == "__main__":
    main()
