"""When the hosts' service failed: the SLO that recordings are labelled with. Pure functions.

Half a second is bad when more than 0.1 % of its packets, both ways, never arrived, or when its p99 latency is above five
times the calm one (and 5 ms: below that the hosts' own scheduling is what is measured). The service has failed when five
of six half-seconds in a row were bad, the last one too: at that moment, not at the first lost packet.
"""
import math
from dataclasses import dataclass

from . import analysis
from .traffic import Result

PART_MS, PARTS, BAD_PARTS = 500.0, 6, 5
TOGETHER_MS = 3000.0  # within this labs break in the same moment
LOSS_LIMIT, LATENCY_FACTOR, LATENCY_FLOOR_MS = 0.001, 5.0, 5.0


def parts(result: Result) -> list[dict]:
    """Half-seconds by send time. Packets sent in the last one may still have been under way: it is left out."""
    return analysis.bins(result.start_ms, result.end_ms - PART_MS, result.streams, PART_MS)


def latency_limit(rows: list[dict], calm_until_ms: float) -> float:
    """What p99 latency is too much, from the half-seconds before `calm_until_ms`."""
    calm = sorted(r["p99_ms"] for r in rows if r["at_ms"] + PART_MS < calm_until_ms and r["p99_ms"] is not None)
    return max(LATENCY_FLOOR_MS, LATENCY_FACTOR * calm[len(calm) // 2]) if calm else float("inf")


def is_bad(row: dict, limit_ms: float) -> bool:
    """Whether one half-second breaks the SLO."""
    lossy = row["sent"] > 0 and row["lost"] / row["sent"] > LOSS_LIMIT
    return lossy or (row["p99_ms"] is not None and row["p99_ms"] > limit_ms)


def breach(rows: list[dict], limit_ms: float) -> tuple[float, float] | None:
    """(when it began, when it had lasted long enough to be a failure) of the first failure."""
    bad = [is_bad(row, limit_ms) for row in rows]
    for last in range(PARTS - 1, len(rows)):
        window = range(last - PARTS + 1, last + 1)
        if bad[last] and sum(bad[i] for i in window) >= BAD_PARTS:
            first = next(i for i in window if bad[i])
            return rows[first]["at_ms"], rows[last]["at_ms"] + PART_MS
    return None


@dataclass(frozen=True)
class Broke:
    """When a run's service broke (ms), and whether there was a fault by then."""
    at_ms: float
    by_fault: bool


def broke(lines: list[dict]) -> Broke | None:
    """The first bad half-second of a run that failed."""
    when = {line["event"]: line["at_ms"] for line in lines if line["type"] == "event"}
    by_fault = when.get("inject", math.inf) - 2 * PART_MS <= when.get("slo", 0)
    return Broke(when["slo"], by_fault) if "slo" in when else None


def stalled(runs: dict[str, Broke]) -> set[str]:
    """The runs that the machine broke by standing still: at the same time as another lab's, and one of the two had no fault."""
    def together(run: str, other: str) -> bool:
        a, b = runs[run], runs[other]
        return run != other and abs(a.at_ms - b.at_ms) <= TOGETHER_MS and not (a.by_fault and b.by_fault)
    return {run for run in runs if any(together(run, other) for other in runs)}
