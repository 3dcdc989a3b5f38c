"""What rises is told from what goes up and down, and from nothing."""

from collections.abc import Callable, Sequence
from random import Random

import pytest

from interop.packet_strategies import repeatable
from soak.trend import second_half

INTERVAL = 5.0  # s
MIB = 1 << 20
Values = Sequence[float]


def measured(cycles: int, value: Callable[[int, Random], float], seed: int = 1) -> Values:
    random = repeatable(seed)
    return [value(cycle, random) for cycle in range(cycles)]


@pytest.mark.parametrize("cycles", [8, 12, 60, 360])
@pytest.mark.parametrize("seed", range(20))
def test_what_goes_up_and_down(cycles: int, seed: int) -> None:
    """Noise, and every fourth cycle other than the rest: no trend beyond what is allowed."""
    up_and_down = measured(cycles, lambda c, r: 50e6 + 3e4 * (c % 4) + r.gauss(0, 3e4), seed)
    assert not second_half(up_and_down, INTERVAL).rises(MIB / 4)
    constant = second_half(measured(cycles, lambda *_: 39), INTERVAL)
    assert (constant.slope, constant.rises(0)) == (0, False)


@pytest.mark.parametrize("seed", range(20))
def test_a_leak(seed: int) -> None:
    """Two percent an hour, beneath the noise, in half an hour."""
    leaks = measured(
        360,
        lambda c, r: 50e6 * (1 + 0.02 * c * INTERVAL / 3600) + 3e4 * (c % 4) + r.gauss(0, 3e4),
        seed,
    )
    trend = second_half(leaks, INTERVAL)
    assert 1.8 < trend.slope < 2.2
    assert trend.rise == pytest.approx(0.02 * 50e6 / 4, rel=0.1)
    assert trend.slope_at_least > 1
    assert not trend.rises(MIB / 3)  # 244 KiB
    assert trend.rises(MIB / 8)


def test_a_leak_in_a_minute() -> None:
    """A page for each fifty datagrams, of which there are 4,700 a cycle."""
    assert second_half(measured(12, lambda c, _: 50e6 + 94 * 4096 * c), INTERVAL).rises(2 * MIB)
    assert second_half(measured(12, lambda c, _: 6 + c // 2), INTERVAL).rises(0)  # descriptors


def test_the_first_half_does_not_count() -> None:
    warming_up = measured(120, lambda c, _: min(c, 58) * 5e5)
    assert second_half(warming_up, INTERVAL).slope == pytest.approx(0)


def test_too_few() -> None:
    with pytest.raises(ValueError, match="too few"):
        second_half(measured(4, lambda *_: 1), INTERVAL)
