"""scripts/interop: tunnels to gateways of other makes, packets both ways.

One engine in a namespace, a host behind it, and on its WAN three far ends: scapy (GRE, VXLAN, IP-in-IP, ESP, ESP in UDP),
Open vSwitch with its userspace datapath (GRE, VXLAN) and DPDK's ipsec-secgw (ESP), whose host answers. The host pings
through each tunnel. What the engine counts into and out of the tunnel, what scapy read, and the answers must agree.
"""
import argparse
import contextlib
import json
import secrets
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .engines import Engine, binary, build
from .ovs import Ovs
from .shell import PYTHON, ROOT, SCRIPTS, LabError, run, stop
from .topology import HOST_A4, HOST_A6, Link, Topology

ENGINE, SCAPY, OVS, SECGW = "192.0.2.11", "192.0.2.20", "192.0.2.30", "192.0.2.40"
LAN4, LAN6 = "10.1.0.1", "fd00:a::1"
VNI = 77
PINGS = 5
MACS = {"scapy": ("02:00:00:00:77:01", "02:00:00:00:77:02"), "ovs": ("02:00:00:00:77:03", "02:00:00:00:77:04")}


@dataclass(frozen=True)
class Case:
    """A tunnel to a far end; its hosts are 10.NET.0.0/24 and fd00:NET::/64."""
    peer: str
    protocol: str
    remote: str
    net: int
    v6: bool = True

    @property
    def name(self) -> str:
        return f"{self.peer}-{self.protocol}"


CASES = (
    Case("scapy", "gre", SCAPY, 21), Case("scapy", "vxlan", SCAPY, 22), Case("scapy", "ipip", SCAPY, 23),
    Case("scapy", "esp", SCAPY, 24), Case("scapy", "esp-udp", SCAPY, 25),
    Case("ovs", "gre", OVS, 27, v6=False), Case("ovs", "vxlan", OVS, 28, v6=False),
    Case("secgw", "esp", SECGW, 26, v6=False),
)


class Wan(Topology):
    """ha -- x1 -- wan bridge -- scapy, ovs, secgw -- hs"""
    links = (
        Link("x1", "lan0", "ha", "eth0", None),
        Link("x1", "wan0", "wan", "w1", "br-wan"),
        Link("sc", "eth0", "wan", "w2", "br-wan"),
        Link("ov", "up0", "wan", "w3", "br-wan"),
        Link("sg", "out0", "wan", "w4", "br-wan"),
        Link("sg", "in0", "hs", "eth0", None),
    )
    nodes = ("ha", "x1", "wan", "sc", "ov", "sg", "hs")
    engines = ("x1",)

    def mac(self, node: str, port: str) -> str:
        return json.loads(run("ip", "-n", self.ns(node), "-j", "link", "show", port).stdout)[0]["address"]


class Keys:
    """The keys of one lab, made anew, each in a file that only root reads."""

    def __init__(self, folder: Path):
        self.folder, self.of = folder, {}
        folder.mkdir(mode=0o700)

    def static_sa(self, case: Case) -> dict:
        """What the engine is told; `of` has the same from the far end's side."""
        base = 0x1000 + 0x10 * case.net
        keys = {way: secrets.token_hex(16 + 4) for way in ("in", "out")}
        for way, key in keys.items():
            path = self.folder / f"{case.name}.{way}"
            path.touch(mode=0o600)
            path.write_text(key + "\n")
        self.of[case.name] = {"spi_in": base + 1, "spi_out": base, "key_in": keys["out"], "key_out": keys["in"]}
        return {"spi_in": base, "spi_out": base + 1, "key_file_in": str(self.folder / f"{case.name}.in"),
                "key_file_out": str(self.folder / f"{case.name}.out"), "state_folder": str(self.folder / "state")}


def tunnel(case: Case, keys: Keys) -> dict:
    """The engine's [[tunnel]]."""
    config = {"name": case.name, "peer": case.peer, "protocol": case.protocol, "local": ENGINE, "remote": case.remote}
    if case.protocol == "vxlan":
        here, there = MACS[case.peer]
        config |= {"vxlan_vni": VNI, "vxlan_local_mac": here, "vxlan_remote_mac": there}
    if case.protocol.startswith("esp"):
        config |= {"cipher": "aes-128-gcm", "esn": False, "static_sa": keys.static_sa(case)}
    return config


def configuration(topo: Topology, keys: Keys, cases: list[Case]) -> dict:
    """The engine's."""
    prefixes = [(case, prefix) for case in cases
                for prefix in (f"10.{case.net}.0.0/24", *([f"fd00:{case.net}::/64"] if case.v6 else []))]
    return {
        "engine": {"name": "x1", "site": "x"},
        "dpdk": {"cores": [0], "idle": {"mode": "backoff", "sleep_us": 50}, "hugepages": "never", "memory_mb": 64,
                 "mbufs": 8191},
        "port": [{"name": n, "device": f"net_af_packet{i},iface={n}"} for i, n in enumerate(("lan0", "wan0"))],
        "interface": [{"name": "lan", "port": "lan0", "addresses": [f"{LAN4}/24", f"{LAN6}/64"]},
                      {"name": "wan", "port": "wan0", "addresses": [f"{ENGINE}/24"]}],
        "peer": [{"name": p, "site": p, "foreign": True} for p in sorted({c.peer for c in cases})],
        "tunnel": [tunnel(case, keys) for case in cases],
        "group": [{"name": case.name, "site": case.peer, "members": [case.name]} for case in cases],
        "route": [{"prefix": prefix, "group": case.name} for case, prefix in prefixes],
        "api": {"socket": str(topo.dir / "x1.sock")},
        "prediction": {"mode": "observe"},
    }


