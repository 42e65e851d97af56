"""What goes wrong below a peer's own say, as one line with the mend; and how long a peer asks to wait."""

from __future__ import annotations

import errno
import socket
import ssl
from email.utils import mktime_tz, parsedate_tz
from typing import TYPE_CHECKING, Any

from device.dialects.dialect import printable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PORTAL = "is this network's login page (a captive portal) in between?"
_NOT_YET_VALID, _EXPIRED = 9, 10  # OpenSSL, x509_vfy.h: X509_V_ERR_…, as are those below
_TLS = {
    _NOT_YET_VALID: "its certificate is not valid yet; is the clock right?",
    _EXPIRED: "its certificate has expired; have it renewed, unless the clock here is wrong",
    18: "its certificate is signed by itself; install it here as a CA, or take another",
    19: f"its certificate is signed by a CA that is not known here; install that one, or {PORTAL}",
    20: f"its certificate is signed by a CA that is not known here; install that one, or {PORTAL}",
    62: f"its certificate is for another name; mend the URL, or {PORTAL}",
    64: f"its certificate is for another address; mend the URL, or {PORTAL}",
}
_FAR_FUTURE = 1e12  # epoch seconds
_ROUTES = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ENETDOWN}


def describe(error: BaseException) -> str:
    """Return why a peer cannot be talked to, without its name, and what to do about it."""
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            known = _TLS.get(cause.verify_code, printable(cause.verify_message))
            return f"TLS failed: {known}"
        if isinstance(cause, ssl.SSLError):
            return f"TLS failed: {printable(str(cause))}; does it speak TLS on this port?"
        if isinstance(cause, socket.gaierror):
            known = "does not answer" if cause.errno == socket.EAI_AGAIN else "does not know the name"
            return f"DNS {known}: {printable(cause.strerror or str(cause))}; is the network up?"
        if isinstance(cause, ConnectionRefusedError):
            return "connection refused; nothing listens there now"
        if isinstance(cause, OSError) and cause.errno in _ROUTES:
            return "no route to it; is the network up?"
    return printable(str(causes[-1]) or type(causes[-1]).__name__)


def untimely(error: BaseException) -> bool:
    """Whether it is a certificate's dates that do not fit the clock."""
    return any(
        isinstance(cause, ssl.SSLCertVerificationError) and cause.verify_code in (_NOT_YET_VALID, _EXPIRED)
        for cause in _causes(error)
    )


def clock_line(theirs: Any, ours: float) -> str:
    """Say how far two clocks (epoch seconds) are apart; `theirs`: as a peer sent it."""
    if not isinstance(theirs, int | float) or not 0 < theirs < _FAR_FUTURE:
        return "is the clock right here and there?"
    side = "behind" if ours < theirs else "ahead of"
    return f"the clock here is {abs(ours - theirs):.0f} s {side} the companion's; set the one that is wrong"


def is_page(kind: str | None) -> bool:
    """Whether a Content-Type is a web page's: somebody in between has answered, or a wrong URL was asked."""
    return "html" in (kind or "").lower()


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that an answer asks to wait, None when it names none. `headers`: by lower-case name.

    A date (RFC 9110, 10.2.3) counts from the answer's own Date, so that no clock here matters.
    """
    value = headers.get("retry-after", "").strip()
    if value.isdecimal():
        return float(value)
    then, sent = _epoch(value), _epoch(headers.get("date", ""))
    return None if then is None or sent is None else max(0.0, then - sent)


def _epoch(date: str) -> float | None:
    parts = parsedate_tz(date)
    try:
        return float(mktime_tz(parts)) if parts else None
    except (ValueError, OverflowError):
        return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Walk from an error down to its root: what it was raised from, and what it carries."""
    seen: list[BaseException] = []
    found: BaseException | None = error
    while found is not None and found not in seen:
        seen.append(found)
        yield found
        carried = [value for value in (*found.args, getattr(found, "reason", None)) if _is_error(value)]
        found = found.__cause__ or found.__context__ or (carried[-1] if carried else None)


def _is_error(value: object) -> bool:
    return isinstance(value, BaseException)
