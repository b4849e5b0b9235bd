"""VPP as a peer, where it is installed: its packet generator as source and sink, cycles from `show runtime`."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from . import frames
from .measure import Failed, started

START_S = 120
WINDOW_S = 0.5
# Ends each answer in a session of this terminal type.
END, TERMINAL_TYPE = b"\0", b"\xff\xfa\x18\x00vppctl\xff\xf0"
# What makes the packets, and what frees them after they were sent: not counted, as ours are not either.
ENDS = re.compile(r"^(pg-input|pg\d+-tx|error-drop|null-node|drop)$")
NODE = re.compile(r"^(\S+)\s+(?:\S+ )?(?:active|polling|interrupt wa|any wait|event wait|internal|done|disabled)\s+"
                  r"(\d+)\s+(\d+)\s+(\d+)\s+(\S+)\s+(\S+)$")

ACCESS = ("acl", "acl-100", "session")
CASES = ("ipv4", "ipv4-1m", "ipv6", "ipv6-100k", "gre-encap", "gre-decap", "gre-ecmp", "acl", "acl-100", "session",
         "esp-encrypt", "esp-decrypt")


def prefix() -> Path | None:
    """Where VPP is: FORESHIFT_VPP is a prefix with bin/vpp in it; else whatever is in the PATH."""
    if "FORESHIFT_VPP" in os.environ:
        path = Path(os.environ["FORESHIFT_VPP"])
        if not (path / "bin" / "vpp").is_file():
            raise Failed(f"FORESHIFT_VPP={path}: there is no bin/vpp")
        return path
    found = shutil.which("vpp")
    return Path(found).resolve().parent.parent if found else None


def startup(where: Path, work: Path, core: int, main: int) -> str:
    plugins = next((path for path in where.glob("lib/**/vpp_plugins")), where / "lib/vpp_plugins")
    engines = next((path for path in where.glob("lib/**/vpp_crypto_engines")), None)
    crypto = f"path {engines}" if engines else ""
    return f"""unix {{ nodaemon nosyslog cli-listen {work}/cli.sock runtime-dir {work} }}
