"""Delphi's channel as the device reads it: replies of words and sound, sockets that come and go."""

from __future__ import annotations

import base64
import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from device.core import events as e
from device.core.grant import Auth, Encoding, Grant
from device.dialects.delphi import DelphiDialect
from device.dialects.dialect import Decoded, ReplyAudio, Send
from device.errors import ProtocolError

if TYPE_CHECKING:
    from device.core.sessions import Rung

PCM = "audio/pcm;rate=24000"
Json = dict[str, Any]


class Channel:
    """A dialect, and a server that numbers what it says."""

    def __init__(self, mode: str = "audio_playback", resume: Rung = "fresh", **session: Any) -> None:
        grant = Grant(
            "delphi",
            "wss://x/ws/session",
            Auth("query", "sessionId=s-1&token=t"),
            provider="delphi",
            session_id="s-1",
            resume=resume,
            session_ends_at=1000.0,
            input=Encoding("none"),
            session={"mode": mode, **session},
        )
        self.dialect = DelphiDialect(3, grant, (), -900.0)
        self._said = 0

    def says(self, kind: str, **fields: Any) -> list[Decoded]:
        """Have the server say it; `stream` and `message` stand for the ids, `at` for the time."""
        self._said += 1
        ids = {
            "messageId": fields.pop("message", f"m-{self._said}"),
            "streamId": fields.pop("stream", f"{self._said}-0"),
            "timestamp": fields.pop("at", 1_763_690_000_000 + self._said),
        }
        envelope = {"type": kind, "sessionId": "s-1", "direction": "to_browser", **ids, **fields}
        return self.dialect.decode(json.dumps(envelope))

    def audio(self, event: str, response: str | None = "r1", **fields: Any) -> list[Decoded]:
        ids = {key: fields.pop(key) for key in ("stream", "message") if key in fields}
        named = {} if response is None else {"responseId": response}
        return self.says("audio", audio={"event": event, **named, **fields}, **ids)

    def open(self) -> list[Decoded]:
        return self.says("status", status={"state": "connected"}, stream=None)


@pytest.fixture
def channel() -> Channel:
    one = Channel()
    one.open()
    return one


def sent(found: list[Decoded]) -> list[Json]:
    """Return the messages that are to be sent, each with a whole envelope."""
    frames = [json.loads(one.frame) for one in found if isinstance(one, Send)]
    for frame in frames:
        assert frame["sessionId"] == "s-1"
        assert frame["direction"] == "to_ari"
        assert frame["timestamp"] > 1_763_690_000_000
        assert uuid.UUID(frame["messageId"]).version == 4
    return frames


def events(found: list[Decoded]) -> list[Any]:
    return [one for one in found if isinstance(one, e.Event)]


def sound(found: list[Decoded]) -> bytes:
    return b"".join(one.sound for one in found if isinstance(one, ReplyAudio))


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def pinged(channel: Channel) -> list[Decoded]:
    """Let 30 s pass, in ticks of 5."""
    return [one for _ in range(6) for one in channel.dialect.ping()]


def said(text: str, **chat: Any) -> Json:
    return {"role": "assistant", "content": text, **chat}


# --- the session


def test_it_opens_when_the_server_is_ready() -> None:
    channel = Channel()
    assert channel.dialect.opening() == []
    assert channel.dialect.ping() == []
    assert channel.says("status", status={"state": "reconnecting"}) == []
    assert channel.open() == [e.Opened(3, "s-1", "delphi", "fresh", 100.0)]
    assert channel.open() == []


def test_a_session_that_goes_on_is_live_and_one_without_an_end_has_none() -> None:
    assert events(Channel(resume="live").open())[0].rung == "live"
    assert events(Channel(resume="seeded").open())[0].rung == "fresh"
    bare = DelphiDialect(1, Grant("delphi", "wss://x"), (), 0.0)
    opened = bare.decode('{"type":"status","status":{"state":"connected"}}')
    assert opened == [e.Opened(1, "", "", "fresh", None)]
    assert isinstance(bare.say("hi")[0], Send)  # in text mode, with ids of its own making


