"""One door a test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.unit.gateway.world import World


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A door with one key, one engine, and the services `support` and `minilm` on it."""
    async with World() as world:
        world.add_service("support", world.engine, limits={"timeout": "30s"})
        world.add_service("minilm", world.engine, task="Embed")
        world.apply()
        yield world
