"""Record conversations with the simulated Speko: python -m tests.device.dialects.record_speko."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from device.core.events import Lost, Opened, ReplyEnded
from device.core.grant import Grant
from device.dialects.dialect import ReplyAudio
from rig.processes import Simulator
from tests.companion.talk import running
from tests.device.dialects.record import Recorder
from tests.device.dialects.replay import Line, dump

if TYPE_CHECKING:
    from collections.abc import Callable

_CONFIG = """
[endpoints.default]
provider = "speko"
[endpoints.default.session]
tools = [{name = "get_time", description = "The time"}]
[providers.speko]
base_url = "{url}"
key_file = "key"
"""


class Patient(Recorder):
    """A client that counts the quiet after a reply, as a session does by its pings."""

    def opened(self) -> None:
        """Wait until the session is open; the server has the last word on the rate."""
        self.until(Opened)
        self._rate = self._dialect.input.rate

    def speak(self, words: str) -> None:
        """Say the words and end the turn; some of the reply's sound is kept."""
        self._sounds = 0
        super().speak(words)

    def ask(self, words: str) -> None:
        """Speak, and wait until the reply has come and is followed by quiet."""
        self.speak(words)
        while '"usage"' not in str(self.steps[-1].get("in")):
            frame = self._link.receive()
            assert frame is not None
            decoded = self._dialect.decode(frame)
            self._keep(frame, decoded)
            self._take(decoded)
        for _ in range(4):
            self.order("ping")


def conversation(grant: Grant) -> list[Line]:
    """A turn; a tool that is refused; a story interrupted; what the protocol has not."""
    recorder = Patient(grant)
    recorder.opened()
    recorder.ask("my name is peter")
    recorder.ask("what time is it")
    recorder.speak("tell me a story")
    recorder.until(ReplyAudio, times=3)
    recorder.order("interrupt", "reply-3", 100)
    recorder.ask("what is my name")
    for order in ("discard_turn", "request_reply"):
        recorder.order(order)
    recorder.order("say", "hello")
    recorder.close()
    return recorder.steps


def one_turn(grant: Grant) -> list[Line]:
    """A turn and its reply."""
    recorder = Patient(grant)
    recorder.opened()
    recorder.ask("my name is peter")
    recorder.close()
    return recorder.steps


def withdrawn(grant: Grant) -> list[Line]:
    """A story that the server takes back, and the end of the session."""
    recorder = Patient(grant)
    recorder.opened()
    recorder.speak("tell me a story")
    recorder.until(ReplyEnded)
    recorder.order("interrupt", "reply-1", 500)
    recorder.until(Lost)
    recorder.close()
    return recorder.steps


def refused(grant: Grant) -> list[Line]:
    """No session."""
    recorder = Patient(grant)
    recorder.until(Lost)
    return recorder.steps


_ODD = ("other-rates", "odd-frames", "unknown-frames", "late-transcripts", "rewritten-transcripts")
_RECORDINGS: dict[str, tuple[tuple[str, ...], Callable[[Grant], list[Line]]]] = {
    "speko": ((), conversation),
    "speko-odd": (_ODD, one_turn),
    "speko-withdrawn": (("interrupts", "error-after-ready", "ends-at-ttl"), withdrawn),
    "speko-refused": (("error-before-ready",), refused),
}


def record(name: str, mistakes: tuple[str, ...], talk: Callable[[Grant], list[Line]]) -> None:
    with tempfile.TemporaryDirectory() as scratch, Simulator(Path(scratch), "speko", *mistakes) as service:
        (Path(scratch) / "key").write_text("simulated-key")
        with running(Path(scratch), _CONFIG.replace("{url}", service.url)) as companion:
            grant = companion.grant()
            steps = talk(msgspec.convert(grant, Grant))
    grant |= {"auth": {"kind": "subprotocol", "value": "x"}, "url": "ws://x/v1/realtime/s/ws"}
    dump(Path(__file__).parent / "fixtures" / f"{name}.jsonl", {"grant": grant}, steps)


if __name__ == "__main__":
    for recording, (made, told) in _RECORDINGS.items():
        record(recording, made, told)
