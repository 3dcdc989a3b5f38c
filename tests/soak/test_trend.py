"""What rises is told from what goes up and down, and from nothing."""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from interop.packet_strategies import repeatable
from soak.trend import second_half

CYCLE = 5
MIB = 1 << 20
Values = Sequence[float]


def measured(seconds: int, value: Callable[[int, Random], float], seed: int = 1) -> Values:
    random = repeatable(seed)
    return [value(second, random) for second in range(seconds)]


@pytest.mark.parametrize("seconds", [60, 300, 1800])
@pytest.mark.parametrize("seed", range(20))
def test_what_goes_up_and_down(seconds: int, seed: int) -> None:
    """Load by the cycle, and noise: no trend beyond what is allowed."""
    up_and_down = measured(seconds, lambda s, r: 50e6 + 1e5 * (s % 5) + r.gauss(0, 3e4), seed)
    assert not second_half(up_and_down, 1, CYCLE).rises(MIB / 4)
    constant = second_half(measured(seconds, lambda *_: 39), 1, CYCLE)
    assert (constant.slope, constant.rises(0)) == (0, False)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak(seed: int) -> None:
    """Two percent an hour, beneath the load and the noise, in half an hour."""
    leaks = measured(
        1800, lambda s, r: 50e6 * (1 + 0.02 * s / 3600) + 1e5 * (s % 5) + r.gauss(0, 3e4), seed
    )
    trend = second_half(leaks, 1, CYCLE)
    assert 1.8 < trend.slope < 2.2
    assert trend.rise == pytest.approx(0.02 * 50e6 / 4, rel=0.1)
    assert trend.slope_at_least > 1
    assert not trend.rises(MIB / 4)  # 244 KiB
    assert trend.rises(MIB / 8)


def test_a_leak_in_a_minute() -> None:
    """A page for each hundred datagrams, of which there are 900 a second."""
    assert second_half(measured(60, lambda s, _: 50e6 + 9 * 4096 * s), 1, CYCLE).rises(MIB)
    assert second_half(measured(60, lambda s, _: 6 + s // 10), 1, CYCLE).rises(0)  # descriptors


def test_the_first_half_does_not_count() -> None:
    warming_up = measured(600, lambda s, _: min(s, 290) * 1e5)
    assert second_half(warming_up, 1, CYCLE).slope == pytest.approx(0)


def test_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        second_half(measured(28, lambda *_: 1), 1, CYCLE)
