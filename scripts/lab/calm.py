"""What happens to a healthy engine and is no fault: bursts, reloads, a growing table, short pauses, people looking."""
import random
import signal
import time

from .rig import Rig
from .shell import now_ms
from .topology import HOST_A4, HOST_B4
from .traffic import Endpoint

KINDS = ("burst", "reload", "table", "pause", "look")
RELOAD_ROUTES, TABLE_ROUTES, TABLE_STEP = 400, 20_000, 4_000


class Bustle:
    """Called often; does its thing every few seconds and notes when. A kind, `any` for all in turn, None for nothing."""

    def __init__(self, what: str | None, rig: Rig, rng: random.Random):
        self._what, self._rig, self._rng = what, rig, rng
        self._due = time.monotonic() + rng.uniform(4.0, 8.0)
        self._routes = 0
        self.began: list[tuple[float, str]] = []

    def __call__(self) -> None:
        if self._what is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self._rng.uniform(2.0, 6.0)
        if self._rig.engines["a1"].alive():
            what = self._rng.choice(KINDS) if self._what == "any" else self._what
            self.began.append((now_ms(), what))
            getattr(self, f"_{what}")()

    def _burst(self) -> None:
        # The receivers ignore stream 99.
        node, to = self._rng.choice((("ha", HOST_B4), ("hb", HOST_A4)))
        Endpoint(self._rig.topo, node, "udp-send", to=to, port=9000, stream=99,
                 seconds=self._rng.uniform(0.5, 3.0), out="/dev/null", pps=self._rng.choice((400, 800, 1600)),
                 size=self._rng.choice((200, 1000)))

    def _reload(self) -> None:
        self._load([f"10.{64 + i // 250}.{i % 250}.0/24 group site-b" for i in range(RELOAD_ROUTES)])

    def _table(self) -> None:
        if self._routes >= TABLE_ROUTES:
            return
        upto = self._routes + TABLE_STEP
        self._load([f"11.{i // 250}.{i % 250}.0/24 group site-b" for i in range(self._routes, upto)])
        self._routes = upto

    def _load(self, lines: list[str]) -> None:
        file = self._rig.topo.dir / "routes"
        file.write_text("\n".join(lines) + "\n")
        self._rig.engines["a1"].command("routes", "load", str(file), timeout=20, check=False)

    def _pause(self) -> None:
        process = self._rig.engines["a1"].process
        process.send_signal(signal.SIGSTOP)
        time.sleep(self._rng.uniform(0.05, 0.2))
        process.send_signal(signal.SIGCONT)

    def _look(self) -> None:
        engine = self._rig.engines["a1"]
        for what in ("status", "ports", "tunnels", "workers", "drops", "decisions") * 5:
            engine.ask(what)
