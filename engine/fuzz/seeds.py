#!/usr/bin/python3
"""Writes what fuzzing starts from: DIR/<parser>/<name>, the same each time. The corpus (corpus/) is what came of it."""
import json
import math
import pathlib
import struct
import sys

from scapy.all import (
    ARP, GRE, ICMP, IP, TCP, UDP, Dot1Q, Ether, ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,
    ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop, PadN,
    Raw, conf, fragment, raw,
)
from scapy.layers.vxlan import VXLAN

conf.verb = 0
ENGINE = pathlib.Path(__file__).resolve().parents[1]
WIRE = sorted((ENGINE / "dataplane/corpus/wire").glob("*.bin"))
HOST = "02:aa:00:00:00:09"
DATA = bytes(range(64))
# The walk's world: engine 1, sites 1 and 2, a VLAN (tests/walk/support/draft.rs).
HOST4, FAR4, VLAN4, WAN4, PEER4 = "10.1.0.9", "10.2.0.9", "10.101.0.9", "192.0.2.1", "192.0.2.2"
HOST6, FAR6, VLAN6, WAN6, PEER6 = (
    "2001:db8:1::9", "2001:db8:2::9", "2001:db8:65::9", "2001:db8:ffff::1", "2001:db8:ffff::2")
LAN, WAN, TAGGED, LINK = range(4)
MEND, SEALED, GUARDED = 8, 32, 64
POLL, KNOW, FORGET, UP, ASK, WAIT, LEASE, SHIFT = (
    0x80, 0x84, 0x83, 0x85, 0x87, 0x81 | 15 << 3, 0x82, 0x86 | 9 << 3)


def ether(packet):
    return raw(Ether(src=HOST, dst="02:01:00:00:00:00") / packet)


def frame(data, way=LAN, flags=MEND, worker=0):
    return bytes([way | worker << 2 | flags]) + struct.pack("<H", len(data)) + data


def from_hosts():
    """Packets that hosts of site 1 send."""
    for ip, far, near, ours in ((IP, FAR4, VLAN4, "10.1.0.1"), (IPv6, FAR6, VLAN6, "2001:db8:1::1")):
        src = HOST4 if ip is IP else HOST6
        for dst in (far, near):
            yield ip(src=src, dst=dst) / UDP(sport=5001, dport=6000) / DATA
            yield ip(src=src, dst=dst) / UDP(sport=5002, dport=6000) / (DATA * 22)
            yield ip(src=src, dst=dst) / TCP(sport=5000, dport=80, flags="S", options=[("MSS", 9000)])
            yield ip(src=src, dst=dst, **({"ttl": 1} if ip is IP else {"hlim": 1})) / UDP() / DATA
        yield ip(src=src, dst=ours) / (ICMP() if ip is IP else ICMPv6EchoRequest()) / DATA
        yield ip(src=src, dst=ours) / UDP(sport=1, dport=9) / DATA
        yield ip(src=src, dst=WAN4 if ip is IP else WAN6) / (ICMP() if ip is IP else ICMPv6EchoRequest()) / DATA
        yield ip(src=src, dst="10.101.0.77" if ip is IP else "2001:db8:65::77") / UDP() / DATA
    yield from fragment(IP(src=HOST4, dst=FAR4) / UDP(sport=1, dport=2) / (DATA * 20), 600)
    yield IP(src=HOST4, dst=FAR4, flags="DF") / UDP() / (DATA * 22)
    yield IPv6(src=HOST6, dst=FAR6) / IPv6ExtHdrFragment(m=1, id=7) / UDP() / DATA
    yield IPv6(src=HOST6, dst=FAR6) / IPv6ExtHdrHopByHop(options=PadN(optdata=bytes(4))) / \
        IPv6ExtHdrDestOpt(options=PadN(optdata=bytes(4))) / TCP()