api-segment {{ prefix bench{os.getpid()} }}
cpu {{ main-core {main} corelist-workers {core} }}
memory {{ main-heap-size 3G }}
buffers {{ buffers-per-numa 16384 }}
statseg {{ socket-name {work}/stats.sock size 512M }}
plugins {{ path {plugins} plugin default {{ disable }} plugin acl_plugin.so {{ enable }} plugin gre_plugin.so {{ enable }} }}
"""  # {crypto}


def ports() -> list[str]:
    lines = []
    for n, mac in ((0, "02:00:00:00:01:00"), (1, "02:00:00:00:01:01")):
        lines += [f"create packet-generator interface pg{n}", f"set interface mac address pg{n} {mac}",
                  f"set interface state pg{n} up", f"set interface mtu packet 1600 pg{n}"]
    lines += ["set interface ip address pg0 10.1.0.1/24", "set interface ip address pg1 192.0.2.1/24",
              "set interface ip address pg0 fd00:1::1/64", "set interface ip address pg1 2001:db8::1/64",
              "set ip neighbor pg0 10.1.0.10 02:00:00:00:00:10", "set ip neighbor pg0 fd00:1::10 02:00:00:00:00:10"]
    for n in range(16):
        lines += [f"set ip neighbor pg1 192.0.2.{2 + n} 02:00:00:00:02:01",
                  f"set ip neighbor pg1 2001:db8::{2 + n:x} 02:00:00:00:02:01"]
    return lines


def tunnel(name: str) -> list[str]:
    return [f"set interface state {name} up", f"set interface unnumbered {name} use pg1",
            f"set interface mtu packet 1518 {name}"]


def gre(count: int) -> list[str]:
    lines = []
    for n in range(count):
        lines += [f"create gre tunnel src 192.0.2.1 dst 192.0.2.{2 + n} instance {n}", *tunnel(f"gre{n}")]
        lines.append(f"ip route add 10.2.0.0/24 via gre{n}")
    return lines


def esp(cipher: str) -> list[str]:
    key = {"aes-128-gcm": 16, "aes-256-gcm": 32, "chacha20-poly1305": 32}[cipher] * "42"
    algorithm = {"aes-128-gcm": "aes-gcm-128", "aes-256-gcm": "aes-gcm-256"}.get(cipher, cipher)
    sa = f"esp crypto-alg {algorithm} crypto-key {key} salt 0x42424242"
    ends = ("tunnel src 192.0.2.1 dst 192.0.2.2", "tunnel src 192.0.2.2 dst 192.0.2.1 inbound")
    both = [f"ipsec sa add {10 + n} spi {frames.SPI} {sa} {end}" for n, end in enumerate(ends)]
    return [*both, "ipsec itf create instance 0", *tunnel("ipsec0"),
            "ipsec tunnel protect ipsec0 sa-in 11 sa-out 10", "ip route add 10.2.0.0/24 via ipsec0"]


def configuration(case: str, cipher: str, export: Path) -> list[str]:
    """What it is told, a command a line."""
    lines = ports()
    if case in ("ipv4-1m", "ipv6-100k"):
        routes = (line.split() for line in (export / "routes.txt").read_text().splitlines())
        lines += [f"ip route add {net} via {gateway} pg1" for net, gateway in routes]
    elif case in ("ipv4", "ipv6", *ACCESS):
        lines += ["ip route add 10.2.0.0/24 via 192.0.2.2 pg1", "ip route add fd00:2::/64 via 2001:db8::2 pg1",
                  "ip route add 172.0.0.0/8 via 192.0.2.2 pg1"]
    elif case.startswith("gre"):
        lines += gre(4 if case == "gre-ecmp" else 1)
    else:
        lines += esp(cipher)
    if case in ACCESS:
        rules = (export / "acl.txt").read_text().splitlines()
        permit = "permit+reflect" if case == "session" else "permit"
        rules = [rule.replace("permit", permit) for rule in rules]
        lines += [f"set acl-plugin acl {', '.join(rules)}", "set acl-plugin interface pg0 input acl 0"]
    source = 1 if case.endswith("decap") or case.endswith("decrypt") else 0
    stream = f"name s limit -1 pcap {export}/input.pcap source pg{source} worker 0"
    return [*lines, f"packet-generator new {{ {stream} }}", "packet-generator enable-stream s"]


class Vpp:
    """A running VPP, stopped (SIGSTOP) except while it is measured."""

    name = "vpp"

    def __init__(self, where: Path, case: str, cipher: str, export: Path, core: int, main: int):
        self.export = export
        self.work = export / "vpp"
        self.work.mkdir(parents=True, exist_ok=True)
        for old in self.work.glob("*.sock"):
            old.unlink()
        self.commands = self.work / "commands.txt"
        self.commands.write_text("\n".join(configuration(case, cipher, export)) + "\n")
        config = self.work / "startup.conf"
        config.write_text(startup(where, self.work, core, main))
        self.log = self.work / "vpp.log"
        libraries = ":".join(str(path.parent) for path in where.glob("lib/**/libvnet.so*"))
        with self.log.open("w") as output:
            self.process = subprocess.Popen(
                [str(where / "bin" / "vpp"), "-c", str(config)], stdout=output, stderr=subprocess.STDOUT,
                env=os.environ | {"LD_LIBRARY_PATH": libraries}, start_new_session=True,
                preexec_fn=started)
        self.socket = None

    def __enter__(self) -> "Vpp":
        try:
            self.connect()
            answer = self.cli(f"exec {self.commands}", START_S)
            if re.search(r"unknown|error|failed|parse", answer):
                raise Failed(f"VPP did not accept its configuration\n{answer[-2000:]}")
            self.process.send_signal(signal.SIGSTOP)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def connect(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            if self.process.poll() is not None:
                raise Failed(f"vpp ended with {self.process.returncode}\n{self.log.read_text()[-2000:]}")
            with contextlib.suppress(OSError):
                self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
                self.socket.settimeout(START_S)
                self.socket.connect(str(self.work / "cli.sock"))
                # The telnet negotiation, as vppctl does it: no banner, no prompt, no pager.
                self.socket.recv(4096)
                self.socket.sendall(TERMINAL_TYPE)
                time.sleep(0.2)
                return
            if time.monotonic() > deadline:
                raise Failed(f"vpp did not open its CLI\n{self.log.read_text()[-2000:]}")
            time.sleep(0.2)

    def read(self) -> str:
        data = b""
        while not data.endswith(END):
            part = self.socket.recv(65536)
            if not part:
                raise Failed(f"vpp closed its CLI\n{self.log.read_text()[-2000:]}")
            data += part
        return data.replace(END, b"").decode(errors="replace").replace("\r", "")

    def cli(self, command: str, timeout: float = 30) -> str:
        self.socket.settimeout(timeout)
        self.socket.sendall(command.encode() + b"\n")
        return self.read()

    def worker_cpu(self) -> float:
        """CPU time of the worker thread, s."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().startswith("vpp_wk"):
                return int((task / "schedstat").read_text().split()[0]) / 1e9
        raise Failed("vpp has no worker thread")

    def window(self) -> dict[str, tuple[int, float]]:
        """Packets and cycles a packet of each node of the worker, over a short time."""
        self.cli("clear runtime")
        wall, cpu = time.monotonic(), self.worker_cpu()
        time.sleep(WINDOW_S)
        wall, cpu = time.monotonic() - wall, self.worker_cpu() - cpu
        text = self.cli("show runtime")
        worker = text[text.find("vpp_wk_0"):]
        # The TSC runs on while somebody else has the core; the nodes' clocks together are wall time.
        share = min(1.0, cpu / wall)
        nodes = {}
        for line in worker.splitlines():
            match = NODE.match(line.strip())
            if match and int(match[3]) > 0:
                nodes[match[1]] = (int(match[3]), float(match[5]) * share)
        return nodes

    def samples(self, seconds: float, _tsc_hz: float) -> list[float]:
        """Cycles a packet: all nodes but the generator's, each by the packets it saw."""
        self.process.send_signal(signal.SIGCONT)
        try:
            time.sleep(WINDOW_S)
            found, end = [], time.monotonic() + seconds
            while time.monotonic() < end or not found:
                nodes = self.window()
                packets = max((count for name, (count, _) in nodes.items() if ENDS.match(name)), default=0)
                sent = max((count for name, (count, _) in nodes.items() if name.endswith("-tx")), default=0)
                if packets == 0 or sent < 0.98 * packets:
                    raise Failed(f"vpp transmitted {sent} of {packets} packets\n{self.cli('show errors')}")
                total = sum(count * clocks for name, (count, clocks) in nodes.items() if not ENDS.match(name))
                found.append(total / packets)
            self.nodes = nodes
        finally:
            self.process.send_signal(signal.SIGSTOP)
        return found

    def version(self) -> str:
        return self.cli("show version").split(" built")[0].strip()

    def end(self) -> None:
        if self.socket is not None:
            self.socket.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
