"""scripts/interop: tunnels to gateways of other makes, packets both ways.

One engine in a namespace, a host behind it, and on its WAN four far ends: scapy (GRE, VXLAN, IP-in-IP, ESP, ESP in UDP),
Open vSwitch with its userspace datapath (GRE, VXLAN), wireguard-go (WireGuard) and DPDK's ipsec-secgw (ESP), whose host
answers. The host pings through each tunnel. What the engine counts into and out of the tunnel, what scapy read, and the
answers must agree. wireguard-go also begins handshakes, replaces keys under traffic, roams and is replayed.
"""
import argparse
import contextlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .engines import Engine, binary, build
from .ovs import Ovs
from .shell import PYTHON, ROOT, SCRIPTS, LabError, run, stop
from .topology import HOST_A4, HOST_A6, Link, Topology
from .wireguard import PORT, WireGuard

ENGINE, SCAPY, OVS, SECGW, WIREGUARD = "192.0.2.11", "192.0.2.20", "192.0.2.30", "192.0.2.40", "192.0.2.50"
ELSEWHERE = "192.0.2.51"
LAN4, LAN6 = "10.1.0.1", "fd00:a::1"
VNI = 77
# How soon WireGuard's keys are replaced, and how long traffic is watched meanwhile, in packets of 10 ms.
REKEY_S, WATCHED = 10, 2500
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
    Case("wireguard-go", "wireguard", WIREGUARD, 29),
)


class Wan(Topology):
    """ha -- x1 -- wan bridge -- scapy, ovs, wireguard-go, secgw -- hs"""
    links = (
        Link("x1", "lan0", "ha", "eth0", None),
        Link("x1", "wan0", "wan", "w1", "br-wan"),
        Link("sc", "eth0", "wan", "w2", "br-wan"),
        Link("ov", "up0", "wan", "w3", "br-wan"),
        Link("sg", "out0", "wan", "w4", "br-wan"),
        Link("sg", "in0", "hs", "eth0", None),
        Link("wg", "eth0", "wan", "w5", "br-wan"),
    )
    nodes = ("ha", "x1", "wan", "sc", "ov", "sg", "hs", "wg")
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

    def wireguard(self, case: Case) -> dict:
        """The same for WireGuard."""
        def key(name: str, made: str) -> Path:
            path = self.folder / f"{case.name}.{name}"
            path.touch(mode=0o600)
            path.write_text(run("wg", made).stdout)
            return path
        def public(path: Path) -> str:
            return run("wg", "pubkey", text=path.read_text()).stdout.strip()
        ours, theirs, preshared = key("key", "genkey"), key("far", "genkey"), key("psk", "genpsk")
        self.of_wireguard = {"private_file": theirs, "preshared_file": preshared, "engine_public": public(ours)}
        return {"private_key_file": str(ours), "public_key": public(theirs), "preshared_key_file": str(preshared),
                "allowed_ips": [f"10.{case.net}.0.0/24", f"fd00:{case.net}::/64"], "rekey_seconds": REKEY_S}


