"""The older server's dialect against frames written from its source."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest

from device.core import events as e
from device.core.grant import Encoding, Grant
from device.dialects.dialect import ReplyAudio, Send
from device.dialects.outspeed_legacy import OutspeedLegacyDialect
from device.errors import ProtocolError

if TYPE_CHECKING:
    from device.dialects.dialect import Decoded

GRANT = Grant("outspeed-legacy", "ws://x", provider="outspeed", input=Encoding("pcm16", 16000))
END = {"type": "audio_end", "timestamp": 1.5}


def dialect() -> OutspeedLegacyDialect:
    return OutspeedLegacyDialect(7, GRANT, (), clock_offset_s=0.0)


def say(d: OutspeedLegacyDialect, message: dict[str, Any]) -> list[Decoded]:
    return d.decode(json.dumps(message))


def sound(pcm: bytes = b"\1\0") -> dict[str, Any]:
    data = base64.b64encode(pcm).decode()
    return {"type": "audio", "data": data, "timestamp": 1.0, "sample_rate": 16000}


def words(text: str) -> dict[str, Any]:
    return {"type": "message", "data": text, "timestamp": 1.0}


def test_the_opening_tells_both_rates_and_is_open_at_once() -> None:
    assert dialect().opening() == [
        Send('{"type":"audio_metadata","input_sample_rate":16000,"output_sample_rate":24000}'),
        e.Opened(7, "", "outspeed", "fresh"),
    ]
    assert dialect().continuous
    assert dialect().closing() == [Send('{"type":"websocket_stop"}')]


def test_sound_goes_up_as_base64() -> None:
    assert json.loads(dialect().audio(b"\1\2")) == {"type": "audio", "data": "AQI="}


def test_a_reply_is_what_sounds_until_audio_end() -> None:
    d = dialect()
    assert say(d, words("Hello.")) == []  # words run ahead of the sound they belong to
    assert say(d, words("Peter.")) == []
    assert say(d, sound(b"\1\0\2")) == [
        e.ReplyStarted(7, "reply-1"),
        e.ReplyText(7, "reply-1", "Hello. Peter. "),
        ReplyAudio("reply-1", "reply-1", b"\1\0"),
    ]
    assert say(d, words("Bye.")) == [e.ReplyText(7, "reply-1", "Bye. ")]
    assert say(d, sound()) == [ReplyAudio("reply-1", "reply-1", b"\1\0")]
    assert say(d, END) == [e.ReplyEnded(7, "reply-1", audio=True)]
    assert say(d, END) == []
    assert say(d, sound())[0] == e.ReplyStarted(7, "reply-2")


def test_a_reply_that_was_talked_over_ends_with_the_users_turn() -> None:
    d = dialect()
    say(d, sound())
    assert d.interrupt("reply-1", 20) == []
    assert say(d, sound()) == [ReplyAudio("reply-1", "reply-1", b"\1\0")]  # a tail that is not let through
    assert d.end_turn() == [e.ReplyEnded(7, "reply-1", audio=True)]
    assert d.end_turn() == []
    assert say(d, sound())[0] == e.ReplyStarted(7, "reply-2")
    assert d.say("What time is it?") == [
        e.ReplyEnded(7, "reply-2", audio=True),
        Send('{"type":"message","data":"What time is it?"}'),
    ]


def test_what_it_does_not_know_is_passed_over() -> None:
    assert say(dialect(), {"type": "video", "data": ""}) == []


@pytest.mark.parametrize(
    "frame",
    [b"\0", "", "[]", '{"type":1}', '{"type":"audio"}', '{"type":"audio","data":"%"}', '{"type":"message"}'],
)
def test_a_frame_that_makes_no_sense_is_one_line(frame: str | bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        dialect().decode(frame)
    assert "\n" not in str(caught.value)
