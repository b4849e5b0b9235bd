"""A WAN link in user space: frames pass between two interfaces, late, damaged or not at all (stdlib only, started by path).

Standard input changes what happens, one JSON object a line, from the next frame on:
  loss 0..1 · corrupt 0..1 (a bit of the payload) · delay_ms · jitter_ms (uniform on top; frames may overtake)
  detour 0..1 (of the frames take a way that is DETOUR_MS longer) · rate_bps (each way; what waits longer than QUEUE_MS is lost)
  dark_every_ms, dark_ms (nothing passes, so often and so long)
"""
import heapq
import itertools
import json
import os
import random
import select
import socket
import sys
import time

ETH_P_ALL, SOL_PACKET, PACKET_IGNORE_OUTGOING = 0x0003, 263, 23
FRAME, DRAIN = 9216, 64
HEADERS = 54  # Ethernet, IPv4, and the start of what it carries
DETOUR_MS, QUEUE_MS = 60.0, 200.0


def _open(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    sock.bind((name, 0))
    sock.setblocking(False)
    return sock


class Relay:
    """Both directions of one link."""

    def __init__(self, left: str, right: str, seed: int):
        self._ends = (_open(left), _open(right))
        self._late, self._order, self._rng = [], itertools.count(), random.Random(seed)
        self._way = {"loss": 0.0, "corrupt": 0.0, "delay_ms": 0.0, "jitter_ms": 0.0, "detour": 0.0, "rate_bps": 0.0,
                     "dark_every_ms": 0.0, "dark_ms": 0.0}
        self._free = [0.0, 0.0]  # when each way's line has sent what it was given
        self._dark_from = time.monotonic()

    def run(self) -> None:
        watched = [*self._ends, sys.stdin.fileno()]
        while True:
            wait = max(0.0, self._late[0][0] - time.monotonic()) if self._late else None
            for ready in select.select(watched, [], [], wait)[0]:
                if ready == sys.stdin.fileno():
                    text = os.read(ready, 4096)
                    if not text:
                        return
                    for line in text.decode().splitlines():
                        self._way |= json.loads(line)
                else:
                    self._receive(ready)
            while self._late and self._late[0][0] <= time.monotonic():
                self._send(*heapq.heappop(self._late)[2:])

    def _receive(self, end: socket.socket) -> None:
        to = end is self._ends[0]
        for _ in range(DRAIN):
            try:
                frame = end.recv(FRAME)
            except BlockingIOError:
                return
            way, draw = self._way, self._rng.random
            if (way["loss"] and draw() < way["loss"]) or (way["dark_ms"] and self._dark()):
                continue
            if way["corrupt"] and len(frame) > HEADERS + 40 and draw() < way["corrupt"]:
                frame = bytearray(frame)
                frame[self._rng.randrange(HEADERS, len(frame))] ^= 1 << self._rng.randrange(8)
            late = way["delay_ms"] + (way["jitter_ms"] * draw() if way["jitter_ms"] else 0.0)
            if way["detour"] and draw() < way["detour"]:
                late += DETOUR_MS
            if way["rate_bps"] and (waits := self._queued_ms(to, len(frame))) > QUEUE_MS:
                continue
            elif way["rate_bps"]:
                late += waits
            if late:
                heapq.heappush(self._late, (time.monotonic() + late / 1e3, next(self._order), self._ends[to], frame))
            else:
                self._send(self._ends[to], frame)

    def _dark(self) -> bool:
        """Whether the line is dark: from its last darkness on, after `dark_every_ms` for `dark_ms`."""
        since = 1e3 * (time.monotonic() - self._dark_from)
        if since >= self._way["dark_every_ms"] + self._way["dark_ms"]:
            self._dark_from = time.monotonic()
        return since >= self._way["dark_every_ms"]

    def _queued_ms(self, to: bool, octets: int) -> float:
        """How long a frame waits until a line of that rate has sent it; one that waits too long is not queued."""
        now = time.monotonic()
        done = max(now, self._free[to]) + 8 * octets / self._way["rate_bps"]
        if 1e3 * (done - now) <= QUEUE_MS:
            self._free[to] = done
        return 1e3 * (done - now)

    @staticmethod
    def _send(out: socket.socket, frame: bytes) -> None:
        try:
            out.send(frame)
        except OSError:
            pass  # the link is down: its frames are lost


if __name__ == "__main__":
    Relay(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
