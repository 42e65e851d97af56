"""Speko's proxy socket, frame by frame."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from device.core import events as e
from device.core.grant import Auth, Encoding, Grant
from device.core.sessions import Turn
from device.dialects.dialect import ReplyAudio, Send
from device.dialects.speko import SpekoDialect
from device.errors import ProtocolError

if TYPE_CHECKING:
    from device.dialects.dialect import Decoded

GRANT = Grant(
    "speko",
    "wss://api.speko.dev/v1/realtime/s1/ws",
    Auth("subprotocol", "token"),
    provider="speko",
    session_id="s1",
    session_ends_at=1900.0,
)
N = 7  # the attempt's number


def tell(d: SpekoDialect, t: str, **fields: Any) -> list[Decoded]:
    return d.decode(json.dumps({"t": t, **fields}))


def dialect(**ready: Any) -> SpekoDialect:
    """A session that is open."""
    d = SpekoDialect(N, GRANT, (Turn("user", "hi"),), -1000.0)
    tell(d, "ready", **ready)
    return d


def sent(*frames: dict[str, Any]) -> list[Send]:
    return [Send(json.dumps(frame, separators=(",", ":"))) for frame in frames]


COMMIT, INTERRUPT = sent({"t": "control", "action": "commit"}, {"t": "interrupt"})


def quiet(d: SpekoDialect, ticks: int) -> list[Decoded]:
    return [one for _ in range(ticks) for one in d.ping()]


def replying() -> SpekoDialect:
    """A reply is sounding."""
    d = dialect()
    d.end_turn()
    d.decode(b"\1\2")
    return d


def test_ready_opens_a_fresh_session_at_the_servers_rates() -> None:
    d = SpekoDialect(N, GRANT, (), -1000.0)
    assert d.opening() == []
    opened = tell(d, "ready", inputSampleRate=16000, outputSampleRate=24000)
    assert opened == [e.Opened(N, "s1", "speko", "fresh", 900.0)]
    assert (d.input, d.output) == (Encoding("pcm16", 16000), Encoding("pcm16", 24000))
    assert tell(d, "ready", inputSampleRate=24000) == []
    assert d.input.rate == 16000


@pytest.mark.parametrize("rate", [None, 44100, 0, "16000", True, [16000], {}])
def test_a_rate_that_makes_no_sense_leaves_the_wished_one(rate: Any) -> None:
    grant = Grant("speko", "ws://x", input=Encoding("pcm16", 16000), output=Encoding("pcm16", 24000))
    d = SpekoDialect(N, grant, (), 0.0)
    opened = tell(d, "ready", inputSampleRate=rate, outputSampleRate=rate)
    assert opened == [e.Opened(N, "", "", "fresh", None)]
    assert (d.input.rate, d.output.rate) == (16000, 24000)


def test_sound_goes_up_as_it_is_and_not_down_before_ready() -> None:
    d = SpekoDialect(N, GRANT, (), 0.0)
    assert d.audio(b"\1\2") == b"\1\2"
    with pytest.raises(ProtocolError, match="2 bytes of sound before it was ready"):
        d.decode(b"\1\2")


def test_a_turn_is_committed_heard_and_answered() -> None:
    d = dialect()
    assert d.end_turn() == [COMMIT]
    assert tell(d, "transcript", role="user", text="my name", final=False) == [e.TurnAccepted(N, "turn-7.1")]
    said = tell(d, "transcript", role="user", text="my name is Peter", final=True)
    assert said == [e.UserSaid(N, "turn-7.1", "my name is Peter")]
    assert tell(d, "transcript", role="assistant", text="Hello", final=False) == [
        e.ReplyStarted(N, "reply-1"),
        e.ReplyText(N, "reply-1", "Hello"),
    ]
    assert d.decode(b"\1\2\3\4") == [ReplyAudio("reply-1", "reply-1", b"\1\2\3\4")]
    more = tell(d, "transcript", role="agent", text="Hello Peter.", final=True)
    assert more == [e.ReplyText(N, "reply-1", " Peter.")]
    assert quiet(d, 2) == []
    assert quiet(d, 1) == [e.ReplyEnded(N, "reply-1", audio=True)]
    assert quiet(d, 40) == []


def test_a_reply_shows_that_the_turn_was_taken_and_words_may_come_late() -> None:
    d = dialect()
    d.end_turn()
    begun = d.decode(b"\1\2")
    assert begun[:2] == [e.TurnAccepted(N, "turn-7.1"), e.ReplyStarted(N, "reply-1")]
    late = tell(d, "transcript", role="user", text="what time is it", final=True)
    assert late == [e.UserSaid(N, "turn-7.1", "what time is it")]
    assert tell(d, "transcript", role="user", text="and", final=True) == [
        e.TurnAccepted(N, "turn-7.2"),
        e.UserSaid(N, "turn-7.2", "and"),
    ]


def test_words_that_come_while_the_button_is_held_are_of_the_same_turn() -> None:
    d = dialect()
    assert tell(d, "transcript", role="user", text="my", final=False) == [e.TurnAccepted(N, "turn-7.1")]
    assert d.end_turn() == [COMMIT]
    assert tell(d, "transcript", role="user", text="my name", final=True) == [
        e.UserSaid(N, "turn-7.1", "my name")
    ]


def test_transcripts_replace_and_only_what_is_new_is_told() -> None:
    d = replying()

    def words(text: str, *, final: bool = False) -> list[Decoded]:
        return tell(d, "transcript", role="assistant", text=text, final=final)

    assert words("hello peter") == [e.ReplyText(N, "reply-1", "hello peter")]
    assert words("hello peter") == []
    assert words("hello") == [e.ReplyText(N, "reply-1", "hello", whole=True)]
    assert words("Hello, Peter.", final=True) == [e.ReplyText(N, "reply-1", "Hello, Peter.", whole=True)]
    assert words("Nice") == [e.ReplyText(N, "reply-1", " Nice")]
    assert words("nice to", final=True) == [e.ReplyText(N, "reply-1", "Hello, Peter. nice to", whole=True)]
    assert words("") == []


def test_sound_and_words_hold_a_reply_open_and_a_long_quiet_ends_one_without_its_last_words() -> None:
    d = replying()
    assert quiet(d, 14) == []
    d.decode(b"\1\2")
    assert quiet(d, 14) == []
    tell(d, "transcript", role="assistant", text="Well", final=False)
    assert quiet(d, 14) == []
    assert quiet(d, 1) == [e.ReplyEnded(N, "reply-1", audio=True)]


def test_last_words_that_come_after_their_replys_end_are_no_new_reply() -> None:
    d = replying()
    quiet(d, 15)
    assert tell(d, "transcript", role="assistant", text="Well, so it is.", final=True) == []
    begun = d.decode(b"\1\2")
    assert begun[0] == e.ReplyStarted(N, "reply-2")
    assert tell(d, "transcript", role="assistant", text="And more", final=False) == [
        e.ReplyText(N, "reply-2", "And more")
    ]


def test_a_reply_in_words_alone_ends_without_sound() -> None:
    d = dialect()
    tell(d, "transcript", role="assistant", text="Hello.", final=True)
    assert quiet(d, 14) == []
    assert quiet(d, 1) == [e.ReplyEnded(N, "reply-1", audio=False)]


def test_the_next_turn_ends_a_reply() -> None:
    d = replying()
    assert d.end_turn() == [e.ReplyEnded(N, "reply-1", audio=True), COMMIT]
    assert d.decode(b"\1\2")[-2] == e.ReplyStarted(N, "reply-2")


def test_torn_samples_are_joined_and_told_once_a_reply() -> None:
    d = dialect()
    line = "reply-1 came in odd byte counts; joined across frames"
    assert d.decode(b"\1") == [e.ReplyStarted(N, "reply-1"), e.Troubled(N, line)]
    assert d.decode(b"\2\3") == [ReplyAudio("reply-1", "reply-1", b"\1\2")]
    assert d.decode(b"\4") == [ReplyAudio("reply-1", "reply-1", b"\3\4")]


def test_after_an_interruption_what_was_on_its_way_is_dropped_until_the_next_turn() -> None:
    d = replying()
    assert d.interrupt("reply-1", 200) == [INTERRUPT]
    assert d.decode(b"\1\2") == []
    assert tell(d, "transcript", role="assistant", text="gone", final=True) == []
    assert d.end_turn() == [COMMIT]
    assert d.decode(b"\1\2")[-1] == ReplyAudio("reply-2", "reply-2", b"\1\2")


def test_last_words_of_a_cut_reply_do_not_begin_the_next_one() -> None:
    d = replying()
    tell(d, "transcript", role="assistant", text="Well.", final=True)
    tell(d, "transcript", role="assistant", text="so it", final=False)
    d.interrupt("reply-1", 200)
    d.end_turn()
    assert tell(d, "transcript", role="assistant", text="So, it is.", final=True) == []
    tell(d, "transcript", role="user", text="what", final=True)
    assert tell(d, "transcript", role="assistant", text="So it is.", final=True) == []
    assert tell(d, "transcript", role="assistant", text="What else?", final=False)[-1] == (
        e.ReplyText(N, "reply-2", "What else?")
    )
    d.decode(b"\1\2")
    d.end_turn()
    assert tell(d, "transcript", role="assistant", text="What else? Tea.", final=True) == []
    assert d.decode(b"\1\2")[-2] == e.ReplyStarted(N, "reply-3")
    assert tell(d, "transcript", role="assistant", text="What else", final=False) == [
        e.ReplyText(N, "reply-3", "What else")
    ]


def test_a_reply_in_words_follows_a_cut_one_that_had_none() -> None:
    d = replying()
    d.interrupt("reply-1", 200)
    d.end_turn()
    assert tell(d, "transcript", role="assistant", text="Tea.", final=True)[-1] == (
        e.ReplyText(N, "reply-2", "Tea.")
    )


def test_the_distrust_ends_with_a_second_of_quiet_or_the_users_words() -> None:
    d = replying()
    d.interrupt("reply-1", 200)
    assert quiet(d, 4) == []
    assert d.decode(b"\1\2") == []
    assert quiet(d, 5) == []
    assert tell(d, "transcript", role="assistant", text="too late", final=True) == []
    assert d.decode(b"\1\2")[0] == e.ReplyStarted(N, "reply-2")
    d.interrupt("reply-2", 0)
    tell(d, "transcript", role="user", text="go on", final=True)
    assert d.decode(b"\1\2")[0] == e.ReplyStarted(N, "reply-3")


def test_what_nobody_waits_for_is_not_interrupted() -> None:
    d = dialect()
    assert d.interrupt(None, 0) == []
    d.end_turn()
    assert d.interrupt(None, 0) == [INTERRUPT]
    assert d.interrupt(None, 0) == []
    assert d.interrupt("reply-0", 100) == [
        INTERRUPT
    ]  # it still sounds here: the server learns when it was cut


def test_a_reply_is_refused_by_its_name() -> None:
    d = replying()
    assert d.refuse_reply("reply-9") == []
    assert d.refuse_reply("reply-1") == [INTERRUPT]
    assert d.refuse_reply("reply-1") == []


def test_the_server_takes_a_reply_back_and_is_not_told_to_stop_the_next_one() -> None:
    d = replying()
    ended = e.ReplyEnded(N, "reply-1", audio=True)
    assert tell(d, "interruption", at="user") == [e.Withdrawn(N), ended, e.SpeechStarted("server")]
    d.decode(b"\1\2")
    assert d.interrupt("reply-1", 300) == []
    assert tell(d, "interruption", at="assistant") == [
        e.Withdrawn(N),
        e.ReplyEnded(N, "reply-2", audio=True),
        e.ReplyStarted(N, "none-1"),  # nothing more is to be waited for
        e.ReplyEnded(N, "none-1", audio=False),
    ]
    assert tell(d, "interruption") == [e.Withdrawn(N), e.SpeechStarted("server")]


def test_a_tool_is_refused_at_once() -> None:
    d = dialect()
    answer, told = tell(d, "tool_call", callId="call_1", name="get_\ntime", arguments="{}")
    assert isinstance(answer, Send)
    frame = json.loads(answer.frame)
    assert (frame["t"], frame["callId"]) == ("tool_result", "call_1")
    assert json.loads(frame["output"]) == {"error": "this device has no tools"}
    assert told == e.Troubled(N, "the model asks for get_ time; this device has no tools")
    assert tell(d, "tool_call", callId="call_2")[1] == e.Troubled(
        N, "the model asks for a tool; this device has no tools"
    )
    assert tell(d, "server_tool_call", id="st_1", name="search", status="failed") == []


def test_an_error_before_ready_ends_the_attempt_with_its_own_words() -> None:
    d = SpekoDialect(N, GRANT, (), 0.0)
    lost = tell(d, "error", code="S2S_PROVIDER_CONNECT_FAILED", message="openai-realtime: invalid\nmodel")
    assert lost == [e.Lost(N, "S2S_PROVIDER_CONNECT_FAILED: openai-realtime: invalid model")]
    assert tell(d, "error", code="UNAUTHORIZED") == [e.Lost(N, "UNAUTHORIZED: no message", fatal=True)]


def test_an_error_after_ready_is_told_and_the_session_goes_on() -> None:
    d = dialect()
    assert tell(d, "error", code="X", message="busy") == [e.Troubled(N, "the provider reports X: busy")]
    assert tell(d, "error", code=401, message=None) == [e.Troubled(N, "the provider reports 401: no message")]
    assert tell(d, "error", code=None, message={"no": "words"}) == [
        e.Troubled(N, "the provider reports UNKNOWN: no message")
    ]
    assert d.end_turn() == [COMMIT]


def test_the_end_ends_the_reply_and_the_session() -> None:
    d = replying()
    assert tell(d, "end", reason="ttl") == [
        e.ReplyEnded(N, "reply-1", audio=True),
        e.Lost(N, "the provider has ended the session: ttl"),
    ]
    assert tell(dialect(), "end", reason=None) == tell(dialect(), "end")
    assert tell(dialect(), "end")[-1] == e.Lost(N, "the provider has ended the session: no reason given")


def test_what_the_protocol_has_not_is_answered_here() -> None:
    d = dialect()
    assert d.discard_turn() == sent({"t": "control", "action": "clear"})
    for answer in (d.request_reply(), d.say("hello")):
        assert isinstance(answer[0], e.Troubled)
        assert isinstance(answer[2], e.ReplyEnded)


@pytest.mark.parametrize(
    "frame",
    ["{", "[]", '{"t":1}', '{"text":"x"}', '{"t":"transcript","text":1}', '{"t":"tool_call"}', "\ud800"],
)
def test_a_frame_that_makes_no_sense_is_one_line(frame: str) -> None:
    with pytest.raises(ProtocolError, match=r"the provider sent a bad .*; dropped") as caught:
        dialect().decode(frame)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("frame", ['{"t":"latency","ms":12}', '{"t":"ready"}', '{"t":"usage","x":[]}'])
def test_what_is_not_known_is_passed_over(frame: str) -> None:
    assert dialect().decode(frame) == []


@pytest.mark.parametrize(
    ("counts", "found"),
    [
        ({"inputAudioTokens": 120, "outputAudioTokens": 340}, [e.Used(N, 460)]),
        ({"outputAudioTokens": 3}, [e.Used(N, 3)]),
        ({}, []),
        (
            {"inputAudioTokens": -1},
            [e.Troubled(N, "the provider counts -1 tokens for a reply; passed over")],
        ),
    ],
)
def test_what_a_reply_cost_is_told(counts: dict[str, Any], found: list[Decoded]) -> None:
    assert tell(dialect(), "usage", **counts) == found


def test_an_expired_session_is_over_though_its_socket_stays_open() -> None:
    [lost] = tell(dialect(), "error", code="SESSION_EXPIRED", message="ttl")
    assert lost == e.Lost(N, "SESSION_EXPIRED: ttl")


def test_words_without_end_are_bounded() -> None:
    d = dialect()
    for n in range(50):
        tell(d, "transcript", role="assistant", text=f"{n} " + "x" * 10_000, final=True)
    assert d._reply
    assert len(d._reply.shown) == len(d._reply.closed) == 10_000
