"""Many threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["at_once"]


def at_once(work: Callable[[int], object], count: int = 8) -> None:
    """``work(k)`` for every k below ``count``, each in a thread; an error in one comes out here."""
    errors: list[BaseException] = []

    def caught(k: int) -> None:
        try:
            work(k)
        except BaseException as error:  # noqa: BLE001  raised again below
            errors.append(error)

    threads = [threading.Thread(target=caught, args=(k,)) for k in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
