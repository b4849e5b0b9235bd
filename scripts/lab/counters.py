"""Packet counts taken at the bridges, outside of every engine: who carried what, and what an engine swallowed.

Only the UDP streams of the measurement carry DSCP AF41, and tunnels copy the DSCP to the outer header (RFC 6040 /
RFC 2983 uniform model), so a packet of theirs is recognised on every link, encrypted or not.
"""
import threading
import time

from .nft import Nft
from .shell import now_ms

STREAM_DSCP = "af41"
DOWNLOAD_DSCP = "af11"
TABLE = "fscount"
# (namespace, bridge port, engine): packets entering the bridge at the port left the engine.
TAPS = (("la", "l1", "a1"), ("la", "s1", "a1"), ("wan", "w1", "a1"),
        ("la", "l2", "a2"), ("la", "s2", "a2"), ("wan", "w2", "a2"))
OFFERED_PRIORITY, FAULT_PRIORITY, PASSED_PRIORITY = -10, 0, 10


def dscp_rules(match: str, dscp: str, action: str) -> list[str]:
    """The same rule for IPv4 and IPv6."""
    return [f"{match} ip dscp {dscp} {action}", f"{match} ip6 dscp {dscp} {action}"]


def _program(node: str) -> str:
    """`<port>_from`: sent by the engine. `<port>_offered`: on its way to it. `<port>_to`: delivered, faults passed."""
    names, offered, passed = [], [], []
    for tap_node, port, _ in TAPS:
        if tap_node != node:
            continue
        names += [f"{port}_from", f"{port}_offered", f"{port}_to"]
        offered += dscp_rules(f'iifname "{port}"', STREAM_DSCP, f"counter name {port}_from")
        offered += dscp_rules(f'oifname "{port}"', STREAM_DSCP, f"counter name {port}_offered")
        passed += dscp_rules(f'oifname "{port}"', STREAM_DSCP, f"counter name {port}_to")
    lines = [f"table bridge {TABLE} {{"] + [f"counter {n} {{ }}" for n in names]
    for chain, priority, rules in (("offered", OFFERED_PRIORITY, offered), ("passed", PASSED_PRIORITY, passed)):
        lines += [f"chain {chain} {{", f"type filter hook forward priority {priority};", *rules, "}"]
    return "\n".join(lines + ["}", ""])


class Counters:
    """Programs the bridges and reads them. `read()` is one snapshot: counts by tap, and its time."""

    def __init__(self, topo):
        self._nft = {node: Nft(topo.ns(node)) for node in ("la", "wan")}
        self._lock = threading.Lock()
        for node, nft in self._nft.items():
            nft.run(_program(node))

    def read(self) -> dict[str, float]:
        with self._lock:
            counts: dict[str, float] = {"unix_ms": now_ms()}
            for nft in self._nft.values():
                counts |= nft.counters(TABLE)
        return counts


def carried(counts: dict, engine: str) -> int:
    """Stream packets on an engine's WAN link, both ways, as offered to it: its share of the traffic."""
    port = {"a1": "w1", "a2": "w2"}[engine]
    return counts[f"{port}_from"] + counts[f"{port}_offered"]


def swallowed(counts: dict, engine: str) -> int:
    """Stream packets delivered to an engine that have not left it."""
    ports = [port for _, port, owner in TAPS if owner == engine]
    return sum(counts[f"{p}_to"] - counts[f"{p}_from"] for p in ports)


class CounterLog:
    """Samples the counters in a thread; `samples` grows, `last` is the newest."""

    def __init__(self, counters: Counters, every_s: float = 0.1):
        self.samples = [counters.read()]
        self._counters, self._every_s = counters, every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    @property
    def last(self) -> dict:
        return self.samples[-1]

    def _loop(self) -> None:
        due = time.monotonic()
        while not self._stop.is_set():
            due = max(due + self._every_s, time.monotonic())
            self._stop.wait(due - time.monotonic())
            self.samples.append(self._counters.read())

    def close(self) -> list[dict]:
        self._stop.set()
        self._thread.join()
        return self.samples
