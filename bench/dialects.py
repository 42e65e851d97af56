"""CPU and bytes of each dialect, with the codec that stands beside it: what a minute of talk costs.

Method: 20 s of synthetic speech. Up: PCM16 in blocks of 20 ms, as the uplink cuts them, through the codec
and the dialect's `audio`. Down: frames such as the service sends (PCM, G.711 and MP3 in pieces of 200 ms,
Speko's and Unmute's of 20 ms), made beforehand, through the dialect's `decode` and the codec, until PCM16 is
there. The time is the process's CPU time, the best of five runs, in ms for a second of sound. The rate on
the wire is the frames' and WebSocket's own (RFC 6455: 2 to 10 bytes a frame, 4 more for the client's mask),
without TLS and TCP.

    python bench/dialects.py [--json]
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from companion.simulators.delphi_sound import MP3_MIME, PCM_MIME, encoded
from device.codecs import make_decoder, make_encoder
from device.core.grant import DialectName, Encoding, Grant
from device.dialects.dialect import Dialect, ReplyAudio
from device.dsp.resample import Resampler
from device.net.attempt import DIALECTS
from rig.speech import SPOKEN_HZ, say

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Frame = str | bytes
SECONDS = 20
RUNS = 5
UP_MS = 20
CARD_HZ = 48_000
TEXT = "Once there was a small lighthouse at the edge of a grey and restless sea, and an old keeper. "


class Row(NamedTuple):
    """One way of talking. `opening`: what is said before the sound; `wrap` makes the frames of the sound."""

    dialect: DialectName
    up: Encoding
    down: Encoding
    opening: Sequence[Frame]
    wrap: Callable[[bytes], Frame]
    piece_ms: int = 200
    mime: str | None = None
    session: Mapping[str, Any] = MappingProxyType({})


def envelope(where: str, **fields: Any) -> Callable[[bytes], Frame]:
    """Return what puts sound, as base64, into a JSON message's field `where`, or "outer.inner"."""

    def wrap(sound: bytes) -> str:
        outer, _, inner = where.rpartition(".")
        text = base64.b64encode(sound).decode()
        message = {**fields, inner: text} if not outer else {**fields, outer: {**fields[outer], inner: text}}
        return json.dumps(message, separators=(",", ":"))

    return wrap


def openai(dialect: DialectName, delta: str, form: Encoding) -> Row:
    """OpenAI's spelling, and those who took it over."""
    about = {name: f"{name}_{21 * 'x'}" for name in ("event_id", "response_id", "item_id")}
    opening = (
        '{"type":"session.created","session":{"id":"s"}}',
        '{"type":"session.updated","session":{"id":"s"}}',
        json.dumps({"type": "response.created", "response": {"id": about["response_id"]}}),
    )
    return Row(
        dialect, form, form, opening, envelope("delta", type=delta, **about, output_index=0, content_index=0)
    )


def delphi(mime: str) -> Row:
    """Sound comes down alone."""
    ids = {
        "sessionId": 36 * "s",
        "messageId": 36 * "m",
        "timestamp": 1763690000000,
        "direction": "to_browser",
    }
    opening = [
        json.dumps({"type": "status", **ids, "status": {"state": "connected"}}),
        json.dumps(
            {"type": "audio", **ids, "audio": {"event": "start", "responseId": "r", "mimeType": mime}}
        ),
    ]
    wrap = envelope("audio.delta", type="audio", **ids, audio={"event": "delta", "responseId": 36 * "r"})
    return Row(
        "delphi", Encoding("none"), Encoding(), opening, wrap, mime=mime, session={"mode": "audio_playback"}
    )


PCM, ULAW, OPUS = Encoding(), Encoding("g711_ulaw", 8000), Encoding("ogg_opus")
_READY = '{"t":"ready","provider":"p","model":"m","voice":"v","inputSampleRate":%d,"outputSampleRate":%d}'
_SPEKO = [Row("speko", Encoding(rate=rate), Encoding(rate=rate), (_READY % (rate, rate),), bytes, 20)
          for rate in (16000, 24000)]  # fmt: skip
ROWS = [
    openai("openai", "response.output_audio.delta", PCM),
    openai("openai", "response.output_audio.delta", ULAW),
    openai("openai-beta", "response.audio.delta", PCM),
    openai("outspeed", "response.audio.delta", PCM),
    Row("outspeed-legacy", PCM, PCM, (), envelope("data", type="audio", timestamp=1.5, sample_rate=24000)),
    *_SPEKO,
    Row("unmute", OPUS, OPUS, ('{"type":"session.updated","session":{}}', '{"type":"response.created"}'),
        envelope("delta", type="response.audio.delta", event_id="event_" + 21 * "x"), 20),
    delphi(PCM_MIME),
    delphi(MP3_MIME),
]  # fmt: skip


