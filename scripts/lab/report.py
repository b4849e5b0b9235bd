"""From measurements to the summary: who lost what, and when things happened. Pure functions.

Lost by the fault: what the ramp itself dropped, counted packet by packet where it was dropped (nftables counters of the
loss ramp; for a starved engine the stream packets delivered to it that had not left it when it died, less all that it
says it dropped because it had no lease).
Lost by the failover: everything else that was sent and never arrived. Nothing is subtracted but those counted packets.
"""
from .counters import carried
from .engines import Decision
from .faults import Moments
from .traffic import Result

KEYS = ("mode", "fault", "packets_sent", "packets_lost_total", "packets_lost_by_fault", "packets_lost_by_failover",
        "packets_reordered", "packets_duplicated", "tcp_stalled_ms", "first_alarm_ms", "shift_started_ms",
        "shift_done_ms", "hard_failure_ms")


def summary(mode: str, fault: str, result: Result, lost_by_fault: int, moments: Moments,
            decisions: list[Decision]) -> dict:
    """One mode's entry of summary.json; times are ms since the fault began, null: did not happen."""
    lost = result.total("lost")
    events = milestones(decisions)

    def since(at):
        return None if at is None else round(at - moments.start_ms)
    values = (mode, fault, result.total("sent"), lost, lost_by_fault, lost - lost_by_fault,
              result.total("reordered"), result.total("duplicated"), round(result.tcp.stalled_ms) if result.tcp else 0,
              since(events["alarm"]), since(events["started"]), since(events["done"]), since(moments.hard_ms))
    return dict(zip(KEYS, values, strict=True))


def milestones(decisions: list[Decision]) -> dict[str, float | None]:
    """When a1 first alarmed, and when the move of its traffic that was completed began and was done.

    A decision to shift by the rule on probability is an alarm, carried out or not. A handover or takeover is one step:
    done when it is decided; what it costs is in the losses. A false alarm before the fault counts: its time is negative.
    """
    alarm = started = done = None
    for d in decisions:
        if alarm is None and d.engine == "a1" and (d.action.startswith("alarm") or d.rule.startswith("probability")):
            alarm = d.unix_ms
        if d.outcome != "done" or done is not None:
            continue
        if d.action.startswith("shift") and d.action.endswith("complete"):
            done = d.unix_ms
        elif d.action.startswith("shift"):
            started = d.unix_ms
        elif d.action.startswith(("takeover", "handover")):
            started = done = d.unix_ms
    return {"alarm": alarm, "started": started, "done": done}


def verdict(entry: dict) -> list[str]:
    """Why a predictive run is not a success; empty: it is."""
    wrong = []
    if entry["packets_sent"] == 0 or entry["packets_lost_total"] == entry["packets_sent"]:
        wrong.append("no traffic passed")
    if entry["hard_failure_ms"] is None:
        wrong.append("the hard failure did not happen")
    if entry["packets_lost_by_failover"] < 0:
        wrong.append("more packets counted as dropped by the fault than were lost: the accounting is wrong")
    if entry["packets_lost_by_failover"] > 0:
        wrong.append(f"{entry['packets_lost_by_failover']} packets lost to the failover")
    if entry["shift_done_ms"] is None:
        wrong.append("the traffic was never moved")
    alarm, hard = entry["first_alarm_ms"], entry["hard_failure_ms"]
    if alarm is not None and alarm < 0:
        wrong.append("a false alarm: it was raised before the fault began")
    if alarm is None or (hard is not None and alarm >= hard):
        wrong.append("no alarm before the hard failure")
    return wrong


def table(entries: list[dict]) -> str:
    """The entries side by side."""
    rows = [["", *(e["mode"] for e in entries)]]
    for key in KEYS[1:]:
        name = key.replace("_ms", " (ms)").replace("_", " ")
        rows.append([name, *("-" if e[key] is None else str(e[key]) for e in entries)])
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    lines = ["  ".join([r[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(r[1:], widths[1:]))]) for r in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def shares(samples: list[dict], start_ms: float) -> list[dict]:
    """Between counter samples: the share of the stream packets on each engine's WAN link, in percent."""
    out = []
    for before, after in zip(samples, samples[1:]):
        moved = {e: carried(after, e) - carried(before, e) for e in ("a1", "a2")}
        total = sum(moved.values())
        if total:
            out.append({"t_s": (after["unix_ms"] - start_ms) / 1e3,
                        **{e: 100.0 * n / total for e, n in moved.items()}})
    return out