def test_a_ping_is_a_message_and_its_answer_is_nothing(channel: Channel) -> None:
    assert channel.dialect.ping_s == 5.0
    assert [frame["type"] for frame in sent(pinged(channel))] == ["ping"]
    assert [frame["type"] for frame in sent(pinged(channel))] == ["ping"]
    assert channel.says("pong") == []
    assert channel.says("ping") == []


def test_what_is_sent_bears_the_servers_time_and_ids_of_its_own(channel: Channel) -> None:
    channel.says("pong", at=1_763_690_999_000)
    channel.says("pong", at=5)
    channel.says("pong", at=1e300)
    first, second = sent(pinged(channel)), sent(pinged(channel))
    assert first[0]["timestamp"] == 1_763_690_999_000
    assert first[0]["messageId"] != second[0]["messageId"]
    other = Channel()
    other.says("status", status={"state": "connected"}, message="another greeting")
    assert sent(pinged(other))[0]["messageId"] not in {first[0]["messageId"], second[0]["messageId"]}


@pytest.mark.parametrize(
    ("code", "wait_s"),
    [(1000, None), (4000, None), (4001, None), (4099, None), (4100, 2.0), (1012, 2.0), (None, 2.0)],
)
def test_the_session_outlives_its_socket_unless_it_is_over(
    channel: Channel, code: int | None, wait_s: float | None
) -> None:
    assert channel.dialect.redial(code) == wait_s


def test_a_refused_token_is_worth_a_new_one_and_the_owner_is_told_the_mend(channel: Channel) -> None:
    again = [code for code in (None, 1000, 4000, 4001, 4099, 4100) if channel.dialect.mint_again(code)]
    assert again == [4001, 4099]
    assert "taken over" in channel.dialect.mend(4000)
    assert "key" in channel.dialect.mend(4001)
    assert channel.dialect.mend(1000) == channel.dialect.mend(None) == ""


def test_what_was_missed_is_asked_for_by_the_last_stream_id(channel: Channel) -> None:
    assert channel.dialect.reopened() == []
    channel.says("chat", chat=said("hello"), stream="1731-4")
    channel.says("pong", stream=None)
    channel.says("pong", stream="x" * 500)
    (frame,) = sent(channel.dialect.reopened())
    assert frame["reconnect"] == {"lastReceivedMessageId": "1731-4"}


# --- the device speaks


def test_words_ask_for_words_or_for_both() -> None:
    for mode, wanted in (("text", "text"), ("audio_playback", "both")):
        channel = Channel(mode)
        channel.open()
        (frame,) = sent(channel.dialect.say("hi"))
        assert frame["chat"] == {
            "role": "user",
            "content": "hi",
            "intent": "conversation",
            "responseExpected": True,
            "preferredResponse": wanted,
        }


def test_words_are_read_out_where_the_grant_says_by_whom() -> None:
    channel = Channel(readAloud={"capabilityId": "c1"})
    channel.open()
    (frame,) = sent(channel.dialect.say("hi"))
    action = {"capabilityId": "c1", "messageType": "browser.action.readAloud", "text": "hi"}
    assert frame["browserAction"] == action
    assert channel.audio("start")[1] == e.ReplyText(3, "r1", "hi")


def test_a_voice_is_told_that_nobody_hears_it(channel: Channel) -> None:
    told = events(channel.dialect.end_turn())
    assert told == [
        e.Troubled(3, "this Delphi mode hears no voice; type with: pressel ctl say TEXT"),
        e.ReplyStarted(3, "none-1"),
        e.ReplyEnded(3, "none-1", audio=False),
    ]
    assert "say it again" in events(channel.dialect.request_reply())[0].text
    assert channel.dialect.discard_turn() == channel.dialect.refuse_reply("r1") == []
    assert channel.dialect.interrupt("r1", 10) == channel.dialect.closing() == []
    with pytest.raises(AssertionError, match="without a microphone"):
        channel.dialect.audio(b"..")


def test_an_action_is_refused_in_the_vendors_words(channel: Channel) -> None:
    action = {"actionId": "a1", "name": "navigate", "parameters": {}, "requiresResponse": True}
    (frame,) = sent(channel.says("action", action=action))
    assert frame["actionResult"] == {
        "actionId": "a1",
        "success": False,
        "error": "No browser action handler registered for 'navigate'",
        "isFinal": True,
    }
    assert channel.says("action", action={**action, "requiresResponse": False}) == []


