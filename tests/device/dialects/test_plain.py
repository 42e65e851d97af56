"""What a protocol that has no such thing answers."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from device.core import events as e
from device.core.grant import Encoding, Grant
from device.core.sessions import Turn
from device.dialects.dialect import Send
from device.dialects.plain import PlainDialect, encode, read, send, text_only, words_of
from device.errors import ProtocolError

GRANT = Grant("speko", "ws://x", provider="speko", output=Encoding("g711_ulaw", 8000))


def plain() -> PlainDialect:
    return PlainDialect(7, GRANT, (Turn("user", "hi"),), 0.0)


def test_every_order_is_answered_with_nothing() -> None:
    d = plain()
    assert (d.continuous, d.ping_s, d.redial(1006), d.redial(None)) == (False, None, None, None)
    assert not d.mint_again(4001)
    answers = [d.opening(), d.reopened(), d.ping(), d.end_turn(), d.request_reply(), d.discard_turn()]
    answers += [d.refuse_reply("r"), d.interrupt("i", 1), d.refuse_tool("c"), d.closing()]
    assert answers == [[]] * 10
    assert d.input == Encoding()
    assert d.output.bytes_per_ms == 8.0


def test_written_words_are_refused_and_nobody_waits_for_a_reply() -> None:
    d = plain()
    assert d.say("hi") == [
        e.Troubled(7, "speko takes no written words"),
        e.ReplyStarted(7, "none-1"),
        e.ReplyEnded(7, "none-1", audio=False),
    ]
    assert d._no_reply() == [e.ReplyStarted(7, "none-2"), e.ReplyEnded(7, "none-2", audio=False)]


@pytest.mark.parametrize(("code", "word"), [(3000, "key"), (4000, "protocol")])
def test_a_close_that_speaks_of_a_setting_says_which(code: int, word: str) -> None:
    assert word in plain().mend(code)
    assert plain().mend(1006) == plain().mend(None) == ""


class Shape(msgspec.Struct):
    sound: bytes


def test_frames_are_json_text_with_base64_for_bytes() -> None:
    assert json.loads(encode({"sound": b"\0\1"})) == {"sound": "AAE="}
    assert send("ping", n=1) == Send('{"type":"ping","n":1}')
    assert read('{"sound":"AAE="}', Shape, "sound").sound == b"\0\1"
    assert text_only("x") == "x"


@pytest.mark.parametrize("frame", ["{", '{"sound":"?"}', '{"sound":1}', "[" * 100_000, "\ud800"])
def test_what_makes_no_sense_is_one_line(frame: str) -> None:
    with pytest.raises(ProtocolError, match=r"a bad so.und: .*; dropped") as caught:
        read(frame, Shape, "so\nund")
    assert "\n" not in str(caught.value)


def test_binary_where_text_belongs_is_one_line() -> None:
    with pytest.raises(ProtocolError, match="2 bytes of binary"):
        text_only(b"\0\1")


def test_a_field_without_words_is_empty() -> None:
    assert [words_of(field) for field in ("no", 401, 1.5)] == ["no", "401", "1.5"]
    wordless: list[Any] = [None, [], {}, [["no"]]]
    assert [words_of(field) for field in wordless] == [""] * 4
