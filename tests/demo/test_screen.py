"""The terminal: plain lines where nobody looks, a live view where somebody does."""

from __future__ import annotations

import io

from rich.console import Console

from demo.screen import LiveScreen, PlainScreen
from tests.demo import scenes


def test_plain_lines_tell_the_talk_the_kill_and_the_latencies() -> None:
    lines: list[str] = []
    screen = PlainScreen(lines.append)
    screen.step("a name")
    for event in scenes.events():
        screen.show(event)
    screen.show({"event": "turn", "t": 1.0, "latencies": {"reply_to_sound_ms": 4.2}})
    text = "\n".join(lines)
    for word in (
        "--> a name",
        "you: my name is peter",
        "pressel: Your name",
        "SIGKILL",
        "3.1 s of the reply",
    ):
        assert word in text
    assert "reply to sound 4 ms" in text
    assert "session: live (local)" in text


def test_the_live_view_shows_state_talk_and_progress() -> None:
    console = Console(file=io.StringIO(), force_terminal=True, width=100, height=40)
    screen = LiveScreen(2, console)
    with screen:
        screen.step("a name")
        for event in scenes.events():
            screen.show(event)
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue()
    for word in ("ready", "Your name is Peter.", "1/2", "session live"):
        assert word in shown, word
