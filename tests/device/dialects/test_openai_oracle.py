"""Every event that the device sends, and every mint of the companion, against OpenAI's own types.

Extra fields are forbidden, at every depth. The stand-ins' events are checked with the package's models too.
"""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from openai.types.beta.realtime import realtime_client_event_param as beta
from openai.types.beta.realtime import realtime_server_event as beta_server
from openai.types.beta.realtime.session_create_params import SessionCreateParams
from openai.types.realtime import realtime_client_event_param as ga
from openai.types.realtime import realtime_server_event as ga_server
from openai.types.realtime.client_secret_create_params import ClientSecretCreateParams
from pydantic import TypeAdapter

from companion.providers.openai import ExpiresAfter, SecretRequest
from companion.realtime_beta import beta_session
from companion.realtime_ga import ga_session, minted
from companion.settings import SessionSettings
from device.core.grant import Grant
from device.core.sessions import Turn
from device.dialects.dialect import Decoded, Send
from device.net.attempt import DIALECTS
from tests.device.dialects.replay import RECORDINGS, load, make
from tests.oracle import complaints

if TYPE_CHECKING:
    from device.dialects.dialect import Dialect

Json = dict[str, Any]
SHAPES: dict[str, Any] = {
    "openai": ga.RealtimeClientEventParam,
    "openai-beta": beta.RealtimeClientEventParam,
}
SERVER: dict[str, Any] = {
    "openai": TypeAdapter(ga_server.RealtimeServerEvent),
    "openai-beta": TypeAdapter(beta_server.RealtimeServerEvent),
}
# Beta's reference says "can be set to null to turn off"; its type does not.
DOCUMENTED = ("turn_detection: None is no SessionTurnDetection", "turn_detection: None is no TurnDetection")

PLAIN: Json = {}
TOOLS = [{"name": "get_time", "description": "d", "parameters": {"type": "object"}}, {"name": "bare"}]
BOTH: Json = {
    "voice": "verse",
    "instructions": "Be brief.",
    "input_codec": "g711_ulaw",
    "output_codec": "g711_alaw",
    "speed": 1.25,
    "max_output_tokens": 4096,
    "transcription": "whisper-1",
    "language": "en",
    "transcription_prompt": "names",
    "noise_reduction": "far_field",
    "vad_creates_response": False,
    "vad_interrupts": False,
    "tools": TOOLS,
    "tool_choice": "required",
    "tracing": {"workflow_name": "kitchen", "group_id": "g", "metadata": {"room": "k"}},
}
GA_ONLY: Json = {
    **BOTH,
    "voice": {"id": "voice_1234"},
    "prompt": {"id": "pmpt_1", "version": "2", "variables": {"city": "Oslo"}},
    "truncation": {"retention_ratio": 0.8, "post_instructions": 5000},
    "tool_choice": {"name": "get_time"},
    "vad_idle_timeout_ms": 6000,
    "output_modality": "text",
}
SEMANTIC: Json = {"vad": "semantic", "vad_eagerness": "low", "tracing": "auto", "truncation": "disabled"}
BETA_ONLY: Json = {**BOTH, "temperature": 0.6, "output_modality": "text"}
BETA_SEMANTIC: Json = {"vad": "semantic", "tracing": "auto", "transcription": "off"}
CASES = [
    *[("openai", case) for case in (PLAIN, BOTH, GA_ONLY, SEMANTIC, {"transcription": "off"})],
    *[("openai-beta", case) for case in (PLAIN, BOTH, BETA_ONLY, BETA_SEMANTIC)],
]
BUILD = {"openai": ga_session, "openai-beta": beta_session}


def session(shape: str, case: Json, *, server_turns: bool) -> Json:
    settings = msgspec.convert(case, SessionSettings)
    return BUILD[shape](settings, server_turns=server_turns, transcription="gpt-4o-mini-transcribe")


def check(event: Any, shape: Any) -> None:
    assert [line for line in complaints(event, shape) if not line.endswith(DOCUMENTED)] == []


