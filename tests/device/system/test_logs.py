"""The log as its readers get it: parsed back, counted, and searched for what must not be in it."""

from __future__ import annotations

import io
import logging
import os
import re
import shlex
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

import pytest

from device.system.logs import KeyValue, Limited, Plain, set_up
from tests.servers import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def log_to(
    formatter: logging.Formatter, *, most: int = 10, window_s: float = 60.0
) -> Iterator[tuple[logging.Logger, io.StringIO, Limited]]:
    stream = io.StringIO()
    handler = Limited(stream, most=most, window_s=window_s)
    handler.setFormatter(formatter)
    logger = logging.getLogger("device.test")
    logger.setLevel(logging.INFO)
    logger.propagate = False
    logger.addHandler(handler)
    yield logger, stream, handler
    handler.close()
    logger.removeHandler(handler)
    logger.propagate = True


def fields(line: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in shlex.split(line))


def test_a_line_of_the_journal_is_keys_and_values_with_its_priority() -> None:
    with log_to(KeyValue(journal=True)) as (log, stream, _):
        log.warning("lost %s; connecting again", 'the "best" session')
        log.info("ready")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("<4>")
    assert fields(first[3:]) == {
        "level": "warning",
        "logger": "device.test",
        "msg": 'lost the "best" session; connecting again',
    }
    assert second == "<6>level=info logger=device.test msg=ready"


def test_without_a_journal_the_line_has_its_time() -> None:
    with log_to(KeyValue(journal=False)) as (log, stream, _):
        log.info("ready")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields(stream.getvalue())["time"])


@pytest.mark.parametrize("formatter", [KeyValue(journal=True), KeyValue(journal=False), Plain()])
def test_text_from_outside_is_one_bounded_line_that_no_terminal_obeys(formatter: logging.Formatter) -> None:
    with log_to(formatter) as (log, stream, _):
        log.warning("the server said %s", "\x1b]0;title\x07 a\nlevel=error msg=forged \r" + "x" * 1_000_000)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.rstrip("\n").isprintable()
    assert len(text) < 5000


@pytest.mark.parametrize("formatter", [KeyValue(journal=True), Plain()])
def test_a_secret_reaches_neither_line_nor_traceback(formatter: logging.Formatter) -> None:
    with log_to(formatter) as (log, stream, _):
        log.warning("wss://u:s3cretValue9@host/?key=s3cretValue9 refused")
        try:
            int("Authorization: Bearer s3cretValue9")
        except ValueError:
            log.exception("it died")
    assert "s3cretValue9" not in stream.getvalue()
    assert "ValueError" in stream.getvalue()


@pytest.mark.parametrize("formatter", [KeyValue(journal=True), Plain()])
def test_a_long_traceback_keeps_where_it_began_and_what_it_was(formatter: logging.Formatter) -> None:
    with log_to(formatter) as (log, stream, _):
        try:
            _deep(30)
        except ValueError:
            log.exception("it died")
    text = stream.getvalue()
    assert len(text) < 5000
    assert "Traceback" in text
    assert " characters … " in text
    assert text.rstrip('\n"').endswith("ValueError: the disk is gone: the end")


def _deep(left: int) -> None:
    """Fail with a traceback of many thousand characters."""
    try:
        _deep(left - 1) if left else int("many")
    except ValueError as error:
        raise ValueError("the disk is gone: the end") from error


@pytest.mark.parametrize("formatter", [KeyValue(journal=True), Plain()])
def test_a_long_line_keeps_its_end_which_has_the_mend(formatter: logging.Formatter) -> None:
    with log_to(formatter) as (log, stream, _):
        log.warning("the server said %s: try again later", "word " * 100_000)
    assert "WARNING device.test: the server" in stream.getvalue() or 'msg="the server' in stream.getvalue()
    assert stream.getvalue().rstrip('\n"').endswith(": try again later")
    assert len(stream.getvalue()) < 5000


def test_a_line_that_comes_again_and_again_is_counted_and_the_count_is_told_at_the_window_s_end() -> None:
    with log_to(Plain(), most=3, window_s=1.0) as (log, stream, _):
        for number in range(60):
            log.warning("lost the session %d times", number)
        log.warning("something else")
        until(lambda: "times more" in stream.getvalue())
    lines = stream.getvalue().splitlines()
    assert len([line for line in lines if re.search(r"\d times$", line)]) == 3
    assert any("something else" in line for line in lines)
    [told] = [line for line in lines if "times more" in line]
    assert re.fullmatch(r"WARNING device.test: … 57 times more in \d+ s: lost the session # times", told)


def test_what_was_held_back_is_told_at_the_end_too() -> None:
    with log_to(Plain(), most=1) as (log, stream, _):
        for _ in range(5):
            log.error("again")
    assert "… 4 times more" in stream.getvalue()


def test_a_flood_of_different_lines_is_bounded() -> None:
    with log_to(Plain(), most=2) as (log, stream, handler):
        for number in range(3000):
            log.info("line %s", "".join(chr(97 + int(digit)) for digit in str(number)))
        assert len(handler._counts) <= 1001
    assert "times more" in stream.getvalue()


def test_after_the_window_the_line_is_written_again() -> None:
    with log_to(Plain(), most=1, window_s=0.05) as (log, stream, handler):
        log.info("beat")
        began = handler._began_at
        log.info("beat")
        until(lambda: handler._began_at != began)
        log.info("beat")
        assert stream.getvalue().count("device.test: beat") == 2


def test_the_stream_decides_the_form(tmp_path: Path) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        with (tmp_path / "log").open("w+") as stream:
            facts = os.fstat(stream.fileno())
            journal = {"JOURNAL_STREAM": f"{facts.st_dev}:{facts.st_ino}"}
            for environ in (journal, {"JOURNAL_STREAM": "1:1"}):
                _say(stream, environ)
            stream.seek(0)
            first, second = stream.read().splitlines()
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert first.startswith("<6>level=info")
    assert second.startswith("time=")


def _say(stream: TextIO, environ: dict[str, str]) -> None:
    set_up(stream, environ.get)
    logging.getLogger("device.test").info("ready")


def test_a_wrong_format_loses_no_line() -> None:
    with log_to(Plain()) as (log, stream, _):
        log.info("%d things", "many")
    assert "%d things" in stream.getvalue()
    assert "many" in stream.getvalue()


def test_its_lines_come_out_while_stderr_is_put_aside(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before, level = list(root.handlers), root.level
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    handler = set_up(environ=lambda _: None)
    assert handler.stream is not sys.stderr
    try:
        os.dup2(nowhere, 2)  # as PortAudio's driver does while a library complains
        logging.getLogger("device.test").warning("the microphone has stood still")
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
        root.handlers[:] = before
        root.setLevel(level)
        handler.stream.close()
    assert "the microphone has stood still" in capfd.readouterr().err
