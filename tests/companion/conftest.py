"""One companion with the local provider for all tests that only talk to it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.companion.talk import Client, Running, running, session

if TYPE_CHECKING:
    from collections.abc import Iterator

_LOCAL = """
[endpoints.default]
provider = "local"
[providers.local]
max_sessions = 16
"""


@pytest.fixture(scope="session")
def companion(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("companion"), _LOCAL, "mints_per_minute = 6000") as one:
        yield one


@pytest.fixture
def client(companion: Running) -> Iterator[Client]:
    """A push-to-talk session that is open."""
    with session(companion.grant()) as one:
        yield one


@pytest.fixture
def open_mic(companion: Running) -> Iterator[Client]:
    """A session in which the server finds the turns."""
    with session(companion.grant(mode="open_mic", turn_end="server")) as one:
        yield one
