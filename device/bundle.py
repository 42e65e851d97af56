"""`pressel bundle`: what a bug report needs in one archive, without a secret and without anybody's words."""

from __future__ import annotations

import io
import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import time
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from device import __version__
from device.config import flatten, load
from device.errors import PresselError, StateError
from device.ledger_table import account_of, totals
from device.system.control_client import request
from device.system.redact import REMOVED, redact, redact_all

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from device.config import Loaded

_LOG_LINES = 500
_PATIENCE_S = 15.0  # for another program
_SECRET_VARIABLE = re.compile(r"(?i)token|secret|passw|key|psk|credential|auth")
_ID_KEYS = {"id", "session_id"}
_ID_TOLD = re.compile(r"""\bsession (\S+) is open\b|session_id\\?["']?\s*[=:]\s*\\?["']?([^\s"'\\,}]+)""")
_ID_SHAPES = re.compile(
    r"(?i)\b(?:sess|conv)_\w+|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b"  # RFC 9562
    r"|(?<=\bsession )\S+(?= is open\b)"
)
_README = """A report of pressel, made to be sent to its developers.

Removed: tokens, keys, passwords, what looks like one, and the ids of conversations. Never packed: what was
said, sound, the environment, networks' names. Look into each file before you send it.
"""


def pack(config: Path, board: Path | None, out: Path, say: Callable[[str], None]) -> list[str]:
    """Write the archive (mode 0600) and return its files' names; `say` is told of each as it is gathered.

    A part that cannot be had is replaced by the reason, so that a broken device can be reported as well.
    Raises StateError when the archive cannot be written.
    """
    loaded, trouble = _loaded(config, board)
    folder = Path(loaded.config.state.dir) if loaded else None
    parts: dict[str, Callable[[], Any]] = {
        "README.txt": lambda: _README,
        "config.json": lambda: _config(loaded) if loaded else {"error": trouble},
        "versions.json": _versions,
        "status.json": lambda: _status(folder),
        "events-now.json": lambda: _events_now(folder),
        "events.json": lambda: _events(folder, "events.json"),
        "events-before.json": lambda: _events(folder, "events.json.1"),
        "ledger.json": lambda: _ledger(folder),
        "log.txt": _log,
        "cards.txt": lambda: _cards(Path("/proc/asound/cards")),
        "devices.json": _devices,
    }
    secrets = _secrets(config, board, loaded, folder)
    gathered = {name: _gather(name, part, say) for name, part in parts.items()}
    secrets |= {one for content in gathered.values() for one in _ids(content)}
    files = {name: _clean(content, secrets) for name, content in gathered.items()}
    try:
        _write(out, files)
    except OSError as error:
        raise StateError(f"{out} cannot be written ({error.strerror}): name another with --out") from None
    return list(files)


def default_name() -> str:
    """Return the name of an archive that is made now."""
    return time.strftime("pressel-bundle-%Y%m%dT%H%M%SZ.tar.gz", time.gmtime())


def _gather(name: str, part: Callable[[], Any], say: Callable[[str], None]) -> Any:
    say(name)
    try:
        return part()
    except (PresselError, OSError, ValueError, subprocess.SubprocessError) as error:
        return f"not to be had: {error}\n"


def _clean(content: Any, secrets: set[str]) -> bytes:
    if isinstance(content, str):
        return redact(_ID_SHAPES.sub(REMOVED, content), secrets).encode()
    clean = redact_all(_without_ids(content), secrets)
    return msgspec.json.format(msgspec.json.encode(clean), indent=2) + b"\n"


def _write(out: Path, files: dict[str, bytes]) -> None:
    fresh = out.with_name(f".{out.name}.tmp")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, content in files.items():
                entry = tarfile.TarInfo(f"pressel-bundle/{name}")
                entry.size, entry.mode, entry.mtime = len(content), 0o600, int(time.time())
                archive.addfile(entry, io.BytesIO(content))
        fresh.replace(out)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise


# --- the parts


def _loaded(config: Path, board: Path | None) -> tuple[Loaded | None, str]:
    try:
        return load(config, board), ""
    except PresselError as error:
        return None, str(error)


def _config(loaded: Loaded) -> dict[str, Any]:
    values = flatten(loaded.config)
    values["session.instructions"] = f"{len(values['session.instructions'] or '')} characters"
    return {
        key: {"value": value, "from": loaded.origins.get(key, "default")} for key, value in values.items()
    }


def _versions() -> dict[str, Any]:
    release = platform.freedesktop_os_release() if Path("/etc/os-release").exists() else {}
    model = Path("/proc/device-tree/model")
    return {
        "pressel": __version__,
        "python": sys.version,
        "kernel": f"{platform.system()} {platform.release()} {platform.version()} {platform.machine()}",
        "system": release.get("PRETTY_NAME", "unknown"),
        "board": model.read_text().strip("\0\n") if model.exists() else "unknown",
        "packages": {
            one.name: one.version for one in sorted(metadata.distributions(), key=lambda one: one.name)
        },
    }


