"""One event loop for the whole session: gRPC's asyncio layer belongs to one loop per process."""

import asyncio

import pytest


@pytest.fixture(scope="session")
def run():
    with asyncio.Runner() as runner:
        yield runner.run
