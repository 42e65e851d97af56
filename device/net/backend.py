"""Asks for a grant over HTTP: the port, Pressel's companion, and what all backends share of HTTP."""

from __future__ import annotations

import socket
import time
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import msgspec
import requests
import urllib3
from requests.adapters import HTTPAdapter

from device.core.grant import Grant, GrantRequest, host_of, is_loopback
from device.dialects.dialect import printable
from device.errors import BackendError
from device.net.cancel import limited, within
from device.net.failures import PORTAL, clock_line, describe, is_page, retry_after, untimely

if TYPE_CHECKING:
    from collections.abc import Callable

_CONNECT_S = 5.0
_LIMIT_S = 15.0  # for all of an exchange
_LONGEST_ANSWER = 1 << 20
_PORTAL_STATUS = 511  # Network Authentication Required, RFC 6585
_MENDS = {  # of refusals that are for good, if it is the backend that refuses
    400: "check [backend] in the configuration, and whether the backend is as new as this device",
    401: "check the key at the backend",
    403: "check the key at the backend, and what it may be used for",
    404: "check backend.url and backend.endpoint",
    405: "check backend.url",
    422: "check [backend] and [session] in the configuration",
}
_COMPANION_MENDS = {  # by its word for the reason; "": what it says names the mend
    "unauthorized": "check the device's token or enrolment",
    **dict.fromkeys(("revoked", "replayed", "rotate_key", "serial_taken"), ""),
    **dict.fromkeys(("claim_unknown", "claim_expired", "claim_used", "claim_elsewhere"), ""),
}
_PASSING = ("untimely", "replayed", "rotate_key")  # another try may go better


class Backend(Protocol):
    """Where grants come from."""

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Get a grant that is good at `now` (epoch seconds). Raises BackendError, one line."""


class Credential(Protocol):
    """How a device shows the companion who it is."""

    def header(self) -> str:
        """Return the value of Authorization for one request. Raises BackendError when there is none yet."""

    def renew(self, code: str) -> bool:
        """Take note of the companion's word for a refusal; tell whether another try may go better."""


class PlainToken:
    """One secret for all requests."""

    def __init__(self, token: str) -> None:
        self._token = token

    def header(self) -> str:
        """Return the token as a bearer."""
        return f"Bearer {self._token}"

    def renew(self, code: str) -> bool:  # noqa: ARG002 # the protocol gives it
        """A token is refused for good."""
        return False


class _Me(msgspec.Struct):
    """The answer of `GET /v1/me`; it has more in it."""

    device: str


class CompanionBackend:
    """Pressel's own companion: `POST {url}/v1/sessions`. `credential`: what signs, or a plain token."""

    def __init__(self, url: str, credential: Credential | str, *, allow_insecure: bool = False) -> None:
        self._allow_insecure = allow_insecure
        self._url = url.rstrip("/")
        self._credential = PlainToken(credential) if isinstance(credential, str) else credential

    def mint(self, request: GrantRequest, now: float) -> Grant:
        """Get a grant from the companion."""
        wish = msgspec.to_builtins(request)
        if request.codec is None:
            del wish["codec"]
        body = self._authorized(lambda headers: post(f"{self._url}/v1/sessions", wish, headers))
        try:
            grant = msgspec.convert(body, Grant)
        except msgspec.ValidationError as error:
            raise BackendError(f"the companion's grant makes no sense: {printable(str(error))}") from None
        if not (grant.url.startswith("wss://") or self._allow_insecure or is_loopback(grant.url)):
            raise BackendError(
                f"the companion's grant leads to {grant.url.partition('?')[0]}, which is not encrypted; "
                "mend the companion's public URL, or set backend.allow_insecure = true",
                fatal=True,
            )
        return fresh(grant, now)

    def check(self) -> str:
        """Return the name by which the companion knows this device. Raises BackendError."""
        body = self._authorized(lambda headers: get(f"{self._url}/v1/me", headers=headers))
        try:
            return printable(msgspec.convert(body, _Me).device, 100)
        except msgspec.ValidationError:
            raise BackendError("the companion does not say who this device is; is it an old one?") from None

    def _authorized(self, ask: Callable[[dict[str, str]], Any]) -> Any:
        """Ask with this device's credential, and once more when that has been renewed."""
        try:
            return ask({"Authorization": self._credential.header()})
        except BackendError as error:
            if not self._credential.renew(error.code):
                raise
        return ask({"Authorization": self._credential.header()})


def fresh(grant: Grant, now: float) -> Grant:
    """Return a grant that is still good. Raises BackendError when it has expired already."""
    if grant.expires_at is not None and grant.expires_at <= now:
        late_s = now - grant.expires_at
        raise BackendError(
            f"the backend gave a grant that expired {late_s:.0f} s ago; is the clock right here and there?",
            untimely=True,
        )
    return grant


def post(url: str, body: Any, headers: dict[str, str] | None = None) -> Any:
    """POST a JSON body (None: an empty one) and return the JSON answer. Raises BackendError."""
    return _ask("POST", url, body, headers or {}, _LIMIT_S)


def get(url: str, timeout_s: float = _LIMIT_S, headers: dict[str, str] | None = None) -> Any:
    """Return the JSON answer of a GET. Raises BackendError."""
    return _ask("GET", url, None, headers or {}, timeout_s)


