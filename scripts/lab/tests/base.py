"""Labs for classes of tests; after every test packets are conserved and the pools are full."""
import contextlib
import re
import subprocess
import threading
import time
import unittest

from ..counters import swallowed
from ..engines import Engine, Engines
from ..progress import Progress
from ..scenario import Scenario
from ..shell import run, stop
from ..topology import HOST_B4, HOST_B6, Topology
from ..traffic import Result

SETTLE_S = 5.0


class LabTest(unittest.TestCase):
    """What a test does with engines and hosts, however they came to be."""
    topo: Topology
    engines: Engines

    def tearDown(self):
        for engine in self.engines:
            if engine.alive():
                self.assert_conserved(engine)
                self.assert_pools_full(engine)

    def assert_conserved(self, engine: Engine) -> None:
        """received + originated = transmitted + drops + held, once nothing is under way."""
        def balance():
            c = engine.packet_counts()
            return c, c["received"] + c["originated"] - c["transmitted"] - sum(c["dropped"].values()) - c["held"]
        counts, difference = settle(balance, lambda b: b[1] == 0)
        self.assertEqual(difference, 0, f"{engine.name}: packets are not conserved: {counts}")

    def assert_pools_full(self, engine: Engine) -> None:
        """Every buffer is back in its pool but for the packets that are held."""
        def missing():
            c = engine.packet_counts()
            return max(0, sum(p["in_use"] for p in c["pools"]) - c["held"])
        self.assertEqual(settle(missing, lambda m: m == 0), 0, f"{engine.name}: buffers are missing")

    def assert_untouched(self, result: Result, *told) -> None:
        """Nothing of the traffic was lost, reordered or duplicated; `told` says what was going on."""
        lost = sorted((round(at - result.end_ms), way) for way, s in enumerate(result.streams) for at in s.lost_at_ms)
        drops = {e.name: e.packet_counts()["dropped"] for e in self.engines if e.alive()}
        self.assertGreater(result.total("sent"), 0)
        self.assertEqual([result.total(n) for n in ("lost", "reordered", "duplicated")], [0, 0, 0],
                         f"{told}; lost (ms from the end, way) {lost[:40]}; refused by the hosts' kernel {result.refused}; "
                         f"{self.swallowed()}; {drops}")

    def swallowed(self) -> dict:
        """Of a lab with taps: packets of the streams that each engine of the site took in this test and did not pass on."""
        return {}

    def assert_up(self, engine: Engine, within_s: float) -> None:
        """The engine becomes ready, with all its tunnels."""
        self.assertTrue(settle(engine.up, bool, within_s), engine.last_words())

    def hand_over(self, asked: str, command: str, to: str, within_s: float = 40.0) -> None:
        """The site goes to an engine. Asked again where that was refused (it has just started) or given up (the machine stalled, and
        a path looked bad)."""
        def owned():
            status = self.engines[to].status()
            if status is None or not status.owner:
                self.engines[asked].command(command, check=False)
            return status
        status = settle(owned, lambda s: s is not None and s.owner, within_s)
        told = [(e.name, d.action, d.rule, d.outcome) for e in self.engines for d in e.decisions()]
        self.assertTrue(status is not None and status.owner, f"{command}: {told}")

    def host(self, node: str, *argv: str, check=True, timeout=60) -> str:
        """Run a command on a host; its stdout and stderr."""
        done = run(*self.topo.exec(node, *argv), check=check, timeout=timeout)
        return done.stdout + done.stderr

    def wait(self, seconds: float) -> None:
        """Let the traffic run."""
        time.sleep(seconds)

    def ping(self, address: str, *options: str, check=True) -> str:
        return self.host("ha", "ping", "-n", "-c", "5", "-i", "0.2", "-W", "2", *options, address, check=check)

    @contextlib.contextmanager
    def capture(self, node: str, port: str, expression: str, *options: str):
        """Capture at a port for the block; yields the file's path, complete when the block has ended."""
        path = self.topo.dir / f"{node}-{port}.pcap"
        process = subprocess.Popen(
            self.topo.exec(node, "tcpdump", "-U", "-n", *options, "-i", port, "-w", str(path), "-Z", "root", expression),
            stderr=subprocess.PIPE, text=True)
        self.topo.on_close(stop, process)
        process.stderr.readline()  # "listening on": the socket is open
        try:
            yield path
            time.sleep(0.5)
        finally:
            stop(process)
            process.stderr.close()


class EngineLab(LabTest):
    """Override `change` to edit the engines' configurations, `topology` for other namespaces."""
    scenario: Scenario
    topology = Topology

    @classmethod
    def change(cls, config: dict) -> dict:
        config["prediction"] = {"mode": "observe"}
        return config

    @classmethod
    def setUpClass(cls):
        cls.scenario = Scenario(cls.__name__, "death", cls.change, Progress(), topology=cls.topology)
        cls.scenario.__enter__()
        cls.addClassCleanup(cls.scenario.__exit__)
        cls.topo, cls.engines = cls.scenario.topo, cls.scenario.engines

    def setUp(self):
        self._counted = self.scenario.counters.read()

    def swallowed(self) -> dict:
        now = self.scenario.counters.read()
        return {engine: swallowed(now, engine) - swallowed(self._counted, engine) for engine in ("a1", "a2")}


class Watch:
    """Calls again and again in a thread, from enter to exit."""

    def __init__(self, look, every_s: float = 0.1):
        self._look, self._every_s, self._end = look, every_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._end.wait(self._every_s):
            self._look()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._end.set()
        self._thread.join()


def settle(read, good, within_s: float = SETTLE_S):
    """Read until it is good or the time is up; the last value. Live counters are never read at one instant."""
    deadline = time.monotonic() + within_s
    while not good(value := read()) and time.monotonic() < deadline:
        time.sleep(0.1)
    return value


def tshark(path, *options: str) -> list[list[str]]:
    """Rows of tshark -T fields; several values in one field are joined by commas."""
    out = run("tshark", "-n", "-r", path, "-T", "fields", *options).stdout
    return [line.split("\t") for line in out.splitlines()]


def received(ping_output: str) -> int:
    match = re.search(r"(\d+) received", ping_output)
    return int(match[1]) if match else 0


FAMILIES = (("IPv4", HOST_B4), ("IPv6", HOST_B6))
