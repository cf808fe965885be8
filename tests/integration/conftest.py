"""One test network for the whole package; each test leaves it as whole as it found it."""

import shutil

import pytest

from node.processes import Processes
from tests.integration.testbed import DOCUMENTS, Testbed, leftover


@pytest.fixture(scope="package")
def bed(tmp_path_factory):
    """Two chains and a relayer, up; the first chain may take the documents of others in."""
    home = tmp_path_factory.mktemp("acceptance")
    found = Testbed(home)
    grants = [word for path in DOCUMENTS if path.exists() for word in ("--grant-for", path)]
    try:
        found.up = found.done("testnet", "up", *grants)
        yield found
        # Here the user removes it; nothing of it may stay.
        assert found.chiptrace("testnet", "reset").code == 0
        assert not found.directory.exists()
        assert not leftover(str(home))
    finally:
        if found.directory.exists():
            processes = Processes(found.directory)
            processes.stop(list(processes.running()))
            shutil.rmtree(found.directory, ignore_errors=True)
