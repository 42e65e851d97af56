"""What all local sessions share outlives each of them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from companion.local.engine import Engine
from companion.settings import LocalSettings

if TYPE_CHECKING:
    from pathlib import Path


def test_a_client_that_hangs_up_while_the_models_load_takes_nothing_from_the_others(tmp_path: Path) -> None:
    async def talk() -> None:
        engine = Engine(LocalSettings(), tmp_path)
        loading = engine.warm()
        impatient = asyncio.create_task(engine.take_decoder())
        await asyncio.sleep(0)  # it waits now
        impatient.cancel()
        with pytest.raises(asyncio.CancelledError):
            await impatient
        assert not loading.cancelled()
        await engine.give_back(await engine.take_decoder())
        assert await engine.speak("Ready.", 1.0)
        await engine.close()

    asyncio.run(talk())
