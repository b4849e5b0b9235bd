"""BFD with FRR: the router next to a1 answers by its bfdd; when that falls silent, a1's tunnel over it is down at once."""
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from ..shell import run, stop
from .base import EngineLab, settle

ROUTER, A1 = "192.0.2.1", "192.0.2.11"
BEYOND = "198.51.100.1"  # an address of the router that is on no link of a1's
DAEMONS = "/usr/lib/frr"


@unittest.skipUnless(shutil.which("bfdd", path=DAEMONS), "FRR is not installed; scripts/setup does it")
class WithFrr(EngineLab):
    @classmethod
    def change(cls, config):
        config["prediction"] = {"mode": "observe"}
        if config["engine"]["name"] == "a1":
            pace = {"interface": "wan", "interval_ms": 100, "multiplier": 10}
            config["bfd"] = [{"name": "router", "remote": ROUTER, "tunnels": ["a1-b1"], **pace},
                             {"name": "beyond", "remote": BEYOND, "multihop": True, **pace}]
            config["route"].append({"prefix": f"{BEYOND}/32", "via": ROUTER})
        return config

    def setUp(self):
        super().setUp()
        run("ip", "-n", self.topo.ns("wan"), "addr", "add", f"{ROUTER}/24", "dev", "br-wan")
        run("ip", "-n", self.topo.ns("wan"), "addr", "add", f"{BEYOND}/32", "dev", "lo")
        # FRR gives up root: its files cannot lie in the lab's own folder.
        folder = Path(tempfile.mkdtemp(prefix="fs-frr-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        shutil.chown(folder, "frr", "frr")
        pace = "  receive-interval 100\n  transmit-interval 100\n  detect-multiplier 10\n"
        (folder / "bfdd.conf").write_text(f"bfd\n peer {A1} interface br-wan\n{pace}"
                                          f" peer {A1} multihop local-address {BEYOND}\n{pace}")
        socket = ("-z", f"{folder}/zserv.api", "--vty_socket", str(folder), "-i")
        self.daemons = {}
        for name, options in (("zebra", ()), ("bfdd", ("--bfdctl", f"{folder}/bfdd.sock", "-f", f"{folder}/bfdd.conf"))):
            argv = self.topo.exec("wan", f"{DAEMONS}/{name}", *socket, f"{folder}/{name}.pid", "-P", "0", *options)
            log = open(folder / f"{name}.log", "w")
            self.daemons[name] = subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT)
            log.close()
            self.topo.on_close(stop, self.daemons[name])
            settle(lambda: (folder / "zserv.api").exists(), bool)
        self.folder = folder

    def _session(self, place: int = 0) -> dict:
        return json.loads(self.engines["a1"].command("show", "bfd", "--json").stdout)[place]

    def _frr(self) -> list:
        shown = run("vtysh", "--vty_socket", str(self.folder), "-d", "bfdd", "-c", "show bfd peers json", check=False)
        return json.loads(shown.stdout or "[]")

    def test_up_with_bfdd_down_within_the_detection_time_and_up_again(self):
        up = settle(self._session, lambda s: s["state"] == "up", within_s=15)
        logs = "\n".join(path.read_text() for path in self.folder.glob("*.log"))
        self.assertEqual(up["state"], "up", logs)
        theirs = settle(self._frr, lambda peers: len(peers) == 2 and all(p["status"] == "up" for p in peers), within_s=15)
        self.assertEqual([(p["peer"], p["status"]) for p in theirs], [(A1, "up")] * 2, theirs)
        self.assertEqual({p.get("multihop") for p in theirs}, {True, False}, theirs)
        self.assertEqual(self._session(1)["state"], "up", "the one that is hops away (RFC 5883)")
        self.wait(2)
        now = self._session()
        self.assertEqual(now["state"], "up", f"at the full pace: {now['diagnostic']}; {self._frr()}")
        begin = time.monotonic()
        os.kill(self.daemons["bfdd"].pid, signal.SIGSTOP)
        down = settle(self._session, lambda s: s["state"] != "up")
        silent_ms = (time.monotonic() - begin) * 1000
        tunnel = settle(lambda: self.engines["a1"].tunnels()["a1-b1"], lambda t: t["state"] != "up")
        decided = [d for d in self.engines["a1"].decisions() if d.action == "neighbor router down"]
        os.kill(self.daemons["bfdd"].pid, signal.SIGCONT)
        print(f"\n  bfdd stopped: seen after {silent_ms:.0f} ms (10 packets at 100 ms, and the asking)")
        self.assertEqual(down["state"], "down")
        self.assertNotEqual(tunnel["state"], "up")
        self.assertEqual(len(decided), 1)
        for place in (0, 1):
            self.assertEqual(settle(lambda: self._session(place), lambda s: s["state"] == "up", within_s=15)["state"], "up")
        back = settle(lambda: self.engines["a1"].tunnels()["a1-b1"], lambda t: t["state"] == "up", within_s=10)
        self.assertEqual(back["state"], "up")
