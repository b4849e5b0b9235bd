"""Open vSwitch with its userspace datapath inside a namespace: a GRE and a VXLAN tunnel, each with a host behind it."""
import os
import subprocess
import time
from pathlib import Path

from .shell import LabError, run, stop

SCHEMA = Path("/usr/share/openvswitch/vswitch.ovsschema")


class Ovs:
    """Started with its two bridges: `up` is the port towards the engine, `br-phy` has this end's address."""

    def __init__(self, topo, node: str, up: str, address: str):
        self.topo, self.node = topo, node
        self.dir = topo.dir / "ovs"
        self.dir.mkdir()
        self.socket = self.dir / "db.sock"
        self.env = os.environ | {"OVS_RUNDIR": str(self.dir), "OVS_LOGDIR": str(self.dir)}
        if not SCHEMA.is_file():
            raise LabError("Open vSwitch is not installed: apt-get install openvswitch-switch")
        run("ovsdb-tool", "create", self.dir / "conf.db", SCHEMA)
        self._daemon("ovsdb-server", self.dir / "conf.db", f"--remote=punix:{self.socket}")
        self._wait(self.socket.exists, "ovsdb-server")
        self.vsctl("--no-wait", "init")
        self._daemon("ovs-vswitchd", f"unix:{self.socket}")
        for bridge in ("br-phy", "br-int"):
            self.vsctl("add-br", bridge, "--", "set", "bridge", bridge, "datapath_type=netdev", "fail_mode=standalone")
        self.vsctl("add-port", "br-phy", up)
        self.ip(f"addr add {address}/24 dev br-phy", "link set br-phy up", "link set br-int up")

    def _daemon(self, name: str, *argv) -> None:
        log = open(self.dir / f"{name}.out", "wb")
        process = subprocess.Popen(
            self.topo.exec(self.node, name, *map(str, argv), f"--pidfile={self.dir / name}.pid",
                           f"--unixctl={self.dir / name}.ctl"),
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.env)
        log.close()
        self.topo.on_close(stop, process)

    @staticmethod
    def _wait(ready, what: str, within_s: float = 10.0) -> None:
        deadline = time.monotonic() + within_s
        while not ready():
            if time.monotonic() > deadline:
                raise LabError(f"{what} did not start")
            time.sleep(0.05)

    def vsctl(self, *argv: str) -> str:
        return run(*self.topo.exec(self.node, "ovs-vsctl", f"--db=unix:{self.socket}", "--timeout=15", *argv)).stdout

    def ip(self, *lines: str) -> None:
        run("ip", "-n", self.topo.ns(self.node), "-batch", "-", text="\n".join(lines))

    def host(self, number: int, address: str, router: str, router_mac: str, tunnel: str, *options: str) -> str:
        """A tunnel port and, joined to it by flows alone, an internal port with an address; its MAC address."""
        port, name = f"in{number}", f"tun{number}"
        self.vsctl("add-port", "br-int", port, "--", "set", "interface", port, "type=internal")
        self.vsctl("add-port", "br-int", name, "--", "set", "interface", name, f"type={tunnel}",
                   *(f"options:{o}" for o in options))
        run(*self.topo.exec(self.node, "ethtool", "-K", port, "tx", "off"), check=False)
        table = 100 + number
        self.ip(f"addr add {address}/24 dev {port}", f"link set {port} up",
                f"neigh replace {router} lladdr {router_mac} nud permanent dev {port}",
                f"route add default via {router} dev {port} table {table}",
                f"rule add from {address} lookup {table}")
        mac = run(*self.topo.exec(self.node, "cat", f"/sys/class/net/{port}/address"), check=False).stdout.strip()
        mac = self.vsctl("get", "interface", port, "mac_in_use").strip().strip('"') or mac
        flows = self.dir / "flows"
        flows.write_text(f"in_port={port},actions=output:{name}\n"
                         f"in_port={name},actions=mod_dl_dst:{mac},output:{port}\n")
        run(*self.topo.exec(self.node, "env", f"OVS_RUNDIR={self.dir}", "ovs-ofctl", "add-flows", "br-int",
                            str(flows)))
        return mac
