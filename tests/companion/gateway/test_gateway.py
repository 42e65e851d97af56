"""Devices, the gateway and simulated services, with real sockets and real peers between them."""

from __future__ import annotations

import base64
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from companion.errors import CompanionError
from companion.gateway.gateway import Gateway
from companion.gateway.openai import OpenAICallLeg
from tests.companion.gateway.parties import WAIT_S, gateway, openai, opened, outspeed
from tests.companion.talk import Client, recognised, session, silence, speech
from tests.servers import until

if TYPE_CHECKING:
    from pathlib import Path


def closing(client: Client) -> tuple[int, str]:
    """Read until the socket is closed; returns the code and the reason."""
    with pytest.raises(ConnectionClosed) as closed:
        client.until("no such event")
    frame = closed.value.rcvd
    assert frame
    return frame.code, frame.reason


def test_a_conversation_over_openais_calls(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door, session(door.grant(leg)) as client:
        client.ask("my name is peter")
        words, sound, done = client.answer()
        assert "Peter" in words
        assert "peter" in recognised(sound)
        assert done["response"]["status"] == "completed"
        client.ask("what is my name")
        words, sound, _ = client.answer()
        assert "Peter" in words
        assert "peter" in recognised(sound)
        kinds = client.kinds()
        assert kinds.index("output_audio_buffer.stopped") < kinds.index("response.done")


def test_a_story_is_cut_off_in_mid_word(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door, session(door.grant(leg)) as client:
        client.ask("tell me a story")
        for _ in range(25):
            delta = client.until("response.output_audio.delta")
        client.send("response.cancel", response_id=delta["response_id"])
        client.send("conversation.item.truncate", item_id=delta["item_id"], content_index=0, audio_end_ms=400)
        # The vendor has made the whole story long ago: its end was held back while it sounded.
        client.seen.clear()
        while client.receive()["type"] != "conversation.item.truncated":
            pass
        assert client.kinds().count("response.done") == 1
        assert client.kinds().index("response.done") < client.kinds().index("conversation.item.truncated")
        client.ask("what time is it")
        words, sound, _ = client.answer()
        assert words.startswith("It is")
        assert "once there was" not in recognised(sound)


def test_the_server_finds_the_turns(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door:
        listening = replace(leg, session={"type": "realtime", "audio": {"input": {}}})
        with session(door.grant(listening)) as client:
            client.append(speech("tell me a story") + silence(900))
            for _ in range(10):
                client.until("response.output_audio.delta")
            client.append(speech("what time is it") + silence(900), 20)
            client.until("input_audio_buffer.speech_started")
            client.until("input_audio_buffer.speech_stopped")
            assert "response.done" in client.kinds(), "the story is over when the user speaks"
            words, _, _ = client.answer()
            assert words.startswith("It is")


@pytest.mark.parametrize("mistake", ["", "trickles", "no-pong", "no-buffer-events"])
def test_a_conversation_over_outspeeds_signalling(tmp_path: Path, mistake: str) -> None:
    mistakes = [mistake] if mistake else []
    with outspeed(tmp_path, *mistakes) as leg, gateway() as door, opened(door.grant(leg)) as client:
        client.until("session.created")
        client.ask("my name is peter")
        client.until("response.done")
        sound = [e["delta"] for e in client.seen if e["type"] == "response.audio.delta"]
        assert "peter" in recognised(b"".join(base64.b64decode(delta) for delta in sound))


def test_a_secret_opens_one_session_once(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door:
        grant = door.grant(leg)
        wrong = {**grant, "auth": {"value": "gw_wrong"}}
        with pytest.raises(InvalidStatus, match="401"), opened(wrong):
            pass
        with opened(grant) as client:
            client.until("session.created")
        with pytest.raises(InvalidStatus, match="401"), opened(grant):
            pass
        with pytest.raises(InvalidStatus, match="401"), opened(door.grant(leg, life_s=-1)):
            pass


@pytest.mark.parametrize(
    ("service", "mistake", "code", "line"),
    [
        ("openai", "refuses", 4001, "the provider refused the call: HTTP 403: This project has no WebRTC."),
        ("openai", "busy", 1011, "the provider refused the call: HTTP 429: Too many calls."),
        ("openai", "bad-answer", 1011, "the provider's SDP answer makes no sense"),
        ("openai", "no-path", 1011, "no WebRTC connection to the provider within 2 s"),
        ("outspeed", "signal-error", 1011, "Outspeed reports: no worker is free"),
        ("outspeed", "signal-closes", 1011, "Outspeed closed the signalling with 1011 worker lost"),
        ("outspeed", "signal-nonsense", 1011, "Outspeed's signalling makes no sense"),
        ("outspeed", "secret-expired", 4001, "Outspeed refused the signalling socket: HTTP 401"),
    ],
)
def test_a_leg_that_does_not_come_up_closes_the_session_with_a_line(
    tmp_path: Path, service: str, mistake: str, code: int, line: str
) -> None:
    make = openai if service == "openai" else outspeed
    with make(tmp_path, mistake) as leg, gateway(connect_s=2.0) as door, opened(door.grant(leg)) as client:
        got, reason = closing(client)
        assert (got, reason.startswith(line)) == (code, True), (got, reason)


def test_a_service_that_is_away_is_named_without_the_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with outspeed(tmp_path) as leg, gateway() as door:
        away = replace(leg, url="ws://127.0.0.1:9/v1/realtime/ws")
        with opened(door.grant(away)) as client:
            code, reason = closing(client)
        assert code == 1011
        assert reason.startswith("Outspeed's signalling socket cannot be reached")
        with opened(door.grant(leg)) as client:
            client.until("session.created")
        ours = "\n".join(
            one.getMessage() for one in caplog.records if one.name.startswith("companion.gateway")
        )
        assert "kitchen: WebRTC leg connected" in ours
        assert leg.secret not in ours
        assert leg.secret not in repr(leg)


def test_a_provider_that_hangs_up_ends_the_session(tmp_path: Path) -> None:
    with openai(tmp_path, "hangs-up") as leg, gateway() as door, session(door.grant(leg)) as client:
        client.ask("what time is it")
        assert closing(client)[0] == 1000


def test_a_device_that_goes_ends_the_providers_session(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with openai(tmp_path) as leg, gateway() as door:
        with opened(door.grant(leg)) as client:
            client.until("session.created")
            client.socket.socket.close()  # without a word
        until(lambda: door.gateway.live == 0, WAIT_S)
        until(lambda: any("peer closed" in record.message for record in caplog.records), WAIT_S)


def test_nonsense_of_the_device_is_dropped_and_the_session_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with openai(tmp_path) as leg, gateway() as door, session(door.grant(leg)) as client:
        client.socket.send("{no json")
        client.socket.send("[]")
        client.socket.send(f'{{"type": "response.create", "response": {"[" * 50_000}')
        client.socket.send(b"\x00\x01")
        client.send("input_audio_buffer.append", audio="?")
        client.send("no.such.event")
        assert client.error()["code"] == "invalid_value"
        client.ask("what time is it")
        assert client.answer()[0].startswith("It is")
    assert len([one for one in caplog.records if one.message.startswith("kitchen sent ")]) == 5


def test_a_turn_that_was_taken_back_is_not_part_of_the_next(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door, session(door.grant(leg)) as client:
        client.append(speech("never mind"))
        client.send("input_audio_buffer.clear")
        client.until("input_audio_buffer.cleared")
        client.ask("what time is it")
        client.until("input_audio_buffer.committed")
        assert client.answer()[0].startswith("It is")


def test_the_call_is_told_by_its_id(tmp_path: Path) -> None:
    told: list[str] = []

    async def on_call(call_id: str) -> None:
        told.append(call_id)

    with openai(tmp_path) as leg, gateway() as door:
        with opened(door.grant(replace(leg, on_call=on_call))) as client:
            client.until("session.created")
        assert len(told) == 1
        assert told[0].startswith("rtc_")


def test_what_the_call_was_told_to_may_end_the_session(tmp_path: Path) -> None:
    async def on_call(_: str) -> None:
        raise CompanionError("the sideband is refused")

    with (
        openai(tmp_path) as leg,
        gateway() as door,
        opened(door.grant(replace(leg, on_call=on_call))) as client,
    ):
        assert closing(client) == (1011, "the sideband is refused")


def test_a_minted_secret_opens_the_call_without_a_session(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door:
        bearer = {"Authorization": f"Bearer {leg.secret}"}
        base = leg.url.removesuffix("/calls")
        minted = httpx.post(f"{base}/client_secrets", headers=bearer, json={"session": leg.session}).json()
        with session(door.grant(replace(leg, secret=minted["value"], session=None))) as client:
            client.ask("what time is it")
            assert client.answer()[0].startswith("It is")


def test_a_device_that_sends_more_than_a_minute_ahead_is_told(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door, session(door.grant(leg)) as client:
        client.append(b"\x00\x20" * (62 * 24_000), block_ms=1000)
        code, reason = closing(client)
        assert (code, reason) == (1011, "more than a minute of sound waits to be sent in real time")


def test_the_companion_stops(tmp_path: Path) -> None:
    with openai(tmp_path) as leg, gateway() as door, opened(door.grant(leg)) as client:
        client.until("session.created")
        for bridge in list(door.gateway._live):
            bridge.end(1012, "the companion stops")
        assert closing(client) == (1012, "the companion stops")


def test_a_ticket_s_secret_is_in_no_repr() -> None:
    door = Gateway()
    _, secret = door.add(OpenAICallLeg("http://x", "ek_planted"), "kitchen", 9e9)
    assert "kitchen" in repr(door._tickets)
    assert secret not in repr(door._tickets)
    assert "planted" not in repr(door._tickets)
