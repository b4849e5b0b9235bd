"""When the machine itself stood still. The host of a virtual machine may take its CPUs away for a second and more; leases then
rightly expire, and a lab that ran meanwhile says nothing of the engines. A `Witness` knows when that was.

    with Witness() as witness:
        witness.stood_still(since, until)  # seconds of time.monotonic()

On every CPU a child sleeps and looks how late it wakes. Nothing that a lab starts can hold it up: it runs before everything that
is SCHED_OTHER, and its memory is locked where that is allowed, so that it does not wait for a disk either.
"""
import contextlib
import ctypes
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass

from .shell import SCRIPTS, stop

PERIOD_S = 0.02
LIMIT_S = 0.25  # a quarter of a lease; what a busy host takes from its guests every day is far less
PRIORITY = 98  # 99 is the kernel's own
ANSWER_S = 10.0  # a child that says nothing for so long is not waited for
LOCK_ALL = 1 | 2  # MCL_CURRENT | MCL_FUTURE


@dataclass(frozen=True)
class Stall:
    """From when to when (seconds of time.monotonic()) these CPUs stood still."""
    begin: float
    end: float
    cpus: tuple[int, ...]

    @property
    def ms(self) -> int:
        return round((self.end - self.begin) * 1e3)

    def __str__(self) -> str:
        return f"{self.ms} ms (CPU {', '.join(map(str, self.cpus))})"


class Watcher:
    """The child of one CPU, seen from the parent. Asked, it answers after everything that it has noticed."""

    def __init__(self, cpu: int, priority: int):
        self.cpu, self._asked, self._rest = cpu, 0, b""
        self.process = subprocess.Popen([sys.executable, "-m", "lab.stalls", str(cpu), str(priority)], cwd=SCRIPTS, bufsize=0,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)

    def noticed(self) -> list[Stall]:
        """What it has noticed since it was asked last. It answers once its CPU goes on: a stall that lasts is waited for."""
        self._asked += 1
        self.process.stdin.write(b"asked %d\n" % self._asked)
        words = [line.split() for line in self.hear(f"asked {self._asked}")]
        return [Stall(float(line[1]), float(line[2]), (self.cpu,)) for line in words if line[0] == "stall"]

    def hear(self, last: str) -> list[str]:
        """What it says up to the line `last`, which must come."""
        lines, deadline = [], time.monotonic() + ANSWER_S
        while last not in lines:
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError("it does not answer")
            heard = os.read(self.process.stdout.fileno(), 65536)
            if not heard:
                raise OSError(" ".join(lines) or "it has ended")
            *whole, self._rest = (self._rest + heard).split(b"\n")
            lines += [line.decode() for line in whole]
        return lines

    def close(self) -> None:
        self.process.stdin.close()
        stop(self.process)
        self.process.stdout.close()


class Witness:
    """Watches every CPU that this process may run on, from enter to exit. Where it may not, it sees nothing and says so."""

    def __init__(self, priority: int = PRIORITY):
        self._priority, self.watchers, self._seen = priority, [], []

    def __enter__(self):
        try:
            for cpu in sorted(os.sched_getaffinity(0)):
                self.watchers.append(Watcher(cpu, self._priority))
            for watcher in self.watchers:
                watcher.hear("ready")
        except BaseException as error:
            self.__exit__()
            if not isinstance(error, OSError):
                raise
            print(f"no witness: {error}; failures stand as they are", flush=True)
        return self

    def __exit__(self, *_):
        for watcher in self.watchers:
            watcher.close()
        self.watchers = []

    def stood_still(self, since: float, until: float) -> list[Stall]:
        """When the machine stood still, as far as it was between `since` and `until`; CPUs that did so together are one stall."""
        for watcher in list(self.watchers):
            try:
                self._seen += watcher.noticed()
            except OSError as error:
                print(f"no witness on CPU {watcher.cpu} any more: {error}; failures stand as they are", flush=True)
                watcher.close()
                self.watchers.remove(watcher)
        return together([stall for stall in self._seen if stall.begin < until and stall.end > since])


def together(stalls: list[Stall]) -> list[Stall]:
    """Those that overlap, as one."""
    found = []
    for stall in sorted(stalls, key=lambda s: s.begin):
        if found and stall.begin <= found[-1].end:
            last = found.pop()
            stall = Stall(last.begin, max(last.end, stall.end), tuple(sorted({*last.cpus, *stall.cpus})))
        found.append(stall)
    return found


def watch(cpu: int, priority: int) -> None:
    """The child: asleep, and for every wake-up that is too late a line. It ends when the pipe that it is asked through is closed,
    however the parent ended."""
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    ctypes.CDLL(None).mlockall(LOCK_ALL)  # where that is refused, waiting for a disk would look like a stall; it hardly ever waits
    asked = select.poll()
    asked.register(0, select.POLLIN)
    os.write(1, b"ready\n")
    last = time.monotonic()
    while True:
        heard = asked.poll(PERIOD_S * 1e3)
        now = time.monotonic()
        if now - last > PERIOD_S + LIMIT_S:
            os.write(1, b"stall %r %r\n" % (last + PERIOD_S, now))
        last = now
        if heard:
            said = os.read(0, 4096)
            if not said:
                return
            os.write(1, said)


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        try:
            watch(int(sys.argv[1]), int(sys.argv[2]))
        except OSError as refused:
            os.write(1, f"it may not run at SCHED_FIFO: {refused}\n".encode())