class _Opened:
    """The sockets of one exchange, which another thread can break off in whatever stage they are."""

    def __init__(self) -> None:
        self._sockets: list[socket.socket] = []
        self._severed = False

    def add(self, sock: socket.socket) -> None:
        """Keep hold of it by a descriptor of its own: TLS takes the other one away."""
        self._sockets.append(sock.dup())
        if self._severed:
            self.sever()

    def sever(self) -> None:
        """End them, and those that are yet to come."""
        self._severed = True
        for one in self._sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of them."""
        for one in self._sockets:
            one.close()


class _Plain(urllib3.connection.HTTPConnection):
    """A connection that adds its socket to `opened`."""

    def __init__(self, opened: _Opened, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._opened = opened

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self._opened.add(sock)
        return sock


class _Secure(urllib3.connection.HTTPSConnection):
    """The same, with TLS."""

    def __init__(self, opened: _Opened, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._opened = opened

    def _new_conn(self) -> socket.socket:
        sock = super()._new_conn()
        self._opened.add(sock)
        return sock


class _PlainPool(urllib3.HTTPConnectionPool):
    def __init__(self, opened: _Opened, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionCls = partial(_Plain, opened)  # type: ignore[assignment] # it is only called


class _SecurePool(urllib3.HTTPSConnectionPool):
    def __init__(self, opened: _Opened, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.ConnectionCls = partial(_Secure, opened)  # type: ignore[assignment] # it is only called


class _Severable(HTTPAdapter):
    """Connections that can be broken off from another thread."""

    def __init__(self, opened: _Opened) -> None:
        self._opened = opened
        super().__init__()

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {
            "http": partial(_PlainPool, self._opened),
            "https": partial(_SecurePool, self._opened),
        }


def _ask(method: str, url: str, body: Any, headers: dict[str, str], limit_s: float) -> Any:
    where, limit_s = host_of(url), within(limit_s)
    opened = _Opened()

    def exchange() -> Any:
        with closing(opened), requests.Session() as session:
            adapter = _Severable(opened)
            session.mount("http://", adapter)
            session.mount("https://", adapter)
            with session.request(
                method,
                url,
                json=body,
                headers=headers,
                timeout=(min(_CONNECT_S, limit_s), limit_s),
                stream=True,
                allow_redirects=False,  # the token is for this host alone
            ) as answer:
                return _read_answer(where, answer, answer.raw.read(_LONGEST_ANSWER + 1, decode_content=True))

    try:
        return limited(exchange, limit_s, opened.sever)
    except (TimeoutError, requests.exceptions.Timeout, urllib3.exceptions.ReadTimeoutError):
        raise BackendError(f"the backend at {where} did not answer within {limit_s:g} s") from None
    except (requests.RequestException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        line = f"the backend at {where} cannot be reached: {describe(error)}"
        raise BackendError(line, untimely=untimely(error)) from None


def _read_answer(where: str, answer: requests.Response, text: bytes) -> Any:
    if len(text) > _LONGEST_ANSWER:
        raise BackendError(f"the backend at {where} answered with more than {_LONGEST_ANSWER} bytes")
    try:
        body = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        body = None
    if answer.is_redirect:
        raise _redirected(where, answer.headers["Location"])
    if answer.status_code >= 300:
        raise _refusal(where, answer, body)
    if body is None:
        kind = printable(answer.headers.get("Content-Type", "no type"), 60)
        mend = f"; {PORTAL}" if is_page(kind) else ""
        raise BackendError(f"the backend at {where} answered with {kind} where JSON belongs{mend}")
    return body


def _redirected(where: str, location: str) -> BackendError:
    parts = urlsplit(location)
    to = printable(f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else parts.path)
    return BackendError(f"the backend at {where} redirects to {to}; {PORTAL} Else mend backend.url")


def _refusal(where: str, answer: requests.Response, body: Any) -> BackendError:
    """Return what a status of 300 and more means; only a backend of ours answers in JSON."""
    status, page = answer.status_code, is_page(answer.headers.get("Content-Type"))
    reason = error_line(body) or answer.reason or "no reason given"
    own = isinstance(body, dict)
    error = body["error"] if own and isinstance(body.get("error"), dict) else {}
    code = str(error.get("code", ""))
    mend = _MENDS.get(status, "")
    if code in _COMPANION_MENDS:
        mend = _COMPANION_MENDS[code]
    elif code == "untimely":
        mend = clock_line(error.get("time"), time.time())
    if page and (mend or status == _PORTAL_STATUS):
        mend = f"{PORTAL} Else {mend or 'try another network'}"
    return BackendError(
        f"the backend at {where} answered {status}: {printable(reason)}{'; ' if mend else ''}{mend}",
        fatal=own and status in _MENDS and code not in _PASSING,
        retry_after_s=retry_after(answer.headers),
        status=status,
        code=code,
        untimely=code == "untimely",
    )


def error_line(body: Any) -> str | None:
    """Return the words of an error in the shapes that backends use, as one line; None when there are none."""
    if not isinstance(body, dict):
        return None
    error = body.get("error", body.get("message"))
    if isinstance(error, dict):
        error = error.get("message")
    return printable(error) if isinstance(error, str) and error else None
