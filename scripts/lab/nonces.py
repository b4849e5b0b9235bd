"""An offline oracle over captured ESP: no nonce was used twice under one key.

    python3 -m lab.nonces CAPTURE... --sa SPI:KEY [--sa SPI:KEY ...] [--esn]

SPI is decimal or 0x…; KEY is key ‖ salt in hexadecimal: 16, 24 or 32 octets, then 4 (RFC 4106 §8.1). SAs of one key are
looked at together, whatever their SPIs: what must not repeat is (key, nonce), the nonce being salt ‖ IV (RFC 4106 §4).

A packet counts only if it opens under its key: whoever forges one proves nothing. Two packets under one nonce are a
*repeat* if their ciphertexts differ. The same octets again are a *copy*: one packet seen at two capture points, or sent
once more by somebody who replays; no engine seals two packets into the same octets, but what it sealed tells nothing new.
Captures are pcap or pcapng; Ethernet, VLAN tags, Linux cooked and raw IP; ESP over IPv4, IPv6 and UDP port 4500.
"""
import argparse
import hashlib
import json
import struct
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

ESP, UDP = 50, 17
NAT_T = 4500
VLANS = (0x8100, 0x88A8)
SALT, ICV = 4, 16


@dataclass(frozen=True)
class Sa:
    """An SA as both ends know it; `keymat` is key ‖ salt."""
    spi: int
    keymat: bytes
    esn: bool = False

    def __post_init__(self):
        if len(self.keymat) - SALT not in (16, 24, 32):
            raise ValueError(f"SPI {self.spi}: key and salt are 20, 28 or 36 octets, not {len(self.keymat)}")

    def opens(self, esp: bytes) -> bool:
        """Whether the packet is authentic. The high half of an ESN is taken from the IV's counter (RFC 4303 §2.2.1)."""
        spi, sequence, iv, text = esp[:4], esp[4:8], esp[8:16], esp[16:]
        high = struct.pack("!I", (int.from_bytes(iv, "big") & (1 << 48) - 1) >> 32)
        aad = spi + high + sequence if self.esn else spi + sequence
        try:
            AESGCM(self.keymat[:-SALT]).decrypt(self.keymat[-SALT:] + iv, text, aad)
        except InvalidTag:
            return False
        return True


@dataclass(frozen=True)
class Repeat:
    """Two different packets under one nonce."""
    spi: int
    iv: str
    first: str
    second: str


@dataclass
class Verdict:
    """What a check found; `clean` is what matters."""
    packets: int = 0
    nonces: int = 0
    copies: int = 0
    forged: int = 0
    unknown_spi: int = 0
    epochs: dict[int, list[int]] = field(default_factory=dict)
    repeats: list[Repeat] = field(default_factory=list)

    @property
    def clean(self) -> bool:
        """Something was looked at, and nothing repeats."""
        return self.nonces > 0 and not self.repeats


class Oracle:
    """Fed with captures, any number of them and in any order."""

    def __init__(self, sas: list[Sa]):
        self._sas = {sa.spi: sa for sa in sas}
        self._seen: dict[tuple[bytes, bytes], tuple[bytes, str]] = {}
        self._epochs: dict[int, set[int]] = defaultdict(set)
        self.verdict = Verdict()

    def capture(self, path) -> None:
        """Look at every packet of a file."""
        for number, (link, frame) in enumerate(packets(Path(path)), 1):
            if esp := esp_of(link, frame):
                self.packet(esp, f"{Path(path).name}:{number}")

    def packet(self, esp: bytes, where: str) -> None:
        """Look at one, from its ESP header on."""
        sa = self._sas.get(int.from_bytes(esp[:4], "big"))
        if sa is None:
            self.verdict.unknown_spi += 1
            return
        if len(esp) < 16 + ICV or not sa.opens(esp):
            self.verdict.forged += 1
            return
        self.verdict.packets += 1
        iv, digest = esp[8:16], hashlib.blake2b(esp, digest_size=16).digest()
        self._epochs[sa.spi].add(int.from_bytes(iv[:2], "big"))
        before, place = self._seen.setdefault((sa.keymat, iv), (digest, where))
        if place == where:
            self.verdict.nonces += 1
        elif before == digest:
            self.verdict.copies += 1
        else:
            self.verdict.repeats.append(Repeat(sa.spi, iv.hex(), place, where))

    def result(self) -> Verdict:
        """What was found so far; `epochs` are the upper 16 bits of the IVs, by SPI."""
        self.verdict.epochs = {spi: sorted(epochs) for spi, epochs in sorted(self._epochs.items())}
        return self.verdict


