"""An ESP session with a gateway that cannot rekey outlives the engine that has it: same SPIs, same keys, another epoch of
IVs, sequence numbers that go on, and not one packet accepted twice."""
import json
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from ..interop import Case, Keys
from ..nonces import Sa, check, esp_of, packets
from ..shell import PYTHON, SCRIPTS, in_netns, run, stop
from ..topology import ENGINES, GATEWAY_A4, LINKS, NODES, Link, Topology
from .base import EngineLab, settle

# A slow peer is answered so long after a kill -9: the lease, the takeover, and two of its numbers that may have been accepted.
SLOW_GAP_S = 8.0
PARTNER, INSIDE = "10.1.0.20", "10.24.0.10"
CASE = Case("partner", "esp", PARTNER, 24)


class Pings:
    """Packets through the tunnel and back, so often, until it is told to end."""

    def __init__(self, lab: EngineLab, interval_s: float):
        argv = lab.topo.exec("ha", "ping", "-n", "-D", "-i", str(interval_s), INSIDE)
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        lab.topo.on_close(stop, self._process)

    def finish(self) -> tuple[dict[int, float], int]:
        """When each answer came, by its number, and how many were sent."""
        self._process.send_signal(signal.SIGINT)
        said = self._process.communicate(timeout=10)[0]
        answers = {int(n): float(at) for at, n in re.findall(r"\[([\d.]+)\].*icmp_seq=(\d+) ttl", said)}
        return answers, int(re.search(r"(\d+) packets transmitted", said)[1])


class WithPartner(Topology):
    """The lab, and on site A's LAN a gateway of another make, far end of a tunnel from the site's own address."""
    links = (*LINKS, Link("fp", "eth0", "la", "fp", "br-lan"))
    nodes = (*NODES, "fp")
    engines = ENGINES


