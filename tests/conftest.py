"""What holds for all tests: properties are judged by what they find, not by how busy the machine is; and nobody changes
a record that is only looked at."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from ledger import codec, state

settings.register_profile("chiptrace", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chiptrace")


@pytest.fixture(autouse=True)
def what_is_looked_at_stays_as_it_is() -> Iterator[None]:
    """`state.look` gives the same record to all: a test fails that leaves one different from its value."""
    kept, decode = {}, state._decoded

    def decoded(kind: type, value: bytes) -> object:
        return kept.setdefault((kind, value), decode.__wrapped__(kind, value))

    state._decoded = decoded
    yield
    state._decoded = decode
    assert all(codec.encode(record) == value for (_, value), record in kept.items())
