"""Ogg pages, written and read."""

from __future__ import annotations

import io

import av
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.codecs.ogg import PageReader, page

PACKETS = [b"OpusHead", b"x" * 255, b"y" * 700, b"", b"z"]


def pages(packets: list[bytes]) -> list[bytes]:
    return [
        page(packet, serial=7, number=n, granule=960 * n, first=n == 0) for n, packet in enumerate(packets)
    ]


def test_a_page_is_as_the_rfc_draws_it() -> None:
    whole = page(b"\x01" * 300, serial=0x01020304, number=5, granule=1920)
    assert whole[:6] == b"OggS\0\0"
    assert whole[6:14] == (1920).to_bytes(8, "little")
    assert whole[14:22] == bytes([4, 3, 2, 1, 5, 0, 0, 0])
    assert whole[26:29] == bytes([2, 255, 45])
    assert page(b"", serial=1, number=0, granule=0, first=True)[5] & 2


def test_the_checksum_is_that_of_the_rfc() -> None:
    """Bit by bit, as the RFC says it: polynomial 0x04C11DB7, from 0, highest bit first."""
    whole = page(b"some sound", serial=1, number=2, granule=3)
    remainder = 0
    for byte in whole[:22] + bytes(4) + whole[26:]:
        remainder ^= byte << 24
        for _ in range(8):
            remainder = (remainder << 1 ^ (0x04C11DB7 if remainder & 1 << 31 else 0)) & 0xFFFFFFFF
    assert int.from_bytes(whole[22:26], "little") == remainder


@given(st.lists(st.integers(1, 60), max_size=60))
def test_bytes_may_be_split_anywhere(sizes: list[int]) -> None:
    reader, stream, found = PageReader(), b"".join(pages(PACKETS)), []
    for size in sizes:
        found += reader.feed(stream[:size])
        stream = stream[size:]
    assert found + reader.feed(stream) == PACKETS
    assert not reader.trouble


def test_a_packet_may_go_over_several_pages() -> None:
    first, second = page(b"a" * 510, serial=1, number=0, granule=0), page(b"b", serial=1, number=1, granule=0)
    open_end = _resealed(first[:26] + bytes([2, 255, 255]) + b"a" * 510)
    continued = _resealed(second[:5] + b"\x01" + second[6:])
    reader = PageReader()
    assert reader.feed(open_end) == []
    assert reader.feed(continued) == [b"a" * 510 + b"b"]


def _resealed(whole: bytes) -> bytes:
    from device.codecs.ogg import _checksum  # noqa: PLC0415 # only to build what the writer never writes

    bare = whole[:22] + bytes(4) + whole[26:]
    return whole[:22] + _checksum(bare).to_bytes(4, "little") + whole[26:]


@pytest.mark.parametrize("garbage", [b"RIFF and more of it", b"Ogg", b"OggOggOgg", b"OggS" + bytes(200)])
def test_garbage_is_skipped_to_the_next_page(garbage: bytes) -> None:
    reader, (first, *more) = PageReader(), pages(PACKETS)
    found = reader.feed(first) + reader.feed(garbage) + reader.feed(b"".join(more))
    assert found == PACKETS
    assert reader.trouble


def test_a_damaged_page_is_dropped_alone() -> None:
    reader, (first, second, *more) = PageReader(), pages(PACKETS)
    second = second[:-1] + b"?"
    assert reader.feed(first + second + b"".join(more)) == [PACKETS[0], *PACKETS[2:]]
    assert "damaged" in reader.trouble


@given(st.binary(max_size=400))
def test_whatever_comes_the_next_pages_are_found(garbage: bytes) -> None:
    reader = PageReader()
    reader.feed(garbage)
    reader.feed(bytes(70_000))  # as much as a head in the garbage can have promised
    assert reader.feed(b"".join(pages(PACKETS))) == PACKETS


def test_another_reader_takes_the_pages() -> None:
    head = b"OpusHead" + bytes([1, 1, 0, 0]) + (24_000).to_bytes(4, "little") + bytes(3)
    tags = b"OpusTags" + bytes(8)
    stream = b"".join(pages([head, tags, *[b"\xd8\xff\xfe"] * 50]))
    with av.open(io.BytesIO(stream), "r") as container:
        assert container.format.name == "ogg"
        assert len([packet for packet in container.demux() if packet.size]) == 50