class EspTakeover(EngineLab):
    topology = WithPartner
    keys: Keys

    @classmethod
    def change(cls, config: dict) -> dict:
        config = super().change(config)
        if config["engine"]["site"] != "a":
            return config
        folder = Path(config["api"]["socket"]).parent
        if not hasattr(cls, "keys"):
            cls.keys = Keys(folder / "keys")
            cls.sa = cls.keys.static_sa(CASE)
        static = cls.sa | {"state_folder": str(folder / f"state-{config['engine']['name']}")}
        config["peer"].append({"name": "partner", "site": "p", "foreign": True})
        config["tunnel"].append({"name": CASE.name, "peer": "partner", "protocol": "esp", "cipher": "aes-128-gcm",
                                 "esn": False, "local": GATEWAY_A4, "remote": PARTNER, "static_sa": static})
        config["group"].append({"name": "partner", "site": "p", "members": [CASE.name]})
        config["route"].append({"prefix": "10.24.0.0/24", "group": "partner"})
        config["shadow"] = {}
        return config

    def setUp(self):
        super().setUp()
        ns = self.topo.ns("fp")
        run("ip", "-n", ns, "addr", "add", f"{PARTNER}/24", "dev", "eth0")
        run(*self.topo.exec("fp", "nft", "-f", "-"),
            text=f"table ip quiet {{ chain in {{ type filter hook input priority 0; ip saddr {GATEWAY_A4} drop; }}; }}")
        settings = self.topo.dir / "foreign.json"
        settings.touch(mode=0o600)
        settings.write_text(json.dumps({"local": PARTNER, "remote": GATEWAY_A4, "vni": 0, "local_mac": "",
                                        "remote_mac": "", "sas": {"esp": self.keys.of[CASE.name]}}))
        argv = [PYTHON, str(SCRIPTS / "lab" / "foreign.py"), "eth0", str(settings)]
        self.foreign = subprocess.Popen(self.topo.exec("fp", *argv), stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.topo.on_close(stop, self.foreign)
        self.addCleanup(self.foreign.stdout.close)
        self.addCleanup(self.foreign.stdin.close)
        self.assertEqual(self.foreign.stdout.readline(), "ready\n")

    def pings(self, when: str, within_s: float = 25.0) -> None:
        """Through the tunnel and back, until five in a row came home."""
        argv = ["ping", "-q", "-n", "-c", "5", "-i", "0.2", "-W", "2", INSIDE]
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            if " 0% packet loss" in run(*self.topo.exec("ha", *argv), check=False).stdout:
                print(f"{when}: packets flow both ways", flush=True)
                return
        self.fail(f"{when}: no answers from {INSIDE}\n" + "\n".join(e.last_words(25) for e in self.engines))

    def numbers(self, path, spi: int) -> list[int]:
        """Sequence numbers of an SA, in the order of the capture."""
        found = (esp_of(link, frame) for link, frame in packets(path))
        return [int.from_bytes(esp[4:8], "big") for esp in found if esp and int.from_bytes(esp[:4], "big") == spi]

    def replay(self, path, engine: str) -> int:
        """Sends every captured packet of the partner once more, to this engine; how many that were."""
        mac = json.loads(run(*self.topo.exec(engine, "ip", "-j", "link", "show", "lan0")).stdout)[0]["address"]
        to, many = bytes.fromhex(mac.replace(":", "")), 0
        with in_netns(self.topo.ns("fp")):
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            sock.bind(("eth0", 0))
        with sock:
            for link, frame in list(packets(path)):
                if (esp := esp_of(link, frame)) and int.from_bytes(esp[:4], "big") == self.sa["spi_in"]:
                    sock.send(to + frame[6:])
                    many += 1
        return many

    def assert_replays_refused(self, path, engine: str) -> None:
        """Sends all of the partner's packets to an engine again: none gets in."""
        def counts() -> tuple[int, int]:
            live = self.engines[engine]
            return live.packet_counts()["dropped"].get("replayed", 0), live.tunnels()[CASE.name]["rx_packets"]
        time.sleep(0.5)
        before, received = counts()
        many = self.replay(path, engine)
        refused = settle(lambda: counts()[0] - before, lambda n: n >= many, 5.0)
        self.assertGreater(many, 10)
        self.assertEqual(refused, many, "every packet that came before is refused")
        self.assertEqual(counts()[1], received, "and none got in")
        print(f"replayed {many} captured packets at {engine}: {refused} refused, 0 accepted", flush=True)

    def wait_owner(self, name: str) -> None:
        owner = settle(self.engines[name].status, lambda s: s is not None and s.owner, 25.0)
        self.assertTrue(owner is not None and owner.owner, self.engines[name].last_words(25))

    def planned(self) -> None:
        """a1 hands over to a2, and not one packet is lost: a2 has the exact window, and what comes before it has it waits."""
        pings = Pings(self, 0.02)
        time.sleep(5.0)
        settle(lambda: self.engines["a1"].command("drain", check=False).returncode, lambda code: code == 0, 25.0)
        self.wait_owner("a2")
        time.sleep(5.0)
        answers, sent = pings.finish()
        # Those of the last half a second may still be under way.
        lost = sorted(set(range(1, sent - 25)) - set(answers))
        print(f"planned handover: {sent} pings, one every 20 ms, {len(lost)} lost", flush=True)
        self.assertEqual(lost, [])

    def sudden(self) -> None:
        """a2 is killed; a1 takes over, and soon hears a slow peer."""
        slow = Pings(self, 1.0)
        time.sleep(7.0)
        killed = time.time()
        self.engines["a2"].process.send_signal(signal.SIGKILL)
        self.wait_owner("a1")
        owned = time.time()
        time.sleep(SLOW_GAP_S)
        answers, sent = slow.finish()
        after = [at for at in answers.values() if at > killed + 0.2]
        self.assertTrue(after, "no answer after the kill\n" + self.engines["a1"].last_words(25))
        print(f"kill -9 of the owner: the next one owns after {owned - killed:.1f} s, the first answer to a ping a second "
              f"{min(after) - killed:.1f} s after the kill, {sent - len(answers)} of {sent} lost", flush=True)
        self.assertLess(min(after) - killed, SLOW_GAP_S)

    def test_the_standby_goes_on_without_a_rekey(self):
        out, back = self.sa["spi_out"], self.sa["spi_in"]
        with self.capture("fp", "eth0", "esp") as path:
            self.pings("\nbefore")
            known = settle(lambda: self.engines["a2"].ask("status")["shadow"]["from"][0]["sas"], bool, 10.0)
            self.assertEqual(known, 1, "the standby knows of the SA")
            self.planned()
            self.assert_replays_refused(path, "a2")
            self.sudden()
            self.assert_replays_refused(path, "a1")
        sent = self.numbers(path, out)
        self.assertEqual(sent, sorted(set(sent)), "what the partner receives only ever goes up")
        keys = self.keys.of[CASE.name]
        verdict = check([path], [Sa(out, bytes.fromhex(keys["key_in"])), Sa(back, bytes.fromhex(keys["key_out"]))])
        print(f"oracle: {verdict.packets} packets, {verdict.nonces} nonces, {len(verdict.repeats)} used twice, "
              f"epochs of what the engines sent {verdict.epochs[out]}", flush=True)
        self.assertTrue(verdict.clean, verdict)
        self.assertEqual(len(verdict.epochs[out]), 3, "each owner has epochs of its own")
        self.assertEqual((verdict.unknown_spi, verdict.forged), (0, 0), "no rekey")
