"""One end of one stream; runs alone inside a host's namespace (stdlib only, started by path).

Ends by SIGTERM or after --seconds, then writes what it saw. Times are wall-clock ns; arrival times are the kernel's,
so a late wake-up of this process does not look like a slow network.
"""
import argparse
import array
import json
import math
import resource
import selectors
import signal
import socket
import struct
import sys
import time

HEADER = struct.Struct("!IIQQ")  # magic, stream, sequence number, send time ns
MAGIC = 0xF05E5417
SO_TIMESTAMPNS, SO_MAX_PACING_RATE, SO_RCVBUFFORCE = 35, 47, 33
LIVE_EVERY_NS = 200_000_000
SLOW_NS = 25_000_000  # one way; only for a first look while the traffic flows


class Ended(Exception):
    """SIGTERM or SIGINT arrived."""


def _end(*_):
    raise Ended


def _socket(address: str, kind: int, dscp: int = 0) -> socket.socket:
    six = ":" in address
    sock = socket.socket(socket.AF_INET6 if six else socket.AF_INET, kind)
    if six:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
    else:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    return sock


def _live(**fields) -> None:
    print(json.dumps(fields), flush=True)


def udp_send(args) -> None:
    """A packet every 1/pps s against an absolute schedule, on --flows source ports in turn; --daily and --growth
    make the rate swing by 60 % with that period in seconds, or double in that time; --points give its factor at times.

    A sequence number is spent on each packet, sent or not: number n is of flow n modulo flows. Ended between two
    packets only: one that is written down was sent.
    """
    ended = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.append(True))
    socks = [_socket(args.to, socket.SOCK_DGRAM, args.dscp) for _ in range(args.flows)]
    where, pad = (args.to, args.port), bytes(max(0, args.size - HEADER.size))
    sent, refused = array.array("q"), 0
    begin = time.monotonic()
    due, until = begin, begin + args.seconds
    while True:
        wait = due - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        if ended or due >= until:
            break
        stamp = time.time_ns()
        packet = HEADER.pack(MAGIC, args.stream, len(sent), stamp) + pad
        sock = socks[len(sent) % args.flows]
        sent.append(stamp)
        try:
            sock.sendto(packet, where)
        except OSError:
            refused += 1
        due += 1.0 / (args.pps * _swing(args, due - begin))
    with open(args.out, "wb") as out:
        sent.tofile(out)
    _live(sent=len(sent), refused=refused)


def _swing(args, since: float) -> float:
    """The rate's factor at a time since the start."""
    daily = 1.0 + 0.6 * math.sin(2 * math.pi * since / args.daily) if args.daily else 1.0
    growth = 1.0 + min(1.0, since / args.growth) if args.growth else 1.0
    return daily * growth * _between(args.points, since)


def _between(points: list[tuple[float, float]], at: float) -> float:
    """The factor on the line through (time, factor) points; 1 without any."""
    if not points:
        return 1.0
    for (before, low), (after, high) in zip(points, points[1:]):
        if at < after:
            return low + (high - low) * max(0.0, at - before) / (after - before)
    return points[-1][1]


def _points(text: str) -> list[tuple[float, float]]:
    """"0:0.5,20:2" as pairs of numbers."""
    return [tuple(map(float, pair.split(":"))) for pair in text.split(",") if pair]


