"""ESP is blocked on the way in the middle of a download: ESP in UDP carries on, and ESP again when it passes again."""
import time

from ..shell import now_ms, run
from ..traffic import Load, Traffic
from .base import EngineLab, settle

ESP, UDP = "a1-b1", "a1-b1-udp"


def with_fallback(config: dict) -> dict:
    """Beside every ESP tunnel one in UDP, behind it in its group."""
    beside = [t | {"name": f"{t['name']}-udp", "protocol": "esp-udp"} for t in config["tunnel"] if t["protocol"] == "esp"]
    config["tunnel"] += beside
    for group in config["group"]:
        spare = [t["name"] for t in beside if t["name"].removesuffix("-udp") in group["members"]]
        # The site link stays the last.
        own = [m for m in group["members"] if f"{m}-udp" in spare]
        group["members"] = [*own, *spare, *(m for m in group["members"] if m not in own)]
        group["spread"] = "first"
    return config


class Blocked(EngineLab):
    @classmethod
    def change(cls, config):
        config["prediction"] = {"mode": "observe"}
        return with_fallback(config)

    def _parts(self, engine: str) -> dict[str, int]:
        groups = self.engines[engine].ask("status")["groups"]
        return {m["tunnel"]: m["buckets"] for group in groups for m in group["members"]}

    def _carries(self, tunnel: str, within_s: float) -> float:
        """Seconds until all of a1's traffic is in a tunnel."""
        begin = time.monotonic()
        parts = settle(lambda: self._parts("a1"), lambda p: p[tunnel] == 65_536, within_s=within_s)
        self.assertEqual(parts[tunnel], 65_536, parts)
        return time.monotonic() - begin

    def test_a_download_survives(self):
        self._carries(ESP, 10)
        traffic = Traffic(self.topo, Load(download_bps=4_000_000))
        self.wait(3)
        run(*self.topo.exec("wan", "nft", "-f", "-"), text=(
            "table bridge blocked { chain forward { type filter hook forward priority 0; ip protocol esp drop; }; }"))
        away = self._carries(UDP, 10)
        self.wait(4)
        before = traffic.live()
        self.wait(2)
        self.assertGreater(traffic.live()["bytes"], before["bytes"], "the download does not go on")
        unblocked_ms = now_ms()
        run(*self.topo.exec("wan", "nft", "delete", "table", "bridge", "blocked"))
        back = self._carries(ESP, 15)
        self.wait(2)
        result = traffic.finish()
        last_lost_ms = max((at for stream in result.streams for at in stream.lost_at_ms), default=0)
        print(f"\n  ESP blocked: in UDP after {away * 1000:.0f} ms; download stalled {result.tcp.stalled_ms:.0f} ms and went on; "
              f"back in ESP {back * 1000:.0f} ms after it passed")
        self.assertLess(result.tcp.longest_stall_ms, 8000)
        self.assertEqual([result.total(n) for n in ("reordered", "duplicated")], [0, 0])
        self.assertLess(last_lost_ms, unblocked_ms, "nothing may be lost on the way back")
