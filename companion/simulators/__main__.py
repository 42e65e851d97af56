"""`python -m companion.simulators NAME`: serve one simulator on loopback until told to stop."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import tempfile
from pathlib import Path

import uvicorn

from companion.errors import ConfigError
from companion.serve import MAX_FRAME_BYTES, Announcing, listen, url_of
from companion.simulators import KEY, Options

NAMES = ("openai", "openai-beta", "openai-rtc", "outspeed", "outspeed-rtc", "speko", "unmute", "delphi")


def main() -> int:
    """Serve; the URL is printed once it answers."""
    parser = argparse.ArgumentParser("python -m companion.simulators", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--folder", type=Path, help="what it remembers; a temporary one when not given")
    parser.add_argument("--key", default=KEY, help="the long-lived key it takes")
    parser.add_argument("--mistake", action="append", default=[], help="a mistake to make; may be repeated")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    module = importlib.import_module(f"companion.simulators.{given.name.replace('-', '_')}")
    unknown = set(given.mistake) - set(module.MISTAKES)
    if unknown:
        parser.error(f"{given.name} cannot make the mistake {min(unknown)}; {', '.join(module.MISTAKES)}")
    with tempfile.TemporaryDirectory(prefix="pressel-sim-") as scratch:
        app = module.build(Options(given.folder or Path(scratch), given.key, frozenset(given.mistake)))
        try:
            bound = listen("127.0.0.1", given.port)
        except ConfigError as error:
            parser.error(str(error))
        settings = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            lifespan="on",
            ws="websockets-sansio",
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,
            timeout_graceful_shutdown=1,
        )
        line = json.dumps({"url": url_of(bound)})
        Announcing(settings, lambda: print(line, flush=True)).run(sockets=[bound])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
