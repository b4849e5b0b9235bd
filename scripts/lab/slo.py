"""When the hosts' service failed: the SLO that recordings are labelled with. Pure functions.

Half a second is bad when more than 0.1 % of its packets, both ways, never arrived, or when its p99 latency is above five
times the calm one (and 5 ms: below that the hosts' own scheduling is what is measured). The service has failed when five
of six half-seconds in a row were bad, the last one too: at that moment, not at the first lost packet.
"""
from . import analysis
from .traffic import Result

PART_MS, PARTS, BAD_PARTS = 500.0, 6, 5
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
