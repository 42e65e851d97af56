"""Both ends of the line: the hand as a process here, the host's end over a socket as QEMU has it."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import threading
import tty
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rig import vpi
from rig.vpi.agent import Agent, GuestError

if TYPE_CHECKING:
    from collections.abc import Iterator

_HAND = Path(vpi.__file__).parent / "guest/usr/local/lib/vpi/agent.py"


class _Qemu:
    """Carries bytes between one client at a time and the guest's port, a pseudo terminal here."""

    def __init__(self, path: Path) -> None:
        self._near, far = os.openpty()
        tty.setraw(far)
        self.port = os.ttyname(far)
        self._far = far
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(str(path))
        self._server.listen(1)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with client:
                self._carry(client)

    def _carry(self, client: socket.socket) -> None:
        while True:
            ready = select.select([client.fileno(), self._near], [], [])[0]
            if self._near in ready:
                client.sendall(os.read(self._near, 4096))
            if client.fileno() in ready:
                if not (data := client.recv(4096)):
                    return
                os.write(self._near, data)

    def close(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5.0)
        os.close(self._far)
        os.close(self._near)


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    path = tmp_path / "agent.sock"
    qemu = _Qemu(path)
    hand = subprocess.Popen([sys.executable, str(_HAND), qemu.port])
    one = Agent(path)
    yield one
    one.close()
    hand.kill()
    hand.wait()
    qemu.close()


def test_a_command_gets_its_input_and_gives_status_and_output(agent: Agent) -> None:
    done = agent.run("cat; echo oops >&2; exit 3", b"\x00\xffbytes ")
    assert (done.status, done.raw) == (3, b"\x00\xffbytes oops\n")
    assert agent.run("echo §").output == "§\n"


def test_more_than_a_buffer_comes_whole(agent: Agent) -> None:
    given = os.urandom(300_000)
    assert agent.run("cat", given).raw == given


def test_other_questions_are_answered_while_a_command_runs(agent: Agent) -> None:
    slow = agent.begin("read line; echo $line", b"")
    assert agent.run("echo quick").output == "quick\n"
    assert slow.wait().output == "\n"


def test_a_command_that_does_not_end_is_told(agent: Agent) -> None:
    with pytest.raises(GuestError, match="has not ended within"):
        agent.begin("sleep 5").wait(timeout_s=0.1)


def test_what_cannot_be_done_is_told(agent: Agent) -> None:
    with pytest.raises(GuestError, match="could not pull: FileNotFoundError"):
        agent.ask("pull", line=23, up=True)


def test_the_next_host_is_served_after_one_hung_up(agent: Agent) -> None:
    agent.run("true")
    agent.close()
    assert agent.run("echo again").output == "again\n"


def test_a_guest_that_is_off_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(GuestError, match="does not answer"):
        Agent(tmp_path / "nothing.sock").ask("hello")