# --- words


def test_in_text_mode_words_are_a_whole_reply() -> None:
    channel = Channel("text")
    channel.open()
    channel.dialect.say("hi")
    assert channel.says("chat", chat=said("Hello. ")) == [
        e.ReplyStarted(3, "words-1"),
        e.ReplyText(3, "words-1", "Hello."),
        e.ReplyEnded(3, "words-1", audio=False),
    ]
    assert channel.says("chat", chat=said(" ")) == []
    assert channel.says("chat", chat={"role": "user", "content": "hi"}) == []


def test_words_wait_for_the_sound_that_was_asked_for(channel: Channel) -> None:
    channel.dialect.say("hi")
    assert channel.says("chat", chat=said("Hello.")) == []
    assert channel.says("chat", chat=said("I am here.")) == []
    assert channel.audio("start", mimeType=PCM) == [
        e.ReplyStarted(3, "r1"),
        e.ReplyText(3, "r1", "Hello. I am here."),
    ]
    assert channel.audio("done") == [e.ReplyEnded(3, "r1", audio=False)]


def test_words_come_with_the_sound_or_after_it(channel: Channel) -> None:
    channel.dialect.say("hi")
    assert channel.audio("start") == [e.ReplyStarted(3, "r1")]
    assert channel.says("chat", chat=said("Hello.")) == [e.ReplyText(3, "r1", "Hello.")]
    more = events(channel.says("chat", chat=said("More.")))  # this reply has its words
    assert more[1] == e.ReplyText(3, "words-1", "More.")
    channel.audio("done")
    assert events(channel.says("chat", chat=said("Later.")))[1] == e.ReplyText(3, "words-2", "Later.")


def test_words_whose_sound_never_comes_are_given_alone(channel: Channel) -> None:
    channel.dialect.say("one")
    channel.says("chat", chat=said("First."))
    assert events(channel.dialect.interrupt(None, 0))[1].text == "First."
    assert channel.dialect.interrupt(None, 0) == []
    channel.dialect.say("two")
    channel.says("chat", chat=said("Second."))
    assert events(channel.dialect.ping()) == []  # the sound may be on its way
    assert events(channel.dialect.ping())[1].text == "Second."
    channel.dialect.say("three")
    channel.says("chat", chat=said("Third."))
    assert events(channel.dialect.say("four"))[1].text == "Third."


# --- sound


def test_sound_is_a_reply_from_start_to_done(channel: Channel) -> None:
    assert channel.audio("start", mimeType=PCM) == [e.ReplyStarted(3, "r1")]
    assert channel.audio("delta", index=0, delta=b64(b"abc")) == [ReplyAudio("r1", "r1", b"abc", PCM)]
    assert channel.audio("delta", index=1, delta=b64(b"de")) == [ReplyAudio("r1", "r1", b"de", PCM)]
    assert channel.audio("pause") == []
    assert channel.audio("done") == [e.ReplyEnded(3, "r1", audio=True)]
    assert channel.audio("delta", index=2, delta=b64(b"abc")) == []
    assert channel.audio("done") == []


def test_sound_without_a_name_is_mp3_and_without_ids_goes_by_its_place(channel: Channel) -> None:
    assert channel.audio("start", None, message="m")[0] == e.ReplyStarted(3, "m")
    assert channel.audio("delta", None, delta=b64(b"abc"), message="n") == [
        ReplyAudio("m", "m", b"abc", "audio/mpeg")
    ]
    assert channel.audio("done", None, message="o") == [e.ReplyEnded(3, "m", audio=True)]
    assert channel.audio("start", None, message=None)[0] == e.ReplyStarted(3, "sound-1")
    assert channel.audio("delta", None, message=None, delta="YQ==", mimeType="audio/wav") == [
        ReplyAudio("sound-1", "sound-1", b"a", "audio/wav")
    ]