class Interop:
    """A context manager: entered, the engine runs and the far ends of `cases` answer."""

    def __init__(self, cases: list[Case]):
        self.topo, self.cases = Wan(), cases
        self.skipped: dict[str, str] = {}
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> "Interop":
        try:
            self._exits.enter_context(self.topo)
            self.keys = Keys(self.topo.dir / "keys")
            self.engine = Engine(self.topo, configuration(self.topo, self.keys, self.cases))
            self._quiet_kernels()
            peers = {case.peer for case in self.cases}
            for name, begin in (("scapy", self._scapy), ("ovs", self._ovs), ("secgw", self._secgw)):
                if name in peers:
                    begin()
            self.engine.start()
            self._wait_ready()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_):
        self._exits.close()

    def _of(self, peer: str) -> list[Case]:
        return [case for case in self.cases if case.peer == peer]

    def _quiet_kernels(self) -> None:
        """The far ends' kernels answer ARP for them and say nothing of protocols they do not know."""
        deny = "table ip quiet { chain in { type filter hook input priority 0; ip saddr %s drop; }; }" % ENGINE
        for node, port, address in (("sc", "eth0", SCAPY), ("sg", "out0", SECGW)):
            run("ip", "-n", self.topo.ns(node), "addr", "add", f"{address}/24", "dev", port)
            run(*self.topo.exec(node, "nft", "-f", "-"), text=deny)

    def _wait_ready(self, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while (status := self.engine.status()) is None or not status.ready:
            if not self.engine.alive() or time.monotonic() > deadline:
                raise LabError(f"x1 is not ready\n{self.engine.last_words()}")
            time.sleep(0.05)

    def _scapy(self) -> None:
        sas = {case.protocol: self.keys.of[case.name] for case in self._of("scapy") if case.name in self.keys.of}
        remote_mac, local_mac = MACS["scapy"]
        settings = {"local": SCAPY, "remote": ENGINE, "vni": VNI, "local_mac": local_mac, "remote_mac": remote_mac,
                    "sas": sas}
        path = self.topo.dir / "foreign.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps(settings))
        self._foreign = subprocess.Popen(
            self.topo.exec("sc", PYTHON, str(SCRIPTS / "lab" / "foreign.py"), "eth0", str(path)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.topo.on_close(stop, self._foreign)
        if self._foreign.stdout.readline() != "ready\n":
            raise LabError("scapy did not start: apt-get install python3-scapy")

    def scapy_counts(self) -> dict[str, int]:
        """What scapy read, by protocol; anything else it found wrong. It ends with this."""
        self._foreign.stdin.close()
        counts = json.loads(self._foreign.stdout.readline() or "{}")
        self._foreign.stdout.close()
        return {name: count for name, count in counts.items() if count}

    def _ovs(self) -> None:
        ovs = Ovs(self.topo, "ov", "up0", OVS)
        for number, case in enumerate(self._of("ovs")):
            here, there = MACS["ovs"]
            options = [f"remote_ip={ENGINE}", f"local_ip={OVS}",
                       *([f"key={VNI}"] if case.protocol == "vxlan" else ["packet_type=legacy_l3"])]
            # Flows give frames to the host behind; what the engine writes as destination is the tunnel's.
            ovs.host(number, f"10.{case.net}.0.10", f"10.{case.net}.0.1", here, case.protocol, *options)

    def _secgw(self) -> None:
        sys.path.insert(0, str(ROOT))
        from benches import peers
        work = Path("/var/cache/foreshift-interop")
        work.mkdir(exist_ok=True)
        shutil.copytree(peers.EXAMPLES / "common", work / "common", dirs_exist_ok=True)
        program = peers.build_one(work, "ipsec-secgw")
        (case,), topo = self._of("secgw"), self.topo
        sa, inner = self.keys.of[case.name], f"10.{case.net}.0.0/24"
        run("ip", "-n", topo.ns("sg"), "addr", "add", f"10.{case.net}.0.1/24", "dev", "in0")
        run("ip", "-n", topo.ns("hs"), "-batch", "-", text="\n".join((
            f"addr add 10.{case.net}.0.10/24 dev eth0", f"route add default via 10.{case.net}.0.1")))
        colons = {way: ":".join(sa[f"key_{way}"][i:i + 2] for i in range(0, 40, 2)) for way in ("in", "out")}
        config = topo.dir / "secgw.cfg"
        config.touch(mode=0o600)
        ports = "sport 0:65535 dport 0:65535"
        config.write_text(
            f"sp ipv4 out esp protect {sa['spi_out']} pri 1 dst 10.1.0.0/24 {ports}\n"
            f"sp ipv4 in esp protect {sa['spi_in']} pri 1 dst {inner} {ports}\n"
            f"sa out {sa['spi_out']} aead_algo aes-128-gcm aead_key {colons['out']} mode ipv4-tunnel"
            f" src {SECGW} dst {ENGINE} type cpu-crypto\n"
            f"sa in {sa['spi_in']} aead_algo aes-128-gcm aead_key {colons['in']} mode ipv4-tunnel"
            f" src {ENGINE} dst {SECGW} type cpu-crypto\n"
            f"rt ipv4 dst 192.0.2.0/24 port 1\nrt ipv4 dst {inner} port 0\n"
            f"neigh port 0 {topo.mac('hs', 'eth0')}\nneigh port 1 {topo.mac('x1', 'wan0')}\n")
        devices = ("net_af_packet0,iface=in0", "net_af_packet1,iface=out0", "crypto_aesni_gcm0")
        log = open(topo.dir / "secgw.log", "wb")
        process = subprocess.Popen(topo.exec(
            "sg", str(program), "-l", "1", "--no-huge", "-m512", "--no-pci", f"--file-prefix=interop-{topo.id}",
            *(f"--vdev={device}" for device in devices), "--", "-p", "3", "-P", "-u", "2", "-w", "64",
            "--config=(0,0,1),(1,0,1)", "-s", "8192", "-l", "-f", str(config)),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        log.close()
        topo.on_close(stop, process)

    def _counters(self, case: Case) -> tuple[int, int]:
        t = self.engine.tunnels()[case.name]
        return t["tx_packets"], t["rx_packets"]

    def ping(self, case: Case, v6: bool) -> dict:
        """Small and large pings through one tunnel: packets to the peer, from the peer, answers."""
        address = f"fd00:{case.net}::10" if v6 else f"10.{case.net}.0.10"
        def answered(size: int, patience_s: int) -> bool:
            argv = ["ping", "-q", "-n", "-c", "1", "-W", str(patience_s), "-s", str(size), address]
            return run(*self.topo.exec("ha", *argv), check=False).returncode == 0
        # Neighbours are found, and a far end that has just started is waited for.
        deadline = time.monotonic() + 10
        while not answered(56, 1) and time.monotonic() < deadline:
            pass
        time.sleep(0.2)  # what is late of those
        before = self._counters(case)
        # One by one: ping -c 5 waits only two round trips for the last answers, and scapy is slow now and then.
        answers = sum(answered(size, 5) for size in (56, 1300) for _ in range(PINGS))
        after = self._counters(case)
        return {"peer": case.peer, "protocol": case.protocol, "inner": "IPv6" if v6 else "IPv4",
                "to peer": after[0] - before[0], "from peer": after[1] - before[1], "answers": answers,
                "of": 2 * PINGS}

    def rows(self, protocols: tuple[str, ...] = ()) -> list[dict]:
        """Every tunnel, or those of some protocols; every inner version that its far end takes."""
        return [self.ping(case, v6) for case in self.cases if not protocols or case.protocol in protocols
                for v6 in ((False, True) if case.v6 else (False,))]

    def restart(self) -> None:
        """The engine ends and starts again; the far ends keep their SAs and what they know of them."""
        stop(self.engine.process, 5.0)
        self.engine.start()
        self._wait_ready()

    def epochs(self) -> list[str]:
        """What the engine has written down of the keys it sends with."""
        return [path.read_text().strip() for path in sorted((self.keys.folder / "state").glob("*.epoch"))]


def right(row: dict) -> bool:
    return row["to peer"] == row["from peer"] == row["answers"] == row["of"]


def table(rows: list[dict]) -> str:
    columns = [*rows[0], "result"]
    lines = [columns, *([*map(str, row.values()), "ok" if right(row) else "WRONG"] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(line, widths)).rstrip() for line in lines)


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/interop", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", nargs="+", choices=sorted({c.peer for c in CASES}), help="these far ends only")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = [case for case in CASES if not args.peer or case.peer in args.peer]
    try:
        build()
        with Interop(cases) as lab:
            rows = lab.rows()
            print(table(rows))
            if lab.keys.of:
                # With old keys and far ends that refuse replays: numbers and nonces must go on, not begin again.
                lab.restart()
                again = lab.rows(("esp", "esp-udp"))
                print("after a restart of the engine, with the same keys:", table(again), sep="\n")
                rows += again
            if any(case.peer == "scapy" for case in cases):
                print("scapy read:", ", ".join(f"{name} {count}" for name, count in lab.scapy_counts().items()))
            if wrong := [row for row in rows if not right(row)]:
                print(lab.engine.last_words(), f"drops: {lab.engine.packet_counts()['dropped']}", sep="\n")
            return 1 if wrong else 0
    except LabError as error:
        print(f"interop: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
