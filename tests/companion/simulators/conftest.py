"""One simulated Speko for all of its tests."""

from __future__ import annotations

import threading
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from companion.local.engine import Engine
from companion.serve import Announcing, listen, url_of
from companion.settings import LocalSettings
from companion.simulators import Options
from companion.simulators.speko import MISTAKES, Speko, routes
from tests.companion.simulators.speko_socket import WAIT_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def speko(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One process, one engine: "/" without mistakes, "/MISTAKE" with one."""
    folder: Path = tmp_path_factory.mktemp("speko")
    with _serving(folder) as url:
        yield url


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    engine = Engine(LocalSettings(), folder)
    mounts = [
        Mount(f"/{name}", routes=routes(Speko(Options(folder, mistakes=frozenset({name})), engine)))
        for name in sorted(MISTAKES)
    ]

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        await engine.close()

    app = Starlette(routes=[*mounts, *routes(Speko(Options(folder), engine))], lifespan=lifespan)
    bound, ready = listen("127.0.0.1", 0), threading.Event()
    settings = uvicorn.Config(app, log_config=None, access_log=False, ws="websockets-sansio")
    serving = Announcing(settings, ready.set)
    thread = threading.Thread(target=serving.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        assert ready.wait(WAIT_S)
        yield url_of(bound)
    finally:
        serving.should_exit = True
        thread.join(WAIT_S)
        bound.close()
