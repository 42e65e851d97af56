"""The ear, brain and voice of one simulated talk, for protocols whose server finds no words by itself."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from companion.local.audio import EAR_HZ, WIRE_HZ, ToEar
from companion.local.items import Turn
from companion.local.turns import TurnFinder
from companion.realtime import ServerVad

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from companion.local.engine import Engine
    from companion.local.recogniser import Sphinx
    from companion.local.turns import Edge


class Sentence(NamedTuple):
    """A piece of a reply: its words and its sound, 24 kHz PCM16 mono."""

    text: str
    pcm: bytes


def retold(instructions: str) -> list[Turn]:
    """Return the turns that a prompt tells of: a model reads its prompt, the rules of the brain do not."""
    found = re.findall(r"^(User|You|Assistant): (.+)$", instructions, re.MULTILINE)
    return [Turn("user" if who == "User" else "assistant", words) for who, words in found]


class Mind:
    """Hears utterances, finds replies and speaks them. `start` before, `close` after; one task at a time.

    `turns` is what was said so far; what is heard and what is spoken to its end is appended.
    """

    def __init__(self, engine: Engine, turns: Sequence[Turn] = (), *, rate: int = WIRE_HZ) -> None:
        if rate not in (EAR_HZ, WIRE_HZ):
            raise ValueError(f"the ear takes 16 or 24 kHz, not {rate}")
        self.turns = list(turns)
        self._engine = engine
        self._to_ear = ToEar() if rate == WIRE_HZ else None
        self._decoder: Sphinx | None = None
        self._finder: TurnFinder | None = None

    async def start(self) -> None:
        """Borrow a recogniser; the first one takes about a second."""
        self._decoder = await self._engine.take_decoder()

    async def close(self) -> None:
        """Give the recogniser back."""
        decoder, self._decoder = self._decoder, None
        if decoder:
            await self._engine.give_back(decoder)

    async def hear(self, pcm: bytes) -> None:
        """Hear more of the utterance: PCM16 mono at the given rate, whole samples."""
        await self._feed(self._ear(pcm))

    async def listen(self, pcm: bytes) -> list[Edge]:
        """Hear a stream and find where speech starts and stops in it; call `heard` after a stop.

        For servers that detect turns. Only what lies between the edges is given to the recogniser.
        """
        if self._finder is None:
            self._finder = TurnFinder(ServerVad(silence_duration_ms=500), 0)
        edges, going_on = self._finder.feed(self._ear(pcm))
        for edge in edges:
            await self._feed(edge.pcm)
        await self._feed(going_on)
        return edges

    async def heard(self) -> str:
        """End the utterance; return its words in lower case, "" for none."""
        assert self._decoder  # noqa: S101 - a bug in the simulator
        text = await self._engine.work(self._decoder.finish)
        if text:
            self.turns.append(Turn("user", text))
        return text

    async def forget_utterance(self) -> None:
        """Drop what was heard since the last utterance."""
        assert self._decoder  # noqa: S101 - a bug in the simulator
        await self._engine.work(self._decoder.reset)

    async def reply(self, instructions: str = "", speed: float = 1.0) -> AsyncGenerator[Sentence]:
        """Yield the reply to `turns`, sentence by sentence; each is remembered as it is yielded."""
        said: list[str] = []
        at = len(self.turns)
        async with aclosing(self._engine.brain.reply(list(self.turns), instructions)) as sentences:
            async for text in sentences:
                pcm = await self._engine.speak(text, speed)
                said.append(text)
                self.turns[at:] = [Turn("assistant", " ".join(said))]
                yield Sentence(text, pcm)

    async def speak(self, text: str, speed: float = 1.0) -> bytes:
        """Return the words as 24 kHz PCM16."""
        return await self._engine.speak(text, speed)

    def _ear(self, pcm: bytes) -> bytes:
        return self._to_ear(pcm) if self._to_ear else pcm

    async def _feed(self, pcm: bytes) -> None:
        assert self._decoder  # noqa: S101 - a bug in the simulator
        if pcm:
            await self._engine.work(self._decoder.feed, pcm)
