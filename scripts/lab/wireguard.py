"""A stock userspace WireGuard in a namespace: wireguard-go, told what to do by `wg`.

As a program it replays: wireguard.py INTERFACE SECONDS sends each WireGuard data message that leaves by the interface once
more, and prints how many as its input ends or the time is up.
"""
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

if __package__:
    from .shell import PYTHON, SCRIPTS, LabError, run, stop

PORT = 51820
PACKET_OUTGOING, ETH_P_IP, ETH_P_ALL = 4, 0x0800, 3


def installed() -> bool:
    return bool(shutil.which("wireguard-go") and shutil.which("wg"))


class WireGuard:
    """One interface with one peer, the engine. `inner` are its addresses inside, `far` the prefixes behind the engine."""

    def __init__(self, topo, node: str, address: str, inner: list[str], far: list[str], keys: dict):
        if not installed():
            raise LabError("WireGuard is not installed: apt-get install wireguard-go wireguard-tools")
        # The control socket has a name of its own in a folder that all namespaces share.
        self.topo, self.node, self.name = topo, node, f"fswg{topo.id % 100000}"
        self.keys, self.far, self.address = keys, far, address
        self.ip(f"addr add {address}/24 dev eth0")
        environment = os.environ | {"WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD": "1", "LOG_LEVEL": "error"}
        log = open(topo.dir / "wireguard-go.log", "wb")
        self.process = subprocess.Popen(
            topo.exec(node, "wireguard-go", "--foreground", self.name), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            env=environment)
        log.close()
        topo.on_close(stop, self.process)
        deadline = time.monotonic() + 10
        while not Path(f"/var/run/wireguard/{self.name}.sock").exists():
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise LabError(f"wireguard-go did not start: {(topo.dir / 'wireguard-go.log').read_text()}")
            time.sleep(0.05)
        self.wg("set", self.name, "private-key", str(keys["private_file"]), "listen-port", str(PORT))
        self.ip(*(f"addr add {net} dev {self.name}" for net in inner), f"link set {self.name} up",
                *(f"route add {net} dev {self.name}" for net in far))

    def ip(self, *lines: str) -> None:
        run("ip", "-n", self.topo.ns(self.node), "-batch", "-", text="\n".join(lines))

    def wg(self, *argv: str) -> str:
        return run(*self.topo.exec(self.node, "wg", *argv)).stdout

    def know(self, endpoint: str) -> None:
        """The engine is its peer; what it knew of it before is forgotten."""
        self.wg("set", self.name, "peer", self.keys["engine_public"], "remove")
        self.wg("set", self.name, "peer", self.keys["engine_public"], "preshared-key", str(self.keys["preshared_file"]),
                "endpoint", f"{endpoint}:{PORT}", "allowed-ips", ",".join(self.far))

    def last_handshake(self) -> int:
        """When, in whole seconds since 1970; 0 before the first."""
        return int(self.wg("show", self.name, "latest-handshakes").split()[-1])

    def endpoint(self) -> str:
        """Where it knows the engine to be."""
        return self.wg("show", self.name, "endpoints").split()[-1]

    def roam(self, address: str, port: int) -> None:
        """From now on it sends from elsewhere."""
        # In this order: a primary address takes those of its network with it.
        self.ip(f"addr del {self.address}/24 dev eth0", f"addr add {address}/24 dev eth0")
        self.address = address
        self.wg("set", self.name, "listen-port", str(port))

    def replay(self, seconds: float) -> subprocess.Popen:
        """Sends its data messages once more each, until its input ends."""
        process = subprocess.Popen(
            self.topo.exec(self.node, PYTHON, str(SCRIPTS / "lab" / "wireguard.py"), "eth0", str(seconds)),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.topo.on_close(stop, process)
        if process.stdout.readline() != "ready\n":
            raise LabError("the replay did not start")
        return process


def is_data(frame: bytes) -> bool:
    """IPv4 without options, UDP, and a WireGuard data message."""
    return frame[12:15] == b"\x08\x00\x45" and frame[23] == 17 and frame[42:46] == b"\x04\0\0\0"


def main(interface: str, seconds: str) -> None:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind((interface, 0))
    seen, count, deadline = set(), 0, time.monotonic() + float(seconds)
    print("ready", flush=True)
    while (left := deadline - time.monotonic()) > 0:
        readable, _, _ = select.select([sock, sys.stdin], [], [], left)
        if sys.stdin in readable:
            break
        if sock not in readable:
            continue
        frame, (_, _, kind, *_) = sock.recvfrom(65536)
        # What was sent again is seen again, too.
        if kind == PACKET_OUTGOING and is_data(frame) and (name := frame[46:58]) not in seen:
            seen.add(name)
            sock.send(frame)
            count += 1
    print(count, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
