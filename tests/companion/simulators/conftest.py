"""One simulated Speko for all of its tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from companion.simulators.speko import MISTAKES, Speko, routes
from tests.companion.simulators.serving import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def speko(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One process, one engine: "/" without mistakes, "/MISTAKE" with one."""
    folder: Path = tmp_path_factory.mktemp("speko")
    with served(folder, Speko, routes, MISTAKES) as url:
        yield url
