"""The appliance with Outspeed in its other forms: a user's own backend, odd context, self-hosted."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rig.processes import Companion, Simulator
from rig.speech import say
from tests.servers import until
from tests.stage import Stage, wav_stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def straight(service: Simulator) -> str:
    """Return the device's backend: the one of Outspeed's page on resuming, which looks at no status."""
    ws = service.url.replace("http", "ws", 1)
    kind = 'kind = "token"\ndialect = "outspeed"\nmodel = "Orpheus-3b"\n'
    return f'{kind}url = "{service.url}"\nrealtime_url = "{ws}/v1/realtime"\n'


@contextmanager
def served(folder: Path, service: Simulator, endpoint: str) -> Iterator[Companion]:
    """A companion before the service."""
    (folder / "key").write_text("simulated-key")
    own = f'base_url = "{service.url}"\nkey_file = "{folder}/key"\n'
    tables = f'[endpoints.default]\nprovider = "outspeed"\n{endpoint}\n[providers.outspeed]\n{own}'
    ws = service.url.replace("http", "ws", 1)
    with Companion(folder / "companion", tables=f'{tables}realtime_url = "{ws}/v1/realtime"\n') as companion:
        yield companion


def restart(stage: Stage) -> None:
    stage.device.kill()
    stage.device.start()


def test_straight_at_a_users_backend_the_talk_is_resumed_and_an_unknown_id_is_told(tmp_path: Path) -> None:
    with (
        Simulator(tmp_path, "outspeed") as service,
        wav_stage(tmp_path, None, backend=straight(service)) as stage,
    ):
        assert "peter" in stage.ask("my name is peter")[1]
        assert stage.rung() == "fresh"
        restart(stage)
        with stage.device.watch(30) as events:
            assert "peter" in stage.ask("what is my name")[1]
            restored = next(event["turns"] for event in events if event["event"] == "restored")
        assert restored[0] == {"role": "user", "text": "my name is peter"}
        assert stage.device.ask("transcript")["turns"][: len(restored)] == restored
        assert stage.rung() == "live"
        stage.device.kill()
        service.kill()
        shutil.rmtree(tmp_path / "outspeed-memory")
        service.start()
        stage.device.start()
        with stage.device.watch(30) as events:
            assert "peter" in stage.ask("what is my name")[1]
            told = next(event["text"] for event in events if event["event"] == "notice")
        assert "could not be resumed" in told
        assert stage.rung() == "seeded"


def test_context_that_comes_late_and_in_parts_is_live_all_the_same(tmp_path: Path) -> None:
    odd = ("restored-late", "restored-as-parts", "unknown-events")
    with (
        Simulator(tmp_path, "outspeed", *odd) as service,
        served(tmp_path, service, 'outspeed.transport = "websocket"') as companion,
        wav_stage(tmp_path, companion) as stage,
    ):
        assert "peter" in stage.ask("my name is peter")[1]
        restart(stage)
        assert "peter" in stage.ask("what is my name")[1]
        assert stage.rung() == "live"


def test_a_session_that_expires_is_resumed_where_it_was(tmp_path: Path) -> None:
    with (
        Simulator(tmp_path, "outspeed", "session-expires") as service,
        served(tmp_path, service, 'outspeed.transport = "websocket"') as companion,
        wav_stage(tmp_path, companion) as stage,
    ):
        answered(stage, "my name is peter")
        until(lambda: stage.device.ask("status")["state"] == "idle", 20)
        assert "peter" in stage.ask("what is my name")[1]
        assert stage.rung() == "live"


def test_a_hands_free_talk_is_greeted_at_first_and_welcomed_back_after_a_kill(tmp_path: Path) -> None:
    greetings = (
        '[endpoints.default.outspeed]\ntransport = "websocket"\n'
        'first_message = "Good morning."\nwelcome_back = "Welcome back."\n'
    )
    with (
        Simulator(tmp_path, "outspeed") as service,
        served(tmp_path, service, greetings) as companion,
        wav_stage(tmp_path, companion, '[talk]\nmode = "open_mic"\nturn_end = "server"\n') as stage,
    ):
        with stage.device.watch(30) as events:
            stage.device.ask("tap")
            assert said(events) == "good morning."
            until(lambda: stage.device.ask("status")["state"] == "listening", 20)
            stage.speak(say("my name is peter"))
            assert "peter" in said(events)
        restart(stage)
        with stage.device.watch(30) as events:
            stage.device.ask("tap")
            assert said(events) == "welcome back."
        assert stage.rung() == "live"


def test_a_self_hosted_function_hears_the_end_of_a_turn_by_itself(tmp_path: Path) -> None:
    with (
        Simulator(tmp_path, "outspeed", "legacy-odd-rate") as service,
        served(tmp_path, service, f'outspeed.function_url = "{service.url}/legacy"') as companion,
        wav_stage(tmp_path, companion) as stage,
    ):
        assert "peter" in answered(stage, "my name is peter")
        assert "peter" in answered(stage, "what is my name")
        assert stage.rung() == "fresh"


def answered(stage: Stage, text: str) -> str:
    """Hold the button no longer than for `text`; returns the words of the answer, there are no others."""
    words = say(text)
    with stage.device.watch(30) as events:
        stage.device.ask("press")
        seconds = stage.speak(words)
        captured = stage.captured()
        until(lambda: stage.captured() > captured + (seconds + 0.1) * 50, 15)
        stage.device.ask("release")
        return said(events)


def said(events: Iterable[dict[str, Any]]) -> str:
    """Wait for the words of a reply, whole."""
    words: str = next(
        event["text"].lower().strip()
        for event in events
        if event["event"] == "transcript" and event["role"] == "assistant" and event["final"]
    )
    return words
