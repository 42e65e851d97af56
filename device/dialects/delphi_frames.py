"""What the device says on Delphi's session channel: envelopes and payloads.

Source: the vendor's client SDK 0.1.3, utils/channel.ts, and its interpretation example.
"""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from device.dialects.dialect import Send
from device.dialects.plain import encode

_LATEST_MS = 1 << 53
_LONGEST_NAME = 100


class Frames:
    """Makes messages of one session. Nothing is said before `start`."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._seed = ""
        self._made = 0
        self._server_ms = 1

    def start(self, greeting_id: str) -> None:
        """Take the id of the server's first word: with it, what is said gets ids that no other start has."""
        self._seed = f"{self._session_id}/{greeting_id}/{self._server_ms}"

    def hear(self, timestamp: float | None) -> None:
        """Set the clock: messages are dated with the server's own time as it was last heard."""
        if timestamp is not None and self._server_ms < timestamp < _LATEST_MS:
            self._server_ms = int(timestamp)

    def ping(self) -> Send:
        """Keep the channel alive."""
        return self._message("ping")

    def reconnect(self, cursor: str) -> Send:
        """Ask for what was published after a stream id; the field is named for a message id."""
        return self._message("reconnect", reconnect={"lastReceivedMessageId": cursor})

    def ask(self, text: str, response: str) -> Send:
        """Say words that want an answer: as "text", "voice" or "both"."""
        chat = {
            "role": "user",
            "content": text,
            "intent": "conversation",
            "responseExpected": True,
            "preferredResponse": response,
        }
        return self._message("chat", chat=chat)

    def read_aloud(self, text: str, capability: dict[str, Any]) -> Send:
        """Have words read out; `capability` names who does it, {} leaves that to the server."""
        action = {**capability, "messageType": "browser.action.readAloud", "text": text}
        return self._message("browser_action", browserAction=action)

    def listen(self, data: dict[str, Any]) -> list[Send]:
        """Become a listener to an interpretation; `data` as browser.action.listen has it."""
        name = data.get("identifier", "")
        context = {
            "identifier": name,
            "role": "listener",
            "targetLanguage": data.get("targetLanguage", ""),
            "source": "interpretation_listener",
            "metadata": {"interpretationScope": data.get("scope", "")},
        }
        chat = {
            "role": "user",
            "content": name,
            "intent": "browser_context",
            "responseExpected": False,
            "metadata": {"browserContext": context},
        }
        action = {"messageType": "browser.action.listen", "identifier": name, "data": data}
        return [self._message("chat", chat=chat), self._message("browser_action", browserAction=action)]

    def refuse(self, action_id: str, name: str) -> Send:
        """Answer an action that nobody here can do."""
        result = {
            "actionId": action_id,
            "success": False,
            "error": f"No browser action handler registered for '{name[:_LONGEST_NAME]}'",
            "isFinal": True,
        }
        return self._message("action_result", actionResult=result)

    def _message(self, kind: str, **payload: Any) -> Send:
        self._made += 1
        name = hashlib.sha256(f"{self._seed}/{self._made}".encode()).digest()
        envelope = {
            "type": kind,
            "sessionId": self._session_id,
            "messageId": str(uuid.UUID(bytes=name[:16], version=4)),
            "timestamp": self._server_ms,
            "direction": "to_ari",
        }
        return Send(encode({**envelope, **payload}))
