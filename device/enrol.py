"""How this device becomes known to the companion, and shows it: claim, key, assertion, a new key."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from device.core.grant import host_of
from device.errors import BackendError, ConfigError, StateError
from device.net.backend import PlainToken
from device.net.enrolment import Enrolled, assertion, enrol, is_known, rotate
from device.system.identity import Card, Identity, destroy, model_name, read_claim, serial_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.config import BackendConfig
    from device.system.identity import Claim, Key

log = logging.getLogger(__name__)

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 300.0  # between two tries in the background
_REFUSED = ("claim_unknown", "claim_expired", "claim_used", "claim_elsewhere", "serial_taken")
_NEW_CLAIM = "pressel-companion claims new NAME, then here: pressel enroll --claim-file FILE"


class Enrolment:
    """The credential of a device that is enrolled, or is to be; from any thread.

    `url`: the companion's; `token`: what is shown while there is neither an identity nor a claim. Everything
    is read from disk anew, so a claim that is laid there is taken up by the next request. `now`: epoch
    seconds. `on_trouble` is told of each new reason why there is no identity, `on_recovered` when there is
    one again.
    """

    def __init__(
        self,
        identity: Identity,
        url: str,
        token: str | None = None,
        *,
        allow_insecure: bool = False,
        now: Callable[[], float] = time.time,
        on_trouble: Callable[[str], None] = lambda _: None,
        on_recovered: Callable[[str], None] = log.info,
    ) -> None:
        self._identity = identity
        self._url = url
        self._token = token
        self._allow_insecure = allow_insecure
        self._now = now
        self._on_trouble, self._on_recovered = on_trouble, on_recovered
        self._trouble = ""  # what was told
        self._closing = threading.Event()

    def start(self) -> None:
        """Enrol in the background, if there is anything to do, until it is done or refused for good."""
        if self._identity.begun():
            threading.Thread(target=self._keep_trying, name="enrolment", daemon=True).start()

    def close(self) -> None:
        """Try no more in the background; a try under way is left behind. Safe to call twice."""
        self._closing.set()

    def shown(self) -> dict[str, str] | None:
        """Return what may be told of the identity, None when there is none."""
        card = self._identity.card()
        return {"name": card.name, "device_id": card.device_id} if card else None

    def header(self) -> str:
        """Return an assertion for one request; enrols first where a claim lies there. Raises BackendError."""
        if self._token and not self._identity.promised():
            return PlainToken(self._token).header()
        card, key = self.enrol()
        return assertion(key, card.device_id, card.audience, self._now())

    def enrol(self) -> tuple[Card, Key]:
        """Return who this device is; uses the claim, if there is one. Raises BackendError."""
        try:
            with _on_disk(), self._identity.locked():
                known = self._enrol()
        except BackendError as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                self._on_trouble(self._trouble)
            raise
        if self._trouble:
            self._trouble = ""
            self._on_recovered(f'this device is enrolled as "{known[0].name}"')
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

    def _keep_trying(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._closing.is_set():
            try:
                self.enrol()
            except BackendError as error:
                if error.fatal:
                    return
                self._closing.wait(max(pause_s, error.retry_after_s or 0.0))
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
            else:
                return

    # --- with the lock held

    def _enrol(self) -> tuple[Card, Key]:
        known, claim = self._identity.known(), self._identity.claim()
        if claim and known and known[0].claim == claim.digest:
            self._identity.destroy_claim()  # what a power cut left undone
        elif claim:
            known = self._use(claim, known)
        if known is None:
            raise BackendError(f"this device is not enrolled; {_NEW_CLAIM}", fatal=True)
        return known

    def _use(self, claim: Claim, known: tuple[Card, Key] | None) -> tuple[Card, Key]:
        """Exchange the claim for an identity; where that fails, go on with the one that there is."""
        key = self._identity.next_key()
        try:
            told = enrol(
                claim.url,
                claim.claim,
                claim.digest,
                key,
                serial=serial_number(),
                model=model_name(),
                now=self._now(),
                allow_insecure=self._allow_insecure,
            )
        except BackendError as error:
            why = self._refused(error)
            if known is None:
                raise why from None
            log.error('%s; this device is still "%s"', why, known[0].name)  # noqa: TRY400 # one line
            return known
        card = Card(told.device_id, told.name, told.audience, claim.url, claim.digest)
        self._identity.enrolled(card)
        log.info('enrolled as "%s" at %s', card.name, host_of(card.url))
        if host_of(card.url) != host_of(self._url):
            log.warning("backend.url is at %s: is that the same companion?", host_of(self._url))
        return card, key

    def _refused(self, error: BackendError) -> BackendError:
        """Put a claim aside that is refused for good, so that it is not shown for ever."""
        if error.code not in _REFUSED:
            return error
        aside = self._identity.refuse_claim()
        line = f"{error} (the claim is kept as {aside})"
        return BackendError(line, fatal=True, status=error.status, code=error.code)

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


def enrol_here(backend: BackendConfig, folder: Path, claim_file: str | None, stdin: TextIO) -> Card:
    """Enrol by hand, with a claim from a file ("-": from `stdin`), which is destroyed once it has been used.

    Without a file: with the claim that lies in the state folder, if any. Raises PresselError.
    """
    if backend.kind != "companion":
        raise ConfigError(f'backend.kind is "{backend.kind}"; only a companion enrols devices')
    identity = Identity(folder)
    if claim_file:
        claim = _claim_of(claim_file, stdin, backend.url)
        with identity.locked():
            identity.put_claim(claim)
    card, _ = Enrolment(identity, backend.url, allow_insecure=backend.allow_insecure).enrol()
    if claim_file and card.claim != claim.digest:
        raise BackendError(f'the claim was not taken; this device is still "{card.name}"')
    if claim_file and claim_file != "-":
        destroy(Path(claim_file))
    return card


def _claim_of(claim_file: str, stdin: TextIO, url: str) -> Claim:
    try:
        text = stdin.read() if claim_file == "-" else Path(claim_file).read_text()
        return read_claim(text, url)
    except OSError as error:
        raise ConfigError(f"the claim file {claim_file} cannot be read: {error.strerror}") from None
    except ValueError:  # its text may hold a part of the claim
        line = f"the claim file {claim_file} is none: it is what `pressel-companion claims new` gives"
        raise ConfigError(line) from None


@contextmanager
def _on_disk() -> Iterator[None]:
    """Turn a StateError into a BackendError: there is no credential, and a later try may go better."""
    try:
        yield
    except StateError as error:
        raise BackendError(str(error)) from None
