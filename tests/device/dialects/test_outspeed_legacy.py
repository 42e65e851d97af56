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
    return {"type": "audio", "data": data, "timestamp": 1.0, "sample_rate": 48000}


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


def test_words_alone_are_a_reply_that_is_kept_as_any() -> None:
    d = dialect()
    say(d, words("Hello."))
    assert say(d, END) == [
        e.ReplyStarted(7, "reply-1"),
        e.ReplyText(7, "reply-1", "Hello. "),
        e.ReplyEnded(7, "reply-1", audio=False),
    ]
    d.refuse_reply("reply-1")
    assert d.end_turn() == kept(
        e.ReplyText(7, "reply-1-kept", "Hello. "),
        e.ReplyEnded(7, "reply-1-kept", audio=False),
    )
    say(d, words("Bye."))
    assert d.end_turn() == []  # its sound may be on its way
    assert say(d, sound())[1] == e.ReplyText(7, "reply-2", "Bye. ")


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


def kept(*pieces: Decoded, name: str = "reply-1-kept") -> list[Decoded]:
    return [e.ReplyStarted(7, name), *pieces]


def test_a_whole_answer_that_comes_before_the_release_is_told_after_it() -> None:
    d = dialect()
    say(d, words("Hello."))
    say(d, sound())
    assert d.refuse_reply("reply-0") == []
    assert d.refuse_reply("reply-1") == []
    assert say(d, words("Peter.")) == []
    assert say(d, END) == []
    assert d.end_turn() == kept(
        e.ReplyText(7, "reply-1-kept", "Hello. "),
        ReplyAudio("reply-1-kept", "reply-1-kept", b"\1\0"),
        e.ReplyText(7, "reply-1-kept", "Peter. "),
        e.ReplyEnded(7, "reply-1-kept", audio=True),
    )
    assert d.end_turn() == []


def test_an_answer_that_still_comes_at_the_release_is_told_with_its_next_piece() -> None:
    d = dialect()
    say(d, sound())
    d.refuse_reply("reply-1")
    assert d.end_turn() == []
    piece = ReplyAudio("reply-1-kept", "reply-1-kept", b"\1\0")
    assert say(d, sound()) == kept(piece, piece)
    assert say(d, sound()) == [piece]
    assert say(d, END) == [e.ReplyEnded(7, "reply-1-kept", audio=True)]


def test_an_answer_that_ends_at_once_after_the_release_is_told_whole() -> None:
    d = dialect()
    say(d, sound())
    d.refuse_reply("reply-1")
    d.end_turn()
    piece = ReplyAudio("reply-1-kept", "reply-1-kept", b"\1\0")
    assert say(d, END) == kept(piece, e.ReplyEnded(7, "reply-1-kept", audio=True))


@pytest.mark.parametrize("order", ["interrupt", "discard_turn"])
def test_a_kept_answer_that_nobody_waits_for_is_dropped(order: str) -> None:
    d = dialect()
    say(d, sound())
    say(d, END)
    d.refuse_reply("reply-1")
    getattr(d, order)(*(("reply-1", 0) if order == "interrupt" else ()))
    assert d.end_turn() == []


def test_of_two_early_answers_the_later_is_kept_and_none_grows_without_end() -> None:
    d = dialect()
    say(d, sound())
    d.refuse_reply("reply-1")
    say(d, END)
    assert say(d, sound())[0] == e.ReplyStarted(7, "reply-2")
    d.refuse_reply("reply-2")
    for _ in range(1500):
        say(d, sound())
    say(d, END)
    told = d.end_turn()
    assert told[0] == e.ReplyStarted(7, "reply-2-kept")
    assert len(told) == 1002


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


def test_sound_without_end_is_bounded() -> None:
    d = dialect()
    d.opening()
    for _ in range(12):
        say(d, sound(bytes(1 << 20)))
    assert d._reply
    assert d._reply.size == 8 << 20
