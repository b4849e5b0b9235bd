"""scripts/record-faults: telemetry of a real engine under real faults and harmless bursts, one recording a run.

The engine writes its samples (`[telemetry] record`); this adds the header's facts and the events, on the same clock
(UNIX ms). A failure is measured, not assumed: the engine's death, the link's total loss, or a breach of
the hosts' SLO (UDP loss above 5 % over 2 s, or a p99 latency above 5 times the calm one and 5 ms over 2 s).
"""
import argparse
import json
import random
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from . import analysis, faults
from .engines import build
from .progress import Progress
from .scenario import Outcome, Scenario, Timing
from .shell import LabError, now_ms
from .topology import HOST_A4, HOST_B4
from .traffic import Endpoint, Load

WINDOW_BINS = 20  # of 100 ms
LOSS_LIMIT, LATENCY_FACTOR, LATENCY_FLOOR_MS = 0.05, 5.0, 5.0


@dataclass(frozen=True)
class Run:
    """One recording to make. `kind` is the recording format's: ramp, stopped_short, abrupt or calm."""
    name: str
    kind: str
    fault: str
    plan: faults.Plan
    timing: Timing
    pps: int
    burst: str | None

    @property
    def injected(self) -> str:
        """The lab's fault: a calm run has none."""
        return "none" if self.kind == "calm" else self.fault


def schedule(count: int, seed: int) -> list[Run]:
    """The runs of a seed: half of them ramps, the rest runs that must not raise an alarm, and a few without warning."""
    rng, runs = random.Random(seed), []
    kinds = ("ramp", "calm", "ramp", "stopped_short", "ramp", "calm", "ramp", "stopped_short", "ramp", "abrupt")
    for i in range(count):
        kind = kinds[i % len(kinds)]
        burst = rng.choice(("udp", "tcp", None)) if kind == "calm" else ("udp" if rng.random() < 0.25 else None)
        fault = {"calm": "burst" if burst else "steady",
                 "abrupt": rng.choice(("death", "loss"))}.get(kind) or _pick_fault(rng)
        runs.append(Run(f"{fault}-{kind}-{seed}-{i:03}", kind, fault, _plan(rng, kind, fault),
                        Timing(rng.uniform(10, 18), 30.0, rng.uniform(4, 6)), rng.choice((200, 400, 500, 800)), burst))
    return runs


def _pick_fault(rng: random.Random) -> str:
    return rng.choices(("loss", "cpu", "memory"), (5, 3, 2))[0]


def _plan(rng: random.Random, kind: str, fault: str) -> faults.Plan:
    shape = rng.choice(sorted(faults.SHAPES))
    if kind == "abrupt":
        return faults.Plan(0.0)
    if kind == "calm":
        return faults.Plan(20.0, peak=0.0, stops_short=True)
    if kind == "stopped_short":
        peak = {"loss": rng.uniform(0.005, 0.03), "cpu": rng.uniform(0.15, 0.35), "memory": rng.uniform(0.3, 0.7)}
        return faults.Plan(rng.uniform(5, 20), shape, peak[fault], stops_short=True, hold_s=rng.uniform(2, 8))
    return faults.Plan(rng.uniform(8, 35), shape, rng.uniform(0.1, 0.4) if fault == "loss" else 1.0)


class Bursts:
    """Harmless demand between the hosts, now and then: a UDP burst beside the streams, or an unlimited download."""

    def __init__(self, what: str | None, rng: random.Random):
        self._what, self._rng = what, rng
        self._due = time.monotonic() + rng.uniform(5, 12)
        self.began_ms: list[float] = []
        self._running: list[Endpoint] = []

    def __call__(self, scenario: Scenario, traffic) -> None:
        if self._what is None or time.monotonic() < self._due:
            return
        seconds = self._rng.uniform(0.5, 4.0)
        self._due = time.monotonic() + seconds + self._rng.uniform(3, 10)
        self.began_ms.append(now_ms())
        topo = scenario.topo
        if self._what == "udp":
            # The receivers ignore stream 99; DSCP 0 keeps it out of the counters.
            node, to = self._rng.choice((("ha", HOST_B4), ("hb", HOST_A4)))
            Endpoint(topo, node, "udp-send", to=to, port=9000, stream=99, seconds=seconds, out="/dev/null",
                     pps=self._rng.choice((1000, 2000, 4000)), size=self._rng.choice((200, 1000)))
        else:
            self._download(topo, int(seconds * 4_000_000))

    def _download(self, topo, size: int) -> None:
        if not self._running:
            self._running = [Endpoint(topo, "hb", "tcp-serve", bind="0.0.0.0", port=9003, bytes=2_000_000).wait_ready()]
        Endpoint(topo, "ha", "tcp-fetch", to=HOST_B4, port=9003, bytes=size, seconds=10)


