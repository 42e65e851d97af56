"""What Delphi's runtime does in one session: answers chat, reads aloud, interprets for listeners.

Source: the vendor's client SDK 0.1.3 (channelTypes.ts, SessionClient.ts) and its interpretation example.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

from msgspec import UNSET

from companion.local.brain.story import STORY
from companion.local.items import Turn
from companion.simulators.delphi_sound import MP3_MIME, PCM_MIME, RATE, encoded, pieces

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from companion.simulators.delphi_stream import Stream
    from companion.simulators.delphi_wire import (
        ActionResult,
        BrowserAction,
        Chat,
        Control,
        Json,
        Mode,
        ResponseMode,
    )
    from companion.simulators.mind import Mind

CAPABILITIES: tuple[Json, ...] = (
    {
        "id": "cap-read",
        "slug": "read-aloud",
        "label": "Read aloud",
        "type": "readAloud",
        "messageType": "browser.action.readAloud",
        "voiceInvocable": False,
    },
    {
        "id": "cap-listen",
        "slug": "listen",
        "label": "Listen",
        "type": "listen",
        "messageType": "browser.action.listen",
        "voiceInvocable": False,
    },
)
_START_MODES = ("live", "from_beginning", "from_sequence", "closest_to_now")
_ACTION_TIMEOUT_MS = 5000


class Talk:
    """One session's runtime. Jobs are done one after the other; `close` ends them."""

    def __init__(self, mode: Mode, mind: Mind, stream: Stream, mistakes: frozenset[str]) -> None:
        self.mode = mode
        self.stream = stream
        self._mind = mind
        self._mistakes = set(mistakes)
        self._response_mode: ResponseMode = "both" if mode == "audio_playback" else "text"
        self._text_chat = mode in ("text", "audio_playback")
        self._context: Json = {}
        self._jobs: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._results: dict[str, asyncio.Future[ActionResult]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._begin(self._work())

    async def close(self) -> None:
        """Stop working."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._mind.close()

    # --- what the browser says

    async def chat(self, chat: Chat) -> None:
        """Take words, or a context."""
        if chat.intent == "browser_context":
            self._context = dict((chat.metadata or {}).get("browserContext", {}))
        elif chat.intent == "read_aloud":
            self._jobs.put_nowait(lambda: self._read_aloud(chat.content))
        elif chat.response_expected is True or (chat.response_expected is UNSET and self._text_chat):
            self._jobs.put_nowait(lambda: self._answer(chat))
        else:
            self._mind.turns.append(Turn("user", chat.content))

    async def browser_action(self, action: BrowserAction) -> None:
        """Start a side flow."""
        known = {UNSET, *(capability["id"] for capability in CAPABILITIES)}
        if action.capability_id not in known:
            await self._error("UNKNOWN_CAPABILITY", f"No capability {action.capability_id}")
        elif action.message_type == "browser.action.readAloud" and action.text:
            text = action.text
            self._jobs.put_nowait(lambda: self._read_aloud(text))
        elif action.message_type == "browser.action.listen":
            await self._subscribe(action.data or {})
        else:
            await self._error("UNKNOWN_BROWSER_ACTION", f"Cannot do {action.message_type}")

    async def control(self, control: Control) -> None:
        """Change how the runtime answers."""
        match control.command:
            case "clear_context":
                self._mind.turns.clear()
            case "set_response_mode":
                self._response_mode = control.settings.response_mode or self._response_mode
                await self.stream.tell("status", status={"state": "response_mode_changed"})
            case "enable_text_chat" | "disable_text_chat":
                self._text_chat = control.command == "enable_text_chat"
                state = "text_chat_enabled" if self._text_chat else "text_chat_disabled"
                await self.stream.tell("status", status={"state": state})

    async def action_result(self, result: ActionResult) -> None:
        """Hand the browser's result to whoever waits for it."""
        waiting = self._results.get(result.action_id)
        if waiting is None:
            await self._error("UNKNOWN_ACTION", f"No action {result.action_id} is open")
        elif result.is_final is not False and not waiting.done():
            waiting.set_result(result)

    # --- what the runtime does

    async def _work(self) -> None:
        while True:
            job = await self._jobs.get()
            await job()

    async def _answer(self, chat: Chat) -> None:
        self._mind.turns.append(Turn("user", chat.content))
        if self._once("error-reply"):
            await self._error("RUNTIME_ERROR", "The runtime could not answer")
            return
        said = [(one.text, one.pcm) async for one in self._mind.reply()]
        if "action" in self._mistakes:
            await self._ask_browser()
        wanted = self._response_mode if chat.preferred_response is UNSET else chat.preferred_response
        spoken = wanted != "text" and "no-voice" not in self._mistakes
        late = "late-words" in self._mistakes
        words = {"role": "assistant", "content": " ".join(text for text, _ in said)}
        if wanted != "voice" and not late:
            await self.stream.publish("chat", chat=words)
        if spoken:
            await self._sound([pcm for _, pcm in said])
        if wanted != "voice" and late:
            await self.stream.publish("chat", chat=words)

    async def _ask_browser(self) -> None:
        action_id = str(uuid.uuid4())
        self._results[action_id] = asyncio.get_running_loop().create_future()
        action = {
            "actionId": action_id,
            "name": "navigate",
            "parameters": {"url": "https://example.com"},
            "requiresResponse": True,
            "timeoutMs": _ACTION_TIMEOUT_MS,
            "priority": "normal",
            "description": "Open page",
        }
        await self.stream.publish("action", action=action)
        try:
            await asyncio.wait_for(self._results[action_id], _ACTION_TIMEOUT_MS / 1000)
        except TimeoutError:
            await self._error("ACTION_TIMEOUT", "No action_result in time")
        del self._results[action_id]

    async def _read_aloud(self, text: str) -> None:
        await self._sound([await self._mind.speak(text)])

    async def _sound(self, sounds: list[bytes]) -> None:
        """Stream sentences as one response, or, with "segments", one response a sentence."""
        if "segments" not in self._mistakes:
            await self._response(b"".join(sounds), {})
            return
        request = str(uuid.uuid4())
        for index, pcm in enumerate(sounds):
            last = index == len(sounds) - 1
            about = {"requestId": request, "segmentIndex": index, "segmentCount": len(sounds)}
            await self._response(pcm, {**about, "isFinal": last})

    async def _response(self, pcm: bytes, about: Json) -> None:
        mime = MP3_MIME if self._mistakes & {"mp3", "no-mime"} else PCM_MIME
        about = {"responseId": str(uuid.uuid4()), **about}
        named = {} if "no-mime" in self._mistakes else {"mimeType": mime}
        await self.stream.publish("audio", audio={"event": "start", **about, **named})
        texts = list(pieces(encoded(pcm, mime), aligned="unaligned-base64" not in self._mistakes))
        deltas = [
            {"event": "delta", **about, "index": index, "delta": text} for index, text in enumerate(texts)
        ]
        if "out-of-order" in self._mistakes:
            deltas[1:3] = deltas[2:0:-1]
        for index, delta in enumerate(deltas):
            if index == len(deltas) // 2:
                await self._fall()
            await self.stream.publish("audio", audio=delta)
        await self.stream.publish("audio", audio={"event": "done", **about})

    async def _fall(self) -> None:
        """Lose the socket in the middle of a reply; the session goes on."""
        if self._once("close-1012-mid-reply"):
            await self.stream.cut(1012, "service restart")
        elif self._once("close-4000"):
            await self.stream.cut(4000, "superseded by a newer connection")

    async def _subscribe(self, wish: Json) -> None:
        if self.mode != "listen" or self._context.get("role") != "listener":
            await self._error("NOT_A_LISTENER", "Send a browser_context with the role listener first")
        elif not (wish.get("identifier") and wish.get("targetLanguage")):
            await self._error("INVALID_LISTEN", "identifier and targetLanguage are needed")
        elif wish.get("startMode", "closest_to_now") not in _START_MODES:
            await self._error("INVALID_LISTEN", f"startMode is one of {', '.join(_START_MODES)}")
        else:
            self._begin(self._interpret(wish))

    async def _interpret(self, wish: Json) -> None:
        """Send a speech sentence by sentence, at the pace at which it is held."""
        for sequence, sentence in enumerate(STORY):
            pcm = await self._mind.speak(sentence)
            if wish.get("includeCaptions"):
                about = {"language": wish["targetLanguage"], "sequence": sequence}
                caption = {
                    "role": "assistant",
                    "content": sentence,
                    "intent": "notification",
                    "metadata": {"interpretation": about},
                }
                await self.stream.publish("chat", chat=caption)
            await self._response(pcm, {})
            await asyncio.sleep(len(pcm) / 2 / RATE)

    async def _error(self, code: str, text: str) -> None:
        await self.stream.tell("error", error={"code": code, "message": text})

    def _once(self, mistake: str) -> bool:
        """Tell whether to make a mistake that is made one time in a session."""
        made = mistake in self._mistakes
        self._mistakes.discard(mistake)
        return made

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
