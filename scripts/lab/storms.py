"""Faults that others make for a1: a hypervisor that takes its time away, a neighbour that takes its memory, hosts that send more
than it can carry, routers and people that ask more than its control core can answer."""
import signal
import subprocess
import threading
import time

from .faults import HOG, SHAPES
from .ramps import HEAP_ROOM_MB, Heap
from .rigfault import RigFault, geometric
from .shell import PYTHON, LabError, stop
from .topology import HOST_B4
from .traffic import Endpoint


class Beat(RigFault):
    """Does something again and again in a thread of its own while the level is above 0."""

    def start(self) -> None:
        self._now, self._over = 0.0, threading.Event()
        self._beats = threading.Thread(target=self._beat, daemon=True)
        self._beats.start()
        super().start()

    def set_level(self, level: float) -> None:
        self._now = level

    def lift(self) -> None:
        self._over.set()
        self._beats.join()

    def _beat(self) -> None:
        while not self._over.wait(0.05 if self._now <= 0 else self.pause_s(self._now)):
            if self._now > 0 and self._engine.poll() is None:
                self.strike(self._now)

    def pause_s(self, level: float) -> float:
        """How long until the next one."""
        raise NotImplementedError

    def strike(self, level: float) -> None:
        """One of them."""
        raise NotImplementedError


class Stall(Beat):
    """a1 gets no time at all for moments (SIGSTOP, SIGCONT), as if the host gave it to others: every 2 s for 1 ms, in the end
    every 0.3 s for 250 ms."""

    def pause_s(self, level: float) -> float:
        return 2.0 * (0.3 / 2.0) ** level

    def strike(self, level: float) -> None:
        self._engine.send_signal(signal.SIGSTOP)
        time.sleep(geometric(0.001, 0.25, level))
        self._engine.send_signal(signal.SIGCONT)


class Churn(Beat):
    """Ten thousand routes change, every 5 s and in the end ten times a second, and a1 has 0.2 of a CPU for everything."""
    SHARE, ROUTES = 0.2, 10_000

    def prepare(self) -> None:
        self.rig.group.set_cpu_share(self.SHARE)
        self._files, self._turn = [], 0
        for turn, target in enumerate(("group site-b", "blackhole")):
            lines = [f"12.{i // 250}.{i % 250}.0/24 {target}" for i in range(self.ROUTES)]
            file = self.rig.topo.dir / f"churn-{turn}"
            file.write_text("\n".join(lines) + "\n")
            self._files.append(file)

    def pause_s(self, level: float) -> float:
        return 5.0 * (0.1 / 5.0) ** level

    def strike(self, level: float) -> None:
        self._turn += 1
        file = self._files[self._turn % 2]
        try:
            self.rig.engines["a1"].ask_with({"request": "routes", "routes": {"routes": "load", "path": str(file)}})
        except LabError:
            pass  # too busy to answer: that is the fault

    def lift(self) -> None:
        super().lift()
        self.rig.group.set_cpu_share(None)


class Pressure(Heap):
    """A neighbour in a1's cgroup takes memory until the kernel's OOM killer takes a1."""

    def start(self) -> None:
        self._hog = subprocess.Popen([*self.rig.group.join(), PYTHON, "-c", HOG], stdin=subprocess.PIPE, text=True)
        self._held_mb = 0
        time.sleep(0.3)
        super().start()

    def hold(self, megabytes: int) -> None:
        if megabytes > self._held_mb and self._hog.poll() is None:
            self._hog.stdin.write(f"{megabytes - self._held_mb}\n")
            self._hog.stdin.flush()
            self._held_mb = megabytes

    def lift(self) -> None:
        self.rig.group.set_memory_limit(None)
        stop(self._hog, 1)


class Flood(RigFault):
    """The hosts of site A offer ever more to a1, which spends 300 µs on each packet: up to 5000 packets a second, where it can
    carry 3300."""
    BURN_NS, PPS, POINTS = 300_000, 5000, 30

    def prepare(self) -> None:
        self.rig.fault("burn", self.BURN_NS)

    def start(self) -> None:
        plan, base = self.plan, 10.0
        rise = [plan.peak * SHAPES[plan.shape](i / self.POINTS) * self.PPS / base for i in range(self.POINTS + 1)]
        points = ",".join(f"{plan.ramp_s * i / self.POINTS:.2f}:{max(factor, 0.1):.3f}" for i, factor in enumerate(rise))
        self._sender = Endpoint(self.rig.topo, "ha", "udp-send", to=HOST_B4, port=9000, stream=99, pps=base, flows=16,
                                size=200, points=points, out="/dev/null")
        super().start()

    def set_level(self, level: float) -> None:
        pass

    def lift(self) -> None:
        stop(self._sender.process, 1)
