"""The enrolled devices: one-time claims, the keys they were exchanged for, and who may still come in."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from companion.access.assertions import LEEWAY_S, issuer, public_key, unauthorized, verified
from companion.access.tables import AssertionRow, ClaimRow, DeviceRow, FactRow, open_database, why
from companion.access.tokens import check_name
from companion.errors import ConfigError, RequestError
from companion.wire import Enrolled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from companion.access.assertions import Assertion
    from companion.wire import EnrolRequest, RotateRequest

log = logging.getLogger(__name__)

DATABASE = "companion.db"
_SERIAL = re.compile(r"[\x21-\x7e]{1,64}")
_REVOKED = 'this device ("{name}") was revoked; to take it back: pressel-companion claims new {name}'
_NEW_CLAIM = "make another with: pressel-companion claims new NAME"


class Registry:
    """One database in `folder`. Every call reads it afresh, so what a command changes counts at once.

    Blocks; a server calls it from a thread. Times are epoch seconds. A command's mistake is a ConfigError, a
    device's refusal a RequestError. Raises ConfigError when the database cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / DATABASE
        self._engine = open_database(self._path)
        with self._commanded() as session:
            own = session.get(FactRow, "audience")
            if own is None:
                own = FactRow(name="audience", value=f"pressel-companion-{secrets.token_hex(8)}")
                session.add(own)
            self.audience = own.value

    def close(self) -> None:
        """Let the database go."""
        self._engine.dispose()

    # --- what a command asks

    def new_claim(
        self, name: str, now: float, *, hours: float = 72.0, serial: str | None = None, replace: bool = False
    ) -> str:
        """Return a claim for a device that is to be called `name`; only its hash is kept.

        `serial`: of the only device that may use it. `replace`: an open claim of the name becomes void now,
        an enrolled device of the name when the claim is used.
        """
        check_name(name)
        if serial is not None and not _SERIAL.fullmatch(serial):
            raise ConfigError(f'the serial number "{serial}" must be 1 to 64 characters without spaces')
        claim = f"pressel_claim_{secrets.token_urlsafe(16)}"  # 128 bits
        with self._commanded() as session:
            device = _device_named(session, name)
            if device and device.revoked_at is None and not replace:
                raise ConfigError(f'"{name}" is enrolled already; add --replace to put another in its place')
            one_open = ClaimRow.name == name, ClaimRow.used_at.is_(None), ClaimRow.expires_at > now
            if not replace and session.scalar(select(ClaimRow).where(*one_open)):
                raise ConfigError(f'"{name}" has an open claim; add --replace to make that one void')
            session.execute(delete(ClaimRow).where(*one_open))
            session.add(
                ClaimRow(
                    hash=_hash(claim),
                    name=name,
                    serial=serial,
                    replace=replace,
                    made_at=now,
                    expires_at=now + hours * 3600,
                )
            )
        return claim

    def claims(self, now: float) -> list[dict[str, Any]]:
        """Return the facts of every claim, the newest first."""
        with self._commanded() as session:
            rows = session.scalars(select(ClaimRow).order_by(ClaimRow.made_at.desc())).all()
            return [_claim_facts(row, now) for row in rows]

    def devices(self) -> list[dict[str, Any]]:
        """Return the facts of every device, by name."""
        with self._commanded() as session:
            rows = session.scalars(select(DeviceRow).order_by(DeviceRow.name)).all()
            return [_device_facts(row) for row in rows]

    def revoke(self, name: str, now: float) -> None:
        """Refuse the device from its next request on."""
        with self._commanded() as session:
            device = self._known(session, name)
            device.revoked_at = now if device.revoked_at is None else device.revoked_at

    def rotate(self, name: str) -> None:
        """Have the device make itself a new key at its next request."""
        with self._commanded() as session:
            device = self._known(session, name)
            if device.revoked_at is not None:
                raise ConfigError(f'"{name}" is revoked; take it back with: claims new {name}')
            device.must_rotate = True

    # --- what a device asks

    def enrol(self, request: EnrolRequest, now: float) -> tuple[Enrolled, bool]:
        """Exchange a claim for a place among the devices; tell whether this is the first time.

        The same claim with the same key is answered again: the first answer may have been lost.
        """
        _check_key(request.public_key)
        verified(request.proof, request.public_key, now, claim=_hash(request.claim))
        with self._asked() as session:
            claim = session.get(ClaimRow, _hash(request.claim))
            if claim is None:
                raise RequestError(401, "claim_unknown", f"this claim is not known here; {_NEW_CLAIM}")
            device = _device_named(session, claim.name)
            if claim.used_at is not None:
                return self._again(claim, device, request), False
            self._check_claim(session, claim, device, request, now)
            claim.used_at, claim.used_by = now, request.public_key
            device = device or DeviceRow(device_id=f"dev_{secrets.token_hex(8)}", name=claim.name)
            device.serial, device.model = request.serial, request.model
            device.public_key, device.enrolled_at = request.public_key, now
            device.revoked_at, device.must_rotate = None, False
            session.add(device)
            return Enrolled(device.device_id, device.name, self.audience), True

    def device(self, assertion: str, now: float, *, rotating: bool = False) -> str:
        """Return the name of the device that has signed this assertion, which is good once.

        `rotating`: the request is the one by which it changes its key.
        """
        with self._asked() as session:
            signer = session.get(DeviceRow, issuer(assertion) or "")
            if signer is None:
                raise unauthorized(f"the device is not enrolled here; {_NEW_CLAIM}")
            told = self._verified(assertion, signer.public_key, signer, now)
            if signer.revoked_at is not None:
                raise RequestError(401, "revoked", _REVOKED.format(name=signer.name))
            self._use_up(session, signer, told, now)
            signer.seen_at = now
            name, must_rotate = signer.name, signer.must_rotate
        if must_rotate and not rotating:
            raise RequestError(401, "rotate_key", f'"{name}" is to make a new key: POST /v1/rotate')
        return name

    def admits(self, name: str) -> bool:
        """Tell whether there is a device of this name that is not revoked."""
        with self._asked() as session:
            device = _device_named(session, name)
            return device is not None and device.revoked_at is None

    def change_key(self, name: str, request: RotateRequest, now: float) -> Enrolled:
        """Take a new key of a device; the old one is void."""
        _check_key(request.public_key)
        with self._asked() as session:
            device = _device_named(session, name)
            if device is None:
                raise unauthorized(f'"{name}" has a plain token, and no key')
            if device.revoked_at is not None:
                raise RequestError(401, "revoked", _REVOKED.format(name=name))
            told = self._verified(request.proof, request.public_key, device, now)
            self._use_up(session, device, told, now)
            device.public_key, device.must_rotate = request.public_key, False
            return Enrolled(device.device_id, device.name, self.audience)

    # --- inside

    def _verified(self, token: str, key: str, device: DeviceRow, now: float) -> Assertion:
        own = {"iss": device.device_id, "sub": device.device_id, "aud": self.audience}
        return verified(token, key, now, **own)

    def _use_up(self, session: Session, device: DeviceRow, told: Assertion, now: float) -> None:
        session.execute(delete(AssertionRow).where(AssertionRow.expires_at < now))
        if session.get(AssertionRow, (device.device_id, told.jti)):
            raise RequestError(401, "replayed", "this assertion was used already; each request needs its own")
        until = told.expires_at + LEEWAY_S
        session.add(AssertionRow(device_id=device.device_id, jti=told.jti, expires_at=until))

    def _check_claim(
        self, session: Session, claim: ClaimRow, device: DeviceRow | None, request: EnrolRequest, now: float
    ) -> None:
        if claim.expires_at <= now:
            text = f'the claim for "{claim.name}" has expired; {_NEW_CLAIM}'
            raise RequestError(401, "claim_expired", text)
        if claim.serial is not None and claim.serial.casefold() != request.serial.casefold():
            text = f'the claim for "{claim.name}" is for another device than serial number {request.serial}'
            raise RequestError(403, "claim_elsewhere", text)
        if device and device.revoked_at is None and not claim.replace:
            text = f'"{claim.name}" is enrolled already; pressel-companion claims new {claim.name} --replace'
            raise RequestError(409, "claim_used", text)
        same = DeviceRow.serial == request.serial, DeviceRow.revoked_at.is_(None)
        other = session.scalar(select(DeviceRow).where(*same, DeviceRow.name != claim.name))
        if request.serial and other:
            text = f'serial number {request.serial} is enrolled as "{other.name}"'
            mend = f"pressel-companion devices revoke {other.name}"
            raise RequestError(409, "serial_taken", f"{text}; if that is this device: {mend}")

    def _again(self, claim: ClaimRow, device: DeviceRow | None, request: EnrolRequest) -> Enrolled:
        same_key = device and claim.used_by == device.public_key == request.public_key
        if device is None or device.revoked_at is not None or not same_key:
            raise RequestError(
                409, "claim_used", f'the claim for "{claim.name}" was used already; {_NEW_CLAIM}'
            )
        return Enrolled(device.device_id, device.name, self.audience)

    def _known(self, session: Session, name: str) -> DeviceRow:
        device = _device_named(session, name)
        if device is None:
            names = ", ".join(session.scalars(select(DeviceRow.name).order_by(DeviceRow.name)))
            raise ConfigError(f'no device "{name}" is enrolled; there are: {names or "none"}')
        return device

    @contextmanager
    def _commanded(self) -> Iterator[Session]:
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except SQLAlchemyError as error:
            raise ConfigError(f"the database {self._path} cannot be used: {why(error)}") from None

    @contextmanager
    def _asked(self) -> Iterator[Session]:
        """Give a session in one transaction, which a refusal undoes."""
        try:
            with Session(self._engine, expire_on_commit=False) as session, session.begin():
                yield session
        except IntegrityError:  # two at the same moment; the first one was served
            raise RequestError(503, "busy", "the companion is busy; ask again", retry_after_s=1) from None
        except SQLAlchemyError as error:
            log.error("the database %s cannot be used: %s", self._path, why(error))  # noqa: TRY400 - one line
            text = "the companion cannot use its database"
            raise RequestError(503, "registry_unusable", text, retry_after_s=5) from None


def _device_named(session: Session, name: str) -> DeviceRow | None:
    return session.scalar(select(DeviceRow).where(DeviceRow.name == name))


def _check_key(text: str) -> None:
    try:
        public_key(text)
    except ValueError as error:
        raise RequestError(400, "bad_request", f'"public_key": {error}') from None


def _hash(claim: str) -> str:
    return hashlib.sha256(claim.encode()).hexdigest()


def _claim_facts(row: ClaimRow, now: float) -> dict[str, Any]:
    state = "used" if row.used_at is not None else "open" if row.expires_at > now else "expired"
    facts = ("name", "serial", "replace", "made_at", "expires_at", "used_at")
    return {"state": state, **{fact: getattr(row, fact) for fact in facts}}


def _device_facts(row: DeviceRow) -> dict[str, Any]:
    state = "revoked" if row.revoked_at is not None else "rotating" if row.must_rotate else "active"
    facts = ("name", "device_id", "serial", "model", "enrolled_at", "seen_at", "revoked_at")
    return {"state": state, **{fact: getattr(row, fact) for fact in facts}}
