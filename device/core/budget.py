"""What a device may spend in a day and a month, in minutes and tokens, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from device.core import actions as a

_KEPT_DAYS = 62  # two months
_NEARLY = 0.9  # of the tokens: time for a notice


class Amount(msgspec.Struct, frozen=True):
    """Seconds with an open session, and tokens that the provider counted."""

    seconds: float = 0.0
    tokens: int = 0


Spent = dict[str, Amount]
"""By local date, "2026-11-21". A clock that jumps books on another day and takes nothing back."""


@dataclass(frozen=True)
class Limits:
    """0: no limit."""

    day_minutes: int = 0
    month_minutes: int = 0
    day_tokens: int = 0
    month_tokens: int = 0


@dataclass
class Budget:
    """`today` is a local date; `spent` is kept by whoever asks for it."""

    limits: Limits = field(default_factory=Limits)
    spent: Spent = field(default_factory=dict)
    today: str = ""

    def add(self, seconds: float = 0.0, tokens: int = 0) -> list[a.Action]:
        """Put it on today's bill; returns the notice when the tokens are nearly used up."""
        near = self._near()
        before = self.spent.get(self.today, Amount())
        self.spent = {**self.spent, self.today: Amount(before.seconds + seconds, before.tokens + tokens)}
        if len(self.spent) > _KEPT_DAYS:  # never today's, whatever the clock says
            oldest = min(day for day in self.spent if day != self.today)
            self.spent = {day: amount for day, amount in self.spent.items() if day != oldest}
        if self._near() and not near:
            return [a.Chime("notice"), a.Tell("warning", "nine tenths of the tokens are used up")]
        return []

    @property
    def left_s(self) -> float | None:
        """Seconds until the next limit; None when there is none; 0 when one is reached."""
        if self.refusal():
            return 0.0
        lefts = [limit * 60 - amount.seconds for _, limit, _, amount in self._spans() if limit]
        return min(lefts, default=None)

    def refusal(self) -> str | None:
        """Why no more may be spent now; None when some may."""
        for span, minutes, tokens, amount in self._spans():
            if minutes and amount.seconds >= minutes * 60:
                return f"the {minutes} min of this {span} are used up; see [limits] in the configuration"
            if tokens and amount.tokens >= tokens:
                return f"the {tokens} tokens of this {span} are used up; see [limits] in the configuration"
        return None

    def _near(self) -> bool:
        return any(tokens and amount.tokens >= tokens * _NEARLY for _, _, tokens, amount in self._spans())

    def _spans(self) -> tuple[tuple[str, int, int, Amount], ...]:
        limits = self.limits
        return (
            ("day", limits.day_minutes, limits.day_tokens, self._sum(self.today)),
            ("month", limits.month_minutes, limits.month_tokens, self._sum(self.today[:7])),
        )

    def _sum(self, prefix: str) -> Amount:
        days = [amount for day, amount in self.spent.items() if prefix and day.startswith(prefix)]
        return Amount(sum(day.seconds for day in days), sum(day.tokens for day in days))
