"""One attempt at a session, in its own thread: mint, connect, then receive until it ends."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import msgspec

from device.core import events as e
from device.dialects.delphi import DelphiDialect
from device.dialects.dialect import printable
from device.dialects.openai import OpenAIDialect
from device.dialects.openai_beta import OpenAIBetaDialect
from device.dialects.outspeed import OutspeedDialect
from device.dialects.outspeed_legacy import OutspeedLegacyDialect
from device.dialects.speko import SpekoDialect
from device.dialects.unmute import UnmuteDialect
from device.errors import BackendError, LinkError
from device.net.cancel import CancelledError, CancelScope
from device.net.downlink import Downlink
from device.net.link import Link
from device.net.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from device.core.grant import Grant, GrantRequest
    from device.core.sessions import Turn
    from device.dialects.dialect import Dialect
    from device.net.backend import Backend
    from device.net.downlink import Player

DIALECTS: dict[str, Callable[[int, Grant, Sequence[Turn], float], Dialect]] = {
    "openai": OpenAIDialect,
    "openai-beta": OpenAIBetaDialect,
    "outspeed": OutspeedDialect,
    "outspeed-legacy": OutspeedLegacyDialect,
    "speko": SpekoDialect,
    "unmute": UnmuteDialect,
    "delphi": DelphiDialect,
}
_LEAST_LIFE_S = 5.0  # a secret that ends sooner is not worth connecting with
_REFUSED = (401, 403)  # of the upgrade: the secret may have expired on the way
_OLDER_ENDS_S = 1.0


class _RefusedError(Exception):
    """The secret was refused; a new one may be taken, by asking for what `request` says."""

    def __init__(self, request: GrantRequest) -> None:
        self.request = request


class Attempt:
    """Reports Opened and everything after it, or one Lost. `cancel` ends it in whatever stage it is.

    `clock_offset_s`: monotonic minus epoch seconds; `now`: the epoch clock; `clock_is_set`: whether that one
    is right, None when nobody knows. `after`: an older attempt, which is waited for: `cancel` has broken off
    its connection, so that is a matter of milliseconds. One that takes a second all the same hangs in DNS or
    in opening a connection; it is left behind, and a grant or a socket that it still gets is never used.
    `limit_s`: the most that minting, and then connecting, may each take; the server then has 10 s more to
    open the session. `pace` follows each frame, and holds the receiver up while the events of the last ones
    wait.
    """

    def __init__(
        self,
        number: int,
        backend: Backend,
        request: GrantRequest,
        turns: Sequence[Turn],
        player: Player,
        *,
        now: Callable[[], float],
        clock_offset_s: float,
        on_event: Callable[[e.Event], None],
        open_link: Callable[[Grant], Link] = Link,
        clock_is_set: Callable[[], bool | None] = lambda: None,
        after: Attempt | None = None,
        limit_s: float = 15.0,
        pace: Callable[[], None] = lambda: None,
    ) -> None:
        self.number = number
        self.downlink = Downlink(player)
        self.session: Session | None = None
        self._backend = backend
        self._request = request
        self._turns = turns
        self._now = now
        self._offset = clock_offset_s
        self._on_event = on_event
        self._open_link = open_link
        self._lock = threading.Lock()
        self._clock_is_set = clock_is_set
        self._after = after
        self._pace = pace
        self._scope = CancelScope(limit_s)
        self._thread = threading.Thread(target=self._run, name=f"attempt-{number}", daemon=True)
        self._thread.start()

    def cancel(self) -> None:
        """End it; nothing is reported after this returns but what was on its way."""
        with self._lock:
            self._scope.cancel()
            session = self.session
        if session:
            threading.Thread(target=session.close, name=f"hangup-{self.number}", daemon=True).start()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to end."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        if self._after:
            self._after.join(_OLDER_ENDS_S)
            self._after = None
        if self._scope.cancelled:
            return
        try:
            with self._scope:
                self._try_twice()
        except CancelledError:
            pass
        except (BackendError, LinkError) as error:
            line = str(error)
            if error.untimely and self._clock_is_set() is False:
                line += "; the clock is not set yet: tried again until time sync has set it"
            self._on_event(e.Lost(self.number, line, error.fatal, error.retry_after_s))

    def _try_twice(self) -> None:
        try:
            self._talk(self._request, last=False)
        except _RefusedError as refused:
            self._talk(refused.request, last=True)

    def _talk(self, request: GrantRequest, *, last: bool) -> None:
        """Mint, connect, receive; _RefusedError when a new secret may help and this was not the last try."""
        grant = self._mint(request)
        if self._scope.cancelled:
            return
        if grant.notice:
            self._on_event(e.Troubled(self.number, printable(grant.notice, 400)))
        dialect = DIALECTS[grant.dialect](self.number, grant, self._turns, self._offset)
        afresh = msgspec.structs.replace(request, resume_session=None)
        try:
            session = Session(
                self.number,
                lambda: self._open_link(grant),
                dialect,
                self.downlink,
                on_event=self._on_event,
                pace=self._pace,
            )
        except LinkError as error:
            again = dialect.mint_again(error.code)
            if last or not (again or error.code in _REFUSED):
                raise _final(error) from None
            self._on_event(e.Troubled(self.number, f"{error}; asking for a new session"))
            raise _RefusedError(afresh if again else request) from None
        if not self._keep(session):
            session.close()
        elif session.run(last=last):
            session.close()
            raise _RefusedError(afresh)

    def _keep(self, session: Session) -> bool:
        with self._lock:
            self.session = None if self._scope.cancelled else session
            return self.session is not None

    def _mint(self, request: GrantRequest) -> Grant:
        grant = self._backend.mint(request, self._now())
        if grant.expires_at is not None and grant.expires_at - self._now() < _LEAST_LIFE_S:
            return self._backend.mint(request, self._now())
        return grant


def _final(error: LinkError) -> LinkError:
    """Return what ends the attempt: a secret that was just minted and is refused will not get better."""
    if error.code not in _REFUSED:
        return error
    mend = "; a new secret was refused too: check the key and the model at the backend"
    return LinkError(f"{error}{mend}", fatal=True, code=error.code)
