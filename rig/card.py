"""A virtual sound card for machines without one: a private PulseAudio daemon behind ALSA names."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Samples = NDArray[np.int16]

MIC = "rigmic"
SPEAKER = "rigspk"
SPEAKER_RATE = 48_000

_PACKAGES = "pulseaudio pulseaudio-utils libasound2-plugins"
_PLUGIN = "alsa-lib/libasound_module_pcm_pulse.so"
# The ALSA plugin asks for exactly these maps; with any other PulseAudio remixes and a capture is silent.
_MAPS = {
    1: "mono",
    2: "front-left,front-right",
    4: "front-left,front-right,rear-left,rear-right",
    6: "front-left,front-right,rear-left,rear-right,front-center,lfe",
    8: "front-left,front-right,rear-left,rear-right,front-center,lfe,side-left,side-right",
}


class CardError(Exception):
    """No virtual card here; the text names what is missing and the mend."""


class Utterance:
    """Something being said into the microphone, played by a process of its own."""

    def __init__(self, process: subprocess.Popen[bytes], started_at: float) -> None:
        self._process = process
        self.started_at = started_at  # monotonic seconds; the first sample is heard 30 to 80 ms later

    def wait(self, timeout_s: float = 60.0) -> None:
        """Return once the last sample has been played into the microphone."""
        self._process.wait(timeout_s)

    def stop(self) -> None:
        """Fall silent at once; safe to call twice."""
        _end(self._process)


class Recorder:
    """Everything the speaker plays, into a WAV file of 48 kHz mono."""

    def __init__(self, command: list[str], env: dict[str, str], path: Path) -> None:
        self.path = path
        self._bytes = 0
        self._first = threading.Event()
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._thread = threading.Thread(target=self._copy, name="card-recorder", daemon=True)
        # Monotonic seconds at which the first sample was played; a block can arrive late but never early,
        # so the smallest estimate is the best and `stop` leaves a better one than the start had.
        self.started_at = float("inf")
        self._thread.start()
        if not self._first.wait(10.0) or not self._bytes:
            self.stop()
            raise CardError("the virtual speaker gives nothing to record: is the card unplugged?")

    def stop(self) -> Path:
        """Finish the file and return its path; safe to call twice."""
        _end(self._process)
        self._thread.join(5.0)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self.path

    def _copy(self) -> None:
        assert self._process.stdout is not None  # noqa: S101  (a pipe was asked for)
        with self.path.open("wb") as file:
            file.write(wav_header(SPEAKER_RATE, 0))
            while block := os.read(self._process.stdout.fileno(), 65536):
                # The sink renders a block when it begins to play it, so its first sample is the newest fact.
                self.started_at = min(self.started_at, time.monotonic() - self._bytes / 2 / SPEAKER_RATE)
                self._bytes += len(block)
                file.write(block)
                self._first.set()
            file.seek(0)
            file.write(wav_header(SPEAKER_RATE, self._bytes))
        self._first.set()


class Card:
    """Two null sinks as a sound card: PCM `rigmic` hears what is fed, PCM `rigspk` can be recorded.

    Several cards can run at once; each has its own daemon, socket and ALSA configuration, which a process
    gets by running with `env`. `echo_ms` > 0 lets the microphone hear the speaker that much later.
    """

    def __init__(
        self,
        folder: Path,
        mic_channels: int = 2,
        mic_rate: int = 48_000,
        mic_format: str = "s32le",
        echo_ms: int = 0,
    ) -> None:
        if mic_channels not in _MAPS:
            raise CardError(f"a card of {mic_channels} channels cannot be made: take one of {sorted(_MAPS)}")
        self.folder = folder
        self.mic_channels, self.mic_rate, self.mic_format = mic_channels, mic_rate, mic_format
        self.echo_ms = echo_ms
        self.env: dict[str, str] = {}
        self._modules: list[str] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self._children: list[Utterance | Recorder] = []
        self._log: IO[bytes] | None = None
        self._runtime: Path | None = None

    def __enter__(self) -> Self:
        _require_pulseaudio()
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def feed(self, pcm: Samples, rate: int) -> Utterance:
        """Say mono PCM16 of `rate` Hz into every channel of the microphone in real time; does not block."""
        # A process with a file for input and 250 ms ahead keeps the pace even when everything else stalls.
        with tempfile.TemporaryFile(dir=self.folder) as file:
            file.write(np.repeat(pcm.astype("<i2", copy=False), self.mic_channels).tobytes())
            file.seek(0)
            command = ["pacat", "--playback", "--device=micfeed", "--raw", "--latency-msec=250"]
            command += ["--format=s16le", f"--rate={rate}", f"--channels={self.mic_channels}"]
            command += [f"--channel-map={_MAPS[self.mic_channels]}"]
            process = subprocess.Popen(command, env=self.env, stdin=file, stderr=subprocess.DEVNULL)
        utterance = Utterance(process, time.monotonic())
        self._children.append(utterance)
        return utterance

    def record(self, path: Path) -> Recorder:
        """Start recording the left channel of the speaker; returns once samples arrive."""
        command = ["parec", "--device=speaker.monitor", "--raw", "--latency-msec=10", "--format=s16le"]
        command += [f"--rate={SPEAKER_RATE}", "--channels=1", "--channel-map=front-left", "--no-remix"]
        recorder = Recorder(command, self.env, path)
        self._children.append(recorder)
        return recorder

    def unplug(self) -> None:
        """Pull the card out while it may be in use."""
        for module in reversed(self._modules):
            with contextlib.suppress(CardError):  # the ones that hang on another go with it
                self._pactl("unload-module", module)
        self._modules.clear()

    def replug(self) -> None:
        """Plug the card in again; returns once both sides run."""
        self._modules = [self._pactl("load-module", *line.split(" ", 1)) for line in self._module_lines()]
        self._pactl("set-default-sink", "speaker")
        self._pactl("set-default-source", "mic")
        for source in ("mic", "speaker.monitor"):
            self._wait_for_samples(source)

    def hang(self, hangs: bool) -> None:
        """Let reads of the microphone stand still; what is said meanwhile is lost."""
        for source in ("mic", "micfeed.monitor"):
            with contextlib.suppress(CardError):  # the first takes the other with it, or not
                self._pactl("suspend-source", source, str(int(hangs)))

    def crash(self) -> None:
        """Kill the sound server; the card has gone with it."""
        assert self._daemon is not None  # noqa: S101  (a card is used once it runs)
        self._daemon.kill()
        self._daemon.wait()
        self._modules.clear()

    def revive(self) -> None:
        """Start the sound server again; returns once both sides run."""
        self._serve()
        self.replug()

    def close(self) -> None:
        """Stop everything that this card started; safe to call twice."""
        for child in self._children:
            child.stop()
        self._children.clear()
        if self._daemon is not None:
            _end(self._daemon)
        if self._log is not None:
            self._log.close()
        if self._runtime is not None:
            shutil.rmtree(self._runtime, ignore_errors=True)
        self._daemon = self._log = self._runtime = None

    def _start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        # A socket's path is at most 107 bytes long, so it cannot live in just any folder.
        self._runtime = runtime = Path(tempfile.mkdtemp(prefix="card-"))
        self.env = _environment(runtime, self.folder / "asound.conf")
        (self.folder / "asound.conf").write_text(_alsa_config(runtime / "socket"))
        self._log = (self.folder / "pulseaudio.log").open("wb")
        self._serve()
        self.replug()

    def _serve(self) -> None:
        assert self._runtime is not None  # noqa: S101  (made by the caller)
        socket = self._runtime / "socket"
        socket.unlink(missing_ok=True)
        command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1"]
        command += ["--disable-shm=yes", "--realtime=no", "--high-priority=no", "--log-target=stderr"]
        command += ["-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
        self._daemon = subprocess.Popen(
            command, env=self.env, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        self._wait_for_daemon()

    def _wait_for_daemon(self) -> None:
        assert self._daemon is not None  # noqa: S101  (started by the caller)
        for _ in _attempts(10.0):
            if self._daemon.poll() is not None:
                break
            with contextlib.suppress(CardError):
                self._pactl("info")
                return
        raise CardError(f"pulseaudio does not answer: see {self.folder / 'pulseaudio.log'}")

    def _wait_for_samples(self, source: str) -> None:
        command = ["parec", f"--device={source}", "--raw", "--latency-msec=20"]
        with subprocess.Popen(
            command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as process:
            assert process.stdout is not None  # noqa: S101  (a pipe was asked for)
            watchdog = threading.Timer(10.0, process.kill)
            watchdog.start()
            got = process.stdout.read(4096)
            watchdog.cancel()
            process.kill()
        if not got:
            raise CardError(f"the virtual card's {source} gives no samples within 10 s")

    def _module_lines(self) -> Iterator[str]:
        channels = self.mic_channels
        shape = f"channels={channels} channel_map={_MAPS[channels]}"
        stereo = f"channels=2 channel_map={_MAPS[2]}"
        # Without norewinds a null sink renders in 2 s blocks: recordings have holes, captures start 2 s late.
        sink = "module-null-sink norewinds=1"
        yield f"{sink} sink_name=speaker format=s16le rate={SPEAKER_RATE} {stereo}"
        yield f"{sink} sink_name=micfeed format={self.mic_format} rate={self.mic_rate} {shape}"
        master = f"master=micfeed.monitor master_channel_map={_MAPS[channels]} remix=no"
        yield f"module-remap-source source_name=mic {master} {shape}"
        if self.echo_ms:
            echo = f"source=speaker.monitor sink=micfeed latency_msec={self.echo_ms}"
            yield f"module-loopback {echo} source_dont_move=yes sink_dont_move=yes"

    def _pactl(self, *arguments: str) -> str:
        done = subprocess.run(
            ["pactl", *arguments], env=self.env, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CardError(f"pactl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout.strip()


def wav_header(rate: int, data_bytes: int) -> bytes:
    """The 44 bytes before mono PCM16 samples."""
    size = (36 + data_bytes).to_bytes(4, "little")
    head = b"RIFF" + size + b"WAVEfmt " + (16).to_bytes(4, "little")
    layout = (1).to_bytes(2, "little") + (1).to_bytes(2, "little") + rate.to_bytes(4, "little")
    layout += (rate * 2).to_bytes(4, "little") + (2).to_bytes(2, "little") + (16).to_bytes(2, "little")
    return head + layout + b"data" + data_bytes.to_bytes(4, "little")


def _require_pulseaudio() -> None:
    tools = all(shutil.which(tool) for tool in ("pulseaudio", "pactl", "pacat", "parec"))
    plugin = any(Path("/usr").glob(f"lib*/{_PLUGIN}")) or any(Path("/usr").glob(f"lib/*/{_PLUGIN}"))
    if not (tools and plugin):
        raise CardError(f"the virtual sound card needs: apt-get install --no-install-recommends {_PACKAGES}")


def _environment(runtime: Path, alsa_config: Path) -> dict[str, str]:
    hidden = {"DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PULSE_SINK", "PULSE_SOURCE"}
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    return env | {
        "XDG_RUNTIME_DIR": str(runtime),
        "XDG_CONFIG_HOME": str(runtime / "config"),
        "PULSE_RUNTIME_PATH": str(runtime / "pulse"),
        "PULSE_STATE_PATH": str(runtime / "state"),
        "PULSE_COOKIE": str(runtime / "cookie"),
        "PULSE_SERVER": f"unix:{runtime / 'socket'}",
        "ALSA_CONFIG_PATH": str(alsa_config),
    }


def _alsa_config(socket: Path) -> str:
    # This replaces the system's configuration as a whole. PortAudio aborts Python without a default PCM.
    server = f'type pulse server "unix:{socket}"'
    return (
        f"pcm.{MIC} {{ {server} device mic handle_underrun 0 }}\n"
        f"pcm.{SPEAKER} {{ {server} device speaker handle_underrun 0 }}\n"
        f"pcm.default {{ type asym playback.pcm {SPEAKER} capture.pcm {MIC} }}\n"
        f"ctl.default {{ {server} }}\n"
    )


def _attempts(within_s: float) -> Iterator[None]:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        yield
        time.sleep(0.02)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(3.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
