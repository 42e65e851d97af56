"""The appliance on the telephone: Delphi's voice calls. The rows of WebRTC are in test_services."""

from __future__ import annotations

from typing import TYPE_CHECKING

from companion.simulators.delphi import ENDPOINT
from device.dsp.resample import Resampler
from rig.processes import Simulator
from rig.speech import say
from tests.servers import until
from tests.stage import CARD_HZ, served
from tests.telephone import likeness

if TYPE_CHECKING:
    from pathlib import Path

VOICE = f'[endpoints.default.delphi]\nendpoint_id = "{ENDPOINT}"\nmode = "voice_conversation"\n'


def test_a_telephone_call_by_button_and_speaker(tmp_path: Path) -> None:
    with (
        Simulator(tmp_path, "delphi") as service,
        served(tmp_path, service, "delphi", VOICE) as stage,
    ):
        with stage.device.watch(40) as events:
            stage.device.ask("press")
            seconds = stage.speak(say("my name is peter"))
            captured = stage.captured()
            until(lambda: stage.captured() > captured + (seconds + 0.3) * 50, 15)
            stage.device.ask("release")
            next(event for event in events if event["event"] == "state" and event["state"] == "speaking")
            next(event for event in events if event["event"] == "state" and event["state"] == "ready")
        sound = Resampler(CARD_HZ, 24_000).process(stage._listen()).tobytes()
        assert likeness(sound) > 0.9, "it is greeted by name: its words were understood"
        assert stage.rung() == "fresh"