def everything(dialect: Dialect) -> list[Json]:
    """Have the dialect send all that it can."""
    heard: list[Decoded] = []

    def hear(kind: str, **fields: Any) -> None:
        heard.extend(dialect.decode(json.dumps({"type": kind, **fields})))

    hear("session.created", session={"id": "s1"})
    hear("session.updated", session={"id": "s1"})
    heard.append(Send(dialect.audio(b"\1\2")))
    heard.extend([*dialect.end_turn(), *dialect.discard_turn(), *dialect.say("hi"), *dialect.closing()])
    hear("response.created", response={"id": "r1"})
    hear("response.output_audio.delta", response_id="r1", item_id="i1", delta="AAAA" * 100)
    heard.extend([*dialect.refuse_reply("r1"), *dialect.interrupt("i1", 1), *dialect.refuse_tool("c1")])
    heard.extend(dialect.request_reply())
    hear("response.done", response={"id": "r1", "status": "cancelled"})
    return [json.loads(one.frame) for one in heard if isinstance(one, Send)]


@pytest.mark.parametrize(("shape", "case"), CASES)
@pytest.mark.parametrize("server_turns", [False, True])
def test_what_the_device_sends(shape: str, case: Json, server_turns: bool) -> None:
    settled = session(shape, case, server_turns=server_turns)
    grant = Grant(shape, "ws://x", resume="seeded", session=settled)  # type: ignore[arg-type]  # a key is a name
    turns = (Turn("user", "my name is Peter"), Turn("assistant", "Hello, Peter."))
    sent = everything(DIALECTS[shape](1, grant, turns, 0.0))
    assert {event["type"] for event in sent} == {
        "session.update", "conversation.item.create", "input_audio_buffer.append",
        "input_audio_buffer.commit", "input_audio_buffer.clear", "response.create", "response.cancel",
        "conversation.item.truncate",
    }  # fmt: skip
    for event in sent:
        check(event, SHAPES[shape])


@pytest.mark.parametrize(("shape", "case"), CASES)
def test_what_the_companion_mints_with(shape: str, case: Json) -> None:
    settings = msgspec.convert(case, SessionSettings)
    whole = minted(session(shape, case, server_turns=True), settings, "gpt-4o-realtime-preview")
    if shape == "openai":
        check(msgspec.to_builtins(SecretRequest(ExpiresAfter(600), whole)), ClientSecretCreateParams)
    else:
        life = {"expires_after": msgspec.to_builtins(ExpiresAfter(60))}
        check({**whole, "client_secret": life}, SessionCreateParams)


@pytest.mark.parametrize("path", [p for p in RECORDINGS if p.stem.startswith("openai")], ids=lambda p: p.stem)
def test_what_was_sent_when_the_recordings_were_made(path: Any) -> None:
    head, steps = load(path)
    dialect = make(head)
    for step in steps:
        answer = dialect.decode(step["in"]) if step.get("in", "").startswith('{"type":"session') else []
        for one in answer:
            if isinstance(one, Send):
                check(json.loads(one.frame), SHAPES[head["grant"]["dialect"]])


@pytest.mark.parametrize("name", ["openai", "openai-g711", "openai-tool", "openai-beta"])
def test_the_stand_ins_say_what_the_vendor_s_client_reads(name: str) -> None:
    [path] = [path for path in RECORDINGS if path.stem == name]
    head, steps = load(path)
    kinds = set()
    for step in steps:
        if "in" in step:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # pydantic warns of a value that is not what its field says
                event = SERVER[head["grant"]["dialect"]].validate_json(step["in"])
            kinds.add(event.type)
    assert "response.done" in kinds


def test_the_oracle_finds_what_is_wrong() -> None:
    wrong: list[tuple[str, Json, str]] = [
        (
            "openai",
            {"type": "session.update", "session": {"type": "realtime", "temperature": 1}},
            "temperature",
        ),
        ("openai", {"type": "session.update", "session": {}}, "type is missing"),
        ("openai-beta", {"type": "session.update", "session": {"audio": {}}}, "audio is unknown"),
        ("openai-beta", {"type": "input_audio_buffer.append", "audio": 5}, "5 is no str"),
        (
            "openai",
            {"type": "conversation.item.truncate", "item_id": "i", "content_index": True},
            "is missing",
        ),
    ]
    for shape, event, says in wrong:
        assert says in " ".join(complaints(event, SHAPES[shape])), event
