"""Two sites, a WAN and a management network in namespaces of one prefix, removed whatever happens.

    hostA -- LAN A bridge -- a1 (active)  -- WAN bridge -- b1 -- hostB
                        \\-- a2 (standby) --/
                a1 -- site bridge -- a2          mgmt bridge: a1, a2, b1

The engines' ports are veths without kernel addresses; the bridges let the lab drop and count outside of any engine.
"""
import atexit
import contextlib
import json
import os
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from .shell import LabError, run, start_time

PREFIX = re.compile(r"^fs-(\d+)-")
ENGINES = ("a1", "a2", "b1")
HOST_A4, HOST_A6, HOST_B4, HOST_B6 = "10.1.0.10", "fd00:a::10", "10.2.0.10", "fd00:b::10"
GATEWAY_A4, GATEWAY_A6, GATEWAY_B4, GATEWAY_B6 = "10.1.0.1", "fd00:a::1", "10.2.0.1", "fd00:b::1"
MGMT = {"a1": "10.255.0.11", "a2": "10.255.0.12", "b1": "10.255.0.20"}
OFFLOADS = "rx off tx off sg off tso off gso off gro off rxvlan off txvlan off".split()


@dataclass(frozen=True)
class Link:
    """A veth pair: `port` inside `node`, its far end named `far` inside `bridge_node` on `bridge` (or no bridge)."""
    node: str
    port: str
    bridge_node: str
    far: str
    bridge: str | None


LINKS = (
    Link("ha", "eth0", "la", "ha", "br-lan"),
    Link("a1", "lan0", "la", "l1", "br-lan"),
    Link("a2", "lan0", "la", "l2", "br-lan"),
    Link("a1", "site0", "la", "s1", "br-site"),
    Link("a2", "site0", "la", "s2", "br-site"),
    Link("a1", "wan0", "wan", "w1", "br-wan"),
    Link("a2", "wan0", "wan", "w2", "br-wan"),
    Link("b1", "wan0", "wan", "wb", "br-wan"),
    Link("b1", "lan0", "hb", "eth0", None),
    Link("a1", "mgmt0", "mg", "m1", "br-mgmt"),
    Link("a2", "mgmt0", "mg", "m2", "br-mgmt"),
    Link("b1", "mgmt0", "mg", "mb", "br-mgmt"),
)
NODES = ("ha", "la", "a1", "a2", "wan", "b1", "hb", "mg")


class Topology:
    """The namespaces of one lab; a context manager. `ns("a1")` is a namespace's name."""
    links, nodes, engines = LINKS, NODES, ENGINES

    def __init__(self, kernel_ports: bool = False, lab_id: int | None = None):
        """`kernel_ports`: leave the engines' ports to the kernel (the stand-in), else to DPDK alone."""
        self.id = lab_id or _free_id()
        self.kernel_ports = kernel_ports
        self.dir = Path(f"/tmp/fs-{self.id}")
        self.keep = False
        self._closers = contextlib.ExitStack()

    def ns(self, node: str) -> str:
        return f"fs-{self.id}-{node}"

    def exec(self, node: str, *argv: str) -> list[str]:
        """The command line that runs `argv` inside a node."""
        # Not `ip netns exec`: that mounts another /sys, which has no cgroups in it.
        return ["nsenter", f"--net=/run/netns/{self.ns(node)}", *map(str, argv)]

    def __enter__(self):
        if os.geteuid() != 0:
            raise LabError("the lab makes network namespaces: run it as root")
        remove_stale()
        atexit.register(self.close)
        self.dir.mkdir(mode=0o700, exist_ok=True)
        (self.dir / "owner").write_text(f"{os.getpid()} {start_time(os.getpid())}\n")
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def on_close(self, callback, *args) -> None:
        """Register what must end before the namespaces go: last registered, first called."""
        self._closers.callback(callback, *args)

    def close(self) -> None:
        """Undo everything; a kept lab is left alone for `scripts/lab/clean`."""
        atexit.unregister(self.close)
        if self.keep:
            (self.dir / "keep").touch()
            return
        try:
            self._closers.close()
        finally:
            remove_lab(self.id)

    def _build(self) -> None:
        for node in self.nodes:
            run("ip", "netns", "add", self.ns(node))
            _sysctl(self, node)
        run("ip", "-batch", "-", text="\n".join(
            f"link add {l.port} netns {self.ns(l.node)} type veth peer name {l.far} netns {self.ns(l.bridge_node)}"
            for l in self.links))
        for node in self.nodes:
            self._configure(node)
        self._wait_forwarding()

    def _wait_forwarding(self, timeout_s: float = 10.0) -> None:
        """The kernel tells a bridge of a new carrier up to a second late: wait until every port forwards."""
        deadline = time.monotonic() + timeout_s
        for node in sorted({l.bridge_node for l in self.links if l.bridge}):
            while time.monotonic() < deadline:
                ports = json.loads(run("bridge", "-n", self.ns(node), "-j", "link").stdout)
                if ports and all(p["state"] == "forwarding" for p in ports):
                    break
                time.sleep(0.05)
            else:
                raise LabError(f"the bridges in {self.ns(node)} do not forward")

    def wait_path(self, timeout_s: float = 15.0) -> None:
        """Until hostA and hostB reach each other over IPv4 and IPv6: neighbours are resolved, tunnels carry."""
        for address in (HOST_B4, HOST_B6):
            deadline = time.monotonic() + timeout_s
            while run(*self.exec("ha", "ping", "-n", "-c", "1", "-W", "1", address), check=False).returncode:
                if time.monotonic() > deadline:
                    raise LabError(f"hostA does not reach {address}")

    def _configure(self, node: str) -> None:
        ports = ([l.port for l in self.links if l.node == node]
                 + [l.far for l in self.links if l.bridge_node == node])
        bridges = {l.bridge for l in self.links if l.bridge_node == node and l.bridge}
        lines = ["link set lo up"]
        for bridge in sorted(bridges):
            # No snooping: neighbour discovery is multicast. Long ageing: an unknown MAC would be flooded and counted twice.
            lines.append(f"link add {bridge} type bridge mcast_snooping 0 ageing_time 360000")
            lines.append(f"link set {bridge} up")
        for link in self.links:
            if link.bridge_node == node and link.bridge:
                lines.append(f"link set {link.far} master {link.bridge}")
        for port in ports:
            raw = node in self.engines and port != "mgmt0" and not self.kernel_ports
            lines.append(f"link set {port} {'arp off ' if raw else ''}up")
        lines += _addresses(node)
        run("ip", "-n", self.ns(node), "-batch", "-", text="\n".join(lines))
        for port in ports:
            run(*self.exec(node, "ethtool", "-K", port, *OFFLOADS), check=False)
        if node in self.engines and not self.kernel_ports:
            run(*self.exec(node, "nft", "-f", "-"), text=_kernel_deaf([p for p in ports if p != "mgmt0"]))

    def set_link(self, node: str, port: str, up: bool) -> None:
        run("ip", "-n", self.ns(node), "link", "set", port, "up" if up else "down")


