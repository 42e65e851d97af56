"""Sessions on disk: one 0600 file each, so that a session is restored after either side has died."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING

import msgspec

from companion.files import private_folder, write_atomic
from companion.local.items import Item

if TYPE_CHECKING:
    from pathlib import Path

log = logging.getLogger(__name__)

KEEP_ITEMS = 200
_ID = re.compile(r"sess_[A-Za-z0-9]{8,64}")


class Remembered(msgspec.Struct, frozen=True):
    """One session. It belongs to the device that began it. `saved_at`: epoch seconds."""

    session_id: str
    device: str
    saved_at: float
    items: list[Item]
    version: int = 1


class Memory:
    """The folder of sessions."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def save(self, session: Remembered) -> None:
        """Write the session's newest items."""
        private_folder(self._folder)
        kept = msgspec.structs.replace(session, items=session.items[-KEEP_ITEMS:])
        write_atomic(self._folder / f"{session.session_id}.json", msgspec.json.encode(kept))

    def load(self, session_id: str, device: str) -> Remembered | None:
        """Return the device's session, or None: unknown, another device's, or not readable."""
        if not _ID.fullmatch(session_id):
            return None
        path = self._folder / f"{session_id}.json"
        try:
            session = msgspec.json.decode(path.read_bytes(), type=Remembered)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.MsgspecError) as error:
            log.warning("the remembered session %s is left aside: %s", path.name, error)
            return None
        return session if session.device == device and session.session_id == session_id else None

    def forget(self, before: float) -> int:
        """Delete the sessions that were not used since `before` (epoch seconds); return how many."""
        gone = 0
        for path in self._folder.glob("sess_*.json"):
            if path.stat().st_mtime < before:
                path.unlink(missing_ok=True)
                gone += 1
        return gone
