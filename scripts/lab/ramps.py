"""Faults of a1 itself and of the machine under it: what a level between 0 (nothing) and 1 (surely broken) means for each kind.

Levels map geometrically where a fault spans orders of magnitude, so that a shape is felt over its whole length. None of
this says when the service fails: that is measured.
"""
import subprocess

from .faults import Plan
from .rig import Rig
from .rigfault import RigFault, geometric
from .shell import PYTHON, now_ms, stop

HEAP_ROOM_MB = 96
POOL = 8191
GROUP_SHARE = 0.6  # of a CPU, for a1 and its neighbour together


class Mbufs(RigFault):
    """a1 leaks packet buffers until its pool is empty."""

    def set_level(self, level: float) -> None:
        self.rig.fault("mbufs", int(POOL * level))


class Burn(RigFault):
    """a1 spends ever more time on each packet: 2 µs to 2.5 ms."""

    def set_level(self, level: float) -> None:
        self.rig.fault("burn", int(geometric(2e3, 2.5e6, level)))


class Heap(RigFault):
    """a1 leaks memory under its cgroup's limit until the kernel kills it."""

    def start(self) -> None:
        with open(f"/proc/{self._engine.pid}/oom_score_adj", "w") as score:
            score.write("1000")
        group = self.rig.group
        group.forbid_swap()
        group.set_memory_limit(group.memory_used() + (HEAP_ROOM_MB << 20))
        super().start()

    def set_level(self, level: float) -> None:
        self.hold(int(1.1 * HEAP_ROOM_MB * level))
        self._note_death()

    def hold(self, megabytes: int) -> None:
        """So much is taken now."""
        self.rig.fault("heap", megabytes)

    def hard_failure(self) -> None:
        """A MiB more every 20 ms, until the kernel has acted."""
        held = int(1.1 * HEAP_ROOM_MB)
        while self.moments.hard_ms is None and not self._cancel.is_set():
            held += 1
            self.hold(held)
            self._note_death()
            self._cancel.wait(0.02)


class Neighbour(RigFault):
    """Other processes of a1's cgroup want more and more of the CPU time that they share with it."""

    def start(self) -> None:
        group = self.rig.group
        group.set_cpu_share(GROUP_SHARE)
        self._hogs = [subprocess.Popen([*group.join(), PYTHON, "-c", HOG], stdin=subprocess.PIPE, text=True)
                      for _ in range(2)]
        super().start()

    def set_level(self, level: float) -> None:
        for hog in self._hogs:
            hog.stdin.write(f"{level}\n")
            hog.stdin.flush()

    def lift(self) -> None:
        for hog in self._hogs:
            stop(hog, 1)
            hog.stdin.close()
        self._hogs = []
        self.rig.group.set_cpu_share(None)


# Busy for a share of every 10 ms; the share comes over standard input.
HOG = """
import os, select, sys, time
share = 0.0
while True:
    begin = time.monotonic()
    if select.select([0], [], [], 0)[0]:
        text = os.read(0, 4096)
        if not text:
            break
        share = float(text.split()[-1])
    while time.monotonic() - begin < 0.01 * share:
        pass
    time.sleep(max(0.0, 0.01 * (1 - share)))
"""


class Quota(RigFault):
    """The CPU time that a1 may use shrinks, geometrically from one CPU to 2 %."""

    def set_level(self, level: float) -> None:
        self.rig.group.set_cpu_share(0.02 ** level if level > 0 else None)


class Nothing(RigFault):
    """A calm run."""

    def set_level(self, level: float) -> None:
        pass


class Abrupt(RigFault):
    """Without warning: a1 is killed, or its link goes dead. Nobody can foresee it."""

    def __init__(self, plan: Plan, rig: Rig, load_bps: float, death: bool):
        super().__init__(plan, rig, load_bps)
        self._death = death

    def set_level(self, level: float) -> None:
        pass

    def hard_failure(self) -> None:
        if self._death:
            self._engine.kill()
        else:
            self.rig.wan(loss=1.0)
        self.moments.hard_ms = self.moments.end_ms = now_ms()
