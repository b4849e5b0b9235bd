"""How fast the machine is right now: a fixed piece of work, timed between the measurements."""

import hashlib
import os
import time

ARITHMETIC = bytes(range(256)) * 4096  # 1 MiB through SHA-256
MEMORY = bytearray(32 << 20)  # copied: more than a cache
# A moment this much slower than the best one is a busy one.
QUIET = 1.15


class Calibration:
    """The best moment so far, and how others compare."""

    def __init__(self, core: int):
        self.core, self.best = core, None

    @staticmethod
    def kernel() -> tuple[float, float, float]:
        """Seconds of arithmetic, of memory, and of both by the wall clock beyond CPU time (others had the core)."""
        wall, begin = time.perf_counter(), time.thread_time()
        for _ in range(4):
            hashlib.sha256(ARITHMETIC).digest()
        middle = time.thread_time()
        bytes(MEMORY)
        end = time.thread_time()
        return middle - begin, end - middle, (time.perf_counter() - wall) - (end - begin)

    def now(self) -> dict:
        """The state of the machine: the least of three tries, so that a stray interrupt does not count."""
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {self.core})
        tries = [self.kernel() for _ in range(3)]
        os.sched_setaffinity(0, before)
        state = {"arithmetic_ms": min(t[0] for t in tries) * 1e3, "memory_ms": min(t[1] for t in tries) * 1e3,
                 "stolen_ms": min(t[2] for t in tries) * 1e3}
        if self.best is None:
            self.best = dict(state)
        for key in ("arithmetic_ms", "memory_ms"):
            self.best[key] = min(self.best[key], state[key])
        return state

    def quiet(self, *states: dict) -> bool:
        """Whether all of these moments were about as fast as the best."""
        return all(state[key] <= QUIET * self.best[key]
                   for state in states for key in ("arithmetic_ms", "memory_ms"))
