"""DPDK's own gateways: built from the installed examples, and how each is started for a case."""

import shutil
import subprocess
from pathlib import Path

from . import frames
from .measure import Failed, Peer

EXAMPLES = Path("/usr/share/dpdk/examples")
# Virtual ports offer no checksum offload, and the examples insist on it. Not checking the IPv4 header
# checksum is to their advantage.
OFFLOAD = (".offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM", ".offloads = 0")
SOURCES = {"l3fwd": "main.c", "ipsec-secgw": "ipsec-secgw.c"}
CASES = {"ipv4": ("l3fwd", "l3fwd-fib"), "ipv6": ("l3fwd", "l3fwd-fib"), "esp-encrypt": ("ipsec-secgw",),
         "esp-decrypt": ("ipsec-secgw",)}


def build(work: Path) -> dict[str, Path]:
    """Builds both peers under `work`, if they are not there yet."""
    if not EXAMPLES.is_dir():
        raise Failed(f"{EXAMPLES} is missing. On Debian: apt-get install dpdk-doc")
    shutil.copytree(EXAMPLES / "common", work / "common", dirs_exist_ok=True)
    return {name: build_one(work, name) for name in SOURCES}


def build_one(work: Path, name: str) -> Path:
    folder = work / name
    binary = folder / "build" / name
    if binary.is_file():
        return binary
    shutil.copytree(EXAMPLES / name, folder, dirs_exist_ok=True)
    source = folder / SOURCES[name]
    text = source.read_text()
    if OFFLOAD[0] not in text:
        raise Failed(f"{source}: this DPDK's {name} asks for offloads in a way we do not know")
    source.write_text(text.replace(*OFFLOAD))
    made = subprocess.run(["make", "-C", str(folder)], capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise Failed(f"{name} did not build\n{made.stderr[-2000:]}")
    return binary


def eal(lcores: str, main: int, devices: list[str]) -> list[str]:
    flags = [f"--lcores={lcores}", f"--main-lcore={main}", "--no-huge", "-m512", "--no-pci"]
    return [*flags, "--file-prefix={prefix}", *(f"--vdev={device}" for device in devices)]


def source(pcap: Path) -> str:
    """Every frame of `pcap` again and again, copied into a fresh mbuf each time. What is sent is freed."""
    return f"net_pcap0,rx_pcap={pcap},infinite_rx=1"


def floor(pcap: Path, core: int, log: Path) -> Peer:
    """testpmd that only moves packets from the source to the sink: what those cost without a gateway."""
    # Its main lcore sleeps in read(), so it may share the core.
    command = ["dpdk-testpmd", *eal(f"0@{core},1@{core}", 0, [source(pcap)]), "--"]
    command += ["--forward-mode=io", "--auto-start", "--port-topology=loop", "--nb-cores=1"]
    return Peer("testpmd", [*command, "--total-num-mbufs=8192"], 0, log)


def start(name: str, case: str, binaries: dict[str, Path], pcap: Path, core: int, work: Path,
          cipher: str) -> Peer:
    """A peer of `case`, on one lcore that is also its main one, so that nothing else spins."""
    log = work / f"{name}.log"
    if name.startswith("l3fwd"):
        lookup = "fib" if name == "l3fwd-fib" else "lpm"
        return Peer(name, [str(binaries["l3fwd"]), *l3fwd(pcap, core, work, lookup)], 0, log)
    return Peer(name, [str(binaries[name]), *ipsec_secgw(case, pcap, core, work, cipher)], 1, log)


def l3fwd(pcap: Path, core: int, work: Path, lookup: str) -> list[str]:
    v4, v6 = work / "l3fwd4.cfg", work / "l3fwd6.cfg"
    v4.write_text("R10.2.0.0/24 0\n")
    v6.write_text("Rfd00:0002:0000:0000:0000:0000:0000:0000/64 0\n")
    rules = [f"--rule_ipv4={v4}", f"--rule_ipv6={v6}"]
    application = ["--", "-p", "1", "--config=(0,0,1)", f"--lookup={lookup}", "--parse-ptype", *rules]
    return [*eal(f"1@{core}", 1, [source(pcap)]), *application]


def ipsec_secgw(case: str, pcap: Path, core: int, work: Path, cipher: str) -> list[str]:
    """librte_ipsec with the CPU crypto of the aesni_gcm PMD, its fastest way here."""
    decrypt = case == "esp-decrypt"
    way, ends = ("in", (frames.THERE, frames.HERE)) if decrypt else ("out", (frames.HERE, frames.THERE))
    length = frames.ALGORITHMS[cipher][1]
    key = ":".join(f"{byte:02x}" for byte in frames.KEY_BYTE * length + frames.SALT)
    inner = "10.1.0.0/24" if decrypt else "10.2.0.0/24"
    config = work / "ipsec-secgw.cfg"
    config.write_text(
        f"sp ipv4 {way} esp protect {frames.SPI} pri 1 dst {inner} sport 0:65535 dport 0:65535\n"
        f"sa {way} {frames.SPI} aead_algo {cipher} aead_key {key} mode ipv4-tunnel"
        f" src {ends[0]} dst {ends[1]} type cpu-crypto\n"
        f"rt ipv4 dst 192.0.2.0/24 port 1\nrt ipv4 dst {inner} port 1\nneigh port 1 02:00:00:00:00:02\n"
    )
    devices = [source(pcap), "net_null1,no-rx=1", "crypto_aesni_gcm0"]
    # No replay window: the source repeats its 64 packets.
    unprotected = ["-u", "1", "-w", "0"] if decrypt else []
    application = ["--", "-p", "3", "-P", *unprotected, "--config=(0,0,1)", "-s", "8192", "-l", "-f", str(config)]
    return [*eal(f"1@{core}", 1, devices), *application]


# Operations of the bare PMD, for a packet whose inner frame has so many bytes: that much is encrypted and padded.
def crypto_perf(size: int, core: int, cipher: str) -> list[str]:
    """DPDK's own measurement of AES-GCM by the aesni_gcm PMD: what ESP cannot beat."""
    data = (size - 18 + 2 + 3) // 4 * 4
    key = {"aes-128-gcm": 16, "aes-256-gcm": 32}[cipher]
    other = min({0, 1} - {core}, default=0)
    options = ["--ptest=throughput", "--devtype=crypto_aesni_gcm", "--optype=aead", "--aead-algo=aes-gcm",
               "--aead-op=encrypt", f"--aead-key-sz={key}", "--aead-iv-sz=12", "--aead-aad-sz=12", "--digest-sz=16",
               f"--buffer-sz={data}", "--burst-sz=32", "--total-ops=2000000", "--pool-sz=4096", "--silent",
               "--csv-friendly"]
    return ["dpdk-test-crypto-perf", f"--lcores=0@{other},1@{core}", "--main-lcore=0", "--no-huge", "-m512",
            "--no-pci", "--file-prefix={prefix}", "--vdev=crypto_aesni_gcm0", "--", *options]


def bare_crypto(size: int, core: int, cipher: str) -> float | None:
    """Cycles an operation of the bare PMD, or nothing where DPDK's tool is not there."""
    if not shutil.which("dpdk-test-crypto-perf") or cipher.startswith("chacha"):
        return None
    command = [part.replace("{prefix}", "foreshift-bench-crypto") for part in crypto_perf(size, core, cipher)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    rows = [line.split(",") for line in ran.stdout.splitlines() if line[:1].isdigit() and line.count(",") >= 8]
    if ran.returncode != 0 or not rows:
        raise Failed(f"{' '.join(command)}\n{(ran.stdout + ran.stderr)[-2000:]}")
    # The last column is cycles a buffer.
    return float(rows[-1][-1])
