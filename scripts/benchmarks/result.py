"""What every benchmark answers with, and how several runs become one figure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

# figure, unit, limit, limit_unit, ratio, samples; whatever else a benchmark knows stands beside them.
Result = dict[str, Any]


def result(
    figure: float, unit: str, limits: Sequence[float], limit_unit: str, samples: Sequence[float], **more: Any
) -> Result:
    """The answer of one benchmark. `limits` were measured in the same run, before and after; the limit is their mean,
    and `ratio` is figure / limit."""
    limit = statistics.fmean(limits)
    return {
        "figure": short(figure),
        "unit": unit,
        "limit": short(limit),
        "limit_unit": limit_unit,
        "limit_samples": [short(sample) for sample in limits],
        "ratio": short(figure / limit),
        "samples": [short(sample) for sample in samples],
        "spread": spread(samples),
        **more,
    }


def spread(samples: Sequence[float]) -> dict[str, float]:
    """Least, middle and most of several runs."""
    return {"min": short(min(samples)), "median": short(median(samples)), "max": short(max(samples))}


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