def breach_ms(outcome: Outcome) -> float | None:
    """When the hosts' SLO was first broken, or None. Judged over 2 s of send time, noted at that window's end."""
    rows = analysis.bins(outcome.result.start_ms, outcome.result.end_ms, outcome.result.streams)
    calm = sorted(r["p99_ms"] for r in rows if r["at_ms"] < outcome.moments.start_ms and r["p99_ms"] is not None)
    limit = max(LATENCY_FLOOR_MS, LATENCY_FACTOR * calm[len(calm) // 2]) if calm else float("inf")
    for i in range(WINDOW_BINS, len(rows)):
        window = rows[i - WINDOW_BINS:i]
        if window[0]["at_ms"] < outcome.moments.start_ms:
            continue
        sent, lost = sum(r["sent"] for r in window), sum(r["lost"] for r in window)
        slow = [r["p99_ms"] for r in window if r["p99_ms"] is not None]
        if (sent and lost / sent > LOSS_LIMIT) or (slow and min(slow) > limit):
            return window[-1]["at_ms"] + 100.0
    return None


def finish_recording(source: Path, target: Path, run: Run, outcome: Outcome, bursts: list[float]) -> dict:
    """The engine's samples with this run's header and events; returns the events by name."""
    lines = source.read_text().splitlines()
    header = json.loads(lines[0])
    if header.get("type") != "run":
        raise LabError(f"{source}: the engine's recording does not begin with a run line")
    header |= {"run": run.name, "kind": run.kind, "fault": run.fault,
               "note": f"{run.plan} at {run.pps} pps each way, bursts: {run.burst}"}
    events = [("note", at, "burst") for at in bursts]
    moments = outcome.moments
    if run.kind != "calm":
        events.append(("inject", moments.start_ms, f"{run.fault} {run.plan.shape} over {run.plan.ramp_s:.1f} s"))
    if run.kind != "calm" and (at := breach_ms(outcome)):
        events.append(("breach", at, "measured by the hosts"))
    if moments.hard_ms:
        events.append(("hard_failure", moments.hard_ms, run.fault))
    events.append(("end", outcome.result.end_ms, ""))
    with open(target, "w") as out:
        out.write(json.dumps(header) + "\n")
        for line in lines[1:]:
            if _whole(line):
                out.write(line + "\n")
        for name, at, detail in sorted(events, key=lambda e: e[1]):
            out.write(json.dumps({"type": "event", "at_ms": round(at), "event": name,
                                  "detail": detail}) + "\n")
    return {name: at for name, at, _ in events}


def _whole(line: str) -> bool:
    try:
        return json.loads(line)["type"] in ("sample", "event")
    except (ValueError, KeyError):
        return False  # a killed engine may leave half a line


def record(run: Run, out: Path, progress: Progress, label: str) -> dict:
    """Make one recording of a1."""
    source = out / f".{run.name}.part"
    source.unlink(missing_ok=True)

    def change(config: dict) -> dict:
        config.setdefault("prediction", {})["mode"] = "observe"
        if config["engine"]["name"] == "a1":
            config["telemetry"] = {"record": str(source)}
        return config
    bursts = Bursts(run.burst, random.Random(run.name))
    with Scenario(label, run.injected, change, progress, Load(pps=run.pps)) as scenario:
        outcome = scenario.run(run.plan, run.timing, bursts)
    events = finish_recording(source, out / f"{run.name}.jsonl", run, outcome, bursts.began_ms)
    source.unlink()
    return events


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/record-faults", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the recordings")
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="go on with this run of the schedule")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    args.out.mkdir(parents=True, exist_ok=True)
    progress, failed = Progress(every_s=10.0), 0
    build()
    runs = schedule(args.runs, args.seed)
    for i, run in enumerate(runs[args.first:], args.first):
        label = f"{i + 1}/{len(runs)} {run.name}"
        if (args.out / f"{run.name}.jsonl").exists():
            continue
        try:
            events = record(run, args.out.resolve(), progress, label)
            progress.say(f"[{label}] recorded: {', '.join(events)}")
        except LabError as err:
            failed += 1
            progress.say(f"[{label}] failed: {err}")
        except KeyboardInterrupt:
            return 130
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
