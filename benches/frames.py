"""The traffic of the peers: the same frames that `foreshift bench` makes for itself, as pcap files."""

from pathlib import Path

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, SecurityAssociation
from scapy.layers.l2 import Ether
from scapy.packet import Raw
from scapy.utils import wrpcap

FLOWS = 64
FCS = 4
# The benchmark's key: every byte of key and salt is the same.
KEY_BYTE = b"\x42"
SALT = KEY_BYTE * 4
# What scapy calls a cipher, and the bytes of its key.
ALGORITHMS = {"aes-128-gcm": ("AES-GCM", 16), "aes-256-gcm": ("AES-GCM", 32),
              "chacha20-poly1305": ("CHACHA20-POLY1305", 32)}
SPI = 0x1000
HERE, THERE = "192.0.2.1", "192.0.2.2"


def inner(size: int, flow: int, version: int, back: bool = False) -> Ether:
    """A UDP packet in a frame of `size` bytes, FCS included; no shorter than its headers. `back` comes from far away."""
    if version == 6:
        ip = IPv6(src="fd00:1::10", dst="fd00:2::10", hlim=64)
    else:
        near, far = "10.1.0.10", "10.2.0.10"
        ip = IP(src=far if back else near, dst=near if back else far, flags="DF", ttl=64)
    headers = Ether(src="02:00:00:00:00:10", dst="02:00:00:00:01:00") / ip / UDP(sport=1024 + flow, dport=4789)
    payload = max(0, size - FCS - len(headers))
    return headers / Raw(bytes(i & 0xFF for i in range(payload)))


def sealed(frame: Ether, sa: SecurityAssociation) -> Ether:
    """The same packet as the far engine would send it: in an ESP tunnel."""
    return Ether(src="02:00:00:00:02:01", dst="02:00:00:00:01:01") / sa.encrypt(frame[IP])


def write(path: Path, case: str, size: int, cipher: str) -> None:
    """Writes the frames that the gateway under test receives in `case`."""
    version, back = 6 if case == "ipv6" else 4, case == "esp-decrypt"
    frames = [inner(size, flow, version, back) for flow in range(FLOWS)]
    if case == "esp-decrypt":
        tunnel = IP(src=THERE, dst=HERE)
        algorithm, length = ALGORITHMS[cipher]
        key = KEY_BYTE * length + SALT
        sa = SecurityAssociation(ESP, spi=SPI, crypt_algo=algorithm, crypt_key=key, tunnel_header=tunnel)
        frames = [sealed(frame, sa) for frame in frames]
    wrpcap(str(path), frames)
