"""What arrived, judged against what was sent: loss, duplicates, reordering, gaps, stalls. Pure functions."""
import array
import re
from dataclasses import dataclass, field
from pathlib import Path

GAP_MS = 50.0
STALL_MS = 200.0


def load(path: Path) -> array.array:
    rows = array.array("q")
    if path.exists():
        rows.frombytes(path.read_bytes())
    return rows


@dataclass
class UdpResult:
    """One stream. Times are unix ms. `lost_at_ms`: the send time of each packet that never arrived."""
    sent: int
    received: int
    lost: int
    duplicated: int
    reordered: int
    lost_at_ms: list[float] = field(repr=False)
    gaps: list[dict] = field(repr=False)
    sent_at_ms: list[float] = field(repr=False)
    arrivals: list[tuple[float, float]] = field(repr=False)  # (send time ms, one-way latency ms)

    @property
    def longest_gap_ms(self) -> float:
        return max((g["ms"] for g in self.gaps), default=0.0)


def udp(sent: array.array, rows: array.array, flows: int = 1, gap_ms: float = GAP_MS) -> UdpResult:
    """`sent`: send time ns by sequence number. `rows`: flat (seq, send ns, arrival ns) in order of arrival.

    Number n is of flow n modulo `flows`; reordering and gaps are of a flow. Reordered is RFC 4737 §3.3's singleton: a
    first copy that arrives after a higher number of its flow has.
    """
    seen, duplicated, reordered, gaps, arrivals = bytearray(len(sent)), 0, 0, [], []
    highest, before = [-1] * flows, list(sent[:flows])

    def gap(flow, until):
        if until - before[flow] >= gap_ms * 1e6:
            gaps.append({"at_ms": before[flow] / 1e6, "ms": (until - before[flow]) / 1e6})
    for i in range(0, len(rows), 3):
        seq, stamp, arrived = rows[i], rows[i + 1], rows[i + 2]
        if seq >= len(sent):
            continue
        if seen[seq]:
            duplicated += 1
            continue
        seen[seq], flow = 1, seq % flows
        if seq < highest[flow]:
            reordered += 1
        highest[flow] = max(highest[flow], seq)
        gap(flow, arrived)
        before[flow] = arrived
        arrivals.append((stamp / 1e6, (arrived - stamp) / 1e6))
    for flow in range(min(flows, len(sent))):
        gap(flow, sent[-1])
    lost_at = [sent[seq] / 1e6 for seq in range(len(sent)) if not seen[seq]]
    return UdpResult(len(sent), sum(seen), len(lost_at), duplicated, reordered, lost_at, gaps,
                     [t / 1e6 for t in sent], arrivals)


@dataclass
class TcpResult:
    """A download. `stalled_ms`: the sum of all pauses without a byte that are longer than its pacing's (at least `STALL_MS`)."""
    bytes: int
    stalled_ms: float
    longest_stall_ms: float
    stalls: list[dict] = field(repr=False)
    progress: list[tuple[float, int]] = field(repr=False)


def tcp(rows: array.array, until_ms: float, stall_ms: float = STALL_MS) -> TcpResult:
    """`rows`: flat (time ns, bytes so far). A download that never goes on is stalled until `until_ms`."""
    progress = [(rows[i] / 1e6, rows[i + 1]) for i in range(0, len(rows), 2)]
    progress = [p for p in progress if p[0] <= until_ms]
    stalls, before = [], None
    for at, _ in [*progress, (until_ms, 0)]:
        if before is not None and at - before >= stall_ms:
            stalls.append({"at_ms": before, "ms": at - before})
        before = at
    return TcpResult(progress[-1][1] if progress else 0, sum(s["ms"] for s in stalls),
                     max((s["ms"] for s in stalls), default=0.0), stalls, progress)


PING_LINE = re.compile(r"^\[(\d+\.\d+)\].*icmp_seq=(\d+) (?:ttl=\d+ |hop=\d+ )?time=([\d.]+) ms")
PING_SENT = re.compile(r"(\d+) packets transmitted, (\d+) received")


def ping(text: str) -> dict:
    """Parses `ping -D`: sent, received and (unix ms, round trip ms) of each answer."""
    answers = [(float(m[1]) * 1e3, float(m[3])) for m in map(PING_LINE.match, text.splitlines()) if m]
    total = PING_SENT.search(text)
    return {"sent": int(total[1]) if total else 0, "received": int(total[2]) if total else len(answers),
            "answers": answers}


def bins(start_ms: float, end_ms: float, streams: list[UdpResult], width_ms: float = 100.0) -> list[dict]:
    """Both streams by send time: sent, lost, and the median and p99 latency of those that arrived."""
    count = max(0, int((end_ms - start_ms) / width_ms) + 1)
    table = [{"at_ms": start_ms + i * width_ms, "sent": 0, "lost": 0, "latency": []} for i in range(count)]

    def cell(at):
        index = int((at - start_ms) / width_ms)
        return table[index] if 0 <= index < count else None
    for stream in streams:
        for at in stream.sent_at_ms:
            if row := cell(at):
                row["sent"] += 1
        for at in stream.lost_at_ms:
            if row := cell(at):
                row["lost"] += 1
        for at, latency in stream.arrivals:
            if row := cell(at):
                row["latency"].append(latency)
    for row in table:
        values = sorted(row.pop("latency"))
        row["p50_ms"] = round(values[len(values) // 2], 3) if values else None
        row["p99_ms"] = round(values[min(len(values) - 1, int(len(values) * 0.99))], 3) if values else None
    return table