def speech(rate: int) -> bytes:
    """Return SECONDS of speech at a rate."""
    once = say(TEXT)
    samples = np.tile(once, SECONDS * SPOKEN_HZ // len(once) + 1)[: SECONDS * SPOKEN_HZ]
    return Resampler(SPOKEN_HZ, rate).process(samples).astype("<i2").tobytes()


def opened(row: Row) -> Dialect:
    """Return the row's dialect, in a session that is open and replies."""
    grant = Grant(
        row.dialect, "wss://x", input=row.up, output=row.down, session_id="s", session=dict(row.session)
    )
    dialect = DIALECTS[row.dialect](1, grant, (), 0.0)
    dialect.opening()
    for frame in row.opening:
        dialect.decode(frame)
    return dialect


def on_the_wire(frame: Frame, *, masked: bool) -> int:
    """Return a frame's bytes with WebSocket's own around them."""
    size = len(frame.encode() if isinstance(frame, str) else frame)
    return size + 2 + (0 if size < 126 else 2 if size < 1 << 16 else 8) + (4 if masked else 0)


def up(row: Row, pcm: bytes) -> tuple[float, float]:
    """Return ms of CPU and bytes for a second of the user's voice."""
    block = row.up.rate * 2 * UP_MS // 1000
    dialect = opened(row)
    encoder = make_encoder(row.up.encoding, row.up.rate)
    frames: list[Frame] = []
    began = time.process_time()
    for at in range(0, len(pcm), block):
        frames += [dialect.audio(sound) for sound in encoder.encode(pcm[at : at + block])]
    spent = time.process_time() - began
    return spent / SECONDS * 1000, sum(on_the_wire(frame, masked=True) for frame in frames) / SECONDS


def down(row: Row, frames: list[Frame]) -> tuple[float, float]:
    """Return ms of CPU and bytes for a second of a reply."""
    dialect = opened(row)
    decoder = make_decoder(row.mime or row.down.encoding, row.down.rate)
    got = 0
    began = time.process_time()
    for frame in frames:
        for one in dialect.decode(frame):
            if isinstance(one, ReplyAudio):
                got += len(decoder.decode(one.sound))
    got += len(decoder.flush())
    spent = time.process_time() - began
    if abs(got / 2 / decoder.rate - SECONDS) > 0.2:
        raise SystemExit(f"bench: of {SECONDS} s in {row.dialect}, {got / 2 / decoder.rate:.1f} s came out")
    return spent / SECONDS * 1000, sum(on_the_wire(frame, masked=False) for frame in frames) / SECONDS


def reply(row: Row, pcm: bytes) -> list[Frame]:
    """Return the frames of a reply, as the service sends them."""
    if row.mime == MP3_MIME:
        sound = encoded(pcm, MP3_MIME)
        size = len(sound) * row.piece_ms // (SECONDS * 1000)
        pieces = [sound[at : at + size] for at in range(0, len(sound), size)]
    else:
        encoder = make_encoder(row.down.encoding, row.down.rate)
        block = row.down.rate * 2 * row.piece_ms // 1000
        pieces = [piece for at in range(0, len(pcm), block) for piece in encoder.encode(pcm[at : at + block])]
    return [row.wrap(piece) for piece in pieces]


def measure(row: Row) -> dict[str, Any]:
    """Return one row of the table; what goes no way is None."""
    found: dict[str, Any] = {"dialect": row.dialect, "up": row.up.encoding, "up_hz": row.up.rate}
    voice = speech(row.up.rate)
    if row.up.encoding != "none":
        runs = [up(row, voice) for _ in range(RUNS)]
        found |= {"up_ms": min(ms for ms, _ in runs), "up_bytes": runs[0][1]}
    frames = reply(row, speech(row.down.rate))
    runs = [down(row, frames) for _ in range(RUNS)]
    found |= {"down": row.mime or row.down.encoding, "down_hz": row.down.rate}
    return found | {"down_ms": min(ms for ms, _ in runs), "down_bytes": runs[0][1]}


def line(found: dict[str, Any]) -> str:
    """Return one row as Markdown."""

    def way(name: str) -> tuple[str, str, str]:
        if f"{name}_ms" not in found:
            return "-", "-", "-"
        form = found[name].partition(";")[0]
        bits = found[f"{name}_bytes"] * 8 / 1000
        return f"{form} {found[f'{name}_hz'] // 1000} kHz", f"{found[f'{name}_ms']:.2f}", f"{bits:.0f}"

    return f"| {' | '.join((found['dialect'], *way('up'), *way('down')))} |"


def resampling(rate: int) -> float:
    """Return ms of CPU that a second of a 48 kHz card's sound takes to become `rate`."""
    sound = np.frombuffer(speech(CARD_HZ), "<i2")
    block = CARD_HZ * UP_MS // 1000
    best = float("inf")
    for _ in range(RUNS):
        resampler = Resampler(CARD_HZ, rate)
        began = time.process_time()
        for at in range(0, len(sound), block):
            resampler.process(sound[at : at + block])
        best = min(best, time.process_time() - began)
    return best / SECONDS * 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    found = [measure(row) for row in ROWS]
    if as_json:
        print(json.dumps(found, indent=1))
        return
    print(__doc__)
    print("| dialect | up | CPU ms/s | kbit/s | down | CPU ms/s | kbit/s |\n|---|---|---|---|---|---|---|")
    for one in found:
        print(line(one))
    beside = ", ".join(f"{rate // 1000} kHz {resampling(rate):.2f}" for rate in (24000, 16000, 8000))
    print(f"\nResampling from a card of 48 kHz comes on top, in ms/s: {beside}.")


if __name__ == "__main__":
    main()
