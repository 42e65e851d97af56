"""PCM16 between the wire's 24 kHz and the recogniser's 16 kHz."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

WIRE_HZ = 24_000
EAR_HZ = 16_000
WIRE_BYTES_PER_MS = WIRE_HZ * 2 // 1000
EAR_BYTES_PER_MS = EAR_HZ * 2 // 1000

_TAPS = 24  # for each of the two phases


def _phases() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return a low-pass at 7.2 kHz, designed at 48 kHz with a Kaiser window, split for 2 out of 3 samples."""
    n = np.arange(2 * _TAPS) - (2 * _TAPS - 1) / 2
    kernel = np.sinc(n * 2 * 7200 / 48_000) * np.kaiser(2 * _TAPS, 6.0)
    kernel *= 2 / kernel.sum()
    # Reversed, so that a window of input (oldest first) is multiplied straight.
    return kernel[0::2][::-1].astype(np.float32), kernel[1::2][::-1].astype(np.float32)


_EVEN, _ODD = _phases()


class ToEar:
    """A stream of 24 kHz PCM16 made 16 kHz: 3 samples in, 2 out, with no seam between blocks."""

    def __init__(self) -> None:
        self._held = np.zeros(_TAPS - 1, np.float32)

    def __call__(self, pcm: bytes) -> bytes:
        """Return what is ready; up to two samples wait for the next block."""
        x = np.concatenate([self._held, np.frombuffer(pcm, "<i2").astype(np.float32)])
        triples = (len(x) - _TAPS + 1) // 3
        if triples <= 0:
            self._held = x
            return b""
        windows = np.lib.stride_tricks.sliding_window_view(x, _TAPS)
        out = np.empty(2 * triples, np.float32)
        out[0::2] = windows[0 : 3 * triples : 3] @ _EVEN
        out[1::2] = windows[1 : 3 * triples : 3] @ _ODD
        self._held = x[3 * triples :]
        return np.clip(np.rint(out), -32768, 32767).astype("<i2").tobytes()


def pcm16(samples: npt.NDArray[np.float32]) -> bytes:
    """Return float samples (-1 to 1) as PCM16 bytes."""
    return np.clip(np.rint(samples * 32767), -32768, 32767).astype("<i2").tobytes()
