"""A function applied to many arguments by several processes or threads, results in order."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

from retis_py.errors import RetisError
from retis_py.held_signals import held_signals

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

_AHEAD = 2  # arguments given to a process beyond the one whose result is waited for
_NO_MORE = object()

Argument = TypeVar("Argument")
Result = TypeVar("Result")


def shared_map(
    function: Callable[[Argument], Result], arguments: Iterable[Argument], processes: int
) -> Iterator[tuple[Argument, Result]]:
    """Iterate over (argument, result), in the order of the arguments.

    With several processes the function gets into them by fork, with whatever it holds; arguments
    and results are pickled. They are taken turn by turn, so the work should be of about equal size.
    What the function raises is raised here; a child killed from outside is a RetisError too.
    """
    if processes <= 1:
        for argument in arguments:
            yield argument, function(argument)
        return
    workers = [_Worker(function) for _ in range(processes)]
    waiting: deque[Argument] = deque()
    taken = 0
    try:
        for given, argument in enumerate(arguments):
            workers[given % processes].give(argument)
            waiting.append(argument)
            if len(waiting) > processes * _AHEAD:
                yield waiting.popleft(), workers[taken % processes].take()
                taken += 1
        while waiting:
            yield waiting.popleft(), workers[taken % processes].take()
            taken += 1
    finally:
        for worker in workers:
            worker.stop()


def threaded_map(
    functions: Sequence[Callable[[Argument], Result]], arguments: Iterable[Argument]
) -> Iterator[tuple[Argument, Result]]:
    """Iterate over the same, by a thread for each function, of which each does the same.

    It is for functions that release Python's lock. No function is in two threads at a time.
    """
    free: SimpleQueue[Callable[[Argument], Result]] = SimpleQueue()
    for function in functions:
        free.put(function)

    def apply(argument: Argument) -> Result:
        function = free.get()
        try:
            return function(argument)
        finally:
            free.put(function)

    waiting: deque[tuple[Argument, Future[Result]]] = deque()

    def results(left: int) -> Iterator[tuple[Argument, Result]]:
        while len(waiting) > left:
            argument, result = waiting.popleft()
            yield argument, result.result()

    with ThreadPoolExecutor(len(functions)) as threads:
        try:
            for argument in arguments:
                waiting.append((argument, threads.submit(apply, argument)))
                yield from results(len(functions) * _AHEAD)
            yield from results(0)
        finally:
            threads.shutdown(cancel_futures=True)


class _Worker:
    """A child process that applies the function to what is given to it, in that order."""

    def __init__(self, function: Callable[[Any], Any]) -> None:
        # Takes a while to import, and most files need no second process.
        from multiprocessing import get_context  # noqa: PLC0415

        context = get_context("fork")
        self._pipe, theirs = context.Pipe()
        self._process: BaseProcess = context.Process(
            target=_serve, args=(theirs, self._pipe, function), daemon=True
        )
        # Ctrl-C is the parent's to handle, from the child's first instruction on.
        with held_signals([signal.SIGINT]):
            self._process.start()
        theirs.close()

    def give(self, argument: Any) -> None:
        self._talk(lambda: self._pipe.send(argument))

    def take(self) -> Any:
        result = self._talk(self._pipe.recv)
        if isinstance(result, Exception):
            raise result
        return result

    def stop(self) -> None:
        """End the child, whatever it does."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()

    def _talk(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except (EOFError, OSError):
            message = (
                "a process that helped to read the events was killed; was memory short?"
                " '--jobs 1' does without"
            )
            raise RetisError(message) from None


def _serve(pipe: "Connection", parents: "Connection", function: Callable[[Any], Any]) -> None:
    """Be the child: a result for each argument, until nobody asks any more."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    parents.close()
    arguments: SimpleQueue[Any] = SimpleQueue()
    Thread(target=_receive, args=(pipe, arguments), daemon=True).start()
    try:
        while (argument := arguments.get()) is not _NO_MORE:
            try:
                result = function(argument)
            except Exception as error:  # the parent's to handle
                result = error
            pipe.send(result)
    except OSError:
        pass
    finally:
        # At once: the streams hold what the parent wrote before, and it would come twice.
        os._exit(0)


def _receive(pipe: "Connection", arguments: "SimpleQueue[Any]") -> None:
    """Take arguments as they come: the parent must not wait for us while we wait for it."""
    try:
        while True:
            arguments.put(pipe.recv())
    except (EOFError, OSError):
        arguments.put(_NO_MORE)
