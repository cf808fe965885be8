"""How many files a node takes for itself, and how many it leaves to whoever connects."""

import resource
import subprocess
import sys

import pytest

TELL = "from node import open_files; open_files.allow(); import resource; print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], open_files.connections_max())"


def allowed(soft, hard):
    """What a process says that may open so many files, and may allow itself so many."""
    return subprocess.run(
        [sys.executable, "-c", TELL],
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard)),
    )


@pytest.mark.parametrize(
    ("soft", "hard", "files", "connections"),
    [
        (256, 256, 256, 64),
        (256, 1_024, 1_024, 256),
        (4_096, 4_096, 4_096, 1_024),
        (5_000, 5_000, 5_000, 1_024),
    ],
)
def test_a_node_allows_itself_what_it_may_and_ports_a_part_of_it(soft, hard, files, connections):
    assert allowed(soft, hard).stdout.split() == [str(files), str(connections)]


def test_too_few_files_are_said_before_anything_begins():
    ended = allowed(255, 255)
    assert ended.returncode == 1
    assert "may open 255 files" in ended.stderr
    assert "ulimit -n 4096" in ended.stderr
