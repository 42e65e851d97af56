"""One virtual Pi: QEMU without KVM, its power, its plug and its network cable."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from typing import TYPE_CHECKING

from rig.rootfs import Unavailable
from rig.vpi.agent import Agent, GuestError

if TYPE_CHECKING:
    from pathlib import Path

    from rig.vpi.kernel import Kernel

COMPANION = "10.0.2.100"  # where the guest finds the host's companion; nothing else can be reached
COMPANION_PORT = 8790
BOOT_S = 240.0  # a shared machine boots it in 10 to 30 s
_OFF_S = 90.0
_DIAL_S = 10.0
_MEMORY_MB = 768
_KERNEL_OPTIONS = "quiet panic=-1 systemd.show_status=0 mitigations=off"


class Machine:
    """A virtual Pi on `disk`; what belongs to its run lies in `folder`, so another process finds it again.

    `steady`: the guest's clock waits for the guest, and its sound is whole; otherwise it boots faster and
    loses sound. `forward` is the port of this host's loopback that the guest sees as
    COMPANION:COMPANION_PORT.
    `folder` must be short: a socket's path has at most 107 bytes.
    """

    def __init__(
        self, folder: Path, disk: Path, kernel: Kernel, *, forward: int = 0, stick: Path | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.disk, self.kernel = folder, disk, kernel
        self.forward, self.stick, self.steady = forward, stick, True
        self.agent = Agent(folder / "agent.sock")
        self._pid_file = folder / "qemu.pid"
        self._child: subprocess.Popen[bytes] | None = None  # when it was this process that switched it on

    @property
    def on(self) -> bool:
        """Whether it has power."""
        return self._pid() is not None

    def boot(self, timeout_s: float = BOOT_S) -> float:
        """Power on and return the seconds until the guest answered. Raises GuestError, Unavailable."""
        began = time.monotonic()
        self.power_on()
        self.wait(timeout_s)
        return time.monotonic() - began

    def power_on(self) -> None:
        """Power on and return at once."""
        program, *board = self.kernel.processor.machine
        if not shutil.which(program):
            raise Unavailable(f"{program} is not installed: script/appliance installs it")
        if self.on:
            raise GuestError("the virtual Pi is on already")
        with (self.folder / "qemu.log").open("ab") as log, self._pid_file.open("w") as mark:
            fcntl.flock(mark, fcntl.LOCK_EX)  # QEMU inherits it: held for as long as it lives
            self._child = subprocess.Popen(
                [program, *board, *self._options()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[mark.fileno()],
                start_new_session=True,
            )
            mark.write(str(self._child.pid))

    def wait(self, timeout_s: float = BOOT_S) -> None:
        """Return once the guest answers. Raises GuestError."""
        deadline = time.monotonic() + timeout_s
        while True:
            if not self.on:
                raise GuestError(f"QEMU ended: {self._last_line()}")
            with contextlib.suppress(GuestError):
                self.agent.ask("hello", timeout_s=5.0)
                return
            if time.monotonic() > deadline:
                raise GuestError(
                    f"no answer within {timeout_s:.0f} s; the console is in {self.folder}/console.log"
                )
            time.sleep(0.1)

    def cut(self) -> None:
        """Pull the plug: nothing that was not yet on the disk will ever be. Safe to call twice."""
        self.agent.close()
        pid = self._pid()
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        self._gone(time.monotonic() + 10.0)
        self._pid_file.unlink(missing_ok=True)

    def off(self) -> None:
        """Shut down in good order; the plug is pulled on one that does not."""
        with contextlib.suppress(GuestError):
            self.agent.run("systemctl --no-block poweroff")
        self.agent.close()
        self._gone(time.monotonic() + _OFF_S)
        self.cut()

    def network(self, *, up: bool) -> None:
        """Plug the network cable in, or pull it out."""
        self._qmp("set_link", name="net", up=up)

    def _options(self) -> list[str]:
        net = "user,id=net0,restrict=on"
        if self.forward:
            net += f",guestfwd=tcp:{COMPANION}:{COMPANION_PORT}-cmd:socat - TCP:127.0.0.1:{self.forward}"
        # Its clock counts instructions (4 ns each) and waits while it is idle: however busy this host is, the
        # guest's sound is never late, and its clock goes at about 0.6 of ours while Pressel talks.
        clock = ["tcg,thread=single,tb-size=256", "-smp", "1", "-icount", "shift=2"]
        if not self.steady:
            clock = ["tcg,thread=multi,tb-size=256", "-smp", "2"]
        options = ["-accel", *clock]
        options += ["-m", str(_MEMORY_MB), "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
        options += ["-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initrd)]
        options += ["-append", f"console={self.kernel.processor.console} {_KERNEL_OPTIONS}"]
        options += ["-serial", f"file:{self.folder}/console.log"]
        options += [*_drive("disk", self.disk), "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        options += ["-chardev", f"socket,id=agent,path={self.folder}/agent.sock,server=on,wait=off"]
        options += ["-device", "virtserialport,chardev=agent,name=vpi"]
        options += ["-qmp", f"unix:{self.folder}/qmp.sock,server=on,wait=off"]
        options += ["-netdev", net, "-device", "virtio-net-pci,netdev=net0,id=net"]
        return options + (_drive("stick", self.stick) if self.stick else [])

    def _qmp(self, execute: str, **arguments: object) -> None:
        with _dial(self.folder / "qmp.sock") as line:
            file = line.makefile("rw")
            file.readline()
            for order in ({"execute": "qmp_capabilities"}, {"execute": execute, "arguments": arguments}):
                file.write(json.dumps(order) + "\n")
                file.flush()
                while not ({"return", "error"} & (said := json.loads(file.readline())).keys()):
                    pass  # an event in between
                if "error" in said:
                    raise GuestError(f"QEMU refused {order['execute']}: {said['error']['desc']}")

    def _pid(self) -> int | None:
        with contextlib.suppress(FileNotFoundError), self._pid_file.open() as mark:
            try:
                fcntl.flock(mark, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(mark.read() or 0) or None
        return None

    def _gone(self, deadline: float) -> None:
        while self.on and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._child is not None and not self.on:
            self._child.wait()

    def _last_line(self) -> str:
        lines = (self.folder / "qemu.log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "without a word"


def _dial(path: Path) -> socket.socket:
    """Connect to a socket that QEMU makes within moments of its start."""
    deadline = time.monotonic() + _DIAL_S
    while True:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(_DIAL_S)
        try:
            line.connect(str(path))
        except OSError as error:
            line.close()
            if time.monotonic() > deadline:
                raise GuestError(f"QEMU does not answer at {path}: {error}") from error
            time.sleep(0.05)
        else:
            return line


def _drive(name: str, file: Path) -> list[str]:
    drive = f"if=none,id={name},format=raw,file={file},cache=writeback"
    return ["-drive", drive, "-device", f"virtio-blk-pci,drive={name}"]
