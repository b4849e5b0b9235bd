"""Faults of the light lab: what a level between 0 (nothing) and 1 (surely broken) means for each kind.

Levels map geometrically where a fault spans orders of magnitude, so that a shape is felt over its whole length. None of
this says when the service fails: that is measured.
"""
import subprocess

from .faults import Fault, Plan
from .rig import Rig
from .shell import PYTHON, now_ms, stop

HEAP_ROOM_MB = 96
POOL = 8191
GROUP_SHARE = 0.6  # of a CPU, for a1 and its neighbour together


def geometric(low: float, high: float, level: float) -> float:
    """0 at level 0, then `low` to `high` by equal factors."""
    return low * (high / low) ** level if level > 0 else 0.0


class RigFault(Fault):
    """A fault of a rig. It ends what it does when the ramp is over; only death and a dead link are hard failures."""
    step_s = 0.15

    def __init__(self, plan: Plan, rig: Rig, load_bps: float):
        super().__init__(plan)
        self.rig, self.load_bps = rig, load_bps
        self._engine = rig.engines["a1"].process

    def _level(self, level: float) -> None:
        super()._level(level)
        self._note_death()

    def _note_death(self) -> None:
        if self.moments.hard_ms is None and self._engine.poll() is not None:
            self.moments.hard_ms = now_ms()

    def hard_failure(self) -> None:
        """The worst level lasts until the run ends."""
        self.set_level(1.0)
        self.moments.end_ms = now_ms()

    def lost_by_fault(self) -> int:
        return 0

    def lift(self) -> None:
        if self._engine.poll() is None:
            self.set_level(0.0)


class Loss(RigFault):
    """Frames vanish on the WAN: 0.02 % to 60 %."""

    def set_level(self, level: float) -> None:
        self.rig.wan(loss=geometric(0.0002, 0.6, level))


class Errors(RigFault):
    """Frames are damaged on the WAN, 0.02 % to 60 %: their ICVs fail and the counters of errors climb."""

    def set_level(self, level: float) -> None:
        self.rig.wan(corrupt=geometric(0.0002, 0.6, level))


class Delay(RigFault):
    """The WAN grows longer, by up to 40 ms each way, and less steady."""

    def set_level(self, level: float) -> None:
        self.rig.wan(delay_ms=40.0 * level, jitter_ms=8.0 * level)


class Consumer(RigFault):
    """Whoever takes what a1 sends takes it more slowly: from 8 times what is offered down to half of it."""

    def set_level(self, level: float) -> None:
        self.rig.shape(8.0 * self.load_bps * (0.5 / 8.0) ** level if level > 0 else None)


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
        self.rig.fault("heap", int(1.1 * HEAP_ROOM_MB * level))
        self._note_death()

    def hard_failure(self) -> None:
        """A MiB more every 20 ms, until the kernel has acted."""
        held = int(1.1 * HEAP_ROOM_MB)
        while self.moments.hard_ms is None and not self._cancel.is_set():
            held += 1
            self.rig.fault("heap", held)
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


KINDS = {"loss": Loss, "errors": Errors, "delay": Delay, "consumer": Consumer, "mbufs": Mbufs, "burn": Burn,
         "heap": Heap, "neighbour": Neighbour, "quota": Quota}
# Peaks of ramps that are meant to stop short of failure; whether one did is measured.
SHORT = {"loss": (0.05, 0.25), "errors": (0.05, 0.25), "delay": (0.02, 0.1), "consumer": (0.2, 0.6),
         "mbufs": (0.3, 0.85), "burn": (0.2, 0.6), "heap": (0.3, 0.75), "neighbour": (0.05, 0.25), "quota": (0.1, 0.4)}


def make(name: str, plan: Plan, rig: Rig, load_bps: float) -> RigFault:
    """The fault called `name`; `none` for a calm run, `death` and `cut` are abrupt."""
    if name in ("death", "cut"):
        return Abrupt(plan, rig, load_bps, name == "death")
    return KINDS.get(name, Nothing)(plan, rig, load_bps)
