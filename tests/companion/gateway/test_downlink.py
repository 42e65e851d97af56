"""Sound from RTP on its way to the device: replies, gaps, jitter."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from companion.gateway.downlink import HUSH_S, LONG_HUSH_S, SOUND_WITHIN_S, TAIL_S, Downlink, Shape, read
from companion.gateway.uplink import SILENCE

TONE = np.full(480, 3000, "<i2").tobytes()
FRAME_S = 0.02


class Joined:
    """A downlink that is ticked often; keeps what the device got, with the time."""

    def __init__(self, shape: Shape = "ga") -> None:
        self.downlink = Downlink(shape)
        self.now = 100.0
        self.got: list[tuple[float, dict[str, Any]]] = []

    def _take(self, texts: list[str]) -> None:
        self.got += [(self.now, json.loads(text)) for text in texts]

    def event(self, kind: str, **fields: Any) -> None:
        text = json.dumps({"type": kind, "event_id": "e", **fields})
        self._take(self.downlink.event(text, read(text), self.now))

    def sound(self, pcm: bytes, frames: int) -> None:
        for _ in range(frames):
            self._take(self.downlink.sound(pcm, self.now))
            self._take(self.downlink.tick(self.now))
            self.now += FRAME_S

    def cancel(self) -> None:
        self._take(self.downlink.cancelled())

    def begin(self, response_id: str = "resp_1", item_id: str = "item_1") -> None:
        self.event("response.created", response={"id": response_id, "status": "in_progress"})
        item = {"id": item_id, "type": "message"}
        self.event("response.output_item.added", response_id=response_id, item=item)
        self.event("response.output_audio_transcript.delta", response_id=response_id, delta="Hi")

    def done(self, response_id: str = "resp_1", status: str = "completed") -> None:
        self.event("response.output_audio.done", response_id=response_id)
        self.event("response.output_audio_transcript.done", response_id=response_id, transcript="Hi")
        self.event("response.done", response={"id": response_id, "status": status})

    @property
    def kinds(self) -> list[str]:
        return [event["type"] for _, event in self.got]

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [event for _, event in self.got if event["type"].endswith("audio.delta")]

    def when(self, kind: str) -> float:
        return next(at for at, event in self.got if event["type"] == kind)


def test_sound_of_a_reply_becomes_deltas_and_silence_between_replies_is_nothing() -> None:
    joined = Joined()
    joined.sound(SILENCE, 10)
    joined.begin()
    joined.event("output_audio_buffer.started", response_id="resp_1")
    joined.sound(TONE, 3)
    joined.sound(SILENCE, 2)
    joined.sound(TONE, 1)
    assert [base64.b64decode(delta["delta"]) for delta in joined.deltas] == [
        *[TONE] * 3,
        *[SILENCE] * 2,
        TONE,
    ]
    first = joined.deltas[0]
    assert first["type"] == "response.output_audio.delta"
    assert (first["response_id"], first["item_id"]) == ("resp_1", "item_1")
    assert (first["output_index"], first["content_index"]) == (0, 0)
    assert first["event_id"]


def test_the_beta_shape_has_its_own_name_for_sound() -> None:
    joined = Joined("beta")
    joined.begin()
    joined.sound(TONE, 1)
    assert joined.deltas[0]["type"] == "response.audio.delta"


def test_the_end_waits_for_the_last_sound() -> None:
    joined = Joined()
    joined.begin()
    joined.event("output_audio_buffer.started", response_id="resp_1")
    joined.sound(TONE, 5)
    joined.done()
    joined.event("conversation.item.input_audio_transcription.completed", item_id="u", transcript="x")
    assert "response.done" not in joined.kinds
    assert joined.kinds[-1] == "conversation.item.input_audio_transcription.completed"
    joined.sound(TONE, 100)
    stopped = joined.now
    joined.event("output_audio_buffer.stopped", response_id="resp_1")
    joined.sound(TONE, 4)
    assert "response.done" not in joined.kinds
    joined.sound(SILENCE, 4)
    assert joined.kinds[-3:] == [
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.done",
    ]
    assert joined.when("response.done") == pytest.approx(stopped + TAIL_S, abs=FRAME_S * 1.5)
    assert len(joined.deltas) >= 109, "what was under way is heard"
    before = len(joined.deltas)
    joined.sound(TONE, 5)
    assert len(joined.deltas) == before, "no sound after the end"


def test_stopped_may_come_before_the_end_is_told() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 5)
    joined.event("output_audio_buffer.stopped", response_id="resp_1")
    joined.sound(SILENCE, 10)
    joined.done()
    joined.sound(SILENCE, 1)
    assert joined.kinds[-1] == "response.done"


@pytest.mark.parametrize(("tells", "hush_s"), [(False, HUSH_S), (True, LONG_HUSH_S)])
def test_where_nobody_tells_the_end_silence_does(tells: bool, hush_s: float) -> None:
    joined = Joined()
    joined.begin()
    if tells:
        joined.event("output_audio_buffer.started", response_id="resp_1")
    joined.sound(TONE, 5)
    joined.done()
    joined.sound(SILENCE, 30)
    joined.sound(TONE, 5)
    last = joined.now
    joined.sound(SILENCE, 300)
    assert joined.when("response.done") == pytest.approx(last + hush_s, abs=2 * FRAME_S)


def test_words_without_sound_do_not_keep_a_reply_open_for_ever() -> None:
    joined = Joined()
    joined.begin()
    joined.done()
    made = joined.now
    joined.sound(SILENCE, 200)
    assert joined.when("response.done") == pytest.approx(made + SOUND_WITHIN_S, abs=2 * FRAME_S)


def test_a_reply_without_sound_ends_when_it_ends() -> None:
    joined = Joined()
    joined.event("response.created", response={"id": "resp_1"})
    item = {"id": "fc", "type": "function_call"}
    joined.event("response.output_item.added", response_id="resp_1", item=item)
    joined.event("response.done", response={"id": "resp_1", "status": "completed"})
    assert joined.kinds[-1] == "response.done"


@pytest.mark.parametrize("status", ["cancelled", "failed"])
def test_a_reply_that_is_broken_off_ends_at_once(status: str) -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 5)
    joined.done(status=status)
    assert joined.kinds[-1] == "response.done"
    before = len(joined.deltas)
    joined.sound(TONE, 5)
    assert len(joined.deltas) == before


def test_the_device_cancels_a_reply_that_is_made_but_still_sounds() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 5)
    joined.done()
    joined.cancel()
    assert joined.kinds[-1] == "response.done"
    before = len(joined.deltas)
    joined.sound(TONE, 5)
    joined.event("output_audio_buffer.cleared", response_id="resp_1")
    assert len(joined.deltas) == before
    assert joined.kinds.count("response.done") == 1


def test_the_device_cancels_a_reply_that_is_being_made() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 5)
    joined.cancel()
    before = len(joined.deltas)
    joined.sound(TONE, 5)
    assert len(joined.deltas) == before
    joined.done(status="cancelled")
    assert joined.kinds[-1] == "response.done"


def test_the_server_clears_its_sound_when_the_user_speaks() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 5)
    joined.done()
    joined.event("output_audio_buffer.cleared", response_id="resp_1")
    assert joined.kinds[-2:] == ["response.done", "output_audio_buffer.cleared"]


def test_a_new_reply_ends_the_one_before_and_its_sound_is_its_own() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 5)
    joined.done()
    joined.begin("resp_2", "item_2")
    assert joined.kinds.index("response.done") < len(joined.kinds) - 3
    joined.sound(TONE, 1)
    assert len(joined.deltas) == 6, "nothing of the first reply comes before it"
    assert (joined.deltas[-1]["response_id"], joined.deltas[-1]["item_id"]) == ("resp_2", "item_2")


def test_a_soft_onset_is_not_cut() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(SILENCE, 3)
    joined.sound(TONE, 1)
    assert [base64.b64decode(delta["delta"]) for delta in joined.deltas] == [SILENCE, TONE]


def test_events_of_other_responses_pass() -> None:
    joined = Joined()
    joined.begin()
    joined.sound(TONE, 2)
    joined.event("response.done", response={"id": "resp_0", "status": "completed"})
    assert joined.kinds[-1] == "response.done"
    joined.sound(TONE, 1)
    assert len(joined.deltas) == 3


def test_sound_before_the_item_is_known_has_a_name_of_its_own() -> None:
    joined = Joined()
    joined.event("response.created", response={"id": "resp_1"})
    joined.sound(TONE, 1)
    assert joined.deltas[0]["item_id"] == "resp_1_sound"
