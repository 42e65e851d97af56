"""Directs `pressel demo`: a whole spoken conversation with a SIGKILL in its middle, recorded and judged."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.check import check
from demo.journal import DemoError, Journal, is_kind, is_state, read_events
from demo.screen import make_screen
from demo.stage import CardStage, WavStage, describe
from demo.timeline import draw
from device.errors import StateError
from rig.card import Card, CardError
from rig.processes import Device, ProcessError
from rig.services import SERVICES, open_service
from rig.speech import SPOKEN_HZ, say

if TYPE_CHECKING:
    from demo.journal import Event, Test
    from demo.screen import Screen
    from demo.stage import Stage

NAME = "Peter"
_STEPS = 7
_FILES = ("mic.wav", "speaker.wav", "events.jsonl", "timeline.png")
_STORY_S = 3.4  # of the story are heard before the interruption, which falls into a word
_KILL_AFTER_S = 2.5  # of the next reply are heard before the kill
_REPLY_S = 30.0


def main(*, out: Path, wav: bool, mic: bool, as_json: bool, provider: str = "local") -> int:
    """Hold the conversation; returns the exit status. Recordings, events and the picture stay in `out`.

    `provider` names one of `rig.services.SERVICES`.
    """
    out = out.resolve()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # both end with nothing left running
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name in _FILES:  # an older run's must not pass for this one's
            (out / name).unlink(missing_ok=True)
        if mic:
            from demo.person import converse  # noqa: PLC0415 # only with a person at the keyboard

            return converse(out)
        return _play(out, provider, wav=wav, as_json=as_json)
    except (DemoError, ProcessError, CardError, StateError, OSError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: stopped", file=sys.stderr)
        return 130


def _play(out: Path, provider: str, *, wav: bool, as_json: bool) -> int:
    if provider not in SERVICES:
        raise DemoError(f"there is no provider {provider!r}; known: {', '.join(SERVICES)}")
    began = time.monotonic()
    with contextlib.ExitStack() as cleanup:
        screen = cleanup.enter_context(make_screen(_STEPS))
        journal = Journal(out / "events.jsonl", screen.show)
        cleanup.callback(journal.close)
        scratch = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="pressel-")))
        screen.step("setting the stage: companion, sound card, daemon")
        stage = _stage(cleanup, scratch, out, journal, wav=wav)
        device = Device(scratch, open_service(provider, scratch, cleanup), stage.audio, stage.env)
        cleanup.callback(device.stop)
        service = SERVICES[provider]
        talk = _Talk(device, stage, journal, writes=service.person == "writes")
        _converse(talk, screen, service.after_cut)
        screen.step("listening to the recording, drawing the picture")
        mic, speaker = stage.finish()
        journal.note("recording", **describe(mic, "mic.wav"))
        journal.note("recording", **describe(speaker, "speaker.wav"))
        events = read_events(out / "events.jsonl")
        draw(events, mic, speaker, out / "timeline.png")
        facts, faults = check(events, speaker, NAME, SERVICES[provider].after_restart)
    facts |= {"ok": not faults, "faults": faults, "folder": str(out), "sound": stage.name}
    facts["provider"] = provider
    facts["seconds"] = round(time.monotonic() - began, 1)
    _report(facts, as_json=as_json)
    return 1 if faults else 0


def _stage(cleanup: contextlib.ExitStack, scratch: Path, out: Path, journal: Journal, *, wav: bool) -> Stage:
    if not wav:
        try:
            card = cleanup.enter_context(Card(scratch / "card"))
            return CardStage(card, out)
        except CardError as error:
            journal.note("notice", level="warning", text=f"WAV files instead of a sound card: {error}")
    return WavStage(out, scratch)


def _converse(talk: _Talk, screen: Screen, after_cut: str) -> None:
    talk.start()
    screen.step("a name")
    talk.ask(f"my name is {NAME}")
    screen.step("the time")
    talk.ask("what time is it")
    screen.step("a story, interrupted")
    talk.ask("tell me a story", until_s=_STORY_S)
    talk.ask(after_cut, until_s=_KILL_AFTER_S)
    screen.step("SIGKILL, and a new start")
    talk.kill()
    talk.start()
    screen.step("what is my name?")
    talk.ask("what is my name")
    talk.stop()


class _Talk:
    """The person at the button, who has a mouth, or at a keyboard, and patience with limits."""

    def __init__(self, device: Device, stage: Stage, journal: Journal, *, writes: bool) -> None:
        self._device, self._stage, self._journal, self._writes = device, stage, journal, writes

    def start(self) -> None:
        """Start the daemon and follow its events."""
        self._stage.begin_run()
        self._device.audio = self._stage.audio
        self._device.start()
        self._journal.note("start", pid=self._device.pid)
        self._journal.follow(self._device.watch())

    def kill(self) -> None:
        """SIGKILL."""
        here = self._journal.mark()
        self._journal.note("kill")
        self._device.kill()
        self._stage.end_run()
        self._journal.wait("the end of the killed daemon's events", is_kind("gone"), here)

    def stop(self) -> None:
        """End the daemon in good order."""
        here = self._journal.mark()
        self._device.stop()
        self._stage.end_run()
        self._journal.wait("the end of the daemon's events", is_kind("gone"), here)

    def ask(self, text: str, *, until_s: float | None = None) -> None:
        """Say or write it, and hear the reply: to its end, or its first `until_s` seconds."""
        here = self._write(text) if self._writes else self._speak(text)
        voice = self._fact(f"the reply to {text!r}", is_state("speaking"), here)
        if until_s is None:
            self._fact(f"the end of the reply to {text!r}", is_state("ready", "idle"), here, _REPLY_S)
        elif not self._journal.stays_away(is_state("ready", "idle"), here, voice["t"] + until_s):
            raise DemoError(f"the reply to {text!r} ended by itself within {until_s:.1f} s")

    def _write(self, text: str) -> int:
        here = self._journal.mark()
        self._order("say", text=text)
        return here

    def _speak(self, text: str) -> int:
        """Hold the button, say it, let go."""
        sound = say(text)
        here = self._journal.mark()
        self._order("press")
        self._fact("the daemon to listen", is_state("listening", "connecting"), here)
        said = self._stage.say(sound, SPOKEN_HZ)
        self._journal.note("said", text=text, seconds=round(len(sound) / SPOKEN_HZ, 3))
        said.wait()
        here = self._journal.mark()
        self._order("release")
        return here

    def _order(self, command: str, **more: str) -> None:
        self._journal.note(command, **more)
        answer = self._device.ask(command, more=more)
        if not answer.get("ok"):
            raise DemoError(f"the daemon refuses {command}: {answer.get('error')}")

    def _fact(self, what: str, fits: Test, since: int, within_s: float = 20.0) -> Event:
        """Wait for an event, but not for a daemon that has gone."""
        gone = is_kind("gone")
        found = self._journal.wait(what, lambda event: fits(event) or gone(event), since, within_s)
        if found["event"] == "gone":
            raise DemoError(f"the daemon ended while waiting for {what}: {self._device.last_line()}")
        return found


def _report(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    folder = facts["folder"]
    print(f"after the restart the speaker said: {facts['heard_after_restart']}")
    print(f"sessions: {', '.join(facts['rungs'])}; {facts['sound']}; {facts['seconds']} s")
    print(f"{folder}/timeline.png (and mic.wav, speaker.wav, events.jsonl beside it)")
    for fault in facts["faults"]:
        print(f"demo: {fault}", file=sys.stderr)
