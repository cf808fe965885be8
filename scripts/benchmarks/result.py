"""What every benchmark answers with, and how several runs become one figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

# figure, unit, limit, limit_unit, ratio, samples; whatever else a benchmark knows stands beside them.
Result = dict[str, Any]


def result(
    figure: float, unit: str, limit: float, limit_unit: str, samples: Sequence[float], **more: Any
) -> Result:
    """The answer of one benchmark. `limit` was measured in the same run; `ratio` is figure / limit."""
    return {
        "figure": short(figure),
        "unit": unit,
        "limit": short(limit),
        "limit_unit": limit_unit,
        "ratio": short(figure / limit),
        "samples": [short(sample) for sample in samples],
        **more,
    }


def short(number: float) -> float:
    """Four digits that mean something."""
    return round(number) if abs(number) >= 1000 else float(f"{number:.4g}")


def percentile(samples: Sequence[float], part: float) -> float:
    """The smallest sample that at least this part of them (0 to 1) does not exceed."""
    ordered = sorted(samples)
    return ordered[max(0, math.ceil(part * len(ordered)) - 1)]


def median(samples: Sequence[float]) -> float:
    """The middle sample."""
    return float(statistics.median(samples))
