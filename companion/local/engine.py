"""What all local sessions share: models, threads, brain, memory, secrets, and who is connected."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from companion.local.brain import make_brain
from companion.local.memory import Memory, Remembered
from companion.local.recogniser import Sphinx, Sphinxes
from companion.local.secrets import Passes
from companion.local.voice import HibariVoice, Voice

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from companion.settings import LocalSettings

log = logging.getLogger(__name__)
T = TypeVar("T")
_DAY_S = 86_400


class Live(Protocol):
    """A session with a client."""

    @property
    def device(self) -> str:
        """Whose session it is."""
        ...

    @property
    def has_items(self) -> bool:
        """Tell whether anything was said."""
        ...

    async def end(self, code: int, reason: str) -> None:
        """Close it and wait until its memory is saved."""
        ...


class Engine:
    """Made once a process. `warm` loads the models beside the event loop; who needs them before waits."""

    def __init__(self, settings: LocalSettings, state_dir: Path) -> None:
        self.settings = settings
        self.memory = Memory(state_dir / "sessions")
        self.passes = Passes()
        self.brain = make_brain(settings)
        self.live: dict[str, Live] = {}
        self.door = asyncio.Lock()  # one client at a time takes over a session
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="local")
        self._sphinxes = Sphinxes()
        self._warm: asyncio.Task[Voice] | None = None

    def warm(self) -> asyncio.Task[Voice]:
        """Begin to load the models, or return the loading that has begun."""
        if self._warm is None:
            self._warm = asyncio.create_task(self._load())
        return self._warm

    async def work(self, job: Callable[..., T], *args: Any) -> T:
        """Run a job that takes time on a thread of the engine."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, job, *args)

    async def take_decoder(self) -> Sphinx:
        """Borrow a recogniser for one session."""
        await self._warmed()
        return await self.work(self._sphinxes.take)

    async def give_back(self, decoder: Sphinx) -> None:
        """Return the recogniser."""
        await self.work(self._sphinxes.give_back, decoder)

    async def speak(self, text: str, speed: float) -> bytes:
        """Return the sentence as 24 kHz PCM16."""
        voice = await self._warmed()
        return await self.work(voice.speak, text, speed)

    async def remembered(self, session_id: str, device: str) -> Remembered | None:
        """Return a session from disk."""
        return await self.work(self.memory.load, session_id, device)

    async def knows(self, session_id: str, device: str) -> bool:
        """Tell whether the device can go on with this session: it is connected, or on disk."""
        live = self.live.get(session_id)
        if live and live.device == device and live.has_items:  # its last words may not be on disk yet
            return True
        return await self.remembered(session_id, device) is not None

    async def close(self) -> None:
        """Let go of brain and threads."""
        await self.brain.close()
        self._warm, self._sphinxes = None, Sphinxes()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _warmed(self) -> Voice:
        """Wait for the models; a client that hangs up meanwhile must not end the loading for all."""
        return await asyncio.shield(self.warm())

    async def _load(self) -> Voice:
        start = time.monotonic()
        voice, decoder = await asyncio.gather(self.work(HibariVoice), self.work(Sphinx))
        await self.give_back(decoder)
        gone = await self.work(self.memory.forget, time.time() - self.settings.forget_after_days * _DAY_S)
        log.info("local engine ready in %.2f s; %d old sessions forgotten", time.monotonic() - start, gone)
        return voice