def udp_recv(args) -> None:
    """Rows of (sequence number, send time, arrival time)."""
    sock = _socket(args.bind, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
    sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    sock.bind((args.bind, args.port))
    sock.settimeout(0.2)
    rows, highest, slow, shown = array.array("q"), -1, 0, time.time_ns()
    _live(ready=True)
    try:
        while True:
            try:
                data, ancillary, _, _ = sock.recvmsg(2048, 64)
            except TimeoutError:
                data = b""
            arrived = time.time_ns()
            if len(data) >= HEADER.size:
                magic, stream, seq, stamp = HEADER.unpack_from(data)
                if magic == MAGIC and stream == args.stream:
                    seconds, nanos = struct.unpack("qq", ancillary[0][2][:16])
                    came = seconds * 10**9 + nanos
                    rows.extend((seq, stamp, came))
                    highest, slow = max(highest, seq), slow + (came - stamp > SLOW_NS)
            if arrived - shown >= LIVE_EVERY_NS:
                shown = arrived
                _live(received=len(rows) // 3, highest=highest, slow=slow)
    except Ended:
        pass
    with open(args.out, "wb") as out:
        rows.tofile(out)


def tcp_serve(args) -> None:
    """Serve bytes to one client at a time at --rate bit/s (0: as fast as TCP goes); the kernel paces."""
    listener = _socket(args.bind, socket.SOCK_STREAM, args.dscp)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((args.bind, args.port))
    listener.listen(4)
    _live(ready=True)
    chunk = bytes(16384)
    try:
        while True:
            peer, _ = listener.accept()
            with peer:
                if args.rate:
                    peer.setsockopt(socket.SOL_SOCKET, SO_MAX_PACING_RATE, args.rate // 8)
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 256 << 10)
                left = args.bytes or 1 << 60
                try:
                    while left > 0:
                        left -= peer.send(chunk[:min(left, len(chunk))])
                except OSError:
                    continue
                _live(segment=peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG))
    except Ended:
        pass


def tcp_fetch(args) -> None:
    """Rows of (time, bytes so far) at each progress, at most one every 5 ms."""
    sock = _socket(args.to, socket.SOCK_STREAM, args.dscp)
    sock.settimeout(max(args.seconds, 1) if args.bytes else None)
    begin, total, rows, error = time.time_ns(), 0, array.array("q"), None
    rows.extend((begin, 0))
    shown = begin
    try:
        sock.connect((args.to, args.port))
        while True:
            data = sock.recv(65536)
            if not data:
                break
            now = time.time_ns()
            total += len(data)
            if now - rows[-2] >= 5_000_000:
                rows.extend((now, total))
            if now - shown >= LIVE_EVERY_NS:
                shown = now
                _live(bytes=total)
    except Ended:
        pass
    except OSError as err:
        error = str(err)
    end = time.time_ns()
    if args.out:
        with open(args.out, "wb") as out:
            rows.tofile(out)
    _live(bytes=total, seconds=(end - begin) / 1e9, error=error)


def tcp_pulse(args) -> None:
    """Serve any number of clients: --size bytes to each of them in turn, --pps times a second in all. Tells how often TCP
    sent something again."""
    listener = _socket(args.bind, socket.SOCK_STREAM, args.dscp)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((args.bind, args.port))
    listener.listen(4096)
    listener.setblocking(False)
    _live(ready=True)
    peers, sent, refused, turn, due = [], 0, 0, 0, time.monotonic()
    try:
        while True:
            try:
                while True:
                    peers.append(listener.accept()[0])
                    peers[-1].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except BlockingIOError:
                pass
            time.sleep(max(0.0, due - time.monotonic()))
            due += 1.0 / args.pps
            if peers:
                turn = (turn + 1) % len(peers)
                try:
                    sent += peers[turn].send(bytes(args.size))
                except OSError:
                    refused += 1
    except Ended:
        pass
    # tcpi_total_retrans in struct tcp_info of linux/tcp.h.
    again = sum(struct.unpack_from("I", peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 100)[0]
                for peer in peers)
    _live(peers=len(peers), sent=sent, refused=refused, retransmissions=again)


def tcp_many(args) -> None:
    """Hold --flows connections and read all that comes; tells how many have ended, and the bytes."""
    watch, received, ended = selectors.DefaultSelector(), 0, 0
    for _ in range(args.flows):
        sock = _socket(args.to, socket.SOCK_STREAM, args.dscp)
        sock.setblocking(False)
        sock.connect_ex((args.to, args.port))
        watch.register(sock, selectors.EVENT_WRITE)
    opened = []
    while len(opened) < args.flows:
        for key, _ in watch.select():
            if error := key.fileobj.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                raise OSError(error, "cannot connect")
            watch.unregister(key.fileobj)
            opened.append(key.fileobj)
    for sock in opened:
        watch.register(sock, selectors.EVENT_READ)
    _live(ready=True)
    try:
        while True:
            for key, _ in watch.select(0.2):
                try:
                    data = key.fileobj.recv(65536)
                except OSError:
                    data = b""
                received += len(data)
                if not data:
                    ended += 1
                    watch.unregister(key.fileobj)
    except Ended:
        pass
    _live(received=received, ended=ended)


ROLES = {"udp-send": udp_send, "udp-recv": udp_recv, "tcp-serve": tcp_serve, "tcp-fetch": tcp_fetch,
         "tcp-pulse": tcp_pulse, "tcp-many": tcp_many}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("--to", default="")
    parser.add_argument("--bind", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=9000)
    parser.add_argument("--pps", type=float, default=500)
    parser.add_argument("--size", type=int, default=200, help="UDP payload bytes")
    parser.add_argument("--dscp", type=int, default=0)
    parser.add_argument("--stream", type=int, default=1)
    parser.add_argument("--flows", type=int, default=1)
    parser.add_argument("--rate", type=int, default=0, help="bit/s")
    parser.add_argument("--bytes", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--daily", type=float, default=0.0, help="seconds")
    parser.add_argument("--growth", type=float, default=0.0, help="seconds")
    parser.add_argument("--points", type=_points, default=[], help="SECONDS:FACTOR,…")
    parser.add_argument("--out", default="")
    args = parser.parse_args()
    # A connection each is a file each.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    try:
        ROLES[args.role](args)
    except Ended:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