def test_sound_may_begin_with_its_first_piece_but_not_with_a_later_one(channel: Channel) -> None:
    assert channel.audio("delta", delta="YQ==", index=0)[0] == e.ReplyStarted(3, "r1")
    late = channel.audio("delta", "r0", delta="YQ==", index=7)
    assert late == [e.Troubled(3, "the rest of an older reply came; dropped")]
    assert channel.audio("delta", "r0", delta="YQ==", index=8) == []
    assert channel.audio("done", "r0") == []


def test_base64_may_be_cut_anywhere(channel: Channel) -> None:
    text = b64(bytes(range(100)))
    found = channel.audio("start")
    for at in range(0, len(text), 7):
        found += channel.audio("delta", delta=text[at : at + 7])
    assert sound(found) == bytes(range(100))
    channel.audio("start", "r2")
    channel.audio("delta", "r2", delta="YWI")  # its padding was forgotten
    assert sound(channel.audio("done", "r2")) == b"ab"
    channel.audio("start", "r3")
    channel.audio("delta", "r3", delta="Y")
    assert sound(channel.audio("done", "r3")) == b""


def test_a_piece_that_is_no_base64_costs_one_line(channel: Channel) -> None:
    channel.audio("start")
    with pytest.raises(ProtocolError, match="no base64"):
        channel.audio("delta", delta="%%%%")
    assert sound(channel.audio("delta", delta="YWJj")) == b"abc"
    with pytest.raises(ProtocolError, match="no base64"):
        channel.audio("delta", "r2", delta="%%%%")
    assert channel.audio("delta", "r2", delta="YWJj")[0] == e.ReplyStarted(3, "r2")


def test_pieces_are_put_in_order_and_a_second_time_is_none(channel: Channel) -> None:
    channel.audio("start")
    assert sound(channel.audio("delta", index=0, delta="YQ==", stream=None)) == b"a"
    assert sound(channel.audio("delta", index=2, delta="Yw==", stream=None)) == b""
    assert sound(channel.audio("delta", index=0, delta="YQ==", stream=None)) == b""
    assert sound(channel.audio("delta", index=1, delta="Yg==", stream=None)) == b"bc"
    assert sound(channel.audio("delta", index=5, delta="Zg==")) == b""
    assert sound(channel.audio("delta", index=4, delta="ZQ==")) == b""
    done = channel.audio("done")  # nothing was cut: what is missing does not come
    assert sound(done) == b"ef"
    assert done[-1] == e.ReplyEnded(3, "r1", audio=True)


def test_segments_of_one_request_are_one_reply(channel: Channel) -> None:
    channel.dialect.say("hi")
    channel.says("chat", chat=said("One. Two."))
    told: list[Decoded] = []
    for index in range(2):
        about = {"requestId": "q", "segmentIndex": index, "segmentCount": 2}
        told += channel.audio("start", f"r{index}", **about)
        told += channel.audio("delta", f"r{index}", index=0, delta="YWJj", **about)
        told += channel.audio("done", f"r{index}", **about)
    assert told == [
        e.ReplyStarted(3, "q"),
        e.ReplyText(3, "q", "One. Two."),
        ReplyAudio("q", "r0", b"abc", "audio/mpeg"),
        ReplyAudio("q", "r1", b"abc", "audio/mpeg"),
        e.ReplyEnded(3, "q", audio=True),
    ]
    final = {"requestId": "q2", "isFinal": True}
    channel.audio("start", "r5", requestId="q2", isFinal=False)
    assert channel.audio("done", "r5", **final) == [e.ReplyEnded(3, "q2", audio=False)]


# --- sockets that come and go


def test_what_comes_again_after_a_reconnect_is_not_heard_twice(channel: Channel) -> None:
    channel.dialect.say("hi")
    channel.says("chat", chat=said("Hello."), stream="10-0")
    channel.audio("start", stream="10-1")
    first = channel.audio("delta", index=0, delta="YWJj", stream="10-2")
    (frame,) = sent(channel.dialect.reopened())
    assert frame["reconnect"]["lastReceivedMessageId"] == "10-2"
    again = channel.says("chat", chat=said("Hello."), stream="10-0")
    again += channel.audio("start", stream="10-1")
    again += channel.audio("delta", index=0, delta="YWJj", stream="10-2")
    assert (sound(first), again) == (b"abc", [])
    channel.audio("delta", index=1, delta="ZGVm", stream="10-3")
    assert channel.audio("done", stream="10-4") == [e.ReplyEnded(3, "r1", audio=True)]


