"""One event loop for the whole session (gRPC's asyncio layer belongs to one loop per process), one real chain."""

import asyncio

import pytest

from tests.node.network import RealChain


@pytest.fixture(scope="session")
def run():
    with asyncio.Runner() as runner:
        yield runner.run


@pytest.fixture(scope="session")
def session_chain(tmp_path_factory):
    real = RealChain(tmp_path_factory.mktemp("real") / "network")
    real.start()
    try:
        yield real
    finally:
        real.close()


@pytest.fixture
def chain(session_chain):
    """The real chain, whole again before each test."""
    session_chain.start()
    session_chain.in_step()
    return session_chain
