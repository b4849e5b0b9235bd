"""The lab with a relay in a1's way to the WAN, so that its path can be slower than a2's."""
import subprocess
from pathlib import Path

from .shell import PYTHON, stop
from .topology import LINKS, Link, Topology

RELAY = Path(__file__).with_name("relay.py")
DELAY_MS = 30.0


class SlowPath(Topology):
    """`a1 -- relay -- WAN bridge`: frames of a1 pass DELAY_MS later, each way."""
    links = tuple(l for l in LINKS if l.far != "w1") + (
        Link("a1", "wan0", "wan", "w1", None),
        Link("wan", "r1", "wan", "rb1", "br-wan"),
    )

    def _build(self) -> None:
        super()._build()
        relay = subprocess.Popen(self.exec("wan", PYTHON, str(RELAY), "w1", "r1", "1"), stdin=subprocess.PIPE, text=True)
        self.on_close(stop, relay)
        self.on_close(relay.stdin.close)
        relay.stdin.write(f'{{"delay_ms": {DELAY_MS}}}\n')
        relay.stdin.flush()
