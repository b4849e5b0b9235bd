"""Many TCP connections that talk all the time; runs alone inside a host's namespace (stdlib only, started by path).

    connections.py server ADDRESS PORT
    connections.py client ADDRESS PORT HOW_MANY

The server echoes. The client sends a numbered line on each connection five times a second and never opens one again. It
prints a JSON line twice a second, and ends with SIGTERM: how many are open, how many were reset or closed, when each was
last answered.
"""
import json
import selectors
import signal
import socket
import sys
import time

EVERY_S, TELL_S = 0.2, 0.5


def server(address: str, port: int) -> None:
    """Echoes until it is killed."""
    selector = selectors.DefaultSelector()
    listener = socket.create_server((address, port), backlog=1024)
    selector.register(listener, selectors.EVENT_READ)
    print(json.dumps({"ready": True}), flush=True)
    while True:
        for key, _ in selector.select():
            if key.fileobj is listener:
                connection, _ = listener.accept()
                selector.register(connection, selectors.EVENT_READ)
                continue
            try:
                data = key.fileobj.recv(4096)
                key.fileobj.sendall(data)
            except OSError:
                data = b""
            if not data:
                selector.unregister(key.fileobj)
                key.fileobj.close()


class Client:
    """What each connection has come to."""

    def __init__(self, address: str, port: int, many: int):
        self.selector, self.ended = selectors.DefaultSelector(), []
        self.answered = {}
        for _ in range(many):
            connection = socket.create_connection((address, port), timeout=10)
            connection.setblocking(False)
            self.selector.register(connection, selectors.EVENT_READ)
            self.answered[connection] = time.time()

    def end(self, connection: socket.socket, why: str) -> None:
        self.ended.append(why)
        self.selector.unregister(connection)
        del self.answered[connection]
        connection.close()

    def send(self, number: int) -> None:
        for connection in list(self.answered):
            try:
                connection.send(b"%d\n" % number)
            except BlockingIOError:
                pass  # what waits is enough
            except OSError as error:
                self.end(connection, type(error).__name__)

    def receive(self, for_s: float) -> None:
        for key, _ in self.selector.select(max(0.0, for_s)):
            try:
                data = key.fileobj.recv(65536)
            except BlockingIOError:
                continue
            except OSError as error:
                self.end(key.fileobj, type(error).__name__)
                continue
            if data:
                self.answered[key.fileobj] = time.time()
            else:
                self.end(key.fileobj, "closed")

    def tell(self) -> None:
        now = time.time()
        print(json.dumps({"ready": True, "open": len(self.answered), "ended": self.ended,
                          "silent_ms": 1e3 * max((now - at for at in self.answered.values()), default=0.0)}),
              flush=True)


def client(address: str, port: int, many: int) -> None:
    """Talks until SIGTERM."""
    running = True

    def stop(*_):
        nonlocal running
        running = False
    signal.signal(signal.SIGTERM, stop)
    all_of_them, number, told = Client(address, port, many), 0, 0.0
    while running:
        number += 1
        due = time.monotonic() + EVERY_S
        all_of_them.send(number)
        while (left := due - time.monotonic()) > 0:
            all_of_them.receive(left)
        if time.monotonic() - told > TELL_S:
            told = time.monotonic()
            all_of_them.tell()
    all_of_them.tell()


if __name__ == "__main__":
    role, where, at, *rest = sys.argv[1:]
    {"server": server, "client": client}[role](where, int(at), *map(int, rest))
