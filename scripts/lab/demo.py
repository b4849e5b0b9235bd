"""scripts/demo: the same real fault twice, reactive only and predictive, and what each cost."""
import argparse
import json
import signal
import sys
from dataclasses import asdict
from pathlib import Path

from . import analysis, calm_run, faults, plot, report
from .engines import build
from .progress import Progress
from .scenario import Outcome, Scenario, Timing, loss_series
from .shell import ROOT, LabError
from .topology import HOST_B4

OUT = ROOT / "target" / "demo"
ENGINE_MODE = {"reactive": "observe", "predictive": "auto"}  # "observe" says what it would do and does nothing


def arguments(argv) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--fault", choices=("loss", "cpu", "memory"), default="loss",
                        help="what happens to the active engine (default: %(default)s)")
    parser.add_argument("--mode", choices=("predictive", "reactive", "both"), default="both")
    parser.add_argument("--seconds", type=float, metavar="N",
                        help="seconds of traffic in each run (default: 40; a short run gives the model less to learn from)")
    parser.add_argument("--calm", type=float, metavar="SECONDS",
                        help="instead, one predictive run without a fault but with bursts, reloads, pauses and the rest: "
                             "nothing may move")
    parser.add_argument("--keep", action="store_true", help="leave the last run's lab running to look at")
    args = parser.parse_args(argv)
    if args.seconds is not None and args.seconds < 15:
        parser.error("--seconds: the baseline needs some calm before the fault; at least 15")
    return args


def _in_mode(mode: str):
    def change(config: dict) -> dict:
        config.setdefault("prediction", {})["mode"] = ENGINE_MODE[mode]
        return config
    return change


def run_calm(seconds: float, progress: Progress) -> int:
    """The exit status; calm.json has what was found."""
    found = calm_run.run(seconds, 1, _in_mode("predictive"), progress)
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "calm.json").write_text(json.dumps(found, indent=2) + "\n")
    for key, value in found.items():
        print(f"{key.replace('_', ' '):22}{_counted(value)}")
    print(f"\n{OUT.relative_to(ROOT)}/calm.json")
    wrong = calm_run.verdict(found)
    for reason in wrong:
        print(f"not a success: {reason}")
    return 1 if wrong else 0


def _counted(value):
    """Lists are long: their lengths."""
    if isinstance(value, dict):
        return {key: _counted(inner) for key, inner in value.items()}
    return len(value) if isinstance(value, list) else value


def run_mode(mode: str, args, timing: Timing, progress: Progress, keep: bool) -> dict:
    """One run; returns what the summary, the details and the picture need."""
    with Scenario(mode, args.fault, _in_mode(mode), progress) as scenario:
        outcome = scenario.run(faults.Plan(timing.ramp_s), timing)
        if keep:
            scenario.topo.keep = True
            progress.say(_how_to_look(scenario))
    return _digest(mode, args.fault, outcome)


def _digest(mode: str, fault: str, outcome: Outcome) -> dict:
    entry = report.summary(mode, fault, outcome.result, outcome.lost_by_fault, outcome.moments, outcome.decisions)
    zero = outcome.moments.start_ms

    def since(at):
        return round((at - zero) / 1e3, 3)
    a1 = outcome.statuses.get("a1", [])
    return {
        "summary": entry,
        "threshold": [(since(s.unix_ms), s.threshold) for s in a1],
        "probability": [(since(s.unix_ms), s.probability) for s in a1 if s.probability is not None],
        "drift": [(since(s.unix_ms), s.drift) for s in a1 if s.drift is not None],
        "shares": report.shares(outcome.counters, zero),
        "loss": loss_series(outcome.result, zero),
        "levels": [(since(at), level) for at, level in outcome.moments.levels],
        "bins": analysis.bins(outcome.result.start_ms, outcome.result.end_ms, outcome.result.streams),
        "decisions": [asdict(d) | {"t_s": since(d.unix_ms)} for d in outcome.decisions],
        "lost_at_s": [since(at) for s in outcome.result.streams for at in s.lost_at_ms],
        "longest_gap_ms": outcome.result.longest_gap_ms,
        "ping": {k: outcome.result.ping[k] for k in ("sent", "received")},
        "fault_counters": outcome.fault_counts,
    }


def _how_to_look(scenario: Scenario) -> str:
    topo = scenario.topo
    lines = [f"kept: namespaces {topo.ns('*')}, files in {topo.dir}", "  look:"]
    lines += [f"    {e.name}: foreshift show status -s {e.socket}" for e in scenario.engines if e.alive()]
    lines += [f"    hostA: ip netns exec {topo.ns('ha')} ping {HOST_B4}", "  remove it: scripts/lab/clean"]
    return "\n".join(lines)


def write(runs: list[dict], out: Path) -> None:
    """summary.json (the entries and nothing else), details.json, timeline.png."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "summary.json").write_text(json.dumps([r["summary"] for r in runs], indent=2) + "\n")
    (out / "details.json").write_text(json.dumps(runs) + "\n")
    plot.timeline(runs, out / "timeline.png")


def main(argv=None) -> int:
    args = arguments(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    progress = Progress()
    timing = Timing.within(args.seconds) if args.seconds else Timing()
    modes = ("reactive", "predictive") if args.mode == "both" else (args.mode,)
    try:
        build()
        if args.calm is not None:
            return run_calm(args.calm, progress)
        runs = [run_mode(mode, args, timing, progress, args.keep and mode == modes[-1]) for mode in modes]
    except LabError as err:
        progress.say(f"demo: {err}")
        return 2
    except KeyboardInterrupt:
        progress.say("demo: interrupted; everything was removed")
        return 130
    write(runs, OUT)
    print(report.table([r["summary"] for r in runs]))
    print(f"\n{OUT.relative_to(ROOT)}/summary.json, details.json, timeline.png")
    for entry in (r["summary"] for r in runs):
        if entry["shift_started_ms"] is not None and entry["shift_started_ms"] < 0:
            print(f"{entry['mode']}: the traffic moved before the fault began, so this run says little; "
                  "is the machine busy with something else?")
    wrong = [w for r in runs if r["summary"]["mode"] == "predictive" for w in report.verdict(r["summary"])]
    for reason in wrong:
        print(f"not a success: {reason}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
