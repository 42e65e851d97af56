"""The beta shape: what is sent otherwise than in GA; reading both spellings."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from device.core import events as e
from device.core.grant import Auth, Encoding, Grant
from device.core.sessions import Turn
from device.dialects.dialect import Decoded, ReplyAudio, Send
from device.dialects.openai import OpenAIDialect
from device.dialects.openai_beta import OpenAIBetaDialect

GRANT = Grant(
    "openai-beta",
    "ws://x",
    auth=Auth("bearer", "ek_1"),
    headers={"OpenAI-Beta": "realtime=v1"},
    provider="openai-beta",
    resume="seeded",
    session={"voice": "alloy", "turn_detection": None, "temperature": 0.8},
    output=Encoding("g711_ulaw", 8000),
)


def dialect(turns: tuple[Turn, ...] = ()) -> OpenAIBetaDialect:
    return OpenAIBetaDialect(7, GRANT, turns, clock_offset_s=0.0)


def say(d: OpenAIDialect, message: dict[str, Any]) -> list[Decoded]:
    return d.decode(json.dumps(message))


def sent(items: list[Decoded]) -> list[dict[str, Any]]:
    return [json.loads(item.frame) for item in items if isinstance(item, Send)]


def test_the_session_goes_out_flat_and_remembered_words_in_beta_s_content() -> None:
    d = dialect((Turn("user", "hi"), Turn("assistant", "hello")))
    update, user, assistant = sent(say(d, {"type": "session.created", "session": {"id": "s"}}))
    assert update["session"] == GRANT.session
    assert user["item"]["content"] == [{"type": "input_text", "text": "hi"}]
    assert assistant["item"]["content"] == [{"type": "text", "text": "hello"}]
    [opened] = say(d, {"type": "session.updated", "session": {"id": "s", "expires_at": 9}})
    assert opened == e.Opened(7, "s", "openai-beta", "seeded", 9.0)


@pytest.mark.parametrize("shape", [OpenAIDialect, OpenAIBetaDialect])
@pytest.mark.parametrize("spelling", ["response.output_", "response."])
def test_both_spellings_are_read(shape: type[OpenAIDialect], spelling: str) -> None:
    d = shape(7, GRANT, (), 0.0)
    at = {"response_id": "r1", "item_id": "i1"}
    say(d, {"type": "response.created", "response": {"id": "r1"}})
    sound = base64.b64encode(b"\1\2\3").decode()
    assert say(d, {"type": f"{spelling}audio.delta", **at, "delta": sound}) == [
        ReplyAudio("r1", "i1", b"\1\2\3")
    ]
    for kind in ("audio_transcript", "text"):
        assert say(d, {"type": f"{spelling}{kind}.delta", **at, "delta": "Hi"}) == [
            e.ReplyText(7, "r1", "Hi")
        ]


def test_a_cut_is_told_in_the_time_of_the_encoding() -> None:
    d = dialect()
    say(d, {"type": "response.created", "response": {"id": "r1"}})
    sound = base64.b64encode(b"\0" * 800).decode()
    say(d, {"type": "response.audio.delta", "response_id": "r1", "item_id": "i1", "delta": sound})
    cut = sent(d.interrupt("i1", 500))[-1]
    assert (cut["type"], cut["audio_end_ms"]) == ("conversation.item.truncate", 100)


def test_the_end_of_the_beta_shape_names_the_mend_and_is_final() -> None:
    d = dialect()
    error = {"code": "beta_api_shape_disabled", "message": "The Realtime Beta API is no longer supported."}
    [lost] = say(d, {"type": "error", "error": error})
    assert isinstance(lost, e.Lost)
    assert lost.fatal
    assert "use the GA profile" in lost.reason
    assert "use the GA profile" in d.mend(4000)
    assert "key" in d.mend(3000)
    assert d.mend(1006) == ""


def test_where_the_server_only_ends_turns_the_device_asks_for_the_reply() -> None:
    session = {"turn_detection": {"type": "server_vad", "create_response": False}}
    d = OpenAIBetaDialect(7, Grant("openai-beta", "ws://x", session=session), (), 0.0)
    accepted, *rest = say(d, {"type": "input_audio_buffer.committed", "item_id": "u1"})
    assert accepted == e.TurnAccepted(7, "u1")
    assert sent(rest) == [{"type": "response.create"}]
