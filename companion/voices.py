"""The command `pressel-companion voices`: what an Unmute server can sound like, and a voice of one's own.

Source: kyutai-labs/unmute: GET /v1/voices, POST /v1/voices (a multipart file of at most 4 MB).
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, BinaryIO

import httpx
import msgspec

from companion.errors import ConfigError, RequestError
from companion.providers.unmute import Voice, check, paths_of
from companion.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from companion.settings import UnmuteSettings

LARGEST_BYTES = (4 << 20) - 1024  # the server counts the form around the file too
_UPLOAD_S = 60.0  # without a byte moving
_REASONS = {
    404: "it has no such call: is base_url right?",
    411: "it wants to know the length",
    413: "the file is too large for it",
    503: "voice cloning is not running there",
}


class Added(msgspec.Struct, frozen=True):
    """The answer to an upload."""

    name: str


class Watched:
    """A file that tells `moved(done, whole)`, in bytes, as it is read."""

    def __init__(self, file: BinaryIO, whole: int, moved: Callable[[int, int], None]) -> None:
        self._file, self._whole, self._moved = file, whole, moved

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._moved(self._file.tell(), self._whole)
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def show(settings: UnmuteSettings, *, as_json: bool) -> int:
    """Print the server's voices; returns the exit status."""
    check(settings)
    try:
        voices = asyncio.run(_listed(settings))
    except RequestError as error:
        return _failed(error)
    facts = [{"name": name, "path": path} for name, path in paths_of(voices)]
    if as_json:
        print(json.dumps({"voices": facts}))
    for fact in [] if as_json else facts:
        print(f"{fact['name']}\t{fact['path']}")
    return 0


def add(settings: UnmuteSettings, file: Path, *, consent: bool, as_json: bool) -> int:
    """Send a recording of a voice and print the name to use; returns the exit status."""
    check(settings)
    if not consent:
        raise ConfigError("whose voice it is must agree to have it imitated; say that they do with --consent")
    try:
        name = upload(settings, file, _progress if sys.stderr.isatty() else _nothing)
    except RequestError as error:
        return _failed(error)
    print(json.dumps({"name": name, "kept_s": 3600}) if as_json else name)
    if not as_json:
        line = f'Kept for 1 hour. In an endpoint\'s session: voice = "{name}"'
        print(line, file=sys.stderr)
    return 0


def upload(settings: UnmuteSettings, file: Path, moved: Callable[[int, int], None]) -> str:
    """Send the file and return the voice's name. Raises ConfigError about it, RequestError of the server."""
    size = _size(file)
    url = f"{settings.base_url.rstrip('/')}/v1/voices"
    timeout = httpx.Timeout(_UPLOAD_S, connect=settings.timeout_s)
    try:
        with file.open("rb") as opened:
            watched = Watched(opened, size, moved)
            answer = httpx.post(url, files={"file": (file.name, watched)}, timeout=timeout)  # type: ignore[dict-item] # httpx reads and seeks, no more
    except httpx.TimeoutException as error:
        raise RequestError(503, "provider_timeout", "the Unmute server gave no answer in time") from error
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        text = f"the Unmute server at {settings.base_url} cannot be reached: {type(error).__name__}"
        raise RequestError(502, "provider_unreachable", text) from error
    if not answer.is_success:
        reason = _REASONS.get(answer.status_code, answer.reason_phrase)
        text = f"the Unmute server answered {answer.status_code}: {reason}"
        raise RequestError(answer.status_code, "provider_refused", text)
    try:
        return msgspec.json.decode(answer.content, type=Added).name
    except msgspec.MsgspecError as error:
        raise RequestError(502, "provider_answer", f"the answer names no voice: {error}") from error


def _size(file: Path) -> int:
    try:
        size = file.stat().st_size
        if not file.is_file():
            raise ConfigError(f"{file} is no file")
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror}") from error
    if not 0 < size <= LARGEST_BYTES:
        raise ConfigError(f"{file} has {size} bytes; the server takes 1 to {LARGEST_BYTES}")
    return size


async def _listed(settings: UnmuteSettings) -> list[Voice]:
    upstream = Upstream(settings.base_url, settings.timeout_s)
    try:
        return await upstream.get("/v1/voices", answer=list[Voice])
    finally:
        await upstream.close()


def _progress(done: int, whole: int) -> None:
    end = "\n" if done >= whole else ""
    print(f"\rsent {done // 1024} of {whole // 1024} KiB", end=end, file=sys.stderr, flush=True)


def _nothing(_done: int, _whole: int) -> None:
    """No terminal is watching."""


def _failed(error: RequestError) -> int:
    print(f"pressel-companion: {error}", file=sys.stderr)
    return 1
