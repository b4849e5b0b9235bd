"""A planned move of a thousand flows and more, from a slow path to a fast one and back: no packet may notice."""
import json

from ..slowpath import SlowPath
from ..topology import HOST_B4
from ..traffic import Endpoint, Load, Traffic
from .base import EngineLab, Watch, settle

UDP_FLOWS, TCP_FLOWS = 600, 500
BUCKETS = 65_536
PARTS = {0, 3277, 16_384, 32_768, BUCKETS}
STEPS = PARTS | {BUCKETS - part for part in PARTS}  # there and back


class Shift(EngineLab):
    topology = SlowPath

    def test_a_thousand_flows_move_there_and_back(self):
        serve = Endpoint(self.topo, "hb", "tcp-pulse", port=9003, pps=500, size=100).wait_ready()
        many = Endpoint(self.topo, "ha", "tcp-many", to=HOST_B4, port=9003, flows=TCP_FLOWS).wait_ready(30)
        # The download never pauses for as long as the paths differ: it moves behind a MARK.
        traffic = Traffic(self.topo, Load(pps=1200, flows=UDP_FLOWS, download_bps=4_000_000))
        self.wait(2)
        seen = set()
        for command, to in (("drain", "a2"), ("undrain", "a1")):
            with self.subTest(command), self._watching_parts(seen):
                self.engines["a1"].command(command)
                owner = settle(self.engines[to].status, lambda s: s is not None and s.owner, within_s=25)
                self.assertTrue(owner.owner)
                self.wait(6)
        result = traffic.finish()
        told = many.finish()
        pulses = serve.finish()
        self._print(result, told, pulses)
        self.assert_untouched(result)
        self.assertEqual((told["ended"], pulses["refused"], pulses["peers"]), (0, 0, TCP_FLOWS))
        self.assertGreater(told["received"], 0.9 * pulses["sent"], "some are under way at the end")
        self.assertLessEqual(seen, STEPS, "a step of 5, 25, 50 or 100 % is exact")
        self.assertIn(BUCKETS, seen)

    def _shifts(self, engine: str) -> dict:
        return json.loads(self.engines[engine].command("show", "shifts", "--json").stdout)

    def _watching_parts(self, seen: set):
        """While it lasts, what b1 gives its tunnel to a2, in buckets."""
        return Watch(lambda: seen.update(
            m["buckets"] for g in self._shifts("b1")["groups"] for m in g["members"] if m["peer"] == "a2"))

    def _print(self, result, told: dict, pulses: dict) -> None:
        print(f"\n  UDP {result.total('sent')} sent in {2 * UDP_FLOWS} flows; TCP {TCP_FLOWS} connections, "
              f"{told['received']} bytes, {pulses['retransmissions']} sent again by TCP's own timers; download "
              f"{result.tcp.bytes} bytes, stalled {result.tcp.stalled_ms:.0f} ms")
        for engine in ("a1", "a2", "b1"):
            moves = self._shifts(engine)["moves"]
            print(f"  {engine}: {moves['idle']} buckets moved idle, {moves['gap']} in a gap, {moves['marked']} behind a MARK; "
                  f"{moves['packets_waited']} packets waited, {moves['wait_ms_max']:.1f} ms at most")
