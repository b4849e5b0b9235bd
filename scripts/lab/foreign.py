"""A tunnel's far end that is not Foreshift: scapy takes packets apart, answers the pings in them and wraps the answers.

Runs inside a namespace: foreign.py INTERFACE SETTINGS.json; when its input ends, it prints what it counted as JSON.
"""
import json
import select
import socket
import sys
from collections import Counter
from pathlib import Path

from scapy.all import ESP, GRE, ICMP, IP, UDP, Ether, ICMPv6EchoReply, ICMPv6EchoRequest, IPv6, Raw, conf, raw
from scapy.layers.ipsec import SecurityAssociation
from scapy.layers.vxlan import VXLAN

PACKET_OUTGOING = 4
VXLAN_PORT, ESP_PORT = 4789, 4500
conf.verb = 0


class Foreign:
    """`settings`: local, remote, the MAC addresses and VNI of VXLAN, and by protocol the SAs."""

    def __init__(self, settings: dict):
        self.settings, self.counts = settings, Counter()
        self.ends = {"src": settings["local"], "dst": settings["remote"]}
        self.sas = {name: self.association(name, sa) for name, sa in settings["sas"].items()}

    def association(self, name: str, sa: dict) -> dict:
        def one(spi: int, key: str, src: str, dst: str) -> SecurityAssociation:
            nat_t = UDP(sport=ESP_PORT, dport=ESP_PORT) if name == "esp-udp" else None
            return SecurityAssociation(ESP, spi=spi, crypt_algo="AES-GCM", crypt_key=bytes.fromhex(key),
                                       tunnel_header=IP(src=src, dst=dst), nat_t_header=nat_t)
        here, there = self.settings["local"], self.settings["remote"]
        return {"in": one(sa["spi_in"], sa["key_in"], there, here),
                "out": one(sa["spi_out"], sa["key_out"], here, there)}

    def answer(self, frame: bytes) -> bytes | None:
        """The frame that answers a tunnelled ping, or nothing."""
        ether = Ether(frame)
        if IP not in ether or (ether[IP].src, ether[IP].dst) != (self.ends["dst"], self.ends["src"]):
            return None
        outer = ether[IP]
        self.sound(outer)
        protocol, inner = self.unwrap(outer)
        if protocol is None:
            return None
        self.counts[protocol] += 1
        reply = self.reply(inner)
        if reply is None:
            self.counts[f"{protocol}: no ping"] += 1
            return None
        return raw(Ether(src=ether.dst, dst=ether.src) / self.wrap(protocol, reply))

    def sound(self, outer: IP) -> None:
        """The outer header is as a router would have it."""
        again = outer.copy()
        del again.chksum
        right = IP(raw(again)).chksum == outer.chksum and outer.flags.DF and outer.len == len(outer)
        self.counts["unsound outer header"] += not right

    def unwrap(self, outer: IP):
        match outer.proto:
            case 4 | 41:
                return "ipip", outer.payload
            case 47 if GRE in outer:
                return "gre", outer[GRE].payload
            case 50 if "esp" in self.sas:
                return "esp", self.sas["esp"]["in"].decrypt(IP(raw(outer)))
            case 17 if outer[UDP].dport == ESP_PORT and outer[UDP].len > 9:
                return "esp-udp", self.sas["esp-udp"]["in"].decrypt(IP(raw(outer)))
            case 17 if outer[UDP].dport == VXLAN_PORT and VXLAN in outer:
                vxlan = outer[VXLAN]
                known = vxlan.vni == self.settings["vni"] and vxlan[Ether].dst == self.settings["local_mac"]
                self.counts["vxlan of others"] += not (known and 49152 <= outer[UDP].sport)
                return "vxlan", vxlan[Ether].payload
        return None, None

    @staticmethod
    def reply(inner):
        inner = (IPv6 if raw(inner)[0] >> 4 == 6 else IP)(raw(inner))
        if IP in inner and ICMP in inner and inner[ICMP].type == 8:
            echo = inner[ICMP]
            body = ICMP(type=0, id=echo.id, seq=echo.seq) / Raw(raw(echo.payload))
            return IP(src=inner.dst, dst=inner.src) / body
        if ICMPv6EchoRequest in inner:
            echo = inner[ICMPv6EchoRequest]
            return IPv6(src=inner.dst, dst=inner.src) / ICMPv6EchoReply(id=echo.id, seq=echo.seq, data=echo.data)
        return None

    def wrap(self, protocol: str, inner):
        outer = IP(**self.ends, flags="DF")
        match protocol:
            case "ipip":
                return outer / inner
            case "gre":
                return outer / GRE() / inner
            case "vxlan":
                link = Ether(src=self.settings["local_mac"], dst=self.settings["remote_mac"])
                # flags: a VNI is there.
                return outer / UDP(sport=55555, dport=VXLAN_PORT, chksum=0) / VXLAN(
                    flags=8, vni=self.settings["vni"]) / link / inner
        sealed = self.sas[protocol]["out"].encrypt(inner)
        if UDP in sealed:
            # scapy works out the length before the payload is there; RFC 3948 §2.1 wants no checksum.
            sealed[UDP].len, sealed[UDP].chksum = None, 0
        return sealed


def main(interface: str, settings: str) -> None:
    """Answers until standard input ends."""
    foreign = Foreign(json.loads(Path(settings).read_text()))
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))  # ETH_P_ALL
    sock.bind((interface, 0))
    print("ready", flush=True)
    while True:
        readable, _, _ = select.select([sock, sys.stdin], [], [])
        if sys.stdin in readable:
            break
        frame, (_, _, kind, *_) = sock.recvfrom(65536)
        if kind == PACKET_OUTGOING:
            continue
        try:
            if out := foreign.answer(frame):
                sock.send(out)
        except Exception as error:  # a packet it cannot read is what this is about: count it, go on
            foreign.counts[f"{type(error).__name__}: {error}"] += 1
    print(json.dumps(foreign.counts), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
