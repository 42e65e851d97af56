"""A backend that mints ahead, so that a press finds a grant ready; one that would be stale is thrown away."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from device.errors import BackendError
from device.net.cancel import CancelledError, CancelScope, limited, within

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.core.grant import Grant, GrantRequest
    from device.net.backend import Backend

_LEAST_LIFE_S = 10.0  # of a grant that is handed over
_KEPT_S = 60.0  # a grant that names no end of its life
_PAUSE_S = 30.0  # at the least, after a mint that failed or brought what is stale by then
_LIMIT_S = 15.0


class WarmBackend:
    """Mints with `backend`. `now`: the epoch clock, seconds; `monotonic`: the other one."""

    def __init__(
        self,
        backend: Backend,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._now = now
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._ahead: _Ahead | None = None
        self._not_before = float("-inf")  # monotonic, of the next mint ahead
        self._refused: GrantRequest | None = None  # for good

    def warm(self, request: GrantRequest) -> None:
        """See to it that a grant for `request` is there or on its way; call it again from time to time.

        Never blocks, and asks no sooner than the backend wants to be asked. A failure is not told: the mint
        that a press asks for tells it.
        """
        with self._lock:
            ahead = self._ahead
            if ahead and ahead.request == request and ahead.promises(self._now()):
                return
            if request == self._refused or self._monotonic() < self._not_before:
                return
            if ahead:
                ahead.drop()
            self._ahead = _Ahead(self._mint, request, self._now())

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Hand over the grant that was minted ahead for the same request, or mint one."""
        with self._lock:
            ahead, self._ahead = self._ahead, None
        if ahead:
            if ahead.request == request and ahead.promises(now):
                ahead.wait()
                if ahead.grant and _lives(ahead.grant, ahead.minted, now):
                    return ahead.grant
            ahead.drop()
        return self._mint(request, now)

    def _mint(self, request: GrantRequest, now: float) -> Grant:
        """Mint, and keep in mind when the next mint ahead may be."""
        try:
            grant = self._backend.mint(request, now)
        except BackendError as error:
            self._refused = request if error.fatal else None
            self._not_before = self._monotonic() + max(_PAUSE_S, error.retry_after_s or 0.0)
            raise
        self._refused = None
        if not _lives(grant, now, now + _PAUSE_S):
            self._not_before = self._monotonic() + _PAUSE_S
        return grant


class _Ahead:
    """One mint ahead, in its own thread. `minted`: epoch seconds."""

    def __init__(
        self, mint: Callable[[GrantRequest, float], Grant], request: GrantRequest, minted: float
    ) -> None:
        self.request = request
        self.grant: Grant | None = None
        self.minted = minted
        self._mint = mint
        self._scope = CancelScope()
        self._thread = threading.Thread(target=self._run, name="warm", daemon=True)
        self._thread.start()

    def promises(self, now: float) -> bool:
        """Whether it has a grant that lives, or may yet get one."""
        if self._thread.is_alive():
            return True
        return self.grant is not None and _lives(self.grant, self.minted, now)

    def wait(self) -> None:
        """Wait for its end; it is dropped, and BackendError raised, when that takes too long."""
        limit_s = within(_LIMIT_S)
        try:
            limited(self._thread.join, limit_s, self.drop)
        except TimeoutError:
            raise BackendError(f"the backend did not answer within {limit_s:g} s") from None

    def drop(self) -> None:
        """End the mint, if it is under way; what it gets is not used."""
        self._scope.cancel()

    def _run(self) -> None:
        with suppress(BackendError, CancelledError), self._scope:
            self.grant = self._mint(self.request, self.minted)


def _lives(grant: Grant, minted: float, now: float) -> bool:
    """Whether a grant is good for a while yet; a clock that was set back makes it stale too."""
    end = minted + _KEPT_S if grant.expires_at is None else grant.expires_at
    return minted <= now and end - now >= _LEAST_LIFE_S
