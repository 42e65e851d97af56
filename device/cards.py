"""Both sides of the sound card that the configuration names: open, or waited for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from device.audio.health import Health
from device.audio.plug import Plug, PlugInput, PlugOutput
from device.errors import ConfigError, FormatError

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.chaos import Chaos
    from device.config import AudioConfig
    from device.core.events import Side
    from device.ports import AudioInput, AudioOutput

MICROPHONE: Side = "microphone"
SPEAKER: Side = "speaker"


class Owner(Protocol):
    """Whom the card reports to, in the thread of the side that it is about."""

    def card_lost(self, side: Side, reason: str) -> None:
        """There is no card for this side; said once, until it is back."""

    def card_back(self, side: Side) -> None:
        """The card works again."""

    def microphone_dead(self, reason: str | None) -> None:
        """The microphone is open and gives what no microphone gives; None: it lives again."""


def open_cards(audio: AudioConfig, owner: Owner, chaos: Chaos | None = None) -> tuple[PlugInput, PlugOutput]:
    """Open both sides. One that is not there is reported and looked for by its thread, once that runs.

    Raises ConfigError when a card is there and does not take what the configuration asks of it.
    """
    make_input, make_output = _wav(audio) if audio.driver == "wav" else _portaudio(audio)
    source = Plug(
        lambda: chaos.microphone(make_input()) if chaos else make_input(), *_reports(owner, MICROPHONE)
    )
    sink = Plug(lambda: chaos.speaker(make_output()) if chaos else make_output(), *_reports(owner, SPEAKER))
    try:
        source.open()
        sink.open()
    except FormatError as error:
        source.close()
        raise ConfigError(str(error)) from error
    microphone, speaker = audio.input, audio.output
    plugged = PlugInput(source, microphone.rate_hz, microphone.channels, microphone.format)
    channel = None if microphone.channel == "mix" else microphone.channel
    plugged.health = Health(microphone.rate_hz, channel, microphone.dead_after_s, owner.microphone_dead)
    return plugged, PlugOutput(sink, speaker.rate_hz)


def _reports(owner: Owner, side: Side) -> tuple[Callable[[str], None], Callable[[], None]]:
    return lambda reason: owner.card_lost(side, reason), lambda: owner.card_back(side)


Makers = tuple["Callable[[], AudioInput]", "Callable[[], AudioOutput]"]


def _portaudio(audio: AudioConfig) -> Makers:
    from device.audio.portaudio import (  # noqa: PLC0415 # only the driver in use is loaded
        PortAudioInput,
        PortAudioOutput,
    )

    def make_input() -> AudioInput:
        own = audio.input
        return PortAudioInput(own.device, own.rate_hz, channels=own.channels, sample_format=own.format)

    def make_output() -> AudioOutput:
        own = audio.output
        return PortAudioOutput(
            own.device, own.rate_hz, channels=own.channels, sample_format=own.format, rests=own.rests
        )

    return make_input, make_output


def _wav(audio: AudioConfig) -> Makers:
    from device.audio.wavfile import WavInput, WavOutput  # noqa: PLC0415 # the same

    opened = 0

    def make_input() -> AudioInput:
        nonlocal opened
        own = audio.input
        made = WavInput(
            Path(own.device),
            own.rate_hz,
            channels=own.channels,
            sample_format=own.format,
            from_end=opened > 0,  # what was said to a microphone that was out is not heard later
        )
        opened += 1
        return made

    return make_input, lambda: WavOutput(Path(audio.output.device), audio.output.rate_hz)