def test_pieces_that_overtake_what_is_sent_again_wait_for_it(channel: Channel) -> None:
    channel.audio("start")
    channel.audio("delta", index=0, delta="YQ==")
    channel.dialect.reopened()
    assert sound(channel.audio("delta", index=3, delta="ZA==")) == b""
    assert events(channel.audio("done")) == []
    assert sound(channel.audio("delta", index=1, delta="Yg==")) == b"b"
    last = channel.audio("delta", index=2, delta="Yw==")
    assert sound(last) == b"cd"
    assert last[-1] == e.ReplyEnded(3, "r1", audio=True)


def test_a_piece_that_overtakes_the_very_first_waits_too(channel: Channel) -> None:
    channel.audio("start")
    channel.dialect.reopened()
    assert sound(channel.audio("delta", index=1, delta="Yg==")) == b""
    assert sound(channel.audio("delta", index=0, delta="YQ==")) == b"ab"


def test_a_reply_that_stays_away_is_given_up_after_a_whole_interval(channel: Channel) -> None:
    channel.audio("start")
    channel.dialect.reopened()
    channel.audio("delta", index=0, delta="YQ==")
    channel.audio("delta", index=2, delta="Yw==")
    assert events(pinged(channel)) == []
    channel.audio("delta", index=3, delta="ZA==")
    assert events(pinged(channel)) == []
    given_up = channel.dialect.ping()
    assert sound(given_up) == b"cd"
    assert given_up[-1] == e.ReplyEnded(3, "r1", audio=True, trouble="the rest of the reply did not come")


def test_what_is_written_between_two_sockets_is_said_on_the_next(channel: Channel) -> None:
    channel.dialect.redial(1006)
    assert channel.dialect.say("hi") == []
    reopened = sent(channel.dialect.reopened())
    assert [frame["type"] for frame in reopened] == ["chat"]  # nothing was published yet
    assert [frame["type"] for frame in sent(channel.dialect.say("again"))] == ["chat"]
    channel.says("chat", chat=said("Hello."), stream="5-0")
    channel.dialect.redial(1012)
    channel.dialect.say("and again")
    assert [frame["type"] for frame in sent(channel.dialect.reopened())] == ["reconnect", "chat"]


# --- listening


def test_a_listener_says_who_it_is_and_what_it_wants() -> None:
    data = {"identifier": "booth-1", "targetLanguage": "en", "scope": "ep", "includeCaptions": True}
    channel = Channel("listen", listen=data)
    opened, *frames = channel.open()
    assert isinstance(opened, e.Opened)
    context, action = sent(frames)
    assert context["chat"]["intent"] == "browser_context"
    assert context["chat"]["responseExpected"] is False
    assert context["chat"]["metadata"]["browserContext"] == {
        "identifier": "booth-1",
        "role": "listener",
        "targetLanguage": "en",
        "source": "interpretation_listener",
        "metadata": {"interpretationScope": "ep"},
    }
    wanted = {"messageType": "browser.action.listen", "identifier": "booth-1", "data": data}
    assert action["browserAction"] == wanted


@pytest.mark.parametrize("data", ["booth-1", ["booth-1"], 5, None])
def test_a_listener_whose_data_is_no_object_listens_without(data: Any) -> None:
    channel = Channel("listen", listen=data)
    opened, *frames = channel.open()
    assert isinstance(opened, e.Opened)
    assert sent(frames)[1]["browserAction"]["data"] == {}


def test_a_caption_belongs_to_the_sound_that_follows() -> None:
    channel = Channel("listen")
    channel.open()
    assert channel.says("chat", chat=said("One.")) == []
    assert events(channel.audio("start"))[1] == e.ReplyText(3, "r1", "One.")
    channel.audio("done")
    assert channel.says("chat", chat=said("Two.")) == []
    assert events(channel.says("chat", chat=said("Three.")))[1].text == "Two."
    assert events(channel.audio("start", "r3"))[1] == e.ReplyText(3, "r3", "Three.")


