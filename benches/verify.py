"""What the measured worker sent, read by tools that are not ours: scapy decrypts ESP and decodes GRE."""

import sys
from pathlib import Path

from scapy.error import Scapy_Exception
from scapy.layers.inet import IP
from scapy.layers.inet6 import IPv6
from scapy.layers.ipsec import ESP, IPSecIntegrityError, SecurityAssociation
from scapy.layers.l2 import GRE, Ether
from scapy.utils import RawPcapReader

from .frames import ALGORITHMS, KEY_BYTE, SALT, SPI
from .measure import Failed



def frames(path: Path) -> list[Ether]:
    return [Ether(data) for data, _ in RawPcapReader(str(path))]


def unwrap(frame: Ether, case: str, sa: SecurityAssociation | None, sequences: set[int]) -> bytes:
    """The inner packet of what was, or is to be, in a tunnel."""
    outer = frame[IP]
    if not case.startswith("esp"):
        if outer.proto != 47 or GRE not in frame or frame[GRE].proto != 0x0800:
            raise Failed(f"not IPv4 in GRE: {frame.summary()}")
        return bytes(frame[GRE].payload)
    sequences.add(outer[ESP].seq)
    plain = sa.decrypt(outer.copy(), esn_en=True, esn=0)
    return bytes(plain)


def outer_is_right(frame: Ether) -> bool:
    """Addresses of the tunnel, and a header checksum that scapy computes too."""
    outer = frame[IP]
    again = IP(bytes(outer))
    del again.chksum
    return outer.src.startswith("192.0.2.") and IP(bytes(again)).chksum == outer.chksum


def same(before: bytes, after: bytes, hops: int) -> bool:
    """Whether `after` is `before` with `hops` fewer to live, as scapy would have written it."""
    if before[0] >> 4 == 6:
        expected = IPv6(before)
        expected.hlim -= hops
    else:
        expected = IP(before)
        expected.ttl -= hops
        del expected.chksum
    return bytes(expected) == after


def sample(folder: Path, case: str, cipher: str) -> str:
    """Compares the worker's input with its output, packet by packet; says how."""
    inner, received, sent = (frames(folder / f"{name}.pcap") for name in ("inner", "received", "sent"))
    if not len(inner) == len(received) == len(sent) > 0:
        raise Failed(f"{case}: {len(received)} packets in, {len(sent)} out")
    sa = None
    if case.startswith("esp"):
        algorithm, length = ALGORITHMS[cipher]
        sa = SecurityAssociation(ESP, spi=SPI, crypt_algo=algorithm, crypt_key=KEY_BYTE * length + SALT, esn_en=True,
                                 esn=0, tunnel_header=IP(src="192.0.2.1", dst="192.0.2.2"))
    wrapped = "sent" if case.endswith("encap") or case.endswith("encrypt") or case == "gre-ecmp" else (
        "received" if case.endswith("decap") or case.endswith("decrypt") else None)
    sequences, tunnels = set(), set()
    for n, (plain, before, after) in enumerate(zip(inner, received, sent)):
        try:
            ip_in = unwrap(before, case, sa, sequences) if wrapped == "received" else bytes(before.payload)
            ip_out = unwrap(after, case, sa, sequences) if wrapped == "sent" else bytes(after.payload)
        except (Scapy_Exception, IPSecIntegrityError, TypeError) as why:
            raise Failed(f"{case}: scapy cannot read packet {n}: {why!r}") from why
        tunnel = after if wrapped == "sent" else before
        if wrapped:
            tunnels.add(tunnel[IP].dst)
            if not outer_is_right(tunnel):
                raise Failed(f"{case}: packet {n} has a wrong outer header")
        # The sending end takes a hop too where the measured one decapsulates.
        first = 1 if wrapped == "received" else 0
        if not same(bytes(plain.payload), ip_in, first) or not same(ip_in, ip_out, 1):
            raise Failed(f"{case}: packet {n} is not what went in")
    if sa is not None and len(sequences) != len(sent):
        raise Failed(f"{case}: {len(sequences)} sequence numbers for {len(sent)} packets")
    if case == "gre-ecmp" and len(tunnels) != 4:
        raise Failed(f"gre-ecmp: {len(tunnels)} of 4 tunnels used")
    how = {"sent": "scapy read", "received": "scapy read", None: "scapy compared"}[wrapped]
    return f"{how} {len(sent)}"


if __name__ == "__main__":
    try:
        print(sample(Path(sys.argv[1]), sys.argv[2], sys.argv[3]))
    except Failed as why:
        sys.exit(str(why))