def from_wan():
    inner = IP(src=FAR4, dst=HOST4) / UDP(sport=1, dport=2) / DATA
    inner6 = IPv6(src=FAR6, dst=HOST6) / UDP(sport=1, dport=2) / DATA
    outer = IP(src=PEER4, dst=WAN4)
    yield outer / GRE(key_present=1, key=42) / inner
    yield outer / GRE(key_present=1, key=42) / inner6
    yield outer / GRE(key_present=1, key=42, chksum_present=1) / inner
    yield outer / GRE(key_present=1, key=42, seqnum_present=1) / inner
    yield outer / GRE() / inner
    for packet in (inner, inner6):
        yield IPv6(src=PEER6, dst=WAN6) / packet
        link = Ether(src="02:56:c0:00:02:02", dst="02:56:c0:00:02:01")
        yield outer / UDP(sport=50000, dport=4789, chksum=0) / VXLAN(flags=8, vni=77) / link / packet
    for payload in (b"\xff", bytes(8), struct.pack(">II", 0x6100, 1) + bytes(48)):
        yield outer / UDP(sport=4500, dport=4500, chksum=0) / Raw(payload)
    yield outer / Raw(struct.pack("!IIQ", 0x4000, 1, 1) + DATA)
    yield outer / UDP(sport=862, dport=862) / DATA
    too_big = IP(src=WAN4, dst=PEER4, id=1) / GRE(key_present=1, key=42) / inner
    yield IP(src="198.51.100.1", dst=WAN4) / ICMP(type=3, code=4, nexthopmtu=1200) / too_big
    yield IPv6(src="2001:db8:9::1", dst=WAN6) / ICMPv6PacketTooBig(mtu=1300) / \
        Raw(raw(IPv6(src=WAN6, dst=PEER6, nh=50) / Raw(struct.pack("!IIQ", 0x2100, 1, 1) + DATA)))


def neighbours():
    yield ARP(op=1, hwsrc=HOST, psrc=HOST4, pdst="10.1.0.1")
    yield ARP(op=2, hwsrc=HOST, psrc="10.1.0.77", pdst="10.1.0.1", hwdst="02:01:00:00:00:00")
    yield IPv6(src=HOST6, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt="2001:db8:1::1") / \
        ICMPv6NDOptSrcLLAddr(lladdr=HOST)
    yield IPv6(src=HOST6, dst="2001:db8:1::1", hlim=255) / ICMPv6ND_NA(tgt=HOST6) / ICMPv6NDOptDstLLAddr(lladdr=HOST)


def walk():
    hosts = [ether(p) for p in from_hosts()]
    wan = [ether(p) for p in from_wan()]
    near = [ether(p) for p in neighbours()]
    sealed = [raw(IP(src=FAR4, dst=HOST4) / UDP() / DATA), raw(IPv6(src=FAR6, dst=HOST6) / UDP() / DATA)]
    for n, data in enumerate(hosts):
        yield f"host-{n}", frame(data) + bytes([POLL])
        yield f"guarded-{n}", frame(data, LAN, MEND | GUARDED) + bytes([POLL]) + frame(data)
    for n, data in enumerate(wan):
        yield f"wan-{n}", frame(data, WAN) + bytes([POLL])
        yield f"guarded-wan-{n}", frame(data, WAN, MEND | GUARDED) + bytes([POLL])
    for n, data in enumerate(near):
        yield f"near-{n}", frame(data) + bytes([POLL])
    for n, data in enumerate(sealed):
        yield f"sealed-{n}", frame(data, WAN, MEND | SEALED) + bytes([POLL])
    acts = bytes([POLL, FORGET, WAIT, KNOW, ASK, UP, SHIFT, LEASE, POLL, LEASE | 8, POLL])
    for act in acts:
        yield f"act-{act:02x}", b"".join(frame(d) + bytes([act]) for d in hosts[:4]) + bytes([POLL])
    yield "all-hosts", b"".join(frame(d, worker=n % 2) for n, d in enumerate(hosts)) + acts
    yield "all-wan", b"".join(frame(d, WAN, worker=n % 2) for n, d in enumerate(wan)) + acts
    yield "tagged", frame(raw(Ether(src=HOST) / Dot1Q(vlan=100) / IP(src=VLAN4, dst=FAR4) / UDP() / DATA), TAGGED)
    yield "link", frame(ether(IP(src=FAR4, dst=HOST4) / UDP() / DATA), LINK)
    for path in WIRE:
        yield path.stem, frame(path.read_bytes()) + bytes([POLL])