def check(captures, sas: list[Sa]) -> Verdict:
    """The verdict over some captures."""
    oracle = Oracle(sas)
    for path in captures:
        oracle.capture(path)
    return oracle.result()


def esp_of(link: int, frame: bytes) -> bytes | None:
    """A frame from its ESP header on; None for everything else, and for later fragments."""
    packet = ip_of(link, frame)
    if not packet:
        return None
    if packet[0] >> 4 == 4 and len(packet) >= 20:
        fragment = int.from_bytes(packet[6:8], "big") & 0x3FFF
        length, header, protocol = int.from_bytes(packet[2:4], "big"), (packet[0] & 15) * 4, packet[9]
        body = packet[header:length] if not fragment else b""
    elif packet[0] >> 4 == 6 and len(packet) >= 40:
        protocol, body = packet[6], packet[40:40 + int.from_bytes(packet[4:6], "big")]
    else:
        return None
    if protocol == UDP and len(body) > 12 and NAT_T in struct.unpack("!HH", body[:4]):
        # RFC 3948 §2.2: four zeros are IKE, one octet is a keepalive.
        protocol, body = (ESP, body[8:]) if body[8:12] != bytes(4) else (None, b"")
    return body if protocol == ESP and len(body) >= 8 else None


def ip_of(link: int, frame: bytes) -> bytes | None:
    """A frame from its IP header on."""
    match link:
        case 101 | 12 | 14 | 228 | 229:  # raw IP: LINKTYPE_RAW, DLT_RAW of two systems, IPV4, IPV6
            return frame
        case 113:  # Linux cooked
            return frame[16:]
        case 276:  # Linux cooked, version 2
            return frame[20:]
        case 1:  # Ethernet
            at = 12
            while int.from_bytes(frame[at:at + 2], "big") in VLANS:
                at += 4
            return frame[at + 2:] if frame[at:at + 2] in (b"\x08\x00", b"\x86\xdd") else None
    return None


def packets(path: Path):
    """(link type, frame) of a capture; one that breaks off ends there, as a killed tcpdump leaves it."""
    data = path.read_bytes()
    yield from pcapng(data) if data[:4] == b"\x0a\x0d\x0d\x0a" else pcap(data, path)


def pcap(data: bytes, path: Path):
    """The classic format, of either byte order and resolution."""
    orders = {b"\xd4\xc3\xb2\xa1": "<", b"\x4d\x3c\xb2\xa1": "<", b"\xa1\xb2\xc3\xd4": ">", b"\xa1\xb2\x3c\x4d": ">"}
    if not data:
        return
    if (order := orders.get(data[:4])) is None:
        raise ValueError(f"{path} is neither pcap nor pcapng")
    link, at = struct.unpack(order + "I", data[20:24])[0] & 0xFFFF, 24
    while at + 16 <= len(data):
        length = struct.unpack(order + "I", data[at + 8:at + 12])[0]
        if at + 16 + length > len(data):
            return
        yield link, data[at + 16:at + 16 + length]
        at += 16 + length


def pcapng(data: bytes):
    """Enhanced Packet Blocks of every section."""
    at, order, links = 0, "<", []
    while at + 12 <= len(data):
        kind = data[at:at + 4]
        if kind == b"\x0a\x0d\x0d\x0a":
            order, links = "<" if data[at + 8:at + 12] == b"\x4d\x3c\x2b\x1a" else ">", []
        length = struct.unpack(order + "I", data[at + 4:at + 8])[0]
        if length < 12 or at + length > len(data):
            return
        match struct.unpack(order + "I", kind)[0]:
            case 1:
                links.append(struct.unpack(order + "H", data[at + 8:at + 10])[0])
            case 6:
                interface, captured = struct.unpack(order + "I8xI", data[at + 8:at + 24])
                yield links[interface], data[at + 28:at + 28 + captured]
        at += length


def main() -> int:
    """Prints the verdict as JSON; 0 if nothing repeats."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("captures", nargs="+", type=Path)
    parser.add_argument("--sa", action="append", required=True, metavar="SPI:KEY")
    parser.add_argument("--esn", action="store_true", help="sequence numbers have 64 bits")
    options = parser.parse_args()
    split = (text.split(":", 1) for text in options.sa)
    sas = [Sa(int(spi, 0), bytes.fromhex(key), options.esn) for spi, key in split]
    verdict = check(options.captures, sas)
    print(json.dumps({"clean": verdict.clean} | vars(verdict), default=vars, indent=2))
    return 0 if verdict.clean else 1


if __name__ == "__main__":
    sys.exit(main())
