"""One run: a lab, its engines, its traffic and one fault; used by the demo and by the recorder."""
import contextlib
import time
from dataclasses import dataclass, field

from . import analysis, faults
from .counters import CounterLog, Counters, carried
from .engines import Decision, Engines, StatusLog
from .progress import Progress
from .shell import LabError, now_ms
from .topology import Topology
from .traffic import Load, Result, Traffic


@dataclass
class Timing:
    """Seconds of traffic before the fault, of the ramp, and after the hard failure."""
    calm_s: float = 12.0
    ramp_s: float = 20.0
    after_s: float = 8.0

    @staticmethod
    def within(seconds: float) -> "Timing":
        """Share `seconds` of traffic out as the default does."""
        return Timing(seconds * 0.3, seconds * 0.5, seconds * 0.2)


@dataclass
class Outcome:
    """What one run measured."""
    result: Result
    moments: faults.Moments
    lost_by_fault: int
    decisions: list[Decision]
    counters: list[dict]
    statuses: dict
    fault_counts: dict = field(default_factory=dict)


class Scenario:
    """A context manager: entered, the engines are ready and the hosts reach each other."""

    def __init__(self, label: str, fault: str, change, progress: Progress, load: Load = Load(),
                 topology=Topology):
        self.label, self.fault_name, self.load = label, fault, load
        self._change, self._progress = change, progress
        self._begin = time.monotonic()
        self.topo = topology()
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> "Scenario":
        try:
            self._say("namespaces")
            self._exits.enter_context(self.topo)
            limited = ("a1",) if self.fault_name in ("cpu", "memory") else ()
            self.engines = Engines(self.topo, self._change, limited)
            self._say("engines start, tunnels come up")
            self.engines.start()
            self._say("hosts resolve their gateways")
            try:
                self.topo.wait_path()
            except LabError as err:
                raise LabError("\n".join([str(err), *(e.last_words() for e in self.engines)])) from err
            self.counters = Counters(self.topo)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_):
        self._exits.close()

    def _say(self, what: str) -> None:
        self._progress.say(f"[{self.label}] {what}")

    def run(self, plan: faults.Plan, timing: Timing, during=lambda scenario, traffic: None) -> Outcome:
        """Traffic; the calm, the ramp, the failure, the aftermath. `during` is called about five times a second."""
        engine = self.engines["a1"]
        fault = faults.make(self.fault_name, plan, self.topo, engine.process, self.counters, engine.group)
        counters, statuses = CounterLog(self.counters), StatusLog(self.engines)
        traffic = Traffic(self.topo, self.load)
        try:
            self._watch("calm", timing.calm_s, fault, traffic, counters, statuses, during)
            fault.start()
            self._watch("ramp", timing.ramp_s * 1.5 + 10, fault, traffic, counters, statuses, during,
                        until=lambda: fault.moments.hard_ms or fault.moments.end_ms or fault.error)
            self._watch("after", timing.after_s, fault, traffic, counters, statuses, during)
            self._say("traffic ends; what is under way has a moment to arrive")
            result = traffic.finish()
        finally:
            statuses.close()
            samples = counters.close()
            fault.close()
        if fault.error:
            raise LabError(f"the fault could not be made: {fault.error}")
        # What a starved engine dropped for want of a lease is the price of the failover, whoever's packets they were.
        unleased = statuses.lease_expired("a1") if isinstance(fault, faults.ProcessFault) else 0
        lost_by_fault = max(0, fault.lost_by_fault() - unleased)
        return Outcome(result, fault.moments, lost_by_fault, statuses.decisions(), samples, statuses.samples,
                       fault.counts() if isinstance(fault, faults.LossFault) else {})

    def _watch(self, phase, seconds, fault, traffic, counters, statuses, during, until=lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            time.sleep(0.2)
            self._progress.update(self._line(phase, fault, traffic, counters, statuses))
            during(self, traffic)

    def _line(self, phase, fault, traffic, counters, statuses) -> str:
        status, live = statuses.last("a1"), traffic.live()
        level = fault.moments.levels[-1][1] if fault.moments.levels else 0.0
        p = "-" if status is None or status.probability is None else f"{status.probability:.2f}"
        share = _recent_share(counters.samples)
        since = (now_ms() - fault.moments.start_ms) / 1e3 if fault.moments.start_ms else 0.0
        return (f"[{self.label}] {phase:5} fault {since:5.1f} s at {100 * level:3.0f} % | P {p} | "
                f"a1 {share['a1']:3.0f} % a2 {share['a2']:3.0f} % | udp {live['received']} missing {live['missing']} | "
                f"tcp {live['bytes'] / 1e6:.1f} MB")


def _recent_share(samples: list[dict]) -> dict[str, float]:
    before, after = samples[max(0, len(samples) - 11)], samples[-1]
    moved = {e: carried(after, e) - carried(before, e) for e in ("a1", "a2")}
    total = sum(moved.values()) or 1
    return {e: 100.0 * n / total for e, n in moved.items()}


def loss_series(result: Result, zero_ms: float) -> list[tuple[float, float]]:
    """Loss in percent of what was sent, by 100 ms of send time; seconds since `zero_ms`."""
    rows = analysis.bins(result.start_ms, result.end_ms, result.streams)
    return [((r["at_ms"] - zero_ms) / 1e3, 100.0 * r["lost"] / r["sent"]) for r in rows if r["sent"]]
