"""Real faults, made outside of the engine: loss on a link, a squeezed CPU, memory that runs out, death, a pause.

A fault ramps for `ramp_s`, then becomes a hard failure (unless `stops_short`). Its moments are wall-clock ms; what it
did to the measured streams until the hard failure is `lost_by_fault()`, counted and never estimated.
"""
import contextlib
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace

from .cgroup import Cgroup
from .counters import FAULT_PRIORITY, STREAM_DSCP, Counters, dscp_rules, swallowed
from .nft import Nft
from .shell import LabError, PYTHON, now_ms, stop

SHAPES = {
    "linear": lambda x: x,
    "convex": lambda x: x * x,
    "concave": lambda x: x ** 0.5,
    "steps": lambda x: int(x * 5 + 1) / 5 if x < 1 else 1.0,
}
NAMES = ("loss", "cpu", "memory", "death", "none")


@dataclass
class Plan:
    """How a fault goes. `peak`: the loss share, or the share of CPU taken, at the end of the ramp."""
    ramp_s: float
    shape: str = "linear"
    peak: float = 0.2
    stops_short: bool = False
    hold_s: float = 0.0  # with stops_short: how long the peak lasts before the fault goes away


@dataclass
class Moments:
    """Wall-clock ms; None: has not happened."""
    start_ms: float | None = None
    hard_ms: float | None = None
    end_ms: float | None = None
    levels: list = field(default_factory=list)  # (unix_ms, level 0..1)