def esp():
    inner = bytes([0x45]) + bytes(19)
    for esn in (0, 1, 8, 17, 24, 33, 64, 96, 128, 192):
        yield f"raw-{esn}", bytes([esn]) + struct.pack("!IIQ", 0x1000, 1, 1) + bytes(64)
        yield f"sealed-{esn}", bytes([esn | 2]) + inner + bytes([1, 2, 2, 4])
        yield f"sealed6-{esn}", bytes([esn | 2]) + bytes([0x60]) + bytes(39) + bytes([1, 2, 2, 41])
        yield f"dummy-{esn}", bytes([esn | 2]) + inner + bytes([1, 2, 2, 59])
        yield f"round-{esn}", bytes([esn | 4]) + inner
        yield f"several-{esn}", bytes([esn | 6]) + struct.pack("!8H", 1, 2, 70, 3, 2000, 900, 2000, 65535)


def messages():
    ends = {"local": "192.0.2.1", "remote": "2001:db8::2"}
    site = {"site": "north"}
    yield {"type": "hello", **site, "epoch": 3, "owner": "a1"}
    yield {"type": "hello", **site, "epoch": 0, "owner": None, "checks": True}
    yield {"type": "sa_offer", "tunnel": ends, "generation": 1, "spis": [4096, 4097]}
    yield {"type": "sa_in_use", "tunnel": ends, "generation": 1}
    yield {"type": "sa_rekey", "tunnel": ends}
    yield {"type": "path_report", "tunnel": ends, "up": True, "rtt_us": 1.5, "loss_tx": 0.0, "loss_rx": 1e-3}
    yield {"type": "lease_request", **site, "epoch": 4, "sequence": 9, "lease_ms": 1500}
    yield {"type": "lease_grant", **site, "epoch": 4, "sequence": 9}
    yield {"type": "lease_refused", **site, "sequence": 9, "epoch": 5, "owner": "a2"}
    yield {"type": "lease_transfer", **site, "epoch": 5, "to": "a2"}
    yield {"type": "set_shares", **site, "epoch": 5, "version": 2, "shares": [{"engine": "a1", "buckets": 65536}]}
    yield {"type": "shares_applied", **site, "version": 2}
    yield {"type": "shift_request", **site, "reason": "a person"}
    yield {"type": "shift_request", **site, "reason": "check web fails", "undoes": True}
    yield {"type": "checks", **site, "checks": [{"name": "web", "state": "failing", "good": False, "age_ms": 250,
                                                 "reason": "connection refused"}]}
    yield {"type": "alarm", **site, "raised": True}
    yield {"type": "goodbye", "reason": "stopping"}
    yield {"type": "hello", **site, "epoch": 3, "owner": "a1", "parallel": True, "shares_config": True}
    for says in site_words():
        yield {"type": "site", "says": says}


def site_words():
    """What a pair says about its configuration."""
    zero, one = "00" * 32, "ab" * 32
    head = {"revision": {"generation": 1, "id": one, "parent": zero, "content": "cd" * 32, "engine": "a1",
                         "author": "x", "at_ms": 1, "note": "", "supersedes": "ef" * 32}, "ancestors": [zero, "ef" * 32]}
    yield {"word": "piece", "text": '[acl]\ndefault = "permit"\n'}
    yield from ({"word": word, "head": head} for word in ("head", "show"))
    yield from ({"word": word, "since": zero, "head": head} for word in ("prepare", "offer"))
    yield from ({"word": word, "id": one} for word in ("ready", "commit", "abort"))
    yield {"word": "refuse", "id": one, "reasons": ["route[0].via: no; yes"]}


def peer():
    frames = []
    for message in messages():
        text = json.dumps(message).encode()
        frames.append(struct.pack("!I", len(text)) + text)
        yield message["type"] + str(len(frames)), frames[-1]
    yield "all", b"".join(frames)


def api():
    for name in ("status", "ports", "tunnels", "workers", "drops", "decisions"):
        yield name, json.dumps({"request": name}).encode()
    for n, command in enumerate((
            {"command": "drain"}, {"command": "drain", "overrule": True}, {"command": "undrain"}, {"command": "approve", "decision": 7},
            {"command": "set_mode", "mode": "observe"}, {"command": "set_mode", "mode": "auto"})):
        yield f"command-{n}", json.dumps({"request": "command", "command": command}).encode()
    yield "shape", json.dumps({"request": "shape", "tunnel": "a1-b1", "class": "voice", "kbps": 1000}).encode()
    who = {"author": "x", "note": ""}
    for n, asked in enumerate((
            {"site": "show"}, {"site": "history"}, {"site": "text", "generation": 3},
            {"site": "apply", "path": "/site.toml", "from": 2, "alone": True, **who},
            {"site": "rollback", "generation": 1, **who}, {"site": "resolve", "mine": False, **who})):
        yield f"config-{n}", json.dumps({"request": "config", "config": asked}).encode()
    yield "ok", json.dumps({"ok": {"name": "a1", "values": [1, 2.5, None, True]}}).encode()
    yield "error", b'{"error":"no"}'


