"""A brain at any OpenAI-compatible chat-completions address, read as a stream and spoken by the sentence.

Source: OpenAI API reference, POST /v1/chat/completions with `stream: true` (server-sent events).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import msgspec

from companion.errors import BrainError, ConfigError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Sequence

    from companion.local.items import Turn

_END = re.compile(r"(?<=[.!?…])\s+|\n+")
_ANSWER_S = 60.0
SPOKEN = "You are heard, not read: answer in a few short plain sentences, without lists or formatting."


class Delta(msgspec.Struct, frozen=True):
    """A piece of the answer."""

    content: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """The first is the only one."""

    delta: Delta = Delta()


class Chunk(msgspec.Struct, frozen=True):
    """One event of the stream; the last may have no choice."""

    choices: list[Choice] = []


class Chat:
    """A Brain that asks a chat server. The key, if there is one, goes into a header and nowhere else."""

    def __init__(self, url: str, model: str, key_file: str = "") -> None:
        self._url = url
        self._model = model
        headers = {"Authorization": f"Bearer {_key(key_file)}"} if key_file else {}
        self._http = httpx.AsyncClient(headers=headers, timeout=httpx.Timeout(_ANSWER_S, connect=5.0))

    async def reply(self, turns: Sequence[Turn], instructions: str) -> AsyncGenerator[str]:
        """Yield whole sentences as soon as the server has written them."""
        words = ""
        async for piece in self._stream(_messages(turns, instructions)):
            *whole, words = _END.split(words + piece)
            for sentence in whole:
                if sentence.strip():
                    yield sentence.strip()
        if words.strip():
            yield words.strip()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _stream(self, messages: list[dict[str, str]]) -> AsyncIterator[str]:
        body: dict[str, Any] = {"model": self._model, "messages": messages, "stream": True}
        try:
            async with self._http.stream("POST", self._url, json=body) as answer:
                if not answer.is_success:
                    raise BrainError(f"the chat server at {self._url} answered {answer.status_code}")
                async for line in answer.aiter_lines():
                    if line.startswith("data:") and line[5:].strip() != "[DONE]":
                        yield _content(line[5:])
        except httpx.HTTPError as error:
            raise BrainError(f"the chat server at {self._url} failed: {type(error).__name__}") from error


def _content(data: str) -> str:
    try:
        chunk = msgspec.json.decode(data, type=Chunk)
    except msgspec.MsgspecError as error:
        raise BrainError(f"the chat server sent no chat chunk: {error}") from error
    return (chunk.choices[0].delta.content or "") if chunk.choices else ""


def _messages(turns: Sequence[Turn], instructions: str) -> list[dict[str, str]]:
    system = {"role": "system", "content": f"{instructions}\n{SPOKEN}".strip()}
    return [system, *({"role": turn.role, "content": turn.text} for turn in turns)]


def _key(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"providers.local: cannot read chat_key_file {path}: {type(error).__name__}"
        ) from error
