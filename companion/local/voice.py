"""Text to speech: the port, and hibari with the voice of its wheel."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Protocol

from companion.local.audio import pcm16

if TYPE_CHECKING:
    from hibari import Hibari

OWN_VOICE = "heart"
# Clients written for OpenAI name one of these; all of them are spoken by the one voice there is.
OPENAI_VOICES = ("alloy", "ash", "ballad", "coral", "echo", "sage", "shimmer", "verse", "marin", "cedar")
VOICES = (OWN_VOICE, *OPENAI_VOICES)
_SEED = 1  # the same words sound the same each time


class Voice(Protocol):
    """Speaks."""

    def speak(self, text: str, speed: float) -> bytes:
        """Return the sentence as 24 kHz PCM16; `speed` 1.0 is the voice's own pace."""
        ...


class HibariVoice:
    """A Voice about a hundred times faster than real time. Calls from several threads take turns."""

    def __init__(self) -> None:
        from hibari import Hibari  # noqa: PLC0415 - onnxruntime belongs to the first session, not to start

        self._hibari: Hibari = Hibari(voice=OWN_VOICE)
        self._lock = threading.Lock()
        self.speak("Ready.", 1.0)  # the first sentence loads the pronunciation rules: half a second

    def speak(self, text: str, speed: float) -> bytes:
        with self._lock:
            return pcm16(self._hibari(text, speed=speed, seed=_SEED))
