"""The appliance with Delphi: words typed, replies heard, sockets cut, an interpretation listened to."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from companion.simulators.delphi import ENDPOINT
from rig.processes import Companion, Simulator
from rig.speech import hear
from tests.servers import until
from tests.stage import CARD_HZ, Stage, samples, wav_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Event = dict[str, Any]


class Desk:
    """A stage whose person writes, and reads what the device tells."""

    def __init__(self, stage: Stage, speaker: Path) -> None:
        self.stage = stage
        self.device = stage.device
        self._speaker = speaker

    def sounded(self) -> int:
        """Return how many samples that are no silence came out of the speaker."""
        return int(np.count_nonzero(np.abs(samples(self._speaker)) > 8))

    def heard(self, start: int = 0) -> str:
        """Return the words that came out of the speaker."""
        return hear(samples(self._speaker)[start:], CARD_HZ)

    def write(self, text: str) -> tuple[list[Event], str]:
        """Write it; returns what was told until the reply was over, and what was heard meanwhile."""
        start = len(samples(self._speaker))
        with self.device.watch(40) as events:
            self.device.ask("say", more={"text": text})
            told = until_told(events, lambda told: states(told)[-1:] == ["ready"] and bool(said(told)))
        return told, self.heard(start)

    def hold(self) -> None:
        """Hold the button for half a second of silence."""
        self.device.ask("press")
        captured = self.stage.captured()
        self.stage.speak(np.zeros(24_000, np.int16))
        until(lambda: self.stage.captured() > captured + 25, 15)
        self.device.ask("release")

    def write_in_vain(self, text: str, why: str, times: int = 1) -> list[Event]:
        """Write it; returns what was told until it was said why, so often, and the device rested."""
        with self.device.watch(40) as events:
            self.device.ask("say", more={"text": text})
            return until_told(
                events, lambda told: notices(told).count(why) == times and states(told)[-1:] == ["idle"]
            )


def until_told(events: Any, enough: Callable[[list[Event]], bool]) -> list[Event]:
    """Return the events up to the one after which it is enough."""
    told: list[Event] = []
    for event in events:
        told.append(event)
        if enough(told):
            return told
    raise AssertionError("the events ended")


def states(told: list[Event]) -> list[str]:
    return [event["state"] for event in told if event["event"] == "state"]


def said(told: list[Event], role: str = "assistant") -> list[str]:
    """Return what one side said, whole."""
    return [
        event["text"]
        for event in told
        if event["event"] == "transcript" and event["role"] == role and event["final"]
    ]


def notices(told: list[Event]) -> str:
    return " | ".join(event["text"] for event in told if event["event"] == "notice")


@contextmanager
def desk(folder: Path, *mistakes: str, options: str = "") -> Iterator[Desk]:
    """The service, a companion before it, a device."""
    with Simulator(folder, "delphi", *mistakes) as service:
        (folder / "key").write_text("simulated-key")
        tables = (
            f'[endpoints.default]\nprovider = "delphi"\n'
            f'[endpoints.default.delphi]\nendpoint_id = "{ENDPOINT}"\n{options}\n'
            f'[providers.delphi]\nbase_url = "{service.url}"\nkey_file = "{folder}/key"\n'
        )
        with (
            Companion(folder / "companion", tables=tables) as companion,
            wav_stage(folder, companion) as stage,
        ):
            yield Desk(stage, folder / "speaker.wav")


def test_what_is_written_is_answered_aloud_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    with desk(tmp_path, "unknown-types", "not-json", "late-status", "action", "out-of-order") as one:
        told, heard = one.write("my name is peter")
        assert said(told, "user") == ["my name is peter"]
        assert said(told) == ["Hello, Peter. Nice to meet you."]
        assert "peter" in heard
        one.device.kill()
        one.device.start()
        assert "peter" in one.write("what is my name")[1]
        assert one.stage.rung() == "live"


@pytest.mark.parametrize("mistakes", [("mp3", "unaligned-base64"), ("no-mime", "segments", "late-words")])
def test_mp3_in_pieces_of_any_kind(tmp_path: Path, mistakes: tuple[str, ...]) -> None:
    with desk(tmp_path, *mistakes) as one:
        told, heard = one.write("my name is peter")
        assert "peter" in heard
        assert states(told).count("speaking") == 1


def test_a_reply_whose_socket_is_cut_is_heard_whole_and_once(tmp_path: Path) -> None:
    with desk(tmp_path, "close-1012-mid-reply", "duplicate-messages") as one:
        cut, sounded = one.write("help")[0], one.sounded()
        whole, again = one.write("help")[0], one.sounded() - sounded
        assert len(said(cut)) == len(said(whole)) == 1
        assert states(cut).count("speaking") == 1
        assert "closed" not in notices(cut)
        assert abs(again - sounded) < CARD_HZ // 20


def test_words_alone_in_text_mode_and_a_button_that_nobody_hears(tmp_path: Path) -> None:
    with desk(tmp_path, options='mode = "text"') as one:
        told, heard = one.write("my name is peter")
        assert (said(told), heard) == (["Hello, Peter. Nice to meet you."], "")
        with one.device.watch(30) as events:
            one.hold()
            until_told(events, lambda told: "type with: pressel ctl say TEXT" in notices(told))
            until_told(events, lambda told: states(told)[-1:] == ["ready"])


def test_what_is_written_is_read_out_where_the_owner_wants_that(tmp_path: Path) -> None:
    with desk(tmp_path, options="read_aloud = true") as one:
        assert "peter" in one.write("hello peter, come here")[1]


def test_an_interpretation_is_heard_until_a_press(tmp_path: Path) -> None:
    with desk(tmp_path, options='mode = "listen"\nidentifier = "booth-1"') as one:
        with one.device.watch(60) as events:
            one.hold()
            captions = said(until_told(events, lambda told: "ninety steps" in " ".join(said(told))))
            assert "keeper" in captions[-2]
        with one.device.watch(30) as events:
            next(event for event in events if event["event"] == "state" and event["state"] == "speaking")
            one.device.ask("press")
            next(event for event in events if event["event"] == "state" and event["state"] == "listening")
        assert "keeper called martha" in one.heard()


def test_a_refused_token_is_minted_once_more_and_then_no_more(tmp_path: Path) -> None:
    with desk(tmp_path / "once", "close-4001") as one:
        told, heard = one.write("my name is peter")
        assert "4001 invalid token" in notices(told)
        assert "peter" in heard
    with desk(tmp_path / "always", "close-4001-always") as one:
        told = one.write_in_vain("my name is peter", "4001 invalid token", times=2)
        assert notices(told).endswith("check the key at the companion")
        assert states(told) == ["connecting", "idle"]


def test_a_session_that_another_client_takes_over_is_left_to_it(tmp_path: Path) -> None:
    with desk(tmp_path, "close-4000") as one:
        one.write_in_vain("help", "another client has taken over this Delphi session")


def test_a_token_that_ends_while_the_socket_is_cut_is_followed_by_a_new_session(tmp_path: Path) -> None:
    with desk(tmp_path, "short-token", "close-1012-mid-reply", "error-reply") as one:
        with one.device.watch(30) as events:
            one.device.ask("say", more={"text": "my name is peter"})
            until_told(events, lambda told: "RUNTIME_ERROR" in notices(told))
            until_told(events, lambda told: states(told)[-1:] == ["ready"])  # at once: an answer came
        one.write_in_vain("help", "lost the session while speaking")
        assert one.device.ask("status")["state"] == "idle"
        with one.device.watch(30) as events:
            one.device.ask("say", more={"text": "what is my name"})
            until_told(events, lambda told: "is open (fresh)" in notices(told))
