"""Ogg pages: packets into pages and pages into packets, as they come over a network.

Source: RFC 3533 (the page, its checksum, lacing) and RFC 7845 (Opus in Ogg: the two header packets).
"""

from __future__ import annotations

import struct
import zlib

_CAPTURE = b"OggS"
_HEAD = struct.Struct("<4sBBqIIIB")  # capture, version, flags, granule, serial, number, checksum, segments
_CONTINUED, _FIRST = 1, 2  # flags
_LONGEST_PACKET = 61_440  # bytes; RFC 7845, section 6
_REVERSED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def page(packet: bytes, *, serial: int, number: int, granule: int, first: bool = False) -> bytes:
    """Return one page that holds one packet of at most 65 024 bytes; `granule`: samples at 48 kHz so far."""
    lacing = b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255])
    flags = _FIRST if first else 0
    head = _HEAD.pack(_CAPTURE, 0, flags, granule, serial, number, 0, len(lacing))
    checksum = _checksum(head + lacing + packet)
    return head[:22] + checksum.to_bytes(4, "little") + head[26:] + lacing + packet


class PageReader:
    """Finds the packets of one stream in bytes that are split anywhere.

    What is no page, or a damaged one, is skipped up to the next page and noted in `trouble`.
    """

    def __init__(self) -> None:
        self.trouble = ""
        self._held = b""
        self._packet = b""  # begun on an earlier page

    def feed(self, data: bytes) -> list[bytes]:
        """Return the packets that are complete now."""
        data, at = self._held + data, 0
        packets: list[bytes] = []
        while True:
            at = self._sync(data, at)
            end = _end(data, at)
            if end is None or end > len(data):
                break
            whole = data[at:end]
            if _checksum(whole[:22] + bytes(4) + whole[26:]) == int.from_bytes(whole[22:26], "little"):
                packets += self._split(whole)
                at = end
            else:
                self._note("a damaged Ogg page")
                at = _next(data, at + 1)
        self._held = data[at:]
        return packets

    def _sync(self, data: bytes, at: int) -> int:
        """Return where a page begins, or may begin once more has come."""
        if _CAPTURE.startswith(data[at : at + 4]):
            return at
        self._note("bytes that are no Ogg page")
        return _next(data, at + 1)

    def _note(self, what: str) -> None:
        self.trouble, self._packet = what, b""

    def _split(self, whole: bytes) -> list[bytes]:
        """Cut a page by its lacing: a value below 255 ends a packet."""
        segments = whole[26]
        at = _HEAD.size + segments
        packet = self._packet if whole[5] & _CONTINUED else b""
        packets = []
        for value in whole[_HEAD.size : at]:
            packet += whole[at : at + value]
            at += value
            if value < 255:
                packets.append(packet)
                packet = b""
        self._packet = packet[:_LONGEST_PACKET]
        return packets


def _end(data: bytes, at: int) -> int | None:
    """Return where the page at `at` ends, None until its head is there."""
    if len(data) < at + _HEAD.size:
        return None
    body = at + _HEAD.size + data[at + 26]
    return body + sum(data[at + _HEAD.size : body]) if len(data) >= body else None


def _next(data: bytes, at: int) -> int:
    """Return the first place from `at` on where a page begins; the end may hold a page's first bytes."""
    found = data.find(_CAPTURE, at)
    if found >= 0:
        return found
    tail = range(max(at, len(data) - 3), len(data))
    return next((n for n in tail if _CAPTURE.startswith(data[n:])), len(data))


def _checksum(data: bytes) -> int:
    """Return the CRC-32 of RFC 3533: polynomial 0x04C11DB7, from 0, not reflected.

    zlib's is the same polynomial reflected and inverted, and a hundred times faster than a loop.
    """
    reflected = zlib.crc32(data.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reflected:032b}"[::-1], 2)
