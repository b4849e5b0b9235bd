"""scripts/demo --calm: the demo's lab, predictive, under everything that is no fault. Nothing may move."""
import random
import time
from collections import Counter

from . import calm
from .engines import Decision, Status, StatusLog
from .progress import Progress
from .scenario import Scenario
from .traffic import Load, Result, Traffic

DAY_S = 60.0  # a day of traffic lasts so long
MOVES = ("shift", "takeover", "handover")


def run(seconds: float, seed: int, change, progress: Progress) -> dict:
    """Calm of that length: bursts, reloads, a growing table, pauses and questions, every few seconds one of them."""
    with Scenario("calm", "none", change, progress, Load(daily_s=DAY_S)) as scenario:
        bustle = calm.Bustle("any", scenario, random.Random(seed))
        statuses, traffic = StatusLog(scenario.engines, every_s=0.5), Traffic(scenario.topo, scenario.load)
        begin = len(statuses.decisions())
        try:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.1)
                bustle()
                progress.update(_line(end - time.monotonic(), bustle, statuses, traffic))
            result = traffic.finish()
        finally:
            statuses.close()
    return summary(seconds, result, bustle.began, statuses.decisions()[begin:], statuses.samples)


def _line(left_s: float, bustle: calm.Bustle, statuses: StatusLog, traffic: Traffic) -> str:
    a1, live = statuses.last("a1"), traffic.live()
    p = "-" if a1 is None or a1.probability is None else f"{a1.probability:.2f}"
    return (f"[calm] {left_s:5.0f} s left | {len(bustle.began)} events | P {p} | "
            f"moves {len(moves(statuses.decisions()))} | udp {live['received']} missing {live['missing']}")


def moves(decisions: list[Decision]) -> list[Decision]:
    """What moved traffic, or would have."""
    return [d for d in decisions if d.action.startswith(MOVES)]


def summary(seconds: float, result: Result, began: list, decisions: list[Decision], samples: dict) -> dict:
    """What there was, what the engines made of it, and what it cost the hosts."""
    highest = {name: max((s.probability for s in rows if s.probability is not None), default=None)
               for name, rows in samples.items()}
    return {
        "seconds": seconds,
        "events": dict(Counter(what for _, what in began)),
        "moves": [_told(d) for d in moves(decisions)],
        "alarms": {name: episodes(rows) for name, rows in samples.items()},
        "highest_probability": highest,
        "threshold": {name: rows[-1].threshold for name, rows in samples.items() if rows},
        "packets_sent": result.total("sent"),
        "packets_lost": result.total("lost"),
        "packets_reordered": result.total("reordered"),
        "packets_duplicated": result.total("duplicated"),
    }


def episodes(rows: list[Status]) -> list[dict]:
    """When an engine was in alarm, and for how long; to the distance of its samples."""
    found = []
    for before, after in zip(rows, rows[1:]):
        if after.alarm and not before.alarm:
            found.append({"unix_ms": round(after.unix_ms), "seconds": 0.0})
        if after.alarm and before.alarm and found:
            found[-1]["seconds"] = round((after.unix_ms - found[-1]["unix_ms"]) / 1e3, 1)
    return found


def _told(decision: Decision) -> dict:
    return {"unix_ms": round(decision.unix_ms), "engine": decision.engine, "action": decision.action,
            "rule": decision.rule, "outcome": decision.outcome, "inputs": decision.inputs}


def verdict(found: dict) -> list[str]:
    """Why it is not a success; empty: it is."""
    wrong = [f"{m['engine']} {m['action']}: {m['rule']} ({m['outcome']})" for m in found["moves"]]
    if not found["packets_sent"] or found["packets_lost"] == found["packets_sent"]:
        wrong.append("no traffic passed")
    if not found["events"]:
        wrong.append("too short: nothing happened")
    return wrong
