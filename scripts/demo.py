"""Set up and run the main job: `python3 scripts/demo.py [--epcis FILE] [--keep]`.

Two chains, a relayer, a wafer that becomes a drive unit, an audit that checks every step, and five lies caught.
"""

from __future__ import annotations

import os
import sys

from environment import ROOT, prepare


def main() -> None:
    python = prepare("runtime")
    os.chdir(ROOT)
    os.execv(python, [python, "scripts/demo_story.py", *sys.argv[1:]])


if __name__ == "__main__":
    main()