def _status(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {"running": "unknown: the configuration names no state folder"}
    try:
        return request(folder / "control.sock", {"cmd": "status"}, timeout_s=5)
    except StateError as error:
        return {"running": False, "why": str(error)}


def _events_now(folder: Path | None) -> Any:
    """Ask the daemon: it writes its events only when it fails or ends."""
    if folder is None:
        return {"events": [], "why": "the configuration names no state folder"}
    try:
        return request(folder / "control.sock", {"cmd": "events"}, timeout_s=5)
    except StateError as error:
        return {"events": [], "why": str(error)}


def _events(folder: Path | None, name: str) -> Any:
    if folder is None or not (folder / name).exists():
        return {"events": [], "why": "none were written"}
    return msgspec.json.decode((folder / name).read_bytes())


def _ledger(folder: Path | None) -> dict[str, Any]:
    if folder is None:
        return {}
    account = account_of(folder)
    return {"days": totals(account), "broken": account.broken}


def _log() -> str:
    if not shutil.which("journalctl"):
        return "there is no journalctl on this machine\n"
    unit = (
        "--unit",
        "pressel",
        "--lines",
        str(_LOG_LINES),
        "--no-pager",
        "--no-hostname",
        "--output",
        "short-iso",
    )
    return _output(["journalctl", *unit])


def _cards(path: Path) -> str:
    return path.read_text() if path.exists() else f"{path} is missing: no sound card's driver is loaded\n"


def _devices() -> Any:
    """Ask another process: a broken sound card may never answer."""
    text = _output([sys.executable, "-m", "device.cli", "devices", "--json"])
    start = text.find("[")
    return msgspec.json.decode(text[start:]) if start >= 0 else text


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=_PATIENCE_S, check=False
    )
    return done.stdout or done.stderr


# --- what must not be in it


def _secrets(config: Path, board: Path | None, loaded: Loaded | None, folder: Path | None) -> set[str]:
    """Return every secret that this machine is known to hold, wherever the text of a part may repeat it."""
    found = {value for name, value in os.environ.items() if _SECRET_VARIABLE.search(name)}
    for file in (config, board):
        found |= _of_config(_text(file))
    if loaded:
        backend = loaded.config.backend
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        found.add(_text(Path(credentials) / backend.token_credential) if credentials else "")
    if folder:
        for name in ("sessions.json", "sessions.json.1"):
            found |= set(_strings(_json(folder / name), {"session_id", "text"}))
        found |= _of_identity(folder)
    return {secret.strip() for secret in found if secret.strip()}


def _of_identity(folder: Path) -> set[str]:
    """Return the claim and the lines of the key; the name and the id of a device are no secrets."""
    claims = [*folder.glob("claim.json*")]
    found = {one for path in claims for one in _strings(_json(path), {"claim"})}
    keys = "\n".join(map(_text, folder.glob("identity.key*")))
    return found | {line for line in keys.splitlines() if not line.startswith("-----")}


def _of_config(text: str) -> set[str]:
    """Return the token, and the passwords and queries of URLs; the text need be no good configuration."""
    found = {_text(Path(path)) for path in re.findall(r"""token_file\s*=\s*["']([^"']+)["']""", text)}
    for scheme_less in re.findall(r"""[a-z]://([^\s"']+)""", text, re.IGNORECASE):
        address, _, query = scheme_less.partition("?")
        user = address.rpartition("@")[0]
        found |= {user, *user.split(":"), query, *(pair.partition("=")[2] for pair in query.split("&"))}
    return found


def _ids(content: Any) -> set[str]:
    """Return the ids of conversations that a part names, those that are long gone as well."""
    texts = _strings(content) if not isinstance(content, str) else [content]
    told = {one for text in texts for found in _ID_TOLD.findall(text) for one in found}
    return told | set(_strings(content, _ID_KEYS))


def _without_ids(value: Any, key: str = "") -> Any:
    if isinstance(value, str):
        return REMOVED if key in _ID_KEYS else _ID_SHAPES.sub(REMOVED, value)
    if isinstance(value, dict):
        return {name: _without_ids(inner, name) for name, inner in value.items()}
    return [_without_ids(inner, key) for inner in value] if isinstance(value, list | tuple) else value


def _strings(value: Any, keys: set[str] | None = None, key: str = "") -> Iterator[str]:
    """Give the strings in a JSON value, all of them or those under some keys."""
    if isinstance(value, str):
        if keys is None or key in keys:
            yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from _strings(inner, keys, name)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner, keys, key)


def _text(path: Path | None) -> str:
    try:
        return path.read_text(errors="replace") if path else ""
    except OSError:
        return ""


def _json(path: Path) -> Any:
    try:
        return msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
