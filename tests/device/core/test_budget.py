"""What may be spent, and what has been."""

from __future__ import annotations

from device.core import actions as a
from device.core.budget import Amount, Budget, Limits


def test_without_limits_all_is_counted_and_nothing_refused() -> None:
    budget = Budget(today="2026-11-21")
    assert budget.add(seconds=30.0, tokens=7) == []
    budget.add(seconds=1e9)
    assert budget.spent == {"2026-11-21": Amount(1e9 + 30.0, 7)}
    assert budget.left_s is None
    assert budget.refusal() is None


def test_minutes_of_a_day_and_of_a_month_each_have_their_limit() -> None:
    budget = Budget(Limits(day_minutes=2, month_minutes=3), {}, "2026-11-21")
    budget.add(seconds=100.0)
    assert budget.left_s == 20.0
    budget.add(seconds=20.0)
    assert budget.left_s == 0.0
    assert "2 min of this day" in str(budget.refusal())
    budget.today = "2026-11-22"
    assert budget.left_s == 60.0
    budget.add(seconds=60.0)
    assert "3 min of this month" in str(budget.refusal())
    budget.today = "2026-12-01"
    assert budget.refusal() is None


def test_tokens_are_announced_once_before_they_are_refused() -> None:
    budget = Budget(Limits(day_tokens=100, month_tokens=150), {}, "2026-11-21")
    assert budget.add(tokens=89) == []
    assert budget.add(tokens=1)[0] == a.Chime("notice")
    assert budget.add(tokens=5) == []
    budget.add(tokens=5)
    assert "100 tokens of this day" in str(budget.refusal())
    assert budget.left_s == 0.0


def test_a_clock_that_jumps_back_and_forth_takes_nothing_back() -> None:
    budget = Budget(Limits(day_minutes=1), {}, "2026-11-21")
    budget.add(seconds=60.0)
    for day in ("1970-01-01", "2040-01-01"):
        budget.today = day
        assert budget.refusal() is None
    budget.today = "2026-11-21"
    assert budget.refusal()


def test_before_the_day_is_known_nothing_is_refused() -> None:
    spent = {f"2026-10-{day:02}": Amount(300.0, 0) for day in range(1, 31)}
    assert Budget(Limits(day_minutes=60, month_minutes=60), spent).refusal() is None


def test_today_is_kept_whatever_the_clock_says() -> None:
    spent = {f"2026-{month:02}-{day:02}": Amount(1.0, 0) for month in (8, 9, 10) for day in range(1, 21)}
    budget = Budget(Limits(day_minutes=1), spent, "1970-01-01")
    for _ in range(20):
        budget.add(seconds=60.0)
    assert budget.refusal()


def test_two_months_are_kept() -> None:
    budget = Budget()
    for day in range(100):
        budget.today = f"2026-{1 + day // 28:02}-{1 + day % 28:02}"
        budget.add(seconds=1.0)
    assert len(budget.spent) == 62
    assert "2026-04-16" in budget.spent
    assert "2026-01-01" not in budget.spent
