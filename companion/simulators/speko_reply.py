"""One reply of the simulated Speko: the tools, the sentences, and sound sent faster than it plays."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Protocol

import msgspec

from companion.local.audio import EAR_HZ, ToEar
from companion.local.items import Item, Mark, Turn, new_id
from companion.simulators.mind import Sentence

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Any

    from companion.simulators.mind import Mind
    from companion.simulators.speko_mint import S2s, Tool

_AHEAD_MS = 3000  # of sound at the client's before the server waits
_PIECES_A_SECOND = 10
_INTERRUPTED = {"interrupts": (1000, "assistant"), "interrupts-late": (_AHEAD_MS + 1500, "user")}
_FALLS_AFTER_MS = 500


class Client(Protocol):
    """What a reply says to the client."""

    @property
    def mistakes(self) -> frozenset[str]: ...
    async def send(self, kind: str, **fields: Any) -> None: ...
    async def transcript(self, role: str, text: str, *, final: bool) -> None: ...
    async def sound(self, pcm: bytes) -> None: ...
    async def call(self, tool: Tool) -> str: ...
    async def close(self, code: int, reason: str) -> None: ...


class Playing:
    """How much of a reply was sent at `rate` Hz, and how much of it a client can have played since."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self.item = Item(id=new_id("item"), role="assistant", kind="output_audio")
        self._rate = rate
        self._clock = clock
        self._began: float | None = None
        self._to_ear = ToEar() if rate == EAR_HZ else None

    def says(self, sentence: Sentence) -> bytes:
        """Note the next sentence; return its sound at the client's rate."""
        pcm = self._to_ear(sentence.pcm) if self._to_ear else sentence.pcm
        end_ms = (self.item.marks[-1].end_ms if self.item.marks else 0) + int(self.ms(pcm))
        self.item.marks = [*self.item.marks, Mark(end_ms, sentence.text)]
        self.item.text = f"{self.item.text} {sentence.text}".strip()
        return pcm

    def ms(self, pcm: bytes) -> float:
        """Return how long the sound is."""
        return len(pcm) * 500 / self._rate

    def pieces(self, pcm: bytes, *, odd: bool) -> list[bytes]:
        """Return the sound in pieces of 100 ms; `odd`: with a byte too many, so that samples are torn."""
        size = 2 * self._rate // _PIECES_A_SECOND + odd
        return [pcm[at : at + size] for at in range(0, len(pcm), size)]

    async def sent(self, pcm: bytes) -> None:
        """Note what went out; wait when the client has too much of it."""
        if self._began is None:
            self._began = self._clock()
        self.item.audio_ms += self.ms(pcm)
        await asyncio.sleep(max(0.0, self.item.audio_ms - self._played_ms(self._clock()) - _AHEAD_MS) / 1000)

    def sounds(self, now: float) -> bool:
        """Tell whether the client still plays it."""
        return self._began is not None and self._played_ms(now) < self.item.audio_ms

    def cut(self, turns: list[Turn], now: float) -> None:
        """Cut the reply in `turns`, the newest of them, to what can have been heard."""
        begun = self.item.text and turns and turns[-1].role == "assistant"
        if begun and (self._began is None or self.sounds(now)):
            self.item.cut(min(self._played_ms(now), self.item.audio_ms))
            turns[-1:] = [Turn("assistant", self.item.text)] if self.item.text else []

    def _played_ms(self, now: float) -> float:
        return 0.0 if self._began is None else (now - self._began) * 1000


async def answer(client: Client, mind: Mind, asked: S2s, words: str, playing: Playing) -> None:
    """Say the reply to the newest of `mind.turns`; it ends with the final transcript."""
    async with aclosing(_sentences(client, mind, asked, words)) as sentences:
        async for sentence in sentences:
            pcm = playing.says(sentence)
            shown = playing.item.text
            if "rewritten-transcripts" in client.mistakes:  # as recognisers do: no case and no stops at first
                shown = "".join(char for char in shown.lower() if char.isalnum() or char == " ")
            await client.transcript("assistant", shown, final=False)
            if not await _play(client, pcm, playing):
                return
    await client.transcript("assistant", playing.item.text, final=True)


async def _play(client: Client, pcm: bytes, playing: Playing) -> bool:
    """Send the sound of one sentence; False when a mistake has ended the reply."""
    for piece in playing.pieces(pcm, odd="odd-frames" in client.mistakes):
        await client.sound(piece)
        await playing.sent(piece)
        for mistake in client.mistakes & _INTERRUPTED.keys():
            after_ms, at = _INTERRUPTED[mistake]
            if playing.item.audio_ms > after_ms:
                await client.send("interruption", at=at)
                return False
        if "falls" in client.mistakes and playing.item.audio_ms > _FALLS_AFTER_MS:
            await client.close(1011, "Provider connection lost")
            return False
    return True


async def _sentences(client: Client, mind: Mind, asked: S2s, words: str) -> AsyncGenerator[Sentence]:
    tool = next((one for one in asked.tools if _calls_for(one, words)), None)
    if tool:
        said = reason_of(await client.call(tool))
        mind.turns.append(Turn("assistant", said))
        yield Sentence(said, await mind.speak(said))
        return
    if "time" in words.split():  # the service's own clock
        for status in ("started", "completed"):
            await client.send("server_tool_call", id="st_1", name="clock", status=status)
    async with aclosing(mind.reply(asked.system_prompt or "")) as sentences:
        async for sentence in sentences:
            yield sentence


def _calls_for(tool: Tool, words: str) -> bool:
    """Tell whether the words ask for the tool: "get_time" for the time."""
    wanted = [word for word in tool.name.lower().split("_") if word != "get"]
    return bool(wanted) and set(wanted) <= set(words.split())


def reason_of(output: str) -> str:
    """Return a sentence that tells a tool's output, JSON or plain."""
    try:
        found = msgspec.json.decode(output)
    except msgspec.DecodeError:
        found = output
    if isinstance(found, dict) and "error" in found:
        return f"I cannot do that: {found['error']}."
    values = found.values() if isinstance(found, dict) else [found]
    return f"The tool says {', '.join(str(value) for value in values)}."
