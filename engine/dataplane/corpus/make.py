#!/usr/bin/python3
"""Writes the seed corpus in wire/ with scapy: NAME.EXPECTED.bin, where EXPECTED is `ok` or the
WireError in lower case. Run it again after adding a packet; every packet is the same each time."""
import pathlib
import struct

from scapy.all import (
    ARP, GRE, ICMP, ICMPv6DestUnreach, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6ND_RS,
    ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, IP, IPv6, IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, IPv6ExtHdrRouting, PadN, Raw, TCP, UDP, Dot1AD, Dot1Q, Ether,
    IPOption_RR,
    conf, raw,
)
from scapy.layers.vxlan import VXLAN

conf.verb = 0
HERE = pathlib.Path(__file__).parent / "wire"
A, B = "02:00:00:00:00:0a", "02:00:00:00:00:0b"
E = Ether(src=A, dst=B)
V4 = dict(src="192.0.2.10", dst="198.51.100.20", id=0x1234)
V6 = dict(src="2001:db8:1::10", dst="2001:db8:2::20")
ROUTER6 = IPv6(src="2001:db8:1::1", dst=V6["src"])
DATA = Raw(bytes(range(64)))
DNS = UDP(sport=40000, dport=53) / DATA
SYN = dict(sport=45678, dport=443, seq=0x01020304, flags="S")


def patched(packet, *changes):
    data = bytearray(raw(packet))
    for offset, value in changes:
        data[offset:offset + len(value)] = value
    return bytes(data)


def ns(target, option=True, **ip):
    body = ICMPv6ND_NS(tgt=target)
    body = body / ICMPv6NDOptSrcLLAddr(lladdr=A) if option else body
    ip = {"src": "fe80::a", "dst": "ff02::1:ff00:b", "hlim": 255, **ip}
    return Ether(src=A, dst="33:33:ff:00:00:0b") / IPv6(**ip) / body


def na(target="fe80::b", dst="fe80::a", **flags):
    body = ICMPv6ND_NA(tgt=target, **flags) / ICMPv6NDOptDstLLAddr(lladdr=B)
    return Ether(src=B, dst=A) / IPv6(src="fe80::b", dst=dst, hlim=255) / body


def stamp():
    return struct.pack(">IQHH28x", 7, 123456789, 1, 3)


