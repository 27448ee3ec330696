"""Run a function over many items in worker processes; Ctrl-C and errors leave none behind."""

import itertools
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from atat.common.cli import progress

Item = TypeVar("Item")
Result = TypeVar("Result")
_stop: Any = None  # the event that tells a worker process to end


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    num_jobs: int,
    *,
    total: int,
    desc: str,
    chunk_size: int = 16,
) -> Iterator[Result]:
    """Yield `function(item)` for each item, in order.

    Args:
        function: picklable (of module level, or a functools.partial of one); what it needs again
            for every item (a model, a table) it keeps in a cache of its own process.
        items: read lazily, a few chunks ahead of the workers, so there may be millions.
        num_jobs: worker processes; with 1 everything runs in this process.
        total: number of items, for the progress bar.
        desc: what the progress bar is called.
        chunk_size: items sent to a worker at a time.

    Raises:
        Whatever `function` raises first; ChildProcessError when a worker was killed or crashed.
        On any error, and on Ctrl-C, the workers end after the item they are at.
    """
    with progress(total=total, desc=desc) as bar:
        if num_jobs == 1:
            for item in items:
                yield function(item)
                bar.update()
            return
        source = iter(items)
        chunks = iter(lambda: list(itertools.islice(source, chunk_size)), [])
        with _pool(num_jobs) as pool:
            pending: deque[Future[list[Result]]] = deque()
            try:
                for chunk in chunks:
                    pending.append(pool.submit(_run_chunk, function, chunk))
                    # A few chunks a worker keep all of them busy and memory small.
                    if len(pending) >= 4 * num_jobs:
                        yield from _results(pending, bar)
                while pending:
                    yield from _results(pending, bar)
            except BrokenProcessPool as e:  # of a result, or of the next submission
                raise ChildProcessError(
                    "a worker process died (out of memory, killed, or a crash in a C library): "
                    "what was finished is kept, run the same command to go on"
                ) from e


def _results(pending: deque[Future[list[Result]]], bar: Any) -> list[Result]:
    results = pending.popleft().result()
    bar.update(len(results))
    return results


@contextmanager
def _pool(num_jobs: int) -> Iterator[ProcessPoolExecutor]:
    # spawn: a forked child of a process with threads (torch, onnxruntime, tqdm) can deadlock.
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    pool = ProcessPoolExecutor(num_jobs, context, initializer=_start_worker, initargs=(stop,))
    try:
        yield pool
    except BaseException:
        stop.set()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(stop: Any) -> None:
    global _stop
    _stop = stop
    # Ctrl-C reaches the whole process group; the parent alone decides and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # as this is a worker
    parent.join()
    os._exit(1)


def _run_chunk(function: Callable[[Item], Result], chunk: list[Item]) -> list[Result]:
    results = []
    for item in chunk:
        if _stop.is_set():
            break
        results.append(function(item))
    return results
