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
KEY = b"\x42" * 16
SALT = b"\x42" * 4
SPI = 0x1000
HERE, THERE = "192.0.2.1", "192.0.2.2"


def inner(size: int, flow: int, version: int) -> Ether:
    """A UDP packet in a frame of `size` bytes, FCS included; no shorter than its headers."""
    if version == 6:
        ip = IPv6(src="fd00:1::10", dst="fd00:2::10", hlim=64)
    else:
        ip = IP(src="10.1.0.10", dst="10.2.0.10", flags="DF", ttl=64)
    headers = Ether(src="02:00:00:00:00:10", dst="02:00:00:00:01:00") / ip / UDP(sport=1024 + flow, dport=4789)
    payload = max(0, size - FCS - len(headers))
    return headers / Raw(bytes(i & 0xFF for i in range(payload)))


def sealed(frame: Ether, sa: SecurityAssociation) -> Ether:
    """The same packet as the far engine would send it: in an ESP tunnel."""
    return Ether(src="02:00:00:00:02:01", dst="02:00:00:00:01:01") / sa.encrypt(frame[IP])


def write(path: Path, case: str, size: int) -> None:
    """Writes the frames that the gateway under test receives in `case`."""
    frames = [inner(size, flow, 6 if case == "ipv6" else 4) for flow in range(FLOWS)]
    if case == "esp-decrypt":
        tunnel = IP(src=THERE, dst=HERE)
        sa = SecurityAssociation(ESP, spi=SPI, crypt_algo="AES-GCM", crypt_key=KEY + SALT, tunnel_header=tunnel)
        frames = [sealed(frame, sa) for frame in frames]
    wrpcap(str(path), frames)