def test_a_listeners_button_says_nothing_and_takes_no_words() -> None:
    channel = Channel("listen")
    channel.open()
    assert [type(one) for one in channel.dialect.end_turn()] == [e.ReplyStarted, e.ReplyEnded]
    assert "no written words" in events(channel.dialect.say("hi"))[0].text


# --- what makes no sense


def test_an_error_is_told_and_the_rest_is_ignored(channel: Channel) -> None:
    error = {"code": "RUNTIME_ERROR", "message": "no\nmodel"}
    assert channel.says("error", error=error) == [
        e.Troubled(3, "the provider reports RUNTIME_ERROR: no model")
    ]
    assert events(channel.says("error", error={}))[0].text.endswith("an error: no message")
    odd = [{"code": 401, "message": None}, {"code": None, "message": ["no"]}]
    assert [events(channel.says("error", error=one))[0].text for one in odd] == [
        "the provider reports 401: no message",
        "the provider reports an error: no message",
    ]
    channel.dialect.say("hi")  # an error may be its answer
    told = events(channel.says("error", error=error))
    assert [type(one) for one in told] == [e.Troubled, e.ReplyStarted, e.ReplyEnded]
    channel.says("chat", chat=said("Hello."))
    assert len(channel.says("error", error=error)) == 1
    assert channel.says("control", control={"command": "set_response_mode"}) == []
    assert channel.says("weather", weather=3) == []


@pytest.mark.parametrize("frame", ["{", b"\0\1", "[]", '{"type":"chat"}', '{"type":"audio","audio":{}}'])
def test_a_bad_frame_is_one_line(channel: Channel, frame: str | bytes) -> None:
    with pytest.raises(ProtocolError) as raised:
        channel.dialect.decode(frame)
    assert "\n" not in str(raised.value)


def test_the_memory_of_messages_has_an_end(channel: Channel) -> None:
    for _ in range(5000):
        channel.says("pong")
    assert channel.says("chat", chat=said("hello"), stream="1-0", message="m-1")


def test_a_session_that_the_server_ends_is_over_though_its_socket_stays_open(channel: Channel) -> None:
    lost = channel.says("status", status={"state": "disconnected"})
    assert lost == [e.Lost(3, "the provider has ended the session")]


def test_a_server_that_is_not_ready_yet_ends_nothing() -> None:
    assert Channel().says("status", status={"state": "disconnected"}) == []


def test_replies_that_never_end_push_each_other_out(channel: Channel) -> None:
    found: list[Decoded] = []
    for n in range(100):
        found += channel.audio("start", f"r{n}", mimeType=PCM)
    ended = [one for one in found if isinstance(one, e.ReplyEnded)]
    assert [one.reply_id for one in ended] == [f"r{n}" for n in range(84)]
    assert ended[0].trouble == "too many replies came at once"
    assert len(channel.dialect._replies) == len(channel.dialect._responses) == 16


def test_pieces_of_one_reply_that_never_end_push_each_other_out(channel: Channel) -> None:
    for n in range(100):
        channel.audio("start", f"r{n}", requestId="q", segmentCount=500, mimeType=PCM)
    assert len(channel.dialect._responses) == 64
    assert list(channel.dialect._replies) == ["q"]


@pytest.mark.parametrize(("pieces", "size"), [(600, 4), (3, 4 << 20)])
def test_a_piece_that_never_comes_is_given_up(channel: Channel, pieces: int, size: int) -> None:
    channel.audio("start", "r1", mimeType=PCM)
    channel.dialect.redial(1006)
    channel.dialect.reopened()
    found = [channel.audio("delta", "r1", index=n, delta="A" * size) for n in range(1, 1 + pieces)]
    assert len(sound([one for some in found for one in some])) == pieces * size * 3 // 4


def test_words_without_end_wait_for_no_sound(channel: Channel) -> None:
    channel.dialect.say("tell me")
    for _ in range(50):
        channel.says("chat", chat={"role": "assistant", "content": "x" * 9_000})
    assert sum(map(len, channel.dialect._words)) < 30_000
