"""Real EPCIS documents written by others, read where they lie beside the project; tests skip where they do not.

Nothing of it is copied into the project (its licences differ; see docs/epcis.md).
"""

from functools import cache
from pathlib import Path

import jsonschema
import pytest

from client import epcis_json

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT.parent / "shared" / "epcis"
SAMPLES = sorted((ROOT / "docs" / "samples").glob("*.jsonld"))

needs_material = pytest.mark.skipif(not FOLDER.is_dir(), reason=f"no EPCIS documents at {FOLDER}")


def files(*folders: str) -> list[Path]:
    """The documents of some folders; empty where the material is absent."""
    return sorted(path for folder in folders for path in (FOLDER / folder).glob("*.json*"))


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


@cache
def schema() -> jsonschema.Draft7Validator:
    """The EPCIS 2.0 JSON schema, as an oracle. Formats are not checked by it."""
    text = (FOLDER / "schema" / "EPCIS-JSON-Schema.json").read_bytes()
    return jsonschema.Draft7Validator(epcis_json.parse(text))


def refused_by_schema(document: epcis_json.Json) -> list[str]:
    """The schema's errors, without the one kind in which it is narrower than the standard's text.

    A sensor report must have a type in the schema; by the standard, a type or an exception.
    """
    found = []
    for error in schema().iter_errors(document):
        in_report = len(error.absolute_path) > 1 and list(error.absolute_path)[-2] == "sensorReport"
        excepted = isinstance(error.instance, dict) and "exception" in error.instance
        if not (in_report and excepted and error.message == "'type' is a required property"):
            found.append(f"{'/'.join(map(str, error.absolute_path))}: {error.message[:100]}")
    return found
