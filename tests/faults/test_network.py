"""The network's faults between a whole device and its server: each heals, and no word is lost."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from websockets.frames import Frame, Opcode

from tests.certificates import Authority
from tests.device.net.test_failures import tls_server
from tests.faults.wire import Wire, wire
from tests.servers import until
from tests.stage import WavDevice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path) as running:
        yield running


def test_a_cut_while_the_user_speaks_loses_and_doubles_nothing(line: Wire) -> None:
    line.press()
    line.heard(0.4)
    line.live.cut()
    line.release()
    line.told("lost the session")
    line.answered(1)
    assert len(line.server.sessions) == 2
    line.ask(2)


def test_a_cut_while_the_device_speaks_does_not_pretend_the_rest_and_a_press_works(tmp_path: Path) -> None:
    with wire(tmp_path, reply_s=3.0) as line:
        line.server.speed = 1.0
        line.press()
        line.release()
        line.reach("speaking")
        line.live.cut()
        line.told("lost the session while speaking")
        line.server.reply = line.server.reply[:7200]
        line.reach("idle", "ready")
        line.ask(2)


@pytest.mark.parametrize("stage", ["minting", "connecting"])
def test_a_cut_before_the_session_is_open_is_tried_again(line: Wire, stage: str) -> None:
    proxy = line.mint if stage == "minting" else line.live
    proxy.stall("down")
    line.press()
    until(lambda: proxy.connections == 1)
    proxy.cut()
    proxy.resume()
    line.release()
    line.answered(1)


def test_a_half_open_link_is_found_out_within_5_s_of_talk_and_the_words_are_kept(line: Wire) -> None:
    line.press()
    line.heard(0.3)
    line.live.black_hole()
    began = time.monotonic()
    line.told("nothing heard for 4.5 s")
    assert time.monotonic() - began < 7  # 5 s, and what a busy machine adds to seeing it
    line.live.resume()
    line.release()
    line.answered(1)


def test_a_half_open_link_at_rest_is_found_out_within_30_s(line: Wire) -> None:
    line.ask()
    line.live.black_hole()
    line.told("nothing heard for 25 s", 32)
    line.live.resume()
    line.ask(2)


@pytest.mark.parametrize("seconds", [0.5, 2.0])
def test_a_short_stall_keeps_the_session(line: Wire, seconds: float) -> None:
    line.press()
    line.heard(0.3)
    line.live.stall()
    timer = threading.Timer(seconds, line.live.resume)
    timer.start()
    line.release()
    line.answered(1)
    timer.join()
    assert len(line.server.sessions) == 1


def test_a_stall_of_10_s_is_a_lost_session_and_the_words_are_kept(line: Wire) -> None:
    line.press()
    line.heard(0.3)
    line.live.stall()
    timer = threading.Timer(10.0, line.live.resume)
    timer.start()
    line.told("nothing heard for 4.5 s")
    line.release()
    line.answered(1)
    timer.join()


def test_a_line_that_drips_is_given_up_and_tried_again(line: Wire) -> None:
    line.live.drip(5, "down")
    line.press()
    line.told("did not answer the handshake within 2 s")
    line.live.resume()
    line.release()
    line.answered(1)


def test_a_name_that_dns_does_not_know_is_told_and_tried_again(tmp_path: Path) -> None:
    backend = 'kind = "token"\nurl = "https://nowhere.invalid"\nrealtime_url = "wss://nowhere.invalid"\n'
    with WavDevice(tmp_path, None, "", backend) as device:
        device.ask("press")
        for _ in range(2):
            until(lambda: device.log.read_text().count("nowhere.invalid cannot be reached: DNS does not") > 1)
        assert device.ask("status")["state"] in ("connecting", "retrying")


CERTIFICATES = {
    "expired": ("127.0.0.1", (-9, -1), "its certificate has expired"),
    "clock in the past": ("127.0.0.1", (1, 9), "its certificate is not valid yet"),
    "wrong host": ("other.example", (-1, 1), "its certificate is for another"),
}


@pytest.mark.parametrize(("host", "days", "words"), CERTIFICATES.values(), ids=CERTIFICATES)
def test_a_certificate_that_is_not_right_is_told_and_never_taken(
    tmp_path: Path, host: str, days: tuple[int, int], words: str
) -> None:
    authority = Authority(tmp_path)
    with tls_server(authority.server(host, days)) as port:
        backend = (
            f'kind = "token"\nurl = "https://127.0.0.1:{port}"\nrealtime_url = "wss://127.0.0.1:{port}"\n'
        )
        device = WavDevice(tmp_path, None, "", backend)
        device._env.update(authority.env)
        with device:
            device.ask("press")
            until(lambda: device.log.read_text().count(f"TLS failed: {words}") > 1, 20)
            assert device.ask("status")["state"] in ("connecting", "retrying")


@pytest.mark.parametrize(
    ("status", "header", "words"),
    [
        (
            "200 OK",
            {"Content_Type": "text/html"},
            "text/html where JSON belongs; is this network's login page",
        ),
        (
            "403 Forbidden",
            {"Content_Type": "text/html"},
            "answered 403: Forbidden; is this network's login page (a captive portal) in between? Else check",
        ),
        ("302 Found", {"Location": "http://login.example/"}, "redirects to http://login.example/; is this"),
    ],
)
def test_a_captive_portal_is_told_and_the_words_wait(
    line: Wire, status: str, header: dict[str, str], words: str
) -> None:
    line.mint.answer(status, b"<html>Log in", **header)
    line.press()
    line.told(words)
    line.mint.resume()
    line.release()
    line.answered(1)


def test_a_proxy_s_502_at_the_session_s_socket_is_tried_again(line: Wire) -> None:
    line.live.answer("502 Bad Gateway", b"<html>")
    line.press()
    line.told("refused the session with HTTP 502")
    line.live.resume()
    line.release()
    line.answered(1)


def test_a_close_that_may_be_tried_again_keeps_the_words(line: Wire) -> None:
    codes = (1000, 1001, 1008, 1011, 1012, 1013)
    for number, code in enumerate(codes, 1):
        line.press()
        line.heard(0.2)
        line.server.peers[-1].close(code, "bye")
        line.told(f"closed the session with {code} bye")
        line.release()
        line.answered(number)


@pytest.mark.parametrize(
    ("payload", "words"), [(b"", "closed the session with 1005"), (b"\x03\xee", "Invalid close opcode 1006")]
)
def test_a_close_without_a_code_keeps_the_words(line: Wire, payload: bytes, words: str) -> None:
    line.press()
    line.heard(0.2)
    with suppress(OSError):
        line.server.peers[-1].socket.sendall(Frame(Opcode.CLOSE, payload).serialize(mask=False))
    line.told(words)
    line.release()
    line.answered(1)


@pytest.mark.parametrize("code", [3000, 4000])
def test_a_close_that_says_never_again_ends_the_talk_with_one_line_and_a_press_begins_anew(
    line: Wire, code: int
) -> None:
    line.press()
    line.heard(0.2)
    line.server.peers[-1].close(code, "no")
    line.told(f"closed the session with {code} no")
    line.release()
    line.reach("idle")
    line.ask(1)