def tunnel(case: Case, keys: Keys) -> dict:
    """The engine's [[tunnel]]."""
    config = {"name": case.name, "peer": case.peer, "protocol": case.protocol, "local": ENGINE, "remote": case.remote}
    if case.protocol == "vxlan":
        here, there = MACS[case.peer]
        config |= {"vxlan_vni": VNI, "vxlan_local_mac": here, "vxlan_remote_mac": there}
    if case.protocol.startswith("esp"):
        config |= {"cipher": "aes-128-gcm", "esn": False, "static_sa": keys.static_sa(case)}
    if case.protocol == "wireguard":
        config["wireguard"] = keys.wireguard(case)
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
            for name, begin in (("scapy", self._scapy), ("ovs", self._ovs), ("secgw", self._secgw),
                                ("wireguard-go", self._wireguard)):
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
        work = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "interop"
        work.mkdir(parents=True, exist_ok=True)
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

    def _wireguard(self) -> None:
        (case,) = self._of("wireguard-go")
        inner = [f"10.{case.net}.0.10/24", f"fd00:{case.net}::10/64"]
        self.wireguard = WireGuard(self.topo, "wg", WIREGUARD, inner, ["10.1.0.0/24", "fd00:a::/64"],
                                   self.keys.of_wireguard)
        self.wireguard.know(ENGINE)

    def _pings(self, node: str, address: str, count: int, interval_s: float = 0.01) -> tuple[int, int]:
        """Sent and answered."""
        done = run(*self.topo.exec(node, "ping", "-q", "-n", "-c", str(count), "-i", str(interval_s), "-W", "5", address),
                   check=False, timeout=120)
        sent, answered = re.search(r"(\d+) packets transmitted, (\d+) received", done.stdout).groups()
        return int(sent), int(answered)

    def wireguard_rows(self) -> list[dict]:
        """What a session goes through beside pings: each with what was seen, and whether it is right."""
        (case,) = self._of("wireguard-go")
        far, rows, name = f"10.{case.net}.0.10", [], case.name
        def handshake_age() -> float:
            return self.engine.tunnels()[name]["wireguard"]["last_handshake_s"]
        def dropped(reason: str) -> int:
            return self.engine.packet_counts()["dropped"].get(reason, 0)
        def row(what: str, seen: str, right: bool) -> None:
            rows.append({"WireGuard": what, "seen": seen, "right": right})

        self.restart()
        sent, answered = self._pings("ha", far, 5)
        row("handshake begun by the engine, anew", f"{answered} of {sent} pings answered, {handshake_age():.1f} s ago",
            sent == answered and handshake_age() < 10)
        sessions = {self.wireguard.last_handshake()}
        with ThreadPoolExecutor() as pool:
            pings = [pool.submit(self._pings, node, to, WATCHED) for node, to in (("ha", far), ("wg", HOST_A4))]
            while not all(ping.done() for ping in pings):
                sessions.add(self.wireguard.last_handshake())
                time.sleep(0.2)
        counts = [ping.result() for ping in pings]
        row("keys replaced under traffic", f"{len(sessions) - 1} times, {counts[0][1]} of {counts[0][0]} and "
            f"{counts[1][1]} of {counts[1][0]} pings answered",
            len(sessions) > 2 and all(sent == answered == WATCHED for sent, answered in counts))
        # It forgets its session, so its next packet makes it begin a handshake.
        self.wireguard.know(ENGINE)
        sent, answered = self._pings("wg", HOST_A4, 5)
        row("handshake begun by the far end", f"{answered} of {sent} pings answered, {handshake_age():.1f} s ago",
            sent == answered and 0 < self.wireguard.last_handshake() and handshake_age() < 5)
        before, replay = dropped("replayed"), self.wireguard.replay(30)
        sent, answered = self._pings("ha", far, 20)
        time.sleep(0.5)
        replay.stdin.close()
        again = int(replay.stdout.readline())
        time.sleep(0.2)
        refused = dropped("replayed") - before
        row("each answer sent twice", f"{answered} of {sent} pings answered, {again} sent again, {refused} refused",
            sent == answered and again >= sent and refused == again)
        self.wireguard.roam(ELSEWHERE, PORT + 1000)
        # Its first packet says where it is; what is sent until control has heard that goes where it was.
        self._pings("wg", HOST_A4, 1)
        there, back = self._pings("wg", HOST_A4, 5), self._pings("ha", far, 5)
        tunnel = self.engine.tunnels()[name]
        where = f"{tunnel['remote']}:{tunnel['wireguard']['remote_port']}"
        row("the far end roams", f"it is followed to {where}, {there[1] + back[1]} of {there[0] + back[0]} pings answered",
            there[1] == there[0] and back[1] == back[0] and where == f"{ELSEWHERE}:{PORT + 1000}")
        before = dropped("spoofed")
        self.wireguard.ip(f"addr add 10.66.0.1/32 dev {self.wireguard.name}")
        run(*self.topo.exec("wg", "ping", "-q", "-n", "-c", "3", "-W", "1", "-I", "10.66.0.1", HOST_A4), check=False)
        row("a source that it may not use", f"{dropped('spoofed') - before} of 3 refused", dropped("spoofed") - before == 3)
        return rows

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
    if "right" in row:
        return row["right"]
    return row["to peer"] == row["from peer"] == row["answers"] == row["of"]


def table(rows: list[dict]) -> str:
    names = [name for name in rows[0] if name != "right"]
    columns = [*names, "result"]
    lines = [columns, *([*(str(row[name]) for name in names), "ok" if right(row) else "WRONG"] for row in rows)]
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
            if any(case.peer == "wireguard-go" for case in cases):
                more = lab.wireguard_rows()
                print(table(more))
                rows += more
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
