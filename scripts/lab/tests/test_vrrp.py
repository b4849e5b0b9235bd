"""VRRP with keepalived: a router of another maker on site A's LAN, behind the pair while that lives, and before it when it ends."""
import json
import os
import shutil
import signal
import subprocess
import time
import unittest

from ..shell import run, stop
from ..topology import GATEWAY_A4, GATEWAY_A6, LINKS, NODES, Link, Topology
from .base import EngineLab, received, settle

VRID, INTERVAL_S = 7, 1
VIRTUAL_MAC = f"00:00:5e:00:01:{VRID:02x}"
LINK_LOCAL = "fe80::5e:1"
# RFC 9568 §6.1 for keepalived's priority of 100.
SKEW_S = INTERVAL_S * (256 - 100) / 256
DOWN_S = 3 * INTERVAL_S + SKEW_S


class WithRouter(Topology):
    """The demo's lab with a router `ka` on the LAN of site A."""
    links = (*LINKS, Link("ka", "eth0", "la", "lk", "br-lan"))
    nodes = (*NODES, "ka")


@unittest.skipUnless(shutil.which("keepalived"), "keepalived is not installed; scripts/setup does it")
class WithKeepalived(EngineLab):
    topology = WithRouter

    @classmethod
    def change(cls, config):
        config["prediction"] = {"mode": "observe"}
        if config["engine"]["site"] == "a":
            last = {"a1": 2, "a2": 3}[config["engine"]["name"]]
            config["gateway"]["addresses"].append(LINK_LOCAL)
            config["gateway"]["vrrp"] = {"vrid": VRID, "priority": 150, "interval_ms": INTERVAL_S * 1000}
            config["interface"][0]["addresses"].append(f"fe80::{last}/64")
        return config

    def setUp(self):
        super().setUp()
        for address in ("10.1.0.4/24", "fe80::4/64"):
            run("ip", "-n", self.topo.ns("ka"), "addr", "add", address, "dev", "eth0", "nodad")
        instance = ("vrrp_instance {name} {{\n state BACKUP\n interface eth0\n virtual_router_id {vrid}\n priority 100\n"
                    " advert_int {every}\n garp_master_delay 1\n virtual_ipaddress {{\n{addresses}\n }}\n}}\n")
        text = "global_defs { vrrp_version 3 }\n" + "".join(
            instance.format(name=name, vrid=VRID, every=INTERVAL_S, addresses="\n".join(addresses))
            for name, addresses in (("v4", [f"{GATEWAY_A4}/24"]), ("v6", [f"{LINK_LOCAL}/64", f"{GATEWAY_A6}/64"])))
        # What it does not agree about, the addresses' number among it, it ignores.
        file, self.log = self.topo.dir / "keepalived.conf", self.topo.dir / "keepalived.log"
        file.write_text(text)
        file.chmod(0o600)
        pids = ("-p", self.topo.dir / "ka.pid", "-r", self.topo.dir / "ka-vrrp.pid")
        with open(self.log, "w") as log:
            process = subprocess.Popen(self.topo.exec("ka", "keepalived", "-n", "-l", "-f", file, *pids),
                                       stdout=log, stderr=subprocess.STDOUT)
        self.addCleanup(stop, process)

    def _keepalived(self) -> set[str]:
        """Its instances that are master: it has their addresses."""
        shown = run("ip", "-n", self.topo.ns("ka"), "-j", "addr", "show", "dev", "eth0").stdout
        here = {a["local"] for link in json.loads(shown) for a in link["addr_info"]}
        return {name for name, address in (("v4", GATEWAY_A4), ("v6", LINK_LOCAL)) if address in here}

    def _states(self, engine: str) -> list[str]:
        return [e["state"] for e in json.loads(self.engines[engine].command("show", "vrrp", "--json").stdout)]

    def _gateway_mac(self) -> str:
        shown = json.loads(run("ip", "-n", self.topo.ns("ha"), "-j", "neigh", "show", GATEWAY_A4).stdout or "[]")
        return next((n.get("lladdr", "") for n in shown), "")

    def _until(self, read, good, within_s: float) -> tuple:
        begin = time.monotonic()
        return settle(read, good, within_s=within_s), time.monotonic() - begin

    def test_the_gateway_is_elected_with_keepalived(self):
        active, _ = self._until(lambda: self._states("a1"), lambda s: s == ["active"] * 2, 15)
        self.assertEqual(active, ["active"] * 2, self.log.read_text())
        settle(self._keepalived, lambda m: not m)
        self.assertEqual((self._states("a2"), self._keepalived()), (["initialize"] * 2, set()))
        self.assertEqual(received(self.ping(GATEWAY_A4)), 5)
        self.assertEqual(self._gateway_mac(), VIRTUAL_MAC)
        self._within_the_pair_it_does_not_wait()
        self._keepalived_follows_the_last_engine()
        self._an_engine_takes_it_back_and_leaves_in_good_order()

    def _within_the_pair_it_does_not_wait(self):
        self.engines["a1"].process.send_signal(signal.SIGKILL)
        states, took = self._until(lambda: self._states("a2"), lambda s: s == ["active"] * 2, DOWN_S + 2)
        print(f"\n  a1 killed: a2 is the gateway after {took * 1000:.0f} ms (its lease is 1000 ms)", flush=True)
        self.assertEqual(states, ["active"] * 2)
        self.assertEqual(self._keepalived(), set(), "the lease was faster than the Active_Down_Interval")
        self.assertEqual(received(self.ping(GATEWAY_A4)), 5)
        self.assertEqual(self._gateway_mac(), VIRTUAL_MAC, "the hosts learnt nothing new")

    def _keepalived_follows_the_last_engine(self):
        self.engines["a2"].process.send_signal(signal.SIGKILL)
        masters, took = self._until(self._keepalived, lambda m: m == {"v4", "v6"}, DOWN_S + 5)
        print(f"  a2 killed: keepalived is the gateway after {took * 1000:.0f} ms "
              f"(Active_Down_Interval {DOWN_S * 1000:.0f} ms)", flush=True)
        self.assertEqual(masters, {"v4", "v6"}, self.log.read_text())
        self.assertEqual(received(settle(lambda: self.ping(GATEWAY_A4, check=False), lambda p: received(p) == 5)), 5)

    def _an_engine_takes_it_back_and_leaves_in_good_order(self):
        self.engines["a1"].start()
        states, _ = self._until(lambda: self._ready("a1"), lambda s: s == ["active"] * 2, 40)
        self.assertEqual(states, ["active"] * 2)
        self.assertEqual(settle(self._keepalived, lambda m: not m), set(), self.log.read_text())
        self.assertEqual(received(settle(lambda: self.ping(GATEWAY_A4, check=False), lambda p: received(p) == 5)), 5)
        self.assertEqual(self._gateway_mac(), VIRTUAL_MAC)
        os.kill(self.engines["a1"].process.pid, signal.SIGTERM)
        masters, took = self._until(self._keepalived, lambda m: m == {"v4", "v6"}, DOWN_S + 5)
        print(f"  a1 ends: keepalived is the gateway after {took * 1000:.0f} ms (Skew_Time {SKEW_S * 1000:.0f} ms)",
              flush=True)
        self.assertEqual(masters, {"v4", "v6"}, self.log.read_text())
        self.assertLess(took, DOWN_S, "it was not told, but waited")

    def _ready(self, engine: str) -> list[str]:
        return self._states(engine) if self.engines[engine].status() else []
