"""Whether what was measured again and again rises: a line fitted through the second half.

It goes through means, and its slope has an error: what is measured is not always alike.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import fmean

LIMIT = 1.0
"""Percent of its mean that a line may rise in an hour."""

_HOUR = 3600.0
# 97.5 % quantiles of Student's t distribution for 1, 2, ... degrees of freedom.
_T = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T_BEYOND = 2.1
# More than these means make the error no smaller: neighbouring values have to do with each other.
_MOST_MEANS = 12


@dataclass(frozen=True, slots=True)
class Trend:
    """A line through the second half of values; ``rise`` is what it rises by in that half.

    ``slope`` and the lower end of its 95 % confidence interval are in percent of the mean an hour.
    """

    mean: float
    rise: float
    slope: float
    slope_at_least: float

    def rises(self, allowed: float) -> bool:
        """Whether it certainly rises by more than LIMIT, and by more than ``allowed``.

        ``allowed`` is absolute: what a page more or less makes of a short time is no trend.
        """
        return self.slope_at_least > LIMIT and self.rise > allowed


def second_half(values: Sequence[float], interval: float) -> Trend:
    """Fit the line; ``interval`` (s) is between two values."""
    half = values[len(values) // 2 :]
    count = min(len(half), _MOST_MEANS)
    if count < 3:
        raise ValueError(f"{len(values)} values are too few")
    size = len(half) // count  # values of each mean
    half = half[len(half) - count * size :]
    means = [fmean(half[at : at + size]) for at in range(0, len(half), size)]
    step = size * interval
    per_second, error = _fit(means, step)
    mean = fmean(means)
    t = _T[count - 3] if count - 3 < len(_T) else _T_BEYOND
    percent = 100 * _HOUR / mean if mean else 0.0
    return Trend(
        mean, per_second * step * count, per_second * percent, (per_second - t * error) * percent
    )


def _fit(values: Sequence[float], step: float) -> tuple[float, float]:
    """Return the slope of the line of least squares, and its standard error."""
    count = len(values)
    times = [step * number for number in range(count)]
    middle, mean = fmean(times), fmean(values)
    square = sum((time - middle) ** 2 for time in times)
    slope = sum((t - middle) * (v - mean) for t, v in zip(times, values, strict=True)) / square
    left = sum((v - mean - slope * (t - middle)) ** 2 for t, v in zip(times, values, strict=True))
    return slope, sqrt(left / (count - 2) / square)
