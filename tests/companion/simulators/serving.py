"""A simulator on a real port for all tests of a file: one engine, and a path for each mistake."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from starlette.applications import Starlette
from starlette.routing import Mount

from companion.local.engine import Engine
from companion.settings import LocalSettings
from companion.simulators import Options
from tests.companion.talk import http

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from starlette.routing import BaseRoute

S = TypeVar("S")


@contextmanager
def served(
    folder: Path,
    make: Callable[[Options, Engine], S],
    routes: Callable[[S], Sequence[BaseRoute]],
    mistakes: Iterable[str],
    engine: Engine | None = None,
) -> Iterator[str]:
    """Give the URL: "/" makes no mistake, "/MISTAKE" the one."""
    engine = engine or Engine(LocalSettings(), folder)
    plain = make(Options(folder), engine)
    wrong = {name: make(Options(folder, mistakes=frozenset({name})), engine) for name in sorted(mistakes)}

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        engine.warm()
        yield
        for one in (plain, *wrong.values()):
            if hasattr(one, "close"):
                await one.close()
        await engine.close()

    mounts = [Mount(f"/{name}", routes=[*routes(one)]) for name, one in wrong.items()]
    with http(Starlette(routes=[*mounts, *routes(plain)], lifespan=lifespan), lifespan="on") as url:
        yield url
