"""The numbers and choices of a conversation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["push_to_talk", "open_mic"]
TurnEnd = Literal["client", "server"]


@dataclass(frozen=True)
class Rules:
    """The numbers of a conversation. `half_duplex`: the microphone is shut while the device speaks.

    `keep_turn_ms`: how long what was said waits for a session; `longest_talk_ms` 0: no limit.
    """

    mode: Mode = "push_to_talk"
    turn_end: TurnEnd = "client"
    half_duplex: bool = True
    preroll_ms: int = 500
    tail_ms: int = 250
    shortest_press_ms: int = 300
    longest_turn_ms: int = 120_000
    silence_limit_ms: int = 15_000
    idle_hangup_ms: int = 60_000
    reply_timeout_ms: int = 20_000
    longest_reply_ms: int = 300_000
    longest_talk_ms: int = 3_600_000
    keep_turn_ms: int = 15_000
    renew_margin_ms: int = 60_000
    notice_s: int = 60
    keep_turns: int = 20
