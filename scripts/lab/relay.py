"""A WAN link in user space: frames pass between two interfaces, late, damaged or not at all (stdlib only, started by path).

Standard input changes what happens, one JSON object a line, from the next frame on:
  loss 0..1 · corrupt 0..1 (a bit of the payload) · delay_ms · jitter_ms (uniform on top; frames may overtake)
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
        self._way = {"loss": 0.0, "corrupt": 0.0, "delay_ms": 0.0, "jitter_ms": 0.0}

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
        out = self._ends[end is self._ends[0]]
        for _ in range(DRAIN):
            try:
                frame = end.recv(FRAME)
            except BlockingIOError:
                return
            way, draw = self._way, self._rng.random
            if way["loss"] and draw() < way["loss"]:
                continue
            if way["corrupt"] and len(frame) > HEADERS + 40 and draw() < way["corrupt"]:
                frame = bytearray(frame)
                frame[self._rng.randrange(HEADERS, len(frame))] ^= 1 << self._rng.randrange(8)
            late = way["delay_ms"] + (way["jitter_ms"] * draw() if way["jitter_ms"] else 0.0)
            if late:
                heapq.heappush(self._late, (time.monotonic() + late / 1e3, next(self._order), out, frame))
            else:
                self._send(out, frame)

    @staticmethod
    def _send(out: socket.socket, frame: bytes) -> None:
        try:
            out.send(frame)
        except OSError:
            pass  # the link is down: its frames are lost


if __name__ == "__main__":
    Relay(sys.argv[1], sys.argv[2], int(sys.argv[3])).run()
