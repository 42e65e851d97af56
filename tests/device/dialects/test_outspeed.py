"""Outspeed's dialect: what it restores, when that is believed, and its own orders."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from openai.types.beta.realtime import realtime_client_event_param as beta

from device.core import events as e
from device.core.grant import Grant
from device.core.sessions import Rung, Turn
from device.dialects.dialect import Send
from device.dialects.outspeed import OutspeedDialect
from device.errors import ProtocolError
from tests.device.dialects.replay import RECORDINGS, load, make
from tests.oracle import complaints

if TYPE_CHECKING:
    from device.dialects.dialect import Decoded

OLD = (Turn("user", "My name is Peter."), Turn("assistant", "Hello, Peter."))
CREATED = {"type": "session.created", "session": {"id": "sess_1"}}
UPDATED = {"type": "session.updated", "session": {"id": "sess_1"}}
RESTORED: dict[str, Any] = {
    "type": "context.restored",
    "event_id": "event_1",
    "items": [
        {"id": "item_1", "type": "message", "role": "user", "content": "My name is Peter."},
        {"id": "item_2", "type": "message", "role": "assistant", "content": "Hello, Peter."},
    ],
}
HELD = e.TurnHeld(7, "item_1")
WITHOUT = e.Troubled(7, "the provider took the session up without its context")
SEEDS = [
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "user", "content": [{"type": "input_text", "text": OLD[0].text}]},
    },
    {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": "assistant", "content": [{"type": "text", "text": OLD[1].text}]},
    },
]


def dialect(resume: Rung = "live", turns: tuple[Turn, ...] = OLD, **session: Any) -> OutspeedDialect:
    grant = Grant("outspeed", "ws://x", provider="outspeed", resume=resume, session=session)
    return OutspeedDialect(7, grant, turns, clock_offset_s=0.0)


def say(d: OutspeedDialect, message: dict[str, Any]) -> list[Decoded]:
    return d.decode(json.dumps(message))


def sent(items: list[Decoded]) -> list[dict[str, Any]]:
    return [json.loads(item.frame) for item in items if isinstance(item, Send)]


def known(items: list[Decoded]) -> list[Decoded]:
    return [item for item in items if not isinstance(item, Send)]


@pytest.mark.parametrize("order", [[CREATED, RESTORED, UPDATED], [RESTORED, CREATED, UPDATED]])
def test_context_that_comes_before_the_settings_are_taken_makes_it_live(order: list[dict[str, Any]]) -> None:
    d = dialect(voice="tara")
    said = [item for message in order for item in say(d, message)]
    assert [message["type"] for message in sent(said)] == ["session.update", "input_audio_buffer.clear"]
    assert sent(said)[0]["session"] == {"voice": "tara"}
    assert known(said) == [HELD, e.Opened(7, "sess_1", "outspeed", "live"), e.Restored(7, OLD)]


def test_a_promise_without_context_is_not_believed_and_the_device_tells_what_it_knows() -> None:
    d = dialect()
    assert len(sent(say(d, CREATED))) == 1
    said = say(d, UPDATED)
    assert sent(said) == SEEDS
    assert known(said) == [e.Opened(7, "sess_1", "outspeed", "seeded"), WITHOUT]
    assert say(d, UPDATED) == []
    d = dialect(turns=())
    say(d, CREATED)
    assert say(d, UPDATED) == [e.Opened(7, "sess_1", "outspeed", "fresh"), WITHOUT]


def test_context_that_comes_late_still_counts() -> None:
    d = dialect(turns=())
    say(d, CREATED)
    say(d, UPDATED)
    assert say(d, RESTORED) == [HELD, e.Restored(7, OLD)]


@pytest.mark.parametrize("odd", [None, "", 5, "x" * 1000])
def test_context_whose_items_have_no_names_tells_words_alone(odd: Any) -> None:
    d = dialect()
    say(d, CREATED)
    items = [{**item, "id": odd} for item in RESTORED["items"]]
    assert say(d, {"type": "context.restored", "items": items}) == []
    assert known(say(d, UPDATED))[-1] == e.Restored(7, OLD)


def test_context_without_words_restores_nothing() -> None:
    d = dialect(turns=())
    say(d, CREATED)
    assert say(d, {"type": "context.restored", "items": []}) == []
    assert say(d, UPDATED) == [e.Opened(7, "sess_1", "outspeed", "fresh"), WITHOUT]


def test_a_new_session_is_seeded_as_any_other() -> None:
    d = dialect("seeded")
    assert sent(say(d, CREATED))[1:] == SEEDS
    assert say(d, UPDATED) == [e.Opened(7, "sess_1", "outspeed", "seeded")]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (" Hello. ", "Hello."),
        ([{"type": "input_text", "text": "Hello."}], "Hello."),
        ([{"type": "audio", "transcript": "Hello."}, {"type": "text", "text": "You."}], "Hello. You."),
        (["Hello.", "You."], "Hello. You."),
        ({"text": "Hello."}, "Hello."),
        ([{"type": "audio", "transcript": None}, 5, None], ""),
        ([["Hello."], {"text": ["You."]}], ""),
        (json.loads("[" * 900 + "]" * 900), ""),
        (None, ""),
        (7, ""),
    ],
)
def test_content_may_be_text_or_parts(content: Any, words: str) -> None:
    d = dialect()
    items = [{"role": "user", "content": content}, {"role": "system", "content": "Be brief."}]
    say(d, {"type": "context.restored", "items": items})
    assert [turn.text for turn in d._restored] == ([words] if words else [])


def test_a_restored_session_is_greeted_and_a_new_one_is_not() -> None:
    d = dialect(welcome_back="Welcome back.")
    assert sent(say(d, CREATED))[0]["session"] == {}
    say(d, RESTORED)
    assert sent(say(d, UPDATED))[1:] == [{"type": "outspeed.custom.speak", "text": "Welcome back."}]
    d = dialect("fresh", welcome_back="Welcome back.")
    say(d, CREATED)
    assert sent(say(d, UPDATED)) == []
    d = dialect(welcome_back=5)
    say(d, RESTORED)
    assert sent(say(d, UPDATED)) == [{"type": "input_audio_buffer.clear"}]


@pytest.mark.parametrize("items", ["x", [5], None])
def test_context_that_makes_no_sense_is_one_line(items: Any) -> None:
    with pytest.raises(ProtocolError) as caught:
        say(dialect(), {"type": "context.restored", "items": items})
    assert "context.restored" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_else_is_the_beta_shape() -> None:
    d = dialect()
    assert say(d, {"type": "response.created", "response": {"id": "r1"}}) == [e.ReplyStarted(7, "r1")]
    assert say(d, {"type": "response.text.delta", "response_id": "r1", "delta": "Hi"}) == [
        e.ReplyText(7, "r1", "Hi")
    ]
    assert say(d, {"type": "outspeed.unheard_of"}) == []


@pytest.mark.parametrize("name", ["outspeed", "outspeed-again", "outspeed-odd"])
def test_all_that_is_sent_has_the_types_of_the_beta_shape(name: str) -> None:
    [path] = [path for path in RECORDINGS if path.stem == name]
    head, steps = load(path)
    d, kinds = make(head), set()
    for step in steps:
        given = getattr(d, step["call"])(*step["args"]) if "call" in step else d.decode(step["in"])
        for message in sent(given):
            kinds.add(message["type"])
            found = complaints(message, beta.RealtimeClientEventParam)
            # The reference has null for "off" where its type has not.
            assert [line for line in found if "turn_detection: None is no " not in line] == []
    assert {"session.update", "input_audio_buffer.commit", "conversation.item.truncate"} <= kinds


def test_a_socket_that_is_refused_names_what_to_check_and_no_other_profile() -> None:
    assert dialect().mend(4000) == "; check Outspeed's key and the endpoint's transport at the backend"
    assert "key" in dialect().mend(3000)
    assert dialect().mend(None) == ""


def test_a_shape_that_is_refused_is_not_sent_to_another_profile() -> None:
    fault = {"type": "error", "error": {"code": "beta_api_shape_disabled", "message": "no"}}
    [lost] = OutspeedDialect(1, Grant("outspeed", "ws://x"), (), 0.0).decode(json.dumps(fault))
    assert isinstance(lost, e.Lost)
    assert lost.reason.endswith("; check Outspeed's key and the endpoint's transport at the backend")