class Fault:
    """Runs a plan in a thread. Subclasses say what a level, the hard failure and the end mean."""
    step_s = 0.25

    def __init__(self, plan: Plan):
        self.plan, self.moments = plan, Moments()
        self._cancel = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.error: Exception | None = None

    def start(self) -> None:
        self.moments.start_ms = now_ms()
        self._thread.start()

    def wait_ramp(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def close(self) -> None:
        """Cancel the ramp and lift what the fault imposed. The counts stay readable."""
        self._cancel.set()
        if self._thread.is_alive():
            self._thread.join()
        self.lift()
        self.moments.end_ms = self.moments.end_ms or now_ms()

    def _run(self) -> None:
        try:
            self._ramp()
        except Exception as err:  # reported by the run that owns this fault
            self.error = err

    def _ramp(self) -> None:
        begin, plan = time.monotonic(), self.plan
        while (x := (time.monotonic() - begin) / plan.ramp_s if plan.ramp_s > 0 else 1.0) < 1.0:
            if self.moments.hard_ms or self._cancel.is_set():
                return
            self._level(plan.peak * SHAPES[plan.shape](x))
            self._cancel.wait(self.step_s)
        if self._cancel.is_set() or self.moments.hard_ms:
            return
        if plan.stops_short:
            self._level(plan.peak)
            self._cancel.wait(plan.hold_s)
            self.lift()
            self.moments.end_ms = now_ms()
        else:
            self._fail()

    def _level(self, level: float) -> None:
        self.set_level(level)
        self.moments.levels.append((now_ms(), level))

    def _fail(self) -> None:
        self.hard_failure()
        self.moments.levels.append((now_ms(), 1.0))

    def set_level(self, level: float) -> None:
        raise NotImplementedError

    def hard_failure(self) -> None:
        raise NotImplementedError

    def lift(self) -> None:
        raise NotImplementedError

    def lost_by_fault(self) -> int:
        raise NotImplementedError


class LossFault(Fault):
    """Drops packets of a1's WAN link at the WAN bridge, both ways. Ramp and hard failure count apart.

    The switch to 100 % is one nftables transaction, so a stream packet is dropped either by the ramp (and counted as
    lost by the fault) or by the hard failure (and then it was the failover's to save); there is no third case.
    """
    TABLE = "fsfault"

    def __init__(self, plan: Plan, topo, port: str = "w1"):
        super().__init__(plan)
        self._nft, self._port = Nft(topo.ns("wan")), port
        names = [f"{stage}_{way}_{what}" for stage in ("ramp", "hard") for way in ("out", "in")
                 for what in ("stream", "other")]
        self._nft.run("\n".join(
            [f"table bridge {self.TABLE} {{"] + [f"counter {n} {{ }}" for n in names]
            + ["chain drops {", f"type filter hook forward priority {FAULT_PRIORITY};", "}", "}", ""]))

    def _rules(self, stage: str, chance: str) -> str:
        """One draw a packet decides its fate; the verdict chain then only counts it and drops it."""
        lines = [f"flush chain bridge {self.TABLE} drops"]
        for way, match in (("out", f'iifname "{self._port}"'), ("in", f'oifname "{self._port}"')):
            for rule in dscp_rules(match, STREAM_DSCP, f"{chance} counter name {stage}_{way}_stream drop"):
                lines.append(f"add rule bridge {self.TABLE} drops {rule}")
            other = f"ip dscp != {STREAM_DSCP}", f"ip6 dscp != {STREAM_DSCP}", "ether type != { ip, ip6 }"
            for kind in other:
                lines.append(f"add rule bridge {self.TABLE} drops {match} {kind} {chance} "
                             f"counter name {stage}_{way}_other drop")
        return "\n".join(lines) + "\n"

    def set_level(self, level: float) -> None:
        self._nft.run(self._rules("ramp", f"numgen random mod 10000 < {int(level * 10000)}") if level >= 0.0001
                      else f"flush chain bridge {self.TABLE} drops\n")

    def hard_failure(self) -> None:
        self._nft.run(self._rules("hard", ""))
        self.moments.hard_ms = now_ms()

    def lift(self) -> None:
        self._nft.run(f"flush chain bridge {self.TABLE} drops\n")

    def counts(self) -> dict[str, int]:
        """Drops by stage (ramp, hard), way (out = from a1, in = to a1) and class (stream, other)."""
        return self._nft.counters(self.TABLE)

    def lost_by_fault(self) -> int:
        counts = self.counts()
        return counts["ramp_out_stream"] + counts["ramp_in_stream"]


class ProcessFault(Fault):
    """A fault of the engine's process. By the fault is lost what a1 took in before it died and did not send on.

    The counters are of this run alone and start at nought, so what a1 has swallowed is a difference of two sums.
    """

    def __init__(self, plan: Plan, process: subprocess.Popen, counters: Counters):
        super().__init__(plan)
        self._process, self._counters = process, counters
        self._at_failure: int | None = None

    def hard_failure(self) -> None:
        self._at_failure = swallowed(self._counters.read(), "a1")
        self._process.send_signal(signal.SIGKILL)
        self.moments.hard_ms = now_ms()

    def lost_by_fault(self) -> int:
        """To be asked when the traffic has ended. Packets on their way through a1 when it was looked at are not lost."""
        at_end = swallowed(self._counters.read(), "a1")
        return max(0, at_end if self._at_failure is None else min(self._at_failure, at_end))


class CpuFault(ProcessFault):
    """Takes the engine's CPU away through its cgroup, down to next to nothing, then kills it."""
    LEAST_SHARE = 0.002

    def __init__(self, plan: Plan, process, counters: Counters, group: Cgroup):
        super().__init__(plan, process, counters)
        self._group = group

    def set_level(self, level: float) -> None:
        # Geometric: an engine that needs 10 % of a core feels nothing until nine tenths are gone.
        self._group.set_cpu_share(self.LEAST_SHARE ** min(1.0, level))

    def lift(self) -> None:
        self._group.set_cpu_share(None)


class MemoryFault(ProcessFault):
    """A hog grows in the engine's memory cgroup until the kernel's OOM killer takes the engine."""
    step_s = 0.1

    def __init__(self, plan: Plan, process, counters: Counters, group: Cgroup, room_mb: int = 192):
        super().__init__(plan, process, counters)
        self._group, self._room_mb, self._hog, self._held_mb = group, room_mb, None, 0

    def start(self) -> None:
        with open(f"/proc/{self._process.pid}/oom_score_adj", "w") as score:
            score.write("1000")
        self._hog = subprocess.Popen([*self._group.join(), PYTHON, "-c", HOG], stdin=subprocess.PIPE, text=True)
        time.sleep(0.3)
        self._group.forbid_swap()
        self._group.set_memory_limit(self._group.memory_used() + (self._room_mb << 20))
        super().start()

    def set_level(self, level: float) -> None:
        self._grow(int(level * self._room_mb))

    def _grow(self, target_mb: int) -> None:
        if target_mb > self._held_mb:
            try:
                self._hog.stdin.write(f"{target_mb - self._held_mb}\n")
                self._hog.stdin.flush()
            except BrokenPipeError:
                self._after_the_hog()
            self._held_mb = target_mb
        self._note_death()

    def _after_the_hog(self) -> None:
        """The kernel took the hog too. Right if the engine went before it, which may take a moment to show."""
        deadline = time.monotonic() + 1.0
        while not self._note_death():
            if time.monotonic() > deadline:
                raise LabError("the OOM killer took the hog and left the engine")
            time.sleep(0.01)

    def _note_death(self) -> bool:
        if self.moments.hard_ms is None and self._process.poll() is None:
            self._at_failure = swallowed(self._counters.read(), "a1")  # the last look before it died
            return False
        self.moments.hard_ms = self.moments.hard_ms or now_ms()
        return True

    def hard_failure(self) -> None:
        """Beyond the limit: every 20 ms a MiB more, until the kernel has acted."""
        while not self._note_death() and not self._cancel.is_set():
            self._grow(self._held_mb + 1)
            self._cancel.wait(0.02)

    def lift(self) -> None:
        self._group.set_memory_limit(None)
        if self._hog:
            with contextlib.suppress(BrokenPipeError):
                self._hog.stdin.close()
            stop(self._hog, 1)
            self._hog = None


# Memory of a file that nobody maps is charged to the group but is no process's: the OOM killer has one way out.
HOG = """
import os, sys
held = os.memfd_create('hog')
for line in sys.stdin:
    for _ in range(int(line)):
        os.write(held, bytes(1 << 20))
"""


class DeathFault(ProcessFault):
    """kill -9, without any warning."""

    def set_level(self, level: float) -> None:
        pass

    def lift(self) -> None:
        pass


class NoFault(Fault):
    """Nothing happens, for as long as the plan says: a calm run."""

    def set_level(self, level: float) -> None:
        pass

    def lift(self) -> None:
        pass

    def lost_by_fault(self) -> int:
        return 0


def make(name: str, plan: Plan, topo, process, counters: Counters, group: Cgroup | None) -> Fault:
    """The fault called `name`, aimed at a1."""
    whole = replace(plan, peak=plan.peak if plan.stops_short else 1.0)  # these ramp until they kill
    if name == "loss":
        return LossFault(plan, topo)
    if name == "cpu":
        return CpuFault(whole, process, counters, group)
    if name == "memory":
        return MemoryFault(whole, process, counters, group)
    if name == "death":
        return DeathFault(replace(plan, ramp_s=0.0), process, counters)
    if name == "none":
        return NoFault(plan)
    raise ValueError(f"unknown fault {name}: one of {', '.join(NAMES)}")


class Pause:
    """SIGSTOP … SIGCONT: an engine that sleeps and wakes up believing it still owns the traffic."""

    def __init__(self, process: subprocess.Popen):
        self._process = process

    def stop(self) -> float:
        self._process.send_signal(signal.SIGSTOP)
        return now_ms()

    def cont(self) -> float:
        self._process.send_signal(signal.SIGCONT)
        return now_ms()


class Partition:
    """One direction of the management network, so of leases and votes: an engine no longer hears, or is no longer heard.
    Its ports, and what it forwards, stay as they are."""
    TABLE = "fspartition"
    PORTS = {"a1": "m1", "a2": "m2", "b1": "mb"}
    WAYS = {"deaf": "oifname", "mute": "iifname"}

    def __init__(self, topo):
        self._nft = Nft(topo.ns("mg"))
        self._nft.run(f"table bridge {self.TABLE} {{ chain cut {{ type filter hook forward priority 0; }}; }}\n")

    def cut(self, engine: str, way: str) -> None:
        """`deaf`: nothing reaches the engine. `mute`: nothing of it reaches anybody."""
        self._nft.run(f'add rule bridge {self.TABLE} cut {self.WAYS[way]} "{self.PORTS[engine]}" drop\n')

    def part(self, one: str, other: str) -> None:
        """These two no longer hear each other; everybody else hears both."""
        for here, there in ((one, other), (other, one)):
            ports = f'iifname "{self.PORTS[here]}" oifname "{self.PORTS[there]}"'
            self._nft.run(f"add rule bridge {self.TABLE} cut {ports} drop\n")

    def heal(self) -> None:
        self._nft.run(f"flush chain bridge {self.TABLE} cut\n")