TUNNELS = b"""[[peer]]
name = "gw"
site = "c"
foreign = true
[[tunnel]]
name = "v"
peer = "gw"
protocol = "vxlan"
vxlan_vni = 7
vxlan_remote_mac = "02:00:00:00:00:01"
local = "192.0.2.11"
remote = "192.0.2.30"
[tunnel.shaper]
rate_kbps = 1000
[[tunnel.shaper.class]]
name = "voice"
dscp = [46]
[[tunnel.shaper.class]]
name = "rest"
[[tunnel]]
name = "u"
peer = "gw"
protocol = "esp-udp"
nat = "remote"
udp_remote_port = 4501
local = "192.0.2.11"
remote = "192.0.2.30"
[tunnel.static_sa]
spi_in = 4097
spi_out = 8193
key_file_in = "i"
key_file_out = "o"
state_folder = "s"
"""


def config():
    yield "tunnels", TUNNELS
    for path in sorted((ENGINE.parent / "configs").rglob("*.toml")):
        text = path.read_bytes()
        yield path.stem, text
        # Without comments, and each section by itself: short inputs run often.
        lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith(b"#")]
        yield path.stem + "-short", b"\n".join(lines)
        for n, section in enumerate(b"\n".join(lines).split(b"\n[")):
            yield f"{path.stem}-{n}", (b"" if n == 0 else b"[") + section


def routes():
    """For the engine of configs/lab/a1.toml, whose names and addresses are found there."""
    import tomllib
    config = tomllib.loads((ENGINE.parent / "configs/lab/a1.toml").read_text())
    groups = [group["name"] for group in config.get("group", [])]
    nets = [str(net) for interface in config["interface"] for net in interface.get("addresses", [])]
    lines = ["198.51.100.0/24 blackhole", "2001:db8:77::/48 blackhole", "0.0.0.0/0 blackhole", "# nothing", "",
             "198.51.100.1/24 blackhole", "198.51.100.0/24 via 203.0.113.1", "198.51.100.0/24 group nowhere", "x y z"]
    lines += [f"203.0.113.0/24 group {name} # far" for name in groups]
    for net in nets:
        address = net.split("/")[0]
        near = address.rsplit(":" if ":" in address else ".", 1)
        prefix = "2001:db8:88::/48" if ":" in address else "203.0.113.128/25"
        lines += [f"{prefix} via {near[0]}{':' if ':' in address else '.'}77", f"{prefix} via {address}"]
    for n, line in enumerate(lines):
        yield f"line-{n}", line.encode() + b"\n"
    yield "all", "\n".join(lines).encode()
    yield "good", b"198.51.100.0/24 blackhole\r\n10.99.0.0/16 blackhole\n2001:db8:99::/48\tblackhole"


def recording():
    header = {"type": "run", "format": 1, "run": "r", "kind": "ramp", "fault": "loss", "started_unix_ms": 1,
              "sample_ms": 100, "metrics": ["rx_pps"]}
    sample = {"type": "sample", "at_ms": 100, "values": [1.5]}
    event = {"type": "event", "at_ms": 200, "event": "breach", "detail": "x"}
    lines = [json.dumps(line) + "\n" for line in (header, sample, dict(sample, values=[None]), event)]
    yield "header", lines[0].encode()
    yield "run", "".join(lines).encode()
    yield "cut", "".join(lines)[:-9].encode()
    for kind in ("stopped_short", "abrupt", "calm"):
        yield kind, (json.dumps(dict(header, kind=kind)) + "\n" + lines[1]).encode()
    yield "peers", (lines[0] + json.dumps({"type": "peers", "at_ms": 90, "z": [0.5] + [None] * 20}) + "\n").encode()
    for name in ("inject", "hard_failure", "end", "decision", "note"):
        yield name, (lines[0] + json.dumps(dict(event, event=name)) + "\n").encode()


