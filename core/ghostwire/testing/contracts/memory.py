"""How rules measure what an implementation keeps: what Python allocated, and what the process holds."""

from __future__ import annotations

import gc
import os
import tracemalloc


class Growth:
    """Memory taken since this was made, in a ``with`` block; it is slow meanwhile, as every allocation is noted."""

    def __enter__(self) -> Growth:
        self._mine = not tracemalloc.is_tracing()
        if self._mine:
            gc.collect()
            tracemalloc.start(1)
        self._traced, self._resident = tracemalloc.get_traced_memory()[0], _resident()
        return self

    def __call__(self) -> int:
        """Bytes held now and not before: Python's own count sees what is allocated anew in memory that was free, the
        system's sees what libraries in other languages keep."""
        gc.collect()
        return max(tracemalloc.get_traced_memory()[0] - self._traced, _resident() - self._resident)

    def __exit__(self, *caught: object) -> None:
        if self._mine:
            tracemalloc.stop()


def _resident() -> int:
    """Bytes of memory that this process holds; 0 where the system does not tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
