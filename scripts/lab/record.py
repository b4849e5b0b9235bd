"""scripts/record-faults: telemetry of real engines through real faults and real calm, one recording an engine and run.

The engine writes its samples itself (`[telemetry] record`); this adds the header's facts and the events, on the same
clock (UNIX ms): inject, slo (the service went bad), breach (it stayed bad: the failure, see slo.py), hard_failure, end.
RUN.jsonl is a1, which is harmed; RUN.peer.jsonl is b1 at the other end of its tunnel.
"""
import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from collections import deque
from pathlib import Path

from . import calm, catalogue, schedule, slo
from .engines import build
from .progress import Progress
from .rig import Rig
from .schedule import Run
from .shell import LabError, now_ms
from .traffic import Traffic

FRAME_BITS = 8 * 330  # a stream's packet as a1 sends it: payload, UDP, IP, ESP, Ethernet


class Down:
    """Whether the service has long failed, by a first look at the traffic: of a ramp nothing more is to be learnt then."""
    PARTS, BAD = 20, 18  # half-seconds

    def __init__(self, traffic: Traffic):
        self._traffic, self._due, self._before = traffic, time.monotonic() + 0.5, traffic.live()
        self._bad = deque(maxlen=self.PARTS)

    def __call__(self) -> bool:
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + 0.5
            now = self._traffic.live()
            more = {name: now[name] - self._before[name] for name in now}
            self._before = now
            self._bad.append(more["received"] == 0 or more["missing"] > 0 or more["slow"] > 0.02 * more["received"])
        return sum(self._bad) >= self.BAD


def drive(rig: Rig, run: Run) -> tuple:
    """The run's traffic and fault; what the hosts saw, the fault, and what else was done and when."""
    rng = random.Random(run.name)
    load, bustle = run.load(), calm.Bustle(run.bustle, rig, rng)
    fault = catalogue.make("none" if run.kind == "calm" else run.fault, run.plan, rig, load.pps * FRAME_BITS)
    fault.prepare()
    traffic = Traffic(rig.topo, load)
    down = Down(traffic)

    def during(seconds: float, until=lambda: False) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and not until():
            time.sleep(0.1)
            bustle()
    try:
        during(run.calm_s)
        fault.start()
        during(run.plan.ramp_s * 1.5 + 15,
               until=lambda: fault.moments.hard_ms or fault.moments.end_ms or fault.error
               or (run.kind == "ramp" and down()))
        during(1.0 if fault.moments.hard_ms or down() else run.after_s)
        ended = now_ms()
        result = traffic.finish()
    finally:
        if fault.moments.start_ms:
            fault.close()
    if fault.error:
        raise LabError(f"the fault could not be made: {fault.error}")
    return result, fault, bustle.began, ended


def events(run: Run, result, fault, began, ended: float) -> list[tuple[str, float, str]]:
    """(event, unix ms, detail), by time."""
    rows = slo.parts(result)
    limit = slo.latency_limit(rows, fault.moments.start_ms)
    found = [("note", at, what) for at, what in began]
    if run.kind != "calm":
        found.append(("inject", fault.moments.start_ms, f"{run.fault} {run.plan.shape} over {run.plan.ramp_s:.1f} s"))
    if broken := slo.breach(rows, limit):
        found.append(("slo", broken[0], f"more than 0.1 % lost or p99 above {limit:.1f} ms"))
        found.append(("breach", broken[1], "five of six half-seconds"))
    if fault.moments.hard_ms:
        found.append(("hard_failure", fault.moments.hard_ms, run.fault))
    return sorted([*found, ("end", ended, "")], key=lambda e: e[1])


