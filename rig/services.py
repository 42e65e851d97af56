"""The realtime services of the demo and the tests: the simulator of each, and how a companion uses it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rig.processes import Companion, Simulator

if TYPE_CHECKING:
    from contextlib import ExitStack
    from pathlib import Path

_KEY = "simulated-key"


@dataclass(frozen=True)
class Service:
    """One row. `tables` is TOML for the companion, with {http}, {ws} and {key} for what the simulator has.

    `after_restart` is the rung that the next session stands on; `person` says how the user's words go up;
    `after_cut` is said after an interrupted story: a service that is not told of a cut cannot carry on.
    """

    simulator: str | None = None
    tables: str = '[endpoints.default]\nprovider = "local"'
    after_restart: Literal["live", "seeded", "fresh"] = "seeded"
    person: Literal["speaks", "writes"] = "speaks"
    after_cut: str = "carry on"


def _keyed(name: str, endpoint: str = "", provider: str = "") -> str:
    return (
        f'[endpoints.default]\nprovider = "{name}"\n{endpoint}\n\n'
        f'[providers.{name}]\nbase_url = "{{http}}"\nkey_file = "{{key}}"\n{provider}\n'
    )


_OPENAI_WEBRTC = '[endpoints.default.openai]\ntransport = "webrtc"'
_OVER_SOCKET = '[endpoints.default.outspeed]\ntransport = "websocket"'
_OVER_WEBRTC = '[endpoints.default.outspeed]\ntransport = "webrtc"'
_UNMUTE = (
    '[endpoints.default]\nprovider = "unmute"\nunmute = { character = "You are a friendly companion." }\n\n'
    '[providers.unmute]\nbase_url = "{http}"\n'
)
_DELPHI = '[endpoints.default.delphi]\nendpoint_id = "24599c70-1e79-4e52-9819-e2d97acf45a5"'

SERVICES: dict[str, Service] = {
    "local": Service(after_restart="live"),
    "openai": Service("openai", _keyed("openai")),
    "openai-webrtc": Service("openai-rtc", _keyed("openai", _OPENAI_WEBRTC)),
    "openai-beta": Service("openai-beta", _keyed("openai-beta")),
    "outspeed": Service(
        "outspeed", _keyed("outspeed", _OVER_SOCKET, 'realtime_url = "{ws}/v1/realtime"'), "live"
    ),
    "outspeed-webrtc": Service("outspeed-rtc", _keyed("outspeed", _OVER_WEBRTC), "live"),
    "speko": Service("speko", _keyed("speko"), "fresh"),
    "unmute": Service("unmute", _UNMUTE),
    "delphi": Service("delphi", _keyed("delphi", _DELPHI), "live", "writes", "tell me a story"),
}


def open_service(name: str, folder: Path, cleanup: ExitStack, *mistakes: str) -> Companion:
    """Start the service's simulator, if it has one, and a companion that uses it; `cleanup` ends both."""
    service = SERVICES[name]
    http = ""
    if service.simulator:
        http = cleanup.enter_context(Simulator(folder, service.simulator, *mistakes)).url
    key = folder / "service-key"
    key.touch(mode=0o600)
    key.write_text(_KEY)
    ws = http.replace("http", "ws", 1)
    tables = service.tables.replace("{http}", http).replace("{ws}", ws).replace("{key}", str(key))
    return cleanup.enter_context(Companion(folder, tables=tables))