def model():
    """The built-in model, and the smallest of its kind: a state of one number."""
    whole = (ENGINE.parent / "predictor/src/default_model/model.safetensors").read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    header = json.loads(whole[8:8 + length])
    about, trees = json.loads(header["__metadata__"]["foreshift"])
    hidden, about["hidden"], about["window"] = about["hidden"], 1, 2
    trees = [[booster | {"trees": booster["trees"][:1]} for booster in sort] for sort in trees]
    # Two bins a horizon, and the bounds around them: a fuzzer is to change what is small.
    for calibration in about["ensemble"]["calibration"]:
        bins, bounds = calibration["bins"], calibration["bounds"]
        calibration["bins"], calibration["bounds"] = bins[:2], bounds[:4] + bounds[-1:]
    left = about["ensemble"]["time_left"]
    left["cuts"] = left["cuts"][:1]
    left["bounds"] = left["bounds"][:len(left["cuts"])] + left["bounds"][-1:]
    small, at = {"__metadata__": {"foreshift": json.dumps([about, trees])}}, 0
    for name, tensor in sorted(header.items()):
        if name != "__metadata__":
            state = name.startswith(("gru", "head"))
            shape = [{hidden: 1, 3 * hidden: 3}.get(n, n) if state else n for n in tensor["shape"]]
            size = 4 * math.prod(shape)
            small[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
            at += size
    text = json.dumps(small).encode()
    text += b" " * (-len(text) % 8)
    yield "small", struct.pack("<Q", len(text)) + text + bytes(at)
    yield "header-only", struct.pack("<Q", length) + whole[8:8 + length]


def state():
    """A record of each kind under its key, and sealed key material."""
    root = "/foreshift/v1/eu/"
    session = {"parameters": {"algorithm": "aes-256-gcm", "esn": True}, "inbound_generation": 3,
               "inbound_spis": [256, 512], "outbound_generation": None}
    records = {
        "config": ("engine/a1/config", {"generation": 1700000000, "digest": "ab12", "site": "a"}),
        "health": ("engine/a1/health", {"site": "a", "owner": True, "epoch": 1700000001, "alarm": False,
                                        "tunnels_up": 1, "tunnels": 2, "peers": ["a2", "b1"]}),
        "risk": ("engine/a1/risk", {"probability": 0.25, "interval": [0.125, 0.5], "horizon_ms": 30000, "drift": 0.5,
                                    "drivers": [["loss_tx", 1.5]]}),
        "tunnel": ("engine/a1/tunnel/a1-b1", {"peer": "b1", "local": "192.0.2.11", "remote": "2001:db8::20",
                                              "state": "up", "session": session}),
        "intent": ("site/a/intent", {"epoch": 5, "owner": "a1", "shifting_to": "a2", "shares": [
            {"engine": "a1", "buckets": 60000}, {"engine": "a2", "buckets": 5536}]}),
    }
    for name, (key, record) in records.items():
        yield name, f"{root}{key}\n{json.dumps({'schema': 1} | record, separators=(',', ':'))}".encode()
    yield "schema", f'{root}engine/a1/risk\n{{"schema":2}}'.encode()
    part = bytes(range(32)) + struct.pack(">H", 52) + bytes(52)
    sealed = b"".join(bytes([len(name)]) + name + part for name in (b"a2", b"b1"))
    yield "wrapped", b"/\n" + bytes([1, 2]) + sealed
    yield "wrapped-long", b"/\n" + bytes([1, 1]) + sealed


def mirror():
    """Frames of a mirror's connection: a hello, copies of every kind of verdict, a report; and what is no frame."""
    def framed(kind, body):
        return struct.pack(">IB", len(body) + 1, kind) + body

    def copy(verdict, head, flags=1, place=0):
        body = struct.pack(">BBIQHBIH", 0, flags, 7, 1 << 60, 1400, 17, 12345, place) + verdict + head
        return struct.pack(">H", len(body)) + body
    head = raw(IP(src=HOST4, dst=FAR4) / UDP(sport=1, dport=2))
    verdicts = {"dropped": b"\0\0\x28", "site": b"\1\0\0", "v4": b"\2\0\0" + bytes(4), "v6": b"\3\0\1" + bytes(16),
                "answer": b"\4"}
    for name, verdict in verdicts.items():
        yield name, framed(2, copy(verdict, head) + copy(verdict, b"", flags=2 | 8 | 16))
    yield "head-too-long", framed(2, copy(b"\4", bytes(193)))
    yield "unknown-flags", framed(2, copy(b"\4", b"", flags=0x80))
    hello = {"interfaces": ["lan", "wan"], "sites": ["b"], "reasons": ["no_route", "acl_denied"]}
    yield "hello", framed(1, json.dumps(hello).encode())
    report = {"compared": 9, "diverged": [["drops", 1]], "unseen_session": 0, "incomparable": 0, "lost": 0,
              "packets_ps": 20, "bytes_ps": 1000000, "latency_active": [0] * 6, "latency_shadow": [0] * 6,
              "alarm": None, "examples": ["x"]}
    yield "report", framed(3, json.dumps(report).encode())
    yield "unknown-kind", framed(9, b"")
    yield "too-long", struct.pack(">IB", 65537, 2)
def handover():
    """Frames between two processes of an engine."""
    hello = {"word": "hello", "version": 1, "engine": "a1", "site": "a", "workers": 1, "ports": "shared"}
    words = [hello, {"word": "welcome", "interfaces": ["lan", "wan"], "tunnels": ["a1-b1"]},
             {"word": "refused", "reason": "x"}, {"word": "ready"}, {"word": "open"}, {"word": "listening"},
             {"word": "holding"}, {"word": "yours"}, {"word": "kept", "reason": "x"}, {"word": "other"}]
    for word in words:
        yield word["word"], b"\x01" + json.dumps(word, separators=(",", ":")).encode()
    v4, state = bytes([10, 1, 0, 9, 10, 2, 0, 9, 4, 0, 1, 187, 6]), bytes([7, 0, 3, 0, 1])
    yield "flows", b"\x02\0\0\x10" + v4 + state
    yield "flows-of-nobody", b"\x02\0"
    yield "flows-ended", b"\x02\0\0\x20" + v4
    empty = {"controller": {"epoch": 7, "mode": ["auto", "auto"], "tunnels": {}, "sites": {}, "gateway": []}, "tunnels": {},
             "groups": {}, "routes": [["198.51.100.0/24", "blackhole"]], "neighbors": [["lan", "10.1.0.10", "02:00:00:00:00:01"]],
             "bfd": [], "taken": {"lan0": [1, 18446744073709551615]}}
    yield "state", b"\x03" + json.dumps(empty, separators=(",", ":")).encode()
    yield "unknown-kind", b"\x09"


def checks():
    """What servers answer application checks: bit 0 of the first octet is the protocol, bit 1 whether more is asked."""
    def message(kind, body):
        return kind + struct.pack(">I", len(body) + 4) + body
    answers = {
        "ok": b"HTTP/1.0 200 OK\r\nServer: x\r\n\r\nok\n", "length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        "down": b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "short": b"HTTP/1.1 20", "ssh": b"SSH-2.0-OpenSSH_9.2\r\n"}
    for name, answer in answers.items():
        yield f"http-{name}", b"\x0e" + answer
    refusal = message(b"E", b"SFATAL\0VFATAL\0C57P03\0Mthe database system is starting up\0\0")
    welcome = message(b"R", bytes(4)) + message(b"S", b"server_version\x0015.10\0") + message(b"K", bytes(8)) + message(b"Z", b"I")
    columns = message(b"T", b"\0\x01?column?\0" + bytes(18))
    row = columns + message(b"D", b"\0\1\0\0\0\x011") + message(b"C", b"SELECT 1\0") + message(b"Z", b"I")
    dialogues = {"starting": refusal, "sasl": message(b"R", b"\0\0\0\x0aSCRAM-SHA-256\0\0"), "query": welcome + row,
                 "no-row": welcome + message(b"C", b"SELECT 0\0"), "old": b"EFATAL: could not fork\n\0"}
    for name, answer in dialogues.items():
        for asked in (0x05, 0x07):
            yield f"postgresql-{name}-{asked}", bytes([asked]) + answer


def shadow():
    """Frames of the channel between an engine and its shadow."""
    v4, nat = bytes([10, 1, 0, 9, 10, 2, 0, 9, 4, 0, 1, 187, 6]), bytes([10, 2, 0, 9, 198, 18, 0, 1, 1, 187, 8, 0])
    v6 = bytes(range(32)) + bytes([4, 0, 0, 53, 17])
    state = bytes([7, 0, 3, 0, 1])
    key = bytes(range(16))
    sa = key * 2 + struct.pack(">IIBBHQQI", 0x1000, 0x1001, 3, 0, 2, 1 << 24, 77, 500)
    entries = {
        "live": b"\x10" + v4 + state, "live-nat": b"\x11" + v4 + nat + state, "live-v6": b"\x12" + v6 + state,
        "ended": b"\x20" + v4, "ended-nat": b"\x21" + v4 + nat, "ended-v6": b"\x22" + v6,
        "round": b"\x01\x10" + v4 + state + b"\x02", "sa": b"\x03" + sa,
        "progress": b"\x04" + key + struct.pack(">QI", 99, 1000),
        "window": b"\x05" + key + struct.pack(">QB", 99, 2) + bytes(16),
    }
    batch = b"\x02" + struct.pack(">Q", 1)
    for name, entry in entries.items():
        yield name, batch + entry
    yield "all", batch + b"".join(entries.values())
    yield "hello", b"\x01\x00\x02\x03lan\x03wan"
    yield "ack", b"\x03" + struct.pack(">Q", 5)


def ramp():
    """A ramp model's body with one tree of one split, and with a second ensemble that knows a metric by name."""
    calibration = {"bins": [[-2.0, -1.0], [0.0, 1.0]],
                   "bounds": [[0.0, 0.1], [0.0, 0.1], [0.1, 0.5], [0.5, 1.0], [0.5, 1.0]]}

    def ensemble(features):
        tree = {"feature": [3, 0, 0], "threshold": [0.5, 0.0, 0.0], "left": [1, 0, 0],
                "missing_left": [True, False, False], "value": [0.0, -0.1, 0.2], "gain": [1.0, 0.0, 0.0]}
        booster = {"features": features, "base": -1.5, "loss": {"logistic": {"positive_weight": 2.0}}, "trees": [tree]}
        return {"boosters": [booster] * 3, "calibration": calibration}
    held_out = {"rows": 9.0, "base_rate": 0.1, "auc_pr": 0.5, "brier": 0.1, "ece": 0.1, "recall": 0.5, "precision": 0.5}
    card = {"runs": 1, "crashed": 1, "rows": 9, "metrics": 1, "faults": ["x"], "split": "by run", "trees": 1,
            "named": False, "seed": 1, "held_out": held_out}
    whole = {"priors": {"x": {"peers": 1.0, "own": 2.0}}, "plain": ensemble(139), "card": card}
    yield "plain", json.dumps(whole | {"named": None}).encode()
    for metrics in (1, 2):
        named = {"metrics": ["x", "y"][:metrics], "ensemble": ensemble(139 + 5 * metrics), "share": 0.5}
        yield f"named-{metrics}", json.dumps(whole | {"named": named}).encode()
        yield f"bare-{metrics}", json.dumps(whole | {"named": named, "priors": {}}).encode()


def filters():
    """The language of trace and capture; behind a zero byte, a packet it is asked about."""
    texts = ("", "udp", "host 10.1.0.9 and not icmp", "net 10.1.0.0/16 or net 2001:db8::/32", "inner tcp and outer esp",
             "port 53", "src port 1-9 and dst host 10.2.0.9", "tunnel 1 and (proto 47 or vlan 100)", "spi 0x4000", "not not ip6")
    packets = [raw(packet) for packet in (*from_hosts(), *from_wan())]
    for n, text in enumerate(texts):
        yield f"text-{n}", text.encode()
        yield f"asked-{n}", text.encode() + b"\0" + packets[n % len(packets)]


def table():
    """By the first byte CSV, Parquet, NumPy."""
    csv = "run,node,minute,cpu,heap\n" + "".join(f"r,{n},{m},0.{m},{m}\n" for m in range(4) for n in "ab")
    yield "telemetry", b"\0" + csv.encode()
    yield "quoted", b"\0" + b'run,node,minute,"a ""b"""\nr,"n,1",1,NaN\nr,n,2,\n'
    yield "events", b"\0" + b"run,fault,inject_minute,crash_minute,node_a,node_b\nr,heap,1,3,a,\ns,link,1,-1,a,b\n"
    yield "short-row", b"\0" + b"run,node\nr\n"
    for path in sorted((ENGINE.parent / "predictor/tests/tables").rglob("*")):
        kind = {".csv": b"\0", ".parquet": b"\1", ".npz": b"\2"}.get(path.suffix)
        if kind:
            yield path.stem, kind + path.read_bytes()


def wireguard():
    inner = bytes([0x45]) + bytes(35)
    head = struct.pack("<II", 4, 2 << 16 | 1)
    for counter in (0, 1, 2**13, 2**60, 2**64 - 2**13 - 2, 2**64 - 2**13 - 1, 2**64 - 1):
        yield f"raw-{counter}", bytes([0]) + head + struct.pack("<Q", counter) + bytes(64)
        yield f"authentic-{counter}", bytes([1]) + struct.pack("<Q", counter) + inner
    for room in (0, 1, 44, 63):
        yield f"round-{room}", bytes([room << 2 | 2]) + inner
        yield f"empty-{room}", bytes([room << 2 | 2])
    yield "several", bytes([3]) + struct.pack("<9H", 0, 1, 0, 70, 3, 5000, 903, 904, 65535)
    yield "short", bytes([0]) + head


def site():
    """Texts over the engine of configs/lab/a1.toml, a first line that says of which generation, and kept generations."""
    texts = {
        "routes": '[[route]]\nprefix = "10.9.0.0/24"\ngroup = "site-b"\n[[route]]\nprefix = "10.8.0.0/24"\nblackhole = true\n',
        "via": '[[route]]\nprefix = "0.0.0.0/0"\nvia = "192.0.2.1"\n',
        "covers": '[[route]]\nprefix = "192.0.2.20/32"\ngroup = "site-b"\n',
        "acl": '[acl]\ndefault = "permit"\n[[acl.rule]]\naction = "deny"\nprotocol = "udp"\ndst_ports = "7"\ninterface = "lan"\n',
        "prediction": '[prediction]\nmode = "observe"\nthreshold = 0.5\nmoves_max = 1\nmoves_minutes = 2\n',
        "group": '[[group]]\nname = "site-b"\nsla_weight = 2.5\nmss_clamp = false\n',
        "shaper": '[[group]]\nname = "site-b"\n[[group.shaper]]\nprotocol = "esp"\nrate_kbps = 100\n'
                  '[[group.shaper.class]]\nname = "voice"\nrate_kbps = 8\n',
        "own": '[engine]\nname = "x"\n[[tunnel]]\nname = "y"\n', "none": "", "unknown": "[acl]\nrules = 1\n[rout]\n",
    }
    for name, text in texts.items():
        yield name, f"#! generation 3, by x at a1\n#! a2 has the same\n{text}".encode()
    revision = {"generation": 1, "id": "ab" * 32, "parent": "00" * 32, "content": "cd" * 32, "engine": "a1",
                "author": "x", "at_ms": 1, "note": ""}
    for name, change in {"kept": {}, "supersedes": {"supersedes": "ef" * 32}, "high": {"generation": 2 ** 64 - 1}}.items():
        head = {"revision": revision | change, "ancestors": ["12" * 32]}
        yield name, json.dumps(head, separators=(",", ":")).encode() + b"\n" + texts["routes"].encode()


def handshake():
    sizes = {1: 148, 2: 92, 3: 64, 4: 32}
    for kind, size in sizes.items():
        for how in (0, 1, 4, 5):
            yield f"raw-{kind}-{how}", bytes([how]) + struct.pack("<I", kind) + bytes(range(size - 4))
        yield f"short-{kind}", bytes([1]) + struct.pack("<I", kind) + bytes(size - 5)
    for how in (2, 3):
        for more in (0, 4, 8):
            yield f"good-{how}-{more}", bytes([how | more])
            for place in (0, 4, 8, 12, 59, 60, 116, 132):
                yield f"changed-{how}-{more}-{place}", bytes([how | more, place, 1])


def main():
    out = pathlib.Path(sys.argv[1])
    parsers = {"wire": lambda: ((p.stem, p.read_bytes()) for p in WIRE), "walk": walk, "esp": esp, "peer": peer,
               "api": api, "config": config, "routes": routes, "recording": recording, "model": model,
                "state": state, "mirror": mirror, "shadow": shadow, "checks": checks, "handover": handover,
                "site": site, "table": table, "ramp": ramp, "filter": filters,
               "wireguard": wireguard, "handshake": handshake}
    for parser, seeds in parsers.items():
        folder = out / parser
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in seeds():
            (folder / name).write_bytes(data)


if __name__ == "__main__":
    main()
