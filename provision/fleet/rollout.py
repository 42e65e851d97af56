"""In which order a fleet is changed, and when it stops: canary, then batches; no machine in sight."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = TypeVar("Item")


def waves(items: Sequence[Item], canary: int, batch: int) -> list[Sequence[Item]]:
    """Return the first `canary` items, then the others `batch` at a time."""
    found = [items[:canary]] if canary else []
    found += [items[start : start + batch] for start in range(canary, len(items), batch)]
    return [wave for wave in found if wave]


def must_stop(failed: int, of: int, fail_percent: float) -> bool:
    """Whether so many failures of a wave end the rollout: more than `fail_percent` of it."""
    return 100 * failed > fail_percent * of