def finish(source: Path, target: Path, run: Run, happened: list) -> None:
    """The engine's samples with this run's header and events."""
    lines = source.read_text().splitlines()
    header = json.loads(lines[0])
    if header.get("type") != "run":
        raise LabError(f"{source}: the engine's recording does not begin with a run line")
    header |= {"run": run.name, "kind": run.kind, "fault": run.fault, "slope": run.slope, "profile": run.profile,
               "note": f"{run.plan.shape} over {run.plan.ramp_s:.1f} s to {run.plan.peak:.2f} at {run.pps} pps each way, "
                       f"besides: {run.bustle}"}
    part = target.with_suffix(".part")
    with open(part, "w") as out:
        out.write(json.dumps(header) + "\n")
        out.writelines(line + "\n" for line in lines[1:] if _whole(line))
        for name, at, detail in happened:
            out.write(json.dumps({"type": "event", "at_ms": round(at), "event": name, "detail": detail}) + "\n")
    part.rename(target)


def _whole(line: str) -> bool:
    try:
        return json.loads(line)["type"] in ("sample", "event")
    except (ValueError, KeyError):
        return False  # a killed engine may leave half a line


def record(run: Run, out: Path) -> str:
    """Make both recordings of a run; says what happened."""
    sources = {"a1": out / f".{run.name}.a1", "b1": out / f".{run.name}.b1"}
    try:
        with Rig(sources, random.Random(run.name).randrange(1 << 30)) as rig:
            outcome = drive(rig, run)
        happened = events(run, *outcome)
        finish(sources["b1"], out / f"{run.name}.peer.jsonl", run, happened)
        finish(sources["a1"], out / f"{run.name}.jsonl", run, happened)  # last: it says that the run is there
    finally:
        for source in sources.values():
            source.unlink(missing_ok=True)
    zero = next((at for name, at, _ in happened if name == "inject"), happened[-1][1])
    said = [f"{name} {(at - zero) / 1e3:+.1f} s" for name, at, _ in happened if name not in ("note", "inject")]
    return ", ".join(said)


def _attempt(run: Run, out: Path) -> str:
    """In a process of its own. A rig that does not come up on a busy machine gets a second try."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return record(run, out)
    except LabError:
        return record(run, out)
    except SystemExit:  # the lab is gone; the pool would go on with the next run
        os._exit(143)


def _end(*_) -> None:
    for child in multiprocessing.active_children():
        child.terminate()
    sys.exit(143)


def _wanted(args) -> list[Run]:
    if args.soak:
        return [schedule.soak(args.soak, args.seed)]
    if args.calm:
        return schedule.calm_hours(args.seed, args.calm)
    return (schedule.first, schedule.second, schedule.third)[args.session - 1](args.seed)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/record-faults", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the recordings; runs that are there stay")
    parser.add_argument("--seed", type=int, default=1, help="another seed, other runs (default: %(default)s)")
    parser.add_argument("--session", type=int, choices=(1, 2, 3), default=1, help="1: short ramps of the first kinds, and calm; "
                        "2: long ramps of all kinds; 3: longer ones still, and calm among them (default: %(default)s)")
    parser.add_argument("--first", type=int, default=0, help="go on with this run of the schedule")
    parser.add_argument("--runs", type=int, help="at most so many; all of the schedule if absent")
    parser.add_argument("--calm", type=float, metavar="HOURS", help="instead, so much calm in runs of five minutes")
    parser.add_argument("--soak", type=float, metavar="SECONDS",
                        help="instead, one calm run of this length with bursts, reloads, pauses and the rest")
    parser.add_argument("--jobs", type=int, default=1, help="labs at the same time (default: %(default)s)")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, _end)
    args.out.mkdir(parents=True, exist_ok=True)
    progress, failed = Progress(every_s=10.0), 0
    build()
    runs = [r for r in _wanted(args)[args.first:][:args.runs] if not (args.out / f"{r.name}.jsonl").exists()]
    with ProcessPoolExecutor(args.jobs) as pool:
        waiting = {pool.submit(_attempt, run, args.out.resolve()): run for run in runs}
        for done, future in enumerate(as_completed(waiting), 1):
            name = waiting[future].name
            try:
                progress.say(f"[{done}/{len(runs)}] {name}: {future.result()}")
            except (LabError, OSError) as err:
                failed += 1
                progress.say(f"[{done}/{len(runs)}] {name} failed: {err}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
