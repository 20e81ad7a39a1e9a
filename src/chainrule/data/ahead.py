"""Ahead: what is worked on next is made meanwhile, by a thread."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, TypeVar

__all__ = ["ahead"]

_Item = TypeVar("_Item")


def ahead(items: Iterator[_Item]) -> Generator[_Item, None, None]:
    """The same items, each made by a thread while the one before it is worked on: two are in memory.

    An exception of the thread is raised where its item was asked for; closing the iterator ends the thread.

    >>> list(ahead(iter("abc")))
    ['a', 'b', 'c']
    """
    import queue
    import threading

    ready: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
    taken, stopped = threading.Semaphore(0), threading.Event()

    def produce() -> None:
        try:
            for item in items:
                ready.put(("item", item))
                taken.acquire()
                if stopped.is_set():
                    return
            ready.put(("end", None))
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that asked
            ready.put(("error", error))

    thread = threading.Thread(target=produce, name="chainrule-ahead", daemon=True)
    thread.start()
    try:
        while True:
            what, value = ready.get()
            if what == "end":
                return
            if what == "error":
                raise value
            taken.release()
            yield value
    finally:
        stopped.set()
        taken.release()
        thread.join()
