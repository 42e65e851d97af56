"""One reply of the simulated Unmute: words of the model at once, sound and its words in real time."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, NamedTuple

from companion.simulators.ogg import FRAME_BYTES, FRAME_MS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import Any

    from companion.local.items import Turn
    from companion.simulators.mind import Mind, Sentence
    from companion.simulators.ogg import OpusWriter

    Say = Callable[..., Awaitable[None]]

_LEAD_S = 0.12  # how far the queue runs ahead of real time
_STALL_AFTER_FRAMES = 12
_FRAMES_AT_ONCE = 50  # by the mistake "fast"


class Frame(NamedTuple):
    """40 ms of the reply, and the words that begin in it."""

    pcm: bytes
    words: tuple[str, ...]


class Stalled(Exception):  # noqa: N818 - the mistake: a service behind the server has given up
    """The reply cannot be finished."""


class Reply:
    """`run` sends it whole; cancel its task to interrupt. `spoken`: the words whose sound has gone out."""

    def __init__(self, mind: Mind, writer: OpusWriter, say: Say, mistakes: frozenset[str]) -> None:
        self.spoken: list[str] = []
        self._mind = mind
        self._writer = writer
        self._say = say
        self._mistakes = mistakes
        self._frames: asyncio.Queue[Frame | None] = asyncio.Queue()
        self._at = len(mind.turns)

    async def run(self, instructions: str, **created: Any) -> str:
        """Speak the reply to the turns so far; return its text. `created`: fields of response.created."""
        late = "out-of-order" in self._mistakes
        if not late:
            await self._say("response.created", **created)
        model = asyncio.create_task(self._think(instructions))
        try:
            await self._speak(created if late else None)
            return await model
        finally:
            model.cancel()

    def cut(self) -> None:
        """Have the conversation remember only what was spoken."""
        if self._at < len(self._mind.turns) and self._mind.turns[self._at].role == "assistant":
            kept = [_with_text(self._mind.turns[self._at], " ".join(self.spoken))] if self.spoken else []
            self._mind.turns[self._at : self._at + 1] = kept

    async def _think(self, instructions: str) -> str:
        """Queue the sentences; the text is done before the sound is, as with any language model."""
        said = []
        async with aclosing(_sentences(self._mind, instructions)) as sentences:
            async for sentence in sentences:
                said.append(sentence.text)
                for word in sentence.text.split():
                    await self._say("unmute.response.text.delta.ready", delta=word)
                for frame in _frames(sentence):
                    self._frames.put_nowait(frame)
        self._frames.put_nowait(None)
        text = " ".join(said)
        await self._say("response.text.done", text=text)
        return text

    async def _speak(self, created: dict[str, Any] | None) -> None:
        clock = asyncio.get_running_loop().time
        due, sent = clock() - _LEAD_S, 0
        while frame := await self._frames.get():
            due = max(due, clock() - _LEAD_S)
            if "fast" not in self._mistakes:
                await asyncio.sleep(due - clock())
            elif sent % _FRAMES_AT_ONCE == 0:
                await asyncio.sleep(0)
            await self._send(frame)
            if created is not None and sent == 0:
                await self._say("response.created", **created)
            due, sent = due + FRAME_MS / 1000, sent + 1
            if "stalls" in self._mistakes and sent == _STALL_AFTER_FRAMES:
                raise Stalled
        await self._say("response.audio.done")

    async def _send(self, frame: Frame) -> None:
        for word in frame.words:
            self.spoken.append(word)
            await self._say("response.text.delta", delta=word)
        await self._say("response.audio.delta", delta=self._writer.write(frame.pcm))


async def _sentences(mind: Mind, instructions: str) -> AsyncGenerator[Sentence]:
    """Yield the mind's reply; a farewell ends as the vendor's bots end it."""
    async with aclosing(mind.reply(instructions)) as sentences:
        async for sentence in sentences:
            yield sentence
            if sentence.text.startswith("Goodbye"):
                yield sentence._replace(text="Bye bye!", pcm=await mind.speak("Bye bye!"))


def _frames(sentence: Sentence) -> list[Frame]:
    """Cut a sentence into frames; a word begins at its share of the letters."""
    words = sentence.text.split()
    count = max(1, -(-len(sentence.pcm) // FRAME_BYTES))
    begins: list[list[str]] = [[] for _ in range(count)]
    before = 0
    for word in words:
        begins[before * count // max(1, len(sentence.text))].append(word)
        before += len(word) + 1
    return [
        Frame(sentence.pcm[n * FRAME_BYTES : (n + 1) * FRAME_BYTES], tuple(begins[n])) for n in range(count)
    ]


def _with_text(turn: Turn, text: str) -> Turn:
    return type(turn)(turn.role, text)
