"""The hand inside the virtual Pi: runs commands, pulls GPIO lines and watches them, for the host.

One JSON object a line over a virtio serial port, each way. A request is {"id", "do", …}, its answer has the
same id. What takes time is a job: "start" gives its number at once, "job" tells whether it has ended. A
request tells the host's time as well, and with --set-clock the clock here is set by it, as by a time server.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

_LINES = Path("/run/vpi/lines")  # names the folder of the simulated chip's lines
_WATCH_S = 0.005
_WRONG_S = 1.0
_ALONE_S = 0.05  # between two looks for a host while none is connected

_jobs: dict[int, dict[str, Any]] = {}


def start(ask: dict[str, Any]) -> dict[str, Any]:
    """Start a shell command with `input` (base64) on its stdin."""
    return {"job": _begin(lambda: _run(ask["command"], base64.b64decode(ask.get("input", ""))))}


def watch(ask: dict[str, Any]) -> dict[str, Any]:
    """Take down, for `seconds`, when the line had which level: [[monotonic seconds, level], …]."""
    return {"job": _begin(lambda: {"levels": _levels(ask["line"], time.monotonic() + ask["seconds"])})}


def job(ask: dict[str, Any]) -> dict[str, Any]:
    """Tell how a job ended, or that it has not; it is forgotten once told."""
    found = _jobs[ask["job"]]
    return _jobs.pop(ask["job"]) if found else {"running": True}


def pull(ask: dict[str, Any]) -> dict[str, Any]:
    """Pull a line up or down, as a button or a resistor does."""
    (_line(ask["line"]) / "pull").write_text("pull-up" if ask["up"] else "pull-down")
    return {"at": time.monotonic()}


def control(ask: dict[str, Any]) -> dict[str, Any]:
    """Ask Pressel's control socket one thing: a new interpreter for `pressel ctl` costs seconds here."""
    with socket.socket(socket.AF_UNIX) as line:
        line.settimeout(5.0)
        line.connect(ask["path"])
        line.sendall(json.dumps(ask["request"]).encode() + b"\n")
        return {"answer": json.loads(line.makefile().readline())}


def hello(_ask: dict[str, Any]) -> dict[str, Any]:
    """Say that the guest is up."""
    return {"kernel": os.uname().release, "machine": os.uname().machine, "up_s": time.monotonic()}


_DOES = {"start": start, "watch": watch, "job": job, "pull": pull, "control": control, "hello": hello}


def _begin(work: Any) -> int:
    number = max(_jobs, default=0) + 1
    _jobs[number] = {}
    threading.Thread(target=lambda: _jobs.update({number: _try(work)}), daemon=True).start()
    return number


def _try(work: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = work()
    except Exception as error:  # noqa: BLE001  # told to the host, which decides
        return {"error": repr(error)}
    return found


def _run(command: str, given: bytes) -> dict[str, Any]:
    done = subprocess.run(  # noqa: S602  # the host's own shell commands are what this is for
        command, shell=True, input=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False
    )
    return {"status": done.returncode, "output": base64.b64encode(done.stdout).decode()}


def _line(number: int) -> Path:
    return Path(_LINES.read_text().strip()) / f"sim_gpio{number}"


def _levels(number: int, until: float) -> list[tuple[float, int]]:
    found: list[tuple[float, int]] = []
    with (_line(number) / "value").open() as file:
        while (now := time.monotonic()) < until:
            file.seek(0)
            level = int(file.read())
            if not found or level != found[-1][1]:
                found.append((now, level))
            time.sleep(_WATCH_S)
    return found


def _set_clock(now: float) -> None:
    if "--set-clock" in sys.argv and abs(now - time.time()) > _WRONG_S:
        time.clock_settime(time.CLOCK_REALTIME, now)


def _answer(line: bytes) -> bytes:
    try:
        ask = json.loads(line)
        _set_clock(ask["time"])
        said = _try(lambda: _DOES[ask["do"]](ask))
        return json.dumps({"id": ask["id"], **said}).encode() + b"\n"
    except (ValueError, KeyError, TypeError):  # half a line of a host that went away
        return b""


def _serve(port: int) -> None:
    rest = b""
    while True:
        data = os.read(port, 1 << 16)
        if not data:
            time.sleep(_ALONE_S)
            continue
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            said = _answer(line)
            while said:
                said = said[os.write(port, said) :]


if __name__ == "__main__":
    _serve(os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY))
