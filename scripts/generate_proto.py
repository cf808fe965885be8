"""Generate the protobuf code from proto/chiptrace/v1/*.proto, or check that it is fresh (--check)."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = Path("proto/chiptrace/v1")
PLUGINS = Path(sys.executable).parent


def generate(target: Path) -> None:
    """Write the generated modules and their type stubs below `target`."""
    protos = sorted(str(path.relative_to(ROOT)) for path in (ROOT / FOLDER).glob("*.proto"))
    plugins = [f"--plugin={name}={PLUGINS / name}" for name in ("protoc-gen-mypy", "protoc-gen-mypy_grpc")]
    base = [sys.executable, "-m", "grpc_tools.protoc", "-I", "."]
    messages = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    services = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    subprocess.run([*base, *plugins, *messages, *protos], cwd=ROOT, check=True)
    subprocess.run([*base, *plugins, *services, str(FOLDER / "node.proto")], cwd=ROOT, check=True)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        fresh = sorted((Path(folder) / FOLDER).iterdir())
        if "--check" in sys.argv[1:]:
            stale = [
                path.name
                for path in fresh
                if not (ROOT / FOLDER / path.name).exists()
                or not filecmp.cmp(path, ROOT / FOLDER / path.name, shallow=False)
            ]
            if stale:
                print(f"Stale generated code: {', '.join(stale)}. Run: python scripts/generate_proto.py")
                return 1
            print(f"Generated code is fresh ({len(fresh)} files).")
            return 0
        for path in fresh:
            shutil.copyfile(path, ROOT / FOLDER / path.name)
    print(f"Wrote {len(fresh)} files to {FOLDER}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
