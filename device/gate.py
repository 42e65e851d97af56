"""`pressel gate`: whether the daemon that runs now is fit to stay. An update is kept or taken back by it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from device.errors import StateError
from device.system.control_client import request

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

BLOCKS_PER_S = 50  # of 20 ms, to and from the card
DEAD = "its sound"  # the part that a dead microphone is a fault of: it may have a switch that mutes it
_TOLERANCE = 0.1
_TICK_S = 1.0
_ANSWER_S = 5.0
_SILENT_S = 10.0  # without an answer, as systemd takes to find a process that stands still
_CHECK_S = 20.0  # for one question to the companion; the daemon itself gives up after 15 s
_PAUSE_S = 2.0
_LEAST_PLAYED_S = 2.0  # of a card that may rest: in less, the start of a chime counts for too much


@dataclass(frozen=True)
class Sample:
    """What the daemon said at `at` (monotonic seconds): its status, or why there is none."""

    at: float
    status: dict[str, Any] | None
    trouble: str = ""


@dataclass(frozen=True)
class Verdict:
    """`reasons` against it and `notes`, one line each; `blocks_per_s` of the microphone.

    `device`: its name at the companion.
    """

    reasons: list[str]
    notes: list[str]
    blocks_per_s: float | None
    device: str | None
    version: str | None

    def facts(self) -> dict[str, Any]:
        """Return it for a machine to read."""
        facts = {"ok": not self.reasons, "reasons": self.reasons, "notes": self.notes}
        return {**facts, "blocks_per_s": self.blocks_per_s, "device": self.device, "version": self.version}


def watch_over(socket: Path, seconds: float, say: Callable[[str], None], patience_s: float = 30.0) -> Verdict:
    """Look at the daemon for `seconds`, then have it ask the companion; `say` is told how far it is.

    It may take `patience_s` to answer for the first time, and as long to be known at the companion.
    """
    samples = _samples(socket, seconds, say, patience_s)
    known = {"ok": False, "error": "the companion was not asked"}
    if samples[-1].status is not None:
        say("asking the companion")
        known = _check(socket, patience_s)
        samples.append(_sample(socket))
    return judge(samples, known)


def judge(samples: Sequence[Sample], known: dict[str, Any]) -> Verdict:
    """Weigh what was seen; `known`: the answer of `ctl check`, asked before the last sample."""
    answered = [sample for sample in samples if sample.status is not None]
    reasons = [] if samples[-1].status is not None else [f"it does not answer: {samples[-1].trouble}"]
    if not answered:
        return Verdict(reasons, [], None, None, None)
    last = answered[-1].status or {}
    if _started_again(answered):
        reasons.append("it was started again meanwhile: journalctl -u pressel")
    else:
        reasons += _of_sound(answered)
    reasons += [f"it is in a fault: {text}" for part, text in last["faults"].items() if part != DEAD]
    if not known.get("ok"):
        reasons.append(f"the companion: {known.get('error', 'no answer')}")
    rate = _rate(answered, "frames_captured")
    blocks_per_s = None if rate is None else round(rate, 1)
    notes = [text for text in (known.get("note"), last["faults"].get(DEAD)) if text]
    return Verdict(reasons, notes, blocks_per_s, known.get("device"), last["version"])


def _samples(socket: Path, seconds: float, say: Callable[[str], None], patience_s: float) -> list[Sample]:
    tick_s = min(_TICK_S, seconds / 10)
    samples = [_first(socket, patience_s, tick_s)]
    began = heard_at = samples[0].at
    while samples[-1].at - began < seconds and samples[0].status and not _started_again(samples):
        say(f"{samples[-1].at - began:.0f} of {seconds:.0f} s")
        time.sleep(tick_s)
        samples.append(_sample(socket))
        heard_at = samples[-1].at if samples[-1].status else heard_at
        if samples[-1].at - heard_at > _SILENT_S:
            break
    return samples


def _first(socket: Path, patience_s: float, tick_s: float) -> Sample:
    """Wait for a daemon that is just being started."""
    began = time.monotonic()
    sample = _sample(socket)
    while sample.status is None and time.monotonic() - began < patience_s:
        time.sleep(tick_s)
        sample = _sample(socket)
    return sample


def _sample(socket: Path) -> Sample:
    try:
        answer = request(socket, {"cmd": "status"}, _ANSWER_S)
    except StateError as error:
        return Sample(time.monotonic(), None, str(error))
    if not answer.get("ok"):
        return Sample(time.monotonic(), None, str(answer.get("error")))
    return Sample(time.monotonic(), answer)


def _check(socket: Path, patience_s: float) -> dict[str, Any]:
    """Have the daemon ask the companion, again and again while there is time: a network may be coming up."""
    ends_at = time.monotonic() + patience_s
    while True:
        try:
            answer = request(socket, {"cmd": "check"}, _CHECK_S)
        except StateError as error:
            answer = {"ok": False, "error": str(error)}
        if answer.get("ok") or time.monotonic() + _PAUSE_S > ends_at:
            return answer
        time.sleep(_PAUSE_S)


def _started_again(samples: Sequence[Sample]) -> bool:
    uptimes = [sample.status["uptime_s"] for sample in samples if sample.status is not None]
    return any(after < before for before, after in pairwise(uptimes))


def _of_sound(answered: Sequence[Sample]) -> list[str]:
    reasons = []
    captured = _rate(answered, "frames_captured")
    if captured is None:
        reasons.append("it answered once only: its sound could not be watched")
    elif abs(captured - BLOCKS_PER_S) > _TOLERANCE * BLOCKS_PER_S:
        reasons.append(f"the microphone gives {captured:.1f} blocks a second where {BLOCKS_PER_S} belong")
    played = _rate(answered, "frames_played", awake=True)
    if played is not None and played < (1 - _TOLERANCE) * BLOCKS_PER_S:
        reasons.append(f"the speaker takes {played:.1f} blocks a second where {BLOCKS_PER_S} belong")
    return reasons


def _rate(answered: Sequence[Sample], counter: str, *, awake: bool = False) -> float | None:
    """Return a counter's advance a second; `awake`: only of the time in which the speaker's clock runs."""
    seconds = blocks = 0.0
    for before, after in pairwise(answered):
        one, two = before.status or {}, after.status or {}
        if awake and (one["speaker_rests"] or two["speaker_rests"]):
            continue
        seconds += after.at - before.at
        blocks += two["counters"][counter] - one["counters"][counter]
    return blocks / seconds if seconds > (_LEAST_PLAYED_S if awake else 0.0) else None
