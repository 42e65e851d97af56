"""How this device becomes known to the companion, and shows it: claim, key, assertion, a new key."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from device.core.grant import host_of
from device.errors import BackendError, StateError
from device.net.backend import PlainToken
from device.net.enrolment import Enrolled, assertion, enrol, is_known, rotate
from device.system.identity import Card, model_name, serial_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.system.identity import Claim, Identity, Key

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0  # between two tries in the background
_REFUSED = ("claim_unknown", "claim_expired", "claim_used", "claim_elsewhere", "serial_taken")
_NEW_CLAIM = "pressel-companion claims new NAME, then here: pressel enroll --claim-file FILE"


class Enrolment:
    """The credential of a device that is enrolled, or is to be; from any thread.

    `url`: the companion's; `token`: what is shown while there is neither an identity nor a claim. Everything
    is read from disk anew, so a claim that is laid there is taken up by the next request. `now`: epoch
    seconds.
    """

    def __init__(
        self,
        identity: Identity,
        url: str,
        token: str | None = None,
        *,
        allow_insecure: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._identity = identity
        self._url = url
        self._token = token
        self._allow_insecure = allow_insecure
        self._now = now

    def header(self) -> str:
        """Return an assertion for one request; enrols first where a claim lies there. Raises BackendError."""
        if self._token and not self._identity.begun():
            return PlainToken(self._token).header()
        card, key = self.enrol()
        return assertion(key, card.device_id, card.audience, self._now())

    def enrol(self) -> tuple[Card, Key]:
        """Return who this device is; uses the claim, if there is one. Raises BackendError."""
        with _on_disk(), self._identity.locked():
            known, claim = self._identity.known(), self._identity.claim()
            if claim and known and known[0].claim == claim.digest:
                self._identity.destroy_claim()  # what a power cut left undone
            elif claim:
                known = self._use(claim) or known
            if known is None:
                raise BackendError(f"this device is not enrolled; {_NEW_CLAIM}", fatal=True)
            return known

    def renew(self, code: str) -> bool:
        """Make a new key where the companion asks for one; tell whether another try may go better."""
        if code not in ("rotate_key", "unauthorized", "replayed"):
            return False
        with _on_disk(), self._identity.locked():
            known = self._identity.known()
            if known is None or code == "replayed":
                return known is not None
            if code == "unauthorized":
                return self._try_next(known[0])
            return self._rotate(*known)

    # --- inside, with the lock held

    def _use(self, claim: Claim) -> tuple[Card, Key] | None:
        """Exchange the claim; None when it is refused and there is an identity without it."""
        key = self._identity.next_key()
        facts = {"serial": serial_number(), "model": model_name()}
        try:
            insecure = self._allow_insecure
            told = enrol(
                claim.url, claim.claim, claim.digest, key, **facts, now=self._now(), allow_insecure=insecure
            )
        except BackendError as error:
            if error.code not in _REFUSED:
                raise
            aside = self._identity.refuse_claim()
            line = f"{error} (the claim is kept as {aside})"
            if self._identity.known() is None:
                raise BackendError(line, fatal=True, status=error.status, code=error.code) from None
            log.error("%s", line)  # noqa: TRY400 # one line for the owner
            return None
        card = Card(told.device_id, told.name, told.audience, claim.url, claim.digest)
        self._identity.enrolled(card)
        log.info('enrolled as "%s" at %s', card.name, card.url)
        here, there = host_of(self._url), host_of(card.url)
        if here != there:
            log.warning("the claim is good at %s, and backend.url is at %s: is that the same?", there, here)
        return card, key

    def _rotate(self, card: Card, old: Key) -> bool:
        new, known = self._identity.next_key(), Enrolled(card.device_id, card.name, card.audience)
        bearer = assertion(old, card.device_id, card.audience, self._now())
        try:
            rotate(self._url, bearer, known, new, self._now())
        except BackendError as error:
            if error.code != "unauthorized":
                raise
            return self._try_next(card)
        self._identity.take_key()
        log.info("this device has a new key")
        return True

    def _try_next(self, card: Card) -> bool:
        """Take the next key if the companion knows it already: its answer was lost, or the power was."""
        if not self._identity.has_next_key():
            return False
        bearer = assertion(self._identity.next_key(), card.device_id, card.audience, self._now())
        if not is_known(self._url, bearer):
            return False
        self._identity.take_key()
        return True


class Enroller:
    """Enrols in the background from the start on, until it is done or refused for good.

    `tell` is told of each new reason once, with a level; from its thread.
    """

    def __init__(self, enrolment: Enrolment, tell: Callable[[str, str], None]) -> None:
        self._enrolment, self._tell = enrolment, tell
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="enroller", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def close(self) -> None:
        """Try no more; a try under way is left behind. Safe to call twice."""
        self._closing.set()

    def _run(self) -> None:
        pause_s, told = _FIRST_PAUSE_S, ""
        while True:
            try:
                self._enrolment.enrol()
            except BackendError as error:
                if str(error) != told:
                    told = str(error)
                    self._tell("error" if error.fatal else "warning", told)
                if error.fatal or self._closing.wait(max(pause_s, error.retry_after_s or 0.0)):
                    return
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return


@contextmanager
def _on_disk() -> Iterator[None]:
    """Turn a StateError into a BackendError: there is no credential, and a later try may go better."""
    try:
        yield
    except StateError as error:
        raise BackendError(str(error)) from None
