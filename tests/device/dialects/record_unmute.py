"""Record a conversation with the simulated Unmute: python -m tests.device.dialects.record_unmute MISTAKE."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import msgspec

from device.core.events import Opened, ReplyEnded, ReplyStarted, Withdrawn
from device.core.grant import Grant
from device.dialects.dialect import ReplyAudio
from rig.processes import Simulator
from tests.companion.talk import running, silence
from tests.device.dialects.record import Recorder
from tests.device.dialects.replay import Line, dump

_CONFIG = """
[endpoints.default]
provider = "unmute"
[endpoints.default.session]
voice = "Watercooler"
[endpoints.default.unmute]
character = "You are terse."
[providers.unmute]
base_url = "{url}"
"""


class Unmuted(Recorder):
    """A client that is never silent for long: the server tells time by its sound."""

    def wait(self, ms: int) -> None:
        """Send silence."""
        for page in self._encoder.encode(silence(ms)):
            self._link.send(self._dialect.audio(page))

    def ask(self, words: str) -> None:
        self.speak(words)
        self.wait(900)


def conversation(grant: Grant) -> list[Line]:
    """The opening; a turn; a story interrupted by words, whose answer comes while the button is held."""
    recorder = Unmuted(grant)
    recorder.until(Opened)
    recorder.wait(200)
    recorder.until(ReplyEnded)
    recorder.ask("my name is peter")
    recorder.until(ReplyEnded)
    recorder.ask("tell me a story")
    recorder.until(ReplyAudio, times=3)
    recorder.order("interrupt", "reply-3", 100)
    recorder.wait(500)
    recorder.ask("carry on")
    recorder.until(Withdrawn)
    reply = recorder.until(ReplyStarted)
    recorder.order("refuse_reply", reply.reply_id)
    recorder.order("end_turn")
    recorder.until(ReplyAudio, times=2)
    recorder.close()
    return recorder.steps


def record(path: Path, *mistakes: str) -> None:
    """Hold the conversation through a companion and write its recording."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        Simulator(Path(scratch), "unmute", *mistakes) as service,
        running(Path(scratch), _CONFIG.format(url=service.url)) as companion,
    ):
        grant = companion.grant()
        steps = conversation(msgspec.convert(grant, Grant))
    dump(path, {"grant": grant | {"url": "ws://x/v1/realtime", "session_id": "unmute_1"}}, steps)


if __name__ == "__main__":
    name = "-".join(["unmute", *sys.argv[1:]])
    record(Path(__file__).parent / "fixtures" / f"{name}.jsonl", *sys.argv[1:])
