"""The rates that sound comes at: from any other a resampler's filter would grow without bound."""

from __future__ import annotations

RATES_HZ = (8000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 88_200, 96_000, 192_000)
