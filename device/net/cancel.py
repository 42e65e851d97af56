"""Blocking calls with a limit in all, that another thread can cancel: DNS, connecting, a peer that drips."""

from __future__ import annotations

import queue
import threading
from contextvars import ContextVar
from typing import TYPE_CHECKING, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Token

_T = TypeVar("_T")
_SEVER_AGAIN_S = 0.2
_ENDS_S = 1.0  # that a severed call is waited for


class CancelledError(Exception):
    """The scope that a call was made in has been cancelled."""


class CancelScope:
    """Calls of `limited` that a thread makes inside `with scope:` end when any thread calls `cancel`.

    None of them may take longer than `limit_s`.
    """

    def __init__(self, limit_s: float = float("inf")) -> None:
        self.cancelled = False
        self.limit_s = limit_s
        self._lock = threading.Lock()
        self._end: Callable[[], None] | None = None
        self._token: Token[CancelScope | None] | None = None

    def __enter__(self) -> Self:
        self._token = _scope.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._token  # noqa: S101 # a with statement enters first
        _scope.reset(self._token)

    def cancel(self) -> None:
        """End the call under way and all later ones with CancelledError."""
        with self._lock:
            self.cancelled = True
            end = self._end
        if end:
            end()

    def note(self, end: Callable[[], None] | None) -> None:
        """Take what ends the call that now begins; None when it is over."""
        with self._lock:
            self._end = end
            cancelled = self.cancelled
        if end and cancelled:
            end()


_scope: ContextVar[CancelScope | None] = ContextVar("scope", default=None)


def within(limit_s: float) -> float:
    """Return the limit, or that of the scope which the calling thread is in, if it is shorter; in seconds."""
    scope = _scope.get()
    return min(limit_s, scope.limit_s) if scope else limit_s


def limited(work: Callable[[], _T], limit_s: float, sever: Callable[[], None]) -> _T:
    """Return what `work` returns, within `limit_s` in all.

    It runs in a thread of its own; in a scope that was cancelled before, it does not even begin. Raises what
    it raises, TimeoutError, or CancelledError. When it is given up, `sever` is called, from another thread,
    until it has ended, and once more: what it may have opened is to be closed, and is never used. Its end is
    waited for, so that the next one does not run beside it; a second only: nobody can sever a DNS query.
    """
    call = _Call(work, sever)
    scope = _scope.get() or CancelScope()
    scope.note(call.cancel)
    try:
        return call.run(limit_s)
    finally:
        scope.note(None)


class _Call(Generic[_T]):
    def __init__(self, work: Callable[[], _T], sever: Callable[[], None]) -> None:
        self._work, self._sever = work, sever
        self._ended = threading.Event()
        self._outcomes: queue.SimpleQueue[_T | _Failure] = queue.SimpleQueue()

    def run(self, limit_s: float) -> _T:
        if not self._outcomes.empty():
            raise CancelledError
        name = f"{threading.current_thread().name}-call"
        threading.Thread(target=self._run, name=name, daemon=True).start()
        try:
            outcome = self._outcomes.get(timeout=limit_s)
        except queue.Empty:
            outcome = _Failure(TimeoutError(), left=True)
        if not isinstance(outcome, _Failure):
            return outcome
        if outcome.left:
            threading.Thread(target=self._leave, name="severing", daemon=True).start()
            self._ended.wait(_ENDS_S)
        raise outcome.error

    def cancel(self) -> None:
        self._outcomes.put(_Failure(CancelledError(), left=True))

    def _run(self) -> None:
        try:
            outcome: _T | _Failure = self._work()
        except Exception as error:  # noqa: BLE001 # it is raised again in the thread that asked
            outcome = _Failure(error)
        self._ended.set()
        self._outcomes.put(outcome)

    def _leave(self) -> None:
        self._sever()
        while not self._ended.wait(_SEVER_AGAIN_S):
            self._sever()
        self._sever()


class _Failure:
    """Why there is no result; `left`: the work may go on."""

    def __init__(self, error: Exception, *, left: bool = False) -> None:
        self.error, self.left = error, left
