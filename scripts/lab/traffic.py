"""The hosts' traffic: UDP both ways at a fixed rate, a TCP download, a ping; each end a process in its namespace."""
import contextlib
import json
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import analysis
from .shell import PYTHON, LabError, now_ms, stop
from .topology import HOST_A4, HOST_A6, HOST_B4, HOST_B6

AF41, AF11 = 34, 10
ENDPOINT = Path(__file__).with_name("endpoint.py")
DRAIN_S = 1.5  # what is still queued somewhere has this long to arrive
BURST_BITS = 8 * 65536  # what Linux sends at once of a paced connection whose round trip is short (tcp_tso_rtt_log)


@dataclass(frozen=True)
class Load:
    """What the hosts do. `pps` is each UDP stream's, over all its flows; `download_bps` 0 means no download."""
    pps: int = 500
    flows: int = 16
    payload: int = 200
    download_bps: int = 8_000_000
    ping_per_s: int = 10
    v6: bool = False
    daily_s: float = 0.0   # the rate swings by 60 % with this period
    growth_s: float = 0.0  # the rate doubles in this time
    points: tuple[tuple[float, float], ...] = ()  # the rate's factor at these seconds, straight lines between


class Endpoint:
    """A traffic process; its JSON lines are read in a thread, merged into `live`."""

    def __init__(self, topo, node: str, role: str, **options):
        argv = [PYTHON, str(ENDPOINT), role]
        for key, value in options.items():
            argv += [f"--{key}", str(value)]
        self.live: dict = {}
        self.process = subprocess.Popen(topo.exec(node, *argv), stdout=subprocess.PIPE, text=True)
        topo.on_close(stop, self.process)
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with self.process.stdout:
            for line in self.process.stdout:
                self.live |= json.loads(line)

    def wait_ready(self, timeout_s: float = 10.0) -> "Endpoint":
        deadline = time.monotonic() + timeout_s
        while "ready" not in self.live:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise LabError(f"traffic endpoint did not start: {self.process.args}")
            time.sleep(0.02)
        return self

    def finish(self, timeout_s: float | None = None) -> dict:
        """Wait (or, without a timeout, end it now) and return its last words."""
        if timeout_s is None:
            stop(self.process)
        else:
            self.process.wait(timeout_s)
        self._thread.join(2)
        return self.live


@dataclass
class Result:
    """Everything the hosts saw. `streams` are A→B and B→A; `refused`: packets that the senders' own kernel did not take."""
    streams: list[analysis.UdpResult]
    tcp: analysis.TcpResult | None
    ping: dict
    start_ms: float
    end_ms: float
    refused: int = 0

    def total(self, name: str) -> int:
        return sum(getattr(s, name) for s in self.streams)

    @property
    def longest_gap_ms(self) -> float:
        return max(s.longest_gap_ms for s in self.streams)

    def __str__(self) -> str:
        download = f"; the download stalled {self.tcp.stalled_ms:.0f} ms" if self.tcp else ""
        return (f"{self.total('lost')} of {self.total('sent')} packets lost, {self.total('reordered')} reordered, "
                f"{self.total('duplicated')} duplicated, longest gap {self.longest_gap_ms:.0f} ms{download}")