def _sysctl(topo: Topology, node: str) -> None:
    values = {"net.ipv6.conf.default.accept_dad": 0, "net.ipv6.conf.all.accept_dad": 0,
              "net.ipv6.conf.default.accept_ra": 0, "net.ipv4.conf.default.arp_notify": 1,
              "net.ipv6.conf.default.ndisc_notify": 1}
    if node in ("la", "wan", "mg") or (node in topo.engines and not topo.kernel_ports):
        values |= {"net.ipv6.conf.default.disable_ipv6": 1, "net.ipv6.conf.all.disable_ipv6": 1}
    if node in ("ha", "hb"):
        # Hosts believe a gateway that announces itself; redirects would only blur the picture.
        values |= {"net.ipv4.conf.default.accept_redirects": 0, "net.ipv6.conf.default.accept_redirects": 0}
    run(*topo.exec(node, "sysctl", "-q", "-w", *(f"{k}={v}" for k, v in values.items())))


def _addresses(node: str) -> list[str]:
    if node in MGMT:
        return [f"addr add {MGMT[node]}/24 dev mgmt0"]
    if node == "ha":
        own, gateways = (HOST_A4, HOST_A6), (GATEWAY_A4, GATEWAY_A6)
    elif node == "hb":
        own, gateways = (HOST_B4, HOST_B6), (GATEWAY_B4, GATEWAY_B6)
    else:
        return []
    return [f"addr add {own[0]}/24 dev eth0", f"addr add {own[1]}/64 dev eth0 nodad",
            f"route add default via {gateways[0]}", f"route add ::/0 via {gateways[1]}"]


def _kernel_deaf(ports: list[str]) -> str:
    """AF_PACKET taps see a frame before the netdev ingress hook; what is dropped there the kernel never answers."""
    names = ", ".join(f'"{p}"' for p in ports)
    return (f"table netdev deaf {{ chain in {{ type filter hook ingress devices = {{ {names} }} "
            "priority 0; policy drop; }; }")


def _free_id() -> int:
    """The pid, or the pid with a digit more when this process has a lab already."""
    lab_id = os.getpid()
    while Path(f"/tmp/fs-{lab_id}").exists():
        lab_id = lab_id * 10 + 1
    return lab_id


def remove_lab(lab_id: int) -> None:
    """Remove one lab: what still runs inside its namespaces, the namespaces, its folder, its cgroups."""
    for name in _namespaces():
        if name.startswith(f"fs-{lab_id}-"):
            for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name, check=False)
    from .cgroup import remove_groups
    remove_groups(f"fs-{lab_id}-")
    shutil.rmtree(f"/tmp/fs-{lab_id}", ignore_errors=True)


def remove_stale(kept: bool = False) -> list[int]:
    """Remove labs whose owner is dead (with `kept`, also those left by --keep)."""
    ids = {int(m[1]) for m in map(PREFIX.match, _namespaces()) if m}
    ids |= {int(p.name[3:]) for p in Path("/tmp").glob("fs-*") if p.name[3:].isdigit()}
    gone = [i for i in sorted(ids) if not _owned(i) and (kept or not Path(f"/tmp/fs-{i}/keep").exists())]
    for lab_id in gone:
        remove_lab(lab_id)
    return gone


def _owned(lab_id: int) -> bool:
    try:
        pid, started = Path(f"/tmp/fs-{lab_id}/owner").read_text().split()
    except (OSError, ValueError):
        return start_time(lab_id) is not None
    return start_time(int(pid)) == started


def _namespaces() -> list[str]:
    return [line.split()[0] for line in run("ip", "netns", "list").stdout.splitlines() if line.strip()]
