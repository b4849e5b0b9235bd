"""Mirroring between two real engines of a site: the standby does as the active with what is mirrored, or is found out; nothing of it
leaves the standby."""
import json
import subprocess
import unittest

from ..shell import run, stop
from ..topology import HOST_B4
from .base import EngineLab, settle

PORT = 7007
FLOWS, EACH, SIZE = 600, 4, 1000
# One UDP flow a source port; each datagram is answered.
SERVER = f"""
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", {PORT})); print("ready", flush=True)
while True:
    data, peer = s.recvfrom(2048); s.sendto(data, peer)
"""
CLIENT = f"""
import socket, time
heard = 0
for turn in range({EACH}):
    for flow in range({FLOWS}):
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", 20000 + flow)); s.settimeout(0.5)
        s.sendto(bytes({SIZE}), ("{HOST_B4}", {PORT}))
        try:
            heard += len(s.recv(2048)) == {SIZE}
        except TimeoutError:
            pass
        s.close()
print(heard)
"""


class Mirrored(EngineLab):
    """a1 and a2 with a mirror, and answers from hostB."""

    @classmethod
    def change(cls, config):
        config["prediction"] = {"mode": "observe"}
        if config["engine"]["site"] == "a":
            config["mirror"] = {"share": 0.05}
            config["ha"]["lease_ms"] = 10_000  # nothing is to change owner here, however long the machine stalls
        if config["engine"]["name"] == "a2":
            cls.differ(config)
        return config

    @classmethod
    def differ(cls, config) -> None:
        """What is different at the standby: nothing."""

    def setUp(self):
        super().setUp()
        server = subprocess.Popen(self.topo.exec("hb", "python3", "-c", SERVER), stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (stop(server), server.stdout.close()))
        server.stdout.readline()
        up = settle(lambda: self._mirror("a1")["active"], lambda active: active and active["up"], within_s=20)
        self.assertTrue(up and up["up"], self.engines["a1"].last_words())

    def _mirror(self, name: str) -> dict:
        return self.engines[name].ask("mirror")

    def _report(self) -> dict:
        """What a1 knows of a2's verdicts."""
        return self._mirror("a1")["active"]["report"] or {"compared": 0, "diverged": [], "alarm": None}

    def _exchange(self) -> int:
        return int(self.host("ha", "python3", "-c", CLIENT, timeout=120))


class Alike(Mirrored):
    def test_the_standby_does_the_same_and_sends_nothing(self):
        before = self._mirror("a1")["active"]
        large = "udp or (esp and greater 900)"
        with self.capture("la", "l2", f"udp port {PORT}") as lan, \
                self.capture("wan", "w2", f"({large}) and greater 900") as wan, \
                self.capture("wan", "w1", f"({large}) and greater 900") as active:
            heard = self._exchange()
            self.wait(2.5)
        self.assertGreater(heard, FLOWS * EACH * 0.99)
        report = settle(self._report, lambda r: r["compared"] > 50)
        now = self._mirror("a1")["active"]
        copied = now["flow_packets"] - before["flow_packets"]
        share = copied / (2 * EACH * FLOWS)
        print(f"\n  {copied} of {2 * EACH * FLOWS} packets mirrored ({share:.1%}), {report['compared']} compared, "
              f"differ: {dict(report['diverged'])}, not judged: {report['unseen_session']} + {report['incomparable']}")
        # A binomial count of flows: 5 standard deviations of it.
        self.assertLess(abs(share - 0.05), 5 * (0.05 * 0.95 / FLOWS) ** 0.5)
        self.assertEqual(copied % (2 * EACH), 0, "flows are whole, both ways")
        self.assertGreater(report["compared"], 50)
        self.assertEqual((sum(n for _, n in report["diverged"]), report["alarm"], now["lost"]), (0, None, 0))
        found = self._mirror("a2")["found"]
        self.assertEqual((found["compared"] > 50, found["alarm"]), (True, None))
        packets = {path.stem: len(run("tcpdump", "-n", "-r", str(path), check=False).stdout.splitlines())
                   for path in (lan, wan, active)}
        print(f"  large packets at a1's WAN: {packets['wan-w1']}; at a2's: {packets['wan-w2']}; mirrored ones on the LAN from a2: "
              f"{self._from_a2(lan)}")
        self.assertGreaterEqual(packets["wan-w1"], 2 * EACH * FLOWS * 0.99, "the active's own, as a yardstick")
        self.assertEqual(packets["wan-w2"], 0)
        self.assertEqual(self._from_a2(lan), 0)
        self.assertIn("compared", self.engines["a1"].command("show", "mirror").stdout)

    def _from_a2(self, path) -> int:
        """Frames that a2 has sent: a bridge may flood others to its port."""
        mac = json.loads(run("ip", "-n", self.topo.ns("a2"), "-j", "link", "show", "lan0").stdout)[0]["address"]
        return len(run("tcpdump", "-n", "-r", str(path), f"ether src {mac}", check=False).stdout.splitlines())


class Different(Mirrored):
    """The standby lacks what the active has: each kind is found and told, on both engines."""
    wanted = "acl_denied"

    @classmethod
    def differ(cls, config):
        rule = {"action": "deny", "protocol": "udp", "dst_ports": str(PORT)}
        config["acl"] = {"default": "permit", "rule": [rule]}

    def _felt(self) -> list[float]:
        """The share that diverged, as a2's telemetry has it: the last metric."""
        samples = self.engines["a2"].ask_with({"request": "telemetry", "since_ms": 0})
        return sorted({sample["values"][-1] for sample in samples} - {None, 0.0})

    def test_it_is_found_and_told(self):
        self._exchange()
        report = settle(self._report, lambda r: r["alarm"])
        print(f"\n  {dict(report['diverged'])} of {report['compared']}; {report['alarm']}")
        self.assertIn(self.wanted, report["alarm"] or "no alarm")
        self.assertIn(f"{HOST_B4}:{PORT}", report["alarm"])
        self.assertGreaterEqual(dict(report["diverged"])["drops"], 3)
        for name in ("a1", "a2"):
            decided = settle(lambda: [d for d in self.engines[name].decisions() if d.action == "a2 diverges from a1"], bool)
            self.assertEqual(len(decided), 1, f"{name}: {self.engines[name].decisions()}")
            self.assertIn(self.wanted, dict(decided[0].inputs)["example"])
        # The standby's own predictor sees it too, as harm.
        told = settle(self._felt, bool)
        print(f"  a2's predictor: {told}")
        self.assertGreater(max(told, default=0.0), 0.1)
        again = settle(self._report, lambda r: not r["alarm"], within_s=20)
        self.assertIsNone(again["alarm"], "quiet clears it")


class NoRoute(Different):
    wanted = "no_route"

    @classmethod
    def differ(cls, config):
        config["route"] = [route for route in config["route"] if route["prefix"] != "10.2.0.0/24"]


del Mirrored  # a base, not a test


if __name__ == "__main__":
    unittest.main()
