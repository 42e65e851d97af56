"""OpenAI Realtime, beta shape: a flat session, older names; all else is as in GA.

Source: the vendor's Realtime API reference before GA; many other servers speak it.
"""

from __future__ import annotations

from typing import Any

from device.dialects.openai import OpenAIDialect


class OpenAIBetaDialect(OpenAIDialect):
    """One session's protocol."""

    assistant_text = "text"

    def settings(self) -> dict[str, Any]:
        """Return the session object of session.update."""
        return self._grant.session

    def turn_detection(self) -> Any:
        """Return how the server was told to find the ends of turns."""
        return self._grant.session.get("turn_detection")

    def mend(self, code: int | None) -> str:
        """Close code 4000 is what OpenAI ends the beta shape with."""
        return self.shape_mend if code == 4000 else super().mend(code)