good4 = E / IP(**V4) / DNS
good6 = E / IPv6(**V6) / DNS
PACKETS = {
    "arp-request.ok": E / ARP(hwsrc=A, psrc="192.0.2.10", pdst="192.0.2.1") / Raw(bytes(18)),
    "arp-reply.ok": E / ARP(op=2, hwsrc=A, psrc="192.0.2.10", hwdst=B, pdst="192.0.2.1"),
    "arp-announcement.ok": E / ARP(hwsrc=A, psrc="192.0.2.10", pdst="192.0.2.10"),
    "arp-group-sender.address": E / ARP(hwsrc="01:00:5e:00:00:01", psrc="192.0.2.10", pdst="192.0.2.1"),
    "ethernet-llc.unsupported": raw(E)[:12] + b"\x00\x26" + bytes(38),
    "ethernet-qinq.ok": E / Dot1Q(vlan=7, type=0x8100) / Dot1Q(vlan=8) / IP(**V4) / DNS,
    "ethernet-8021ad.ok": E / Dot1AD(vlan=7) / Dot1Q(vlan=8) / IP(**V4) / DNS,
    "ethernet-three-tags.unsupported": E / Dot1AD(vlan=7) / Dot1Q(vlan=8) / Dot1Q(vlan=9) / IP(**V4) / DNS,
    "ethernet-short.truncated": raw(E)[:13],
    "ipv4-udp.ok": good4,
    "ipv4-udp-padded.ok": E / IP(**V4) / UDP(sport=1, dport=2) / Raw(b"x") / Raw(bytes(17)),
    "ipv4-vlan-priority.ok": E / Dot1Q(vlan=0, prio=5) / IP(**V4, tos=0xb8) / DNS,
    "ipv4-options.ok": E / IP(**V4, options=[IPOption_RR(length=11, routers=["0.0.0.0"] * 2)]) / DNS,
    "ipv4-fragment-first.ok": E / IP(**V4, flags="MF", proto=17) / raw(DNS)[:32],
    "ipv4-fragment-last.ok": E / IP(**V4, frag=4, proto=17) / raw(DNS)[32:],
    "ipv4-tcp-syn.ok": E / IP(**V4, flags="DF") / TCP(**SYN, options=[("MSS", 1460), ("SAckOK", b"")]),
    "ipv4-tcp-syn-odd.ok": E / IP(**V4) / TCP(**SYN, options=[("NOP", None), ("MSS", 9000), ("NOP", None)]),
    "ipv4-checksum.checksum": patched(good4, (24, b"\xbe\xef")),
    "ipv4-version.version": patched(good4, (14, b"\x55")),
    "ipv4-ihl.headerlength": patched(good4, (14, b"\x44")),
    "ipv4-total-short.totallength": patched(good4, (16, b"\x00\x13")),
    "ipv4-total-long.truncated": patched(good4, (16, b"\x05\xdc")),
    "ipv4-udp-length.totallength": E / IP(**V4) / UDP(sport=1, dport=2, len=7),
    "ipv4-udp-long.truncated": E / IP(**V4) / UDP(sport=1, dport=2, len=99) / DATA,
    "ipv4-udp-checksum.checksum": E / IP(**V4) / UDP(sport=1, dport=2, chksum=0x1111) / DATA,
    "ipv4-udp-no-checksum.ok": E / IP(**V4) / UDP(sport=1, dport=2, chksum=0) / DATA,
    "ipv4-tcp-offset.headerlength": E / IP(**V4) / TCP(**SYN, dataofs=4),
    "ipv4-tcp-options.truncated": E / IP(**V4) / TCP(**SYN, dataofs=15),
    "icmp-echo.ok": E / IP(**V4) / ICMP(id=77, seq=5) / DATA,
    "icmp-ttl.ok": E / IP(src="192.0.2.1", dst="192.0.2.10") / ICMP(type=11) / IP(**V4, ttl=1) / DNS,
    "icmp-frag-needed.ok": E / IP(src="192.0.2.1", dst="192.0.2.10") / ICMP(type=3, code=4, nexthopmtu=1400)
    / IP(**V4, flags="DF") / DNS,
    "icmp-checksum.checksum": E / IP(**V4) / ICMP(chksum=0x4242) / DATA,
    "ipv6-udp.ok": good6,
    "ipv6-vlan.ok": E / Dot1Q(vlan=4094) / IPv6(**V6, tc=0x2e << 2 | 1, fl=0xabcde) / DNS,
    "ipv6-tcp-syn.ok": E / IPv6(**V6) / TCP(**SYN, options=[("MSS", 1440), ("WScale", 7)]),
    "ipv6-chain.ok": E / IPv6(**V6) / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])
    / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]) / IPv6ExtHdrRouting(type=4) / DNS,
    "ipv6-fragment-first.ok": E / IPv6(**V6) / IPv6ExtHdrFragment(m=1, id=99, nh=17) / raw(good6)[54:86],
    "ipv6-fragment-last.ok": E / IPv6(**V6) / IPv6ExtHdrFragment(offset=4, id=99, nh=17) / raw(good6)[86:],
    "ipv6-atomic.ok": E / IPv6(**V6) / IPv6ExtHdrFragment(id=99) / DNS,
    "ipv6-long.truncated": raw(good6)[:-1],
    "ipv6-extension-long.truncated": E / IPv6(**V6, nh=60) / Raw(b"\x11\x09" + bytes(6)),
    "ipv6-hop-by-hop-late.extension": E / IPv6(**V6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop() / DNS,
    "ipv6-nine-extensions.extension": E / IPv6(**V6, nh=60) / Raw((b"\x3c\x00" + bytes(6)) * 9) / DNS,
    "ipv6-udp-no-checksum.checksum": E / IPv6(**V6) / UDP(sport=1, dport=2, chksum=0) / DATA,
    "icmpv6-echo.ok": E / IPv6(**V6) / ICMPv6EchoRequest(id=9, seq=8, data=b"ping"),
    "icmpv6-too-big.ok": E / ROUTER6 / ICMPv6PacketTooBig(mtu=1300) / raw(good6)[14:],
    "icmpv6-no-route.ok": E / ROUTER6 / ICMPv6DestUnreach() / raw(good6)[14:],
    "icmpv6-checksum.checksum": E / IPv6(**V6) / ICMPv6EchoRequest(cksum=0x4242),
    "ndp-solicitation.ok": ns("fe80::b"),
    "ndp-solicitation-dad.ok": ns("fe80::b", option=False, src="::"),
    "ndp-solicitation-dad-option.option": ns("fe80::b", src="::"),
    "ndp-solicitation-hops.hoplimit": ns("fe80::b", hlim=254),
    "ndp-solicitation-group.address": ns("ff02::1"),
    "ndp-option-zero.option": Ether(src=A, dst=B) / IPv6(src="fe80::a", dst="fe80::b", hlim=255)
    / ICMPv6ND_NS(tgt="fe80::b") / Raw(b"\x63\x00" + bytes(6)),
    "ndp-advertisement.ok": na(R=1, S=1, O=1),
    "ndp-advertisement-group.reserved": na(dst="ff02::1", S=1),
    "ndp-router-solicitation.ok": Ether(src=A, dst="33:33:00:00:00:02")
    / IPv6(src="fe80::a", dst="ff02::2", hlim=255) / ICMPv6ND_RS() / ICMPv6NDOptSrcLLAddr(lladdr=A),
    "gre-plain.ok": E / IP(**V4) / GRE() / IP(**V4) / DNS,
    "gre-full.ok": E / IPv6(**V6) / GRE(chksum_present=1, key_present=1, seqnum_present=1, key=0xdeadbeef,
                                       seqence_number=42) / IPv6(**V6) / DNS,
    "gre-checksum.checksum": E / IP(**V4) / GRE(chksum_present=1, chksum=0x4242) / IP(**V4) / DNS,
    "gre-routing.reserved": E / IP(**V4, proto=47) / Raw(b"\x40\x00\x08\x00" + bytes(40)),
    "gre-version.version": E / IP(**V4, proto=47) / Raw(b"\x00\x01\x88\x0b" + bytes(40)),
    "gre-key.truncated": E / IP(**V4, proto=47) / Raw(b"\x20\x00\x08\x00\x01\x02"),
    "vxlan.ok": E / IP(**V4) / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(flags=8, vni=0xabcdef) / good4,
    "esp-udp.ok": E / IP(**V4) / UDP(sport=4500, dport=4500, chksum=0) / Raw(struct.pack(">II", 0x1001, 7) + bytes(40)),
    "esp-udp-keepalive.ok": E / IP(**V4) / UDP(sport=4500, dport=4500, chksum=0) / Raw(b"\xff"),
    "ipip-4in4.unsupported": E / IP(**V4) / IP(src="10.1.0.9", dst="10.2.0.9") / DNS,
    "ipip-6in4.unsupported": E / IP(**V4) / IPv6(**V6) / DNS,
    "ipip-4in6.unsupported": E / IPv6(**V6) / IP(**V4) / DNS,
    "esp.ok": E / IP(**V4, proto=50) / Raw(struct.pack(">II", 0x1001, 7) + bytes(range(48))),
    "esp-spi-zero.reserved": E / IP(**V4, proto=50) / Raw(bytes(56)),
    "esp-short.truncated": E / IP(**V4, proto=50) / Raw(bytes(7)),
    "stamp-probe.ok": E / IP(**V4) / UDP(sport=50000, dport=862) / Raw(stamp()),
}

HERE.mkdir(exist_ok=True)
for name, packet in PACKETS.items():
    (HERE / f"{name}.bin").write_bytes(packet if isinstance(packet, bytes) else raw(packet))
