"""The text frames of Speko's proxy socket that the device reads, as types; unknown fields are ignored.

Source: the vendor's spekoai 0.1.3 (realtime.py) and browser client.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Kind(msgspec.Struct):
    """What every text frame has."""

    t: str


class Ready(msgspec.Struct, rename="camel"):
    """Rates in Hz; what is not 16000 or 24000 leaves the wished one."""

    input_sample_rate: Any = None
    output_sample_rate: Any = None


class Transcript(msgspec.Struct):
    """The words of the open entry of one side, all of them; `final` closes the entry."""

    role: str = ""
    text: str = ""
    final: bool = False


class Interruption(msgspec.Struct):
    """The reply was cut by the user's voice or by the assistant itself."""

    at: str = "user"


class ToolCall(msgspec.Struct, rename="camel"):
    """A function that the model wants called."""

    call_id: str
    name: str = ""


class Usage(msgspec.Struct, rename="camel"):
    """What a reply cost; a count of any shape is looked at before it is believed."""

    input_audio_tokens: Any = None
    output_audio_tokens: Any = None


class Fault(msgspec.Struct):
    """The frame `error`. Either may be null, or a number."""

    code: Any = None
    message: Any = None


class End(msgspec.Struct):
    """The session is over. `reason` may be null."""

    reason: Any = None