class Traffic:
    """Starts on construction; `finish()` stops the senders, lets the network drain and judges."""

    def __init__(self, topo, load: Load = Load()):
        self.load, self._dir, self.start_ms = load, topo.dir, now_ms()
        a, b = (HOST_A6, HOST_B6) if load.v6 else (HOST_A4, HOST_B4)
        any_address = "::" if load.v6 else "0.0.0.0"
        ways = (("ha", "hb", b, 1), ("hb", "ha", a, 2))
        self._files = [(self._dir / f"sent-{s}.bin", self._dir / f"rows-{s}.bin") for *_, s in ways]
        self._recv = [Endpoint(topo, to, "udp-recv", bind=any_address, port=9000, stream=s, out=f[1]).wait_ready()
                      for (_, to, _, s), f in zip(ways, self._files)]
        self._tcp = self._start_download(topo, b, any_address)
        self._start_ping(topo, b)
        self._send = [Endpoint(topo, node, "udp-send", to=address, port=9000, pps=load.pps, flows=load.flows,
                               size=load.payload, dscp=AF41, stream=s, out=f[0],
                               daily=load.daily_s, growth=load.growth_s,
                               points=",".join(f"{at}:{factor}" for at, factor in load.points))
                      for (node, _, address, s), f in zip(ways, self._files)]

    def _start_ping(self, topo, b: str) -> None:
        self._ping_out, self._ping = open(self._dir / "ping.txt", "w"), None
        if self.load.ping_per_s:
            self._ping = subprocess.Popen(
                topo.exec("ha", "ping", "-n", "-D", "-i", str(1 / self.load.ping_per_s), b),
                stdout=self._ping_out, stderr=subprocess.STDOUT)
            topo.on_close(stop, self._ping)

    def _start_download(self, topo, b: str, any_address: str):
        if not self.load.download_bps:
            return None
        serve = Endpoint(topo, "hb", "tcp-serve", bind=any_address, port=9001, rate=self.load.download_bps,
                         dscp=AF11).wait_ready()
        fetch = Endpoint(topo, "ha", "tcp-fetch", to=b, port=9001, dscp=AF11, out=self._dir / "tcp.bin")
        return serve, fetch

    def live(self) -> dict:
        """Received so far (both streams), how many of it late, how many missing, bytes downloaded; cheap, a little old."""
        received = [r.live.get("received", 0) for r in self._recv]
        highest = [r.live.get("highest", -1) + 1 for r in self._recv]
        return {"received": sum(received), "missing": sum(highest) - sum(received),
                "slow": sum(r.live.get("slow", 0) for r in self._recv),
                "bytes": self._tcp[1].live.get("bytes", 0) if self._tcp else 0}

    def finish(self) -> Result:
        refused = sum(sender.finish().get("refused", 0) for sender in self._send)
        end_ms = now_ms()
        time.sleep(DRAIN_S)
        for receiver in self._recv:
            receiver.finish()
        if self._tcp:
            self._tcp[1].finish()
            self._tcp[0].finish()
        if self._ping:
            self._ping.send_signal(signal.SIGINT)  # ping prints its totals
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._ping.wait(2)
            stop(self._ping)
        self._ping_out.close()
        gap_ms = max(analysis.GAP_MS, 3e3 * self.load.flows / self.load.pps)  # more than two of a flow's packets
        streams = [analysis.udp(analysis.load(sent), analysis.load(rows), self.load.flows, gap_ms)
                   for sent, rows in self._files]
        tcp = None
        if self._tcp:
            stall_ms = max(analysis.STALL_MS, 1.5e3 * BURST_BITS / self.load.download_bps)
            tcp = analysis.tcp(analysis.load(self._dir / "tcp.bin"), end_ms, stall_ms)
        ping = analysis.ping((self._dir / "ping.txt").read_text())
        return Result(streams, tcp, ping, self.start_ms, end_ms, refused)


def download(topo, v6: bool = False, size: int = 2_000_000, timeout_s: float = 30.0) -> dict:
    """One download of `size` bytes hostB → hostA: bytes, seconds, error, and the server's segment size."""
    serve = Endpoint(topo, "hb", "tcp-serve", bind="::" if v6 else "0.0.0.0", port=9002, bytes=size).wait_ready()
    fetch = Endpoint(topo, "ha", "tcp-fetch", to=HOST_B6 if v6 else HOST_B4, port=9002, bytes=size,
                     seconds=timeout_s)
    result = dict(fetch.finish(timeout_s + 5))
    result["segment"] = serve.finish().get("segment")
    return result
