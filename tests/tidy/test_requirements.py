"""The pinned requirements: hashed, without addresses, and the runtime's within the developers'."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def pins(name):
    text = (ROOT / "requirements" / f"{name}.txt").read_text().replace("\\\n", " ")
    return {line.split(";")[0].split("--hash")[0].strip(): line for line in text.splitlines() if "==" in line}


def test_every_pin_is_exact_and_hashed():
    for name in ("runtime", "dev"):
        found = pins(name)
        assert len(found) > 10
        for pin, line in found.items():
            assert re.fullmatch(r"[a-z0-9._-]+==[a-z0-9.]+", pin), pin
            assert "--hash=sha256:" in line, pin
            assert "://" not in line


def test_the_runtime_is_part_of_what_developers_install():
    assert pins("runtime").keys() <= pins("dev").keys()


def test_the_metadata_names_the_pinned_versions():
    declared = re.findall(
        r'^    "([A-Za-z0-9-]+==[0-9.]+)",$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE
    )
    assert len(declared) == 9
    assert {item.lower() for item in declared} <= {item.lower() for item in pins("runtime")}
