"""A function applied by several threads: results in order, errors, and an early end."""

import threading
import time
from collections.abc import Callable
from itertools import count, islice

import pytest

from retis_py.process.share import threaded_map


def slow_at_first(number: int) -> int:
    time.sleep(0.02 if number % 2 == 0 else 0)
    return number * number


def test_results_are_in_the_order_of_the_arguments() -> None:
    expected = [(number, number * number) for number in range(20)]
    assert list(threaded_map([slow_at_first] * 3, range(20))) == expected
    assert list(threaded_map([slow_at_first] * 3, [])) == []


def test_no_function_is_in_two_threads_at_a_time() -> None:
    def own() -> Callable[[int], bool]:
        lock = threading.Lock()

        def alone(_: int) -> bool:
            if not lock.acquire(blocking=False):
                return False
            time.sleep(0.001)
            lock.release()
            return True

        return alone

    assert all(result for _, result in threaded_map([own(), own()], range(50)))


def test_errors_are_raised_in_their_turn() -> None:
    def inverse(number: int) -> float:
        return 1 / (3 - number)

    results = threaded_map([inverse, inverse], count())
    assert [result for _, result in islice(results, 3)] == [1 / 3, 1 / 2, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_whoever_wants_no_more_leaves_no_thread() -> None:
    before = threading.active_count()
    results = threaded_map([slow_at_first] * 2, count())
    assert next(results) == (0, 0)
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
