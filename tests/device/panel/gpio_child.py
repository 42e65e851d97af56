"""A process with a GPIO panel: options as JSON in argv, orders on stdin, edges and facts on stdout."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any, NoReturn

sys.path.insert(0, str(Path(__file__).parents[3]))

from device.errors import PanelError
from device.panel.apa102 import Chain
from device.panel.gpio import GpioPanel


def tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def no_edges(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError("Failed to add edge detection")  # the classic package's words on a kernel from 6.6 on


def no_input(_: int) -> NoReturn:
    raise RuntimeError("GPIO not allocated")


def edge(line: str, active: bool, at: float) -> None:
    tell(line=line, active=active, at=at)
    raise KeyError("the listener has a bug")


def main(options: dict[str, Any]) -> None:
    refused = options.pop("refuse_edges", False)
    if "chain" in options:
        options["chain"] = Chain(**options["chain"])
    try:
        panel = GpioPanel(**options)
    except PanelError as error:
        tell(error=str(error), cwd=str(Path.cwd()))
        return
    from RPi import GPIO  # noqa: PLC0415  # to break it

    if refused:
        GPIO.add_event_detect = no_edges
    panel.start(edge)
    tell(mode=panel.mode, cwd=str(Path.cwd()))
    for order in sys.stdin:
        verb, *words = order.split()
        match verb:
            case "show":
                panel.show(*words)
            case "close":
                panel.close()
            case "break":
                GPIO.input = no_input
        tell(done=verb)
    panel.close()


if __name__ == "__main__":
    logging.basicConfig(stream=sys.stderr, level=logging.INFO)
    main(json.loads(sys.argv[1]))
    os._exit(0)  # lgpio's thread does not end by itself
