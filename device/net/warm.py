"""A backend that mints ahead, so that a press finds a grant ready; one that would be stale is thrown away."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from device.errors import BackendError
from device.net.cancel import CancelledError, CancelScope, limited

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.core.grant import Grant, GrantRequest
    from device.net.backend import Backend

_LEAST_LIFE_S = 10.0  # of a grant that is handed over
_KEPT_S = 60.0  # a grant that names no end of its life
_PAUSE_S = 30.0  # after a mint ahead that failed
_LIMIT_S = 15.0


class WarmBackend:
    """Mints with `backend`. `now`: the epoch clock, seconds."""

    def __init__(self, backend: Backend, now: Callable[[], float] = time.time) -> None:
        self._backend = backend
        self._now = now
        self._lock = threading.Lock()
        self._ahead: _Ahead | None = None

    def warm(self, request: GrantRequest) -> None:
        """See to it that a grant for `request` is there or on its way; call it again from time to time.

        Never blocks. A failure is not told: the mint that a press asks for tells it.
        """
        with self._lock:
            ahead = self._ahead
            if ahead and ahead.request == request and ahead.promises(self._now()):
                return
            if ahead:
                ahead.drop()
            self._ahead = _Ahead(self._backend, request, self._now)

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Hand over the grant that was minted ahead for the same request, or mint one."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead:
            if ahead.request == request and ahead.promises(now):
                limited(ahead.join, _LIMIT_S, ahead.drop)
                if ahead.grant and _lives(ahead.grant, ahead.minted, now):
                    return ahead.grant
            ahead.drop()
        return self._backend.mint(request, now)


class _Ahead:
    """One mint ahead, in its own thread. `minted`: epoch seconds."""

    def __init__(self, backend: Backend, request: GrantRequest, now: Callable[[], float]) -> None:
        self.request = request
        self.grant: Grant | None = None
        self.minted = now()
        self._backend = backend
        self._scope = CancelScope()
        self._failed_at: float | None = None  # monotonic
        self._thread = threading.Thread(target=self._run, name="warm", daemon=True)
        self._thread.start()

    def promises(self, now: float) -> bool:
        """Whether it has a grant that lives, or may yet get one, or had better not be tried again so soon."""
        if self._thread.is_alive():
            return True
        if self.grant:
            return _lives(self.grant, self.minted, now)
        return self._failed_at is not None and time.monotonic() - self._failed_at < _PAUSE_S

    def join(self) -> None:
        self._thread.join()

    def drop(self) -> None:
        """End the mint, if it is under way; what it gets is not used."""
        self._scope.cancel()

    def _run(self) -> None:
        try:
            with self._scope:
                self.grant = self._backend.mint(self.request, self.minted)
        except (BackendError, CancelledError):
            self._failed_at = time.monotonic()


def _lives(grant: Grant, minted: float, now: float) -> bool:
    """Whether a grant is good for a while yet; a clock that was set back makes it stale too."""
    end = minted + _KEPT_S if grant.expires_at is None else grant.expires_at
    return minted <= now and end - now >= _LEAST_LIFE_S
