"""Room on the disk and the clock are looked after, and said once when they change."""

import shutil
from types import SimpleNamespace

import pytest

from node.machine_checks import MachineChecks, free_bytes


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A node's checks, with `free` bytes left on its disks and its clock `offset` away from the others'."""
    world = SimpleNamespace(free={"data": 1_000, "keys": 1_000}, refused=[])

    def usage(directory):
        return SimpleNamespace(free=world.free[directory.name])

    for name in world.free:
        (tmp_path / name).mkdir()
    monkeypatch.setattr(shutil, "disk_usage", usage)
    config = SimpleNamespace(data_dir=tmp_path / "data", key_dir=tmp_path / "keys", disk_free_bytes_min=500)
    world.status = SimpleNamespace(not_admitting="", clock_offset_ms=None)
    admission = SimpleNamespace(refuse=world.refused.append)
    world.checks = MachineChecks(config, world.status, admission)
    return world


@pytest.mark.parametrize("disk", ["data", "keys"])
def test_a_disk_nearly_full_closes_admission_until_there_is_room(machine, disk, caplog):
    caplog.set_level("INFO")
    machine.checks.check()
    assert (machine.refused, machine.status.not_admitting) == ([], "")
    machine.free[disk] = 499
    for _ in range(3):
        machine.checks.check()
    assert len(machine.refused) == 1
    assert "499 bytes left" in machine.status.not_admitting
    assert f"/{disk} " in machine.refused[0]
    machine.free[disk] = 500
    machine.checks.check()
    assert machine.refused[1:] == [""]
    assert machine.status.not_admitting == ""
    assert [record.message for record in caplog.records] == [
        "the disk is nearly full",
        "there is room on the disk again",
    ]


def test_a_wrong_clock_is_said_once_and_when_it_is_right_again(machine, caplog):
    caplog.set_level("INFO")
    for offset in (None, 100, 9_000, 9_001, 10, -3_000):
        machine.status.clock_offset_ms = offset
        machine.checks.check()
    assert [record.message for record in caplog.records] == [
        "the clock is wrong",
        "the clock is right again",
        "the clock is wrong",
    ]
    assert "9000 ms behind" in caplog.records[0].cause


def test_a_directory_that_is_not_made_yet_is_judged_by_its_parent(tmp_path):
    assert free_bytes(tmp_path / "not" / "yet") > 0
