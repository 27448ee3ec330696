"""The threads in which a service's model runs, and how many requests may wait for them."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


class Busy(Exception):
    """As many requests as may wait are there already."""


class Workers:
    """A pool of threads beside the event loop, and a bound on requests that wait for it."""

    def __init__(self, num_threads: int, max_waiting: int) -> None:
        """
        Args:
            num_threads: in which functions run.
            max_waiting: places at once, of requests that run or wait.
        """
        self.num_waiting, self._max_waiting = 0, max_waiting
        self._pool = ThreadPoolExecutor(num_threads, "model")

    @contextmanager
    def place(self) -> Iterator[None]:
        """A place for one request, from before its body is read until it is answered.

        Raises:
            Busy: there is none.
        """
        if self.num_waiting >= self._max_waiting:
            raise Busy(f"{self.num_waiting} requests are waiting already, try again later")
        self.num_waiting += 1
        try:
            yield
        finally:
            self.num_waiting -= 1

    async def run(self, function: Callable[[], T]) -> T:
        """What a function returns that runs in one of the threads; who is cancelled leaves the
        queue."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    def close(self) -> None:
        """End the threads when what they run is finished; what waits is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
