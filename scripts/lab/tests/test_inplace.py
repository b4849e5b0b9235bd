"""A gateway without a standby is replaced by a new process of itself, again and again, under UDP, TCP and NAT: nothing is lost,
reordered or duplicated, no connection ends and no nonce repeats. A new process that dies on the way changes nothing."""
import contextlib
import signal
import subprocess
import time
import unittest

from .. import nonces
from ..configfile import cpus
from ..engines import Engines, binary
from ..kills import key_file, sas
from ..rig import alone
from ..shell import run, stop
from ..topology import Link, Topology
from ..traffic import Load, Traffic
from .base import LabTest
from .test_shadow import MANY, POOL, Talk

TIMES, WITHIN_S = 3, 60.0
LOAD = Load(pps=400, flows=32, download_bps=4_000_000)


class TwoGateways(Topology):
    """One engine at each site, and nothing between them."""
    links = (
        Link("a1", "lan0", "ha", "eth0", None),
        Link("a1", "wan0", "b1", "wan0", None),
        Link("b1", "lan0", "hb", "eth0", None),
        Link("a1", "mgmt0", "b1", "mgmt0", None),
    )
    nodes = ("ha", "a1", "b1", "hb")
    engines = ("a1", "b1")


class GatewayLab(LabTest):
    """Two gateways, and what it takes to replace the first."""
    @classmethod
    def setUpClass(cls):
        exits = contextlib.ExitStack()
        cls.addClassCleanup(exits.close)
        cls.topo = exits.enter_context(TwoGateways())
        cls.engines = Engines(cls.topo, cls._change)
        cls.engines.start(WITHIN_S)
        cls.topo.wait_path()

    @classmethod
    def _change(cls, config: dict) -> dict:
        config = alone(config)
        name = config["engine"]["name"]
        config["debug"] = {"export_esp_keys": str(key_file(cls.topo, name))}
        if name == "b1":
            config["route"].append({"prefix": f"{POOL}/32", "group": "site-a"})
            return config
        # Site A translates what begins inside, and knows every session.
        config["acl"] = {"default": "deny", "rule": [
            {"action": "permit-session", "src": src, "dst": dst}
            for a, b in (("10.1.0.0/24", "10.2.0.0/24"), ("fd00:a::/64", "fd00:b::/64"))
            for src, dst in ((a, b), (b, a))]}
        config["sessions"] = {"capacity": 65536}
        config["nat"] = {"inside": ["10.1.0.0/24"], "pool": [POOL]}
        return config

    def setUp(self):
        self.engine = self.engines["a1"]

    def begin(self) -> subprocess.Popen:
        """A new process that is to follow the one that runs."""
        with open(self.engine.log, "ab") as log:
            process = subprocess.Popen(
                self.topo.exec("a1", str(binary()), "run", "-c", str(self.engine.config), "--take-over"),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self.topo.on_close(stop, process, 5.0)
        return process

    def replace(self) -> None:
        old, new = self.engine.process, self.begin()
        self.assertEqual(old.wait(WITHIN_S), 0, self.engine.last_words(30))
        self.engine.process = new
        self.assert_up(self.engine, WITHIN_S)

    def judge(self, traffic: Traffic, what: str):
        """Prints what the traffic has come to."""
        result = traffic.finish()
        print(f"\n  {what}: {result}", flush=True)
        told = ("state given", "has arrived meanwhile", "goes on itself", "may be forwarded by both")
        log = self.engine.last_words(1000).splitlines()
        print("\n".join(line for line in log if any(words in line for words in told)), flush=True)
        return result

    def replaced(self, times: int):
        """Replaces it under all traffic: connections live on and no nonce repeats. What the streams have come to."""
        talk = Talk(self)
        self.addCleanup(talk.close)
        self.assertEqual(talk.flows(WITHIN_S).get("open"), MANY)
        with self.capture("b1", "wan0", "esp", "-B", "65536", "-s", "0") as path:
            traffic = Traffic(self.topo, LOAD)
            time.sleep(2)
            for _ in range(times):
                self.replace()
                time.sleep(2)
            result = self.judge(traffic, f"replaced, times: {times}")
        live = talk.flows(WITHIN_S)
        print(f"  {live['open']} of {MANY} connections talk, ended {live['ended']}", flush=True)
        self.assertEqual((live["open"], live["ended"]), (MANY, []))
        self.assert_conserved(self.engine)
        verdict = nonces.check([path], sas(self.topo))
        print(f"  {verdict.packets} ESP packets, {verdict.nonces} nonces, {len(verdict.repeats)} repeated, "
              f"{verdict.forged} that opened under no key, {verdict.unknown_spi} of unknown SPIs", flush=True)
        self.assertEqual((verdict.repeats, verdict.forged, verdict.unknown_spi), ([], 0, 0))
        self.assertGreater(verdict.nonces, 1000)
        return result


class InPlace(GatewayLab):
    def test_a_gateway_is_replaced_three_times_under_traffic(self):
        self.assert_untouched(self.replaced(TIMES))

    def test_a_new_process_that_is_killed_changes_nothing(self):
        old, traffic = self.engine.process, Traffic(self.topo, LOAD)
        for after_s in (0.02, 0.08, 0.2):
            new = self.begin()
            time.sleep(after_s)
            self.assertIsNone(old.poll(), "it was faster than this test: the cut is over")
            new.send_signal(signal.SIGKILL)
            new.wait()
            time.sleep(1)
        self.assert_untouched(self.judge(traffic, "three new processes killed while they got ready"))
        self.assertIsNone(old.poll())
        self.assert_conserved(self.engine)
        self.replace()

    def test_only_itself_is_followed(self):
        other = self.topo.dir / "other.toml"
        text = self.engine.config.read_text()
        other.write_text(text.replace('name = "a1"', 'name = "a9"'))
        done = run(*self.topo.exec("a1", binary(), "run", "-c", other, "--take-over"), check=False, timeout=WITHIN_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("this is engine a1 of site a", done.stdout + done.stderr)
        done = run(*self.topo.exec("a1", binary(), "run", "-c", self.engine.config), check=False, timeout=WITHIN_S)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("run --take-over", done.stdout + done.stderr)
        self.assert_up(self.engine, WITHIN_S)


class TwoWorkers(GatewayLab):
    """Each has SAs, sessions and a socket a port of its own; NAT takes one worker."""
    @classmethod
    def _change(cls, config: dict) -> dict:
        config = super()._change(config)
        if config["engine"]["name"] == "a1":
            config.pop("nat")
            config["dpdk"] |= {"cores": cpus(2), "memory_mb": 160, "mbufs": 16383}
        else:
            config["peer"] = [p | {"workers": 2} if p["name"] == "a1" else p for p in config["peer"]]
        return config

    def test_two_workers_are_replaced_three_times_under_traffic(self):
        self.assert_untouched(self.replaced(TIMES))


class Exclusive(GatewayLab):
    """Ports that the new process can open only once the old one has closed them, as a NIC's are."""
    @classmethod
    def _change(cls, config: dict) -> dict:
        config = super()._change(config)
        if config["engine"]["name"] == "a1":
            config["port"] = [p | {"device": p["device"].split(",qdisc")[0].replace("af_packet", "pcap")}
                              for p in config["port"]]
        return config

    def test_sessions_and_sas_live_on_across_the_gap(self):
        result = self.replaced(1)
        self.assertEqual((result.total("reordered"), result.total("duplicated")), (0, 0))
        self.assertLess(result.longest_gap_ms, 20_000)


if __name__ == "__main__":
    unittest.main()
