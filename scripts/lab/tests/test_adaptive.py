"""Tunnels that follow their traffic: made before a shaper is full, ahead of a season's peak, given up again, and changed for
another protocol, all under traffic that must not notice."""
import statistics
from dataclasses import dataclass

from ..rig import alone
from ..shell import LabError, now_ms
from ..topology import LINKS, NODES, Link, Topology
from ..traffic import Load, Traffic
from .base import EngineLab, Watch, settle

TUNNEL = "a1-b1"
RATE_KBPS = 2000
PAYLOAD = 500
INNER = PAYLOAD + 28
FULL_PPS = RATE_KBPS * 1000 / 8 / INNER  # what one tunnel's shaper lets through
# Half of a tunnel's rate, up to twice of it, and down to a third.
RAMP = ((0.0, 0.5), (4.0, 0.5), (24.0, 2.0), (29.0, 2.0), (31.0, 0.3))
RAMP_S = 46.0


class TwoEngines(Topology):
    """The lab without the standby of site A."""
    links: tuple[Link, ...] = tuple(l for l in LINKS if l.node != "a2")
    nodes, engines = tuple(n for n in NODES if n != "a2"), ("a1", "b1")


@dataclass(frozen=True)
class Moment:
    """What an adaptive group said of itself."""
    at_ms: float
    offered: float
    capacity: float
    forecast: float | None
    tunnels: int

    @property
    def utilisation(self) -> float:
        return self.offered / self.capacity


class GroupWatch(Watch):
    """Asks an engine about its group ten times a second, from enter to exit."""

    def __init__(self, engine):
        super().__init__(self._ask)
        self._engine, self.moments = engine, []

    def _ask(self) -> None:
        try:
            group = self._engine.ask("status")["groups"][0]
        except LabError:  # too busy to answer in time: the next one will do
            return
        if (said := group["adaptive"]) and said["capacity_bps"]:
            carries = sum(m["buckets"] > 0 for m in group["members"])
            self.moments.append(Moment(now_ms(), said["offered_bps"], said["capacity_bps"], said["forecast_bps"], carries))


class Adaptive(EngineLab):
    """One engine a site; what is managed is in `adaptive`."""
    topology = TwoEngines
    adaptive: dict | None = None
    ceiling_kbps: int | None = None

    @classmethod
    def change(cls, config):
        config = alone(config)
        for tunnel in config["tunnel"]:
            tunnel["shaper"] = {"rate_kbps": RATE_KBPS} | ({"ceiling_kbps": cls.ceiling_kbps} if cls.ceiling_kbps else {})
        if cls.adaptive is not None:
            for group in config["group"]:
                group["adaptive"] = cls.adaptive
        return config

    def shaped(self) -> int:
        return sum(e.packet_counts()["dropped"].get("shaped", 0) for e in self.engines)

    def actions(self, since_ms: float = 0.0) -> list:
        kinds = ("create", "rate", "migrate", "drain", "remove", "keep", "hold")
        return [d for d in self.engines["a1"].decisions() if d.action.split()[0] in kinds and d.unix_ms >= since_ms]

    def show(self, begin_ms: float, moments: list[Moment], every_s: float = 1.0) -> None:
        """The timeline: what was offered and what there was room for, and what was done when."""
        rows = [(m.at_ms, f"{m.offered / 1e6:8.2f} {m.capacity / 1e6:9.2f} {m.utilisation:12.2f} "
                          f"{'-' if m.forecast is None else f'{m.forecast / 1e6:.2f}':>9} {m.tunnels:8d}")
                for m in moments[::round(every_s * 10)]]
        rows += [(d.unix_ms, f"    {d.action} ({d.rule})") for d in self.actions(begin_ms)]
        print("\n  time s  offered  capacity  utilisation  forecast  tunnels   Mbit/s; what a1 did")
        for at_ms, text in sorted(rows):
            print(f"  {(at_ms - begin_ms) / 1e3:6.1f} {text}")

    def drive(self, load: Load, seconds: float):
        with GroupWatch(self.engines["a1"]) as watch:
            traffic = Traffic(self.topo, load)
            self.wait(seconds)
            result = traffic.finish()
        self.show(traffic.start_ms, watch.moments)
        print(f"  {result}; {self.shaped()} dropped by shapers")
        return result, watch.moments, traffic.start_ms

    def assert_untouched(self, result, *told) -> None:
        super().assert_untouched(result, *told)
        self.assertEqual(self.shaped(), 0)


def ramp() -> Load:
    return Load(pps=round(FULL_PPS), flows=400, payload=PAYLOAD, download_bps=0, ping_per_s=0, points=RAMP)


class Managed(Adaptive):
    adaptive = {"tunnels_max": 3, "cooldown_ms": 1000, "idle_seconds": 3}
    ceiling_kbps = 2500

    def test_there_is_room_before_it_is_needed_and_it_is_given_up_again(self):
        result, moments, begin_ms = self.drive(ramp(), RAMP_S)
        self.assert_untouched(result)
        self.assertGreater(max(m.offered for m in moments), 1.8 * RATE_KBPS * 1000, "the ramp was not driven")
        # A sender that stood still catches up in a burst, which the bucket and the queues are for: a second at a time.
        used = [statistics.median(m.utilisation for m in moments[i:i + 10]) for i in range(len(moments) - 10)]
        self.assertLess(max(used), 1.0, "a shaper was full before there was room")
        self.assertGreaterEqual(max(m.tunnels for m in moments), 2)
        done = [d.action.split()[0] for d in self.actions(begin_ms) if d.outcome == "done"]
        self.assertIn("rate", done)
        self.assertIn("create", done)
        left = settle(lambda: [sorted(e.tunnels()) for e in self.engines], lambda t: t == [[TUNNEL], ["b1-a1"]], within_s=30)
        self.assertEqual(left, [[TUNNEL], ["b1-a1"]], "what is idle goes, at both ends")
        group = self.engines["a1"].ask("status")["groups"][0]["adaptive"]
        self.assertEqual(group["capacity_bps"], RATE_KBPS * 1000, "and rates come down")


class Unmanaged(Adaptive):
    def test_the_same_ramp_fills_the_shaper(self):
        # To the top of the ramp: it is full from the tenth second on.
        result, *_ = self.drive(ramp(), 24.0)
        self.assertGreater(result.total("lost"), 1000)
        self.assertGreater(self.shaped(), 1000)


class Forecast(Adaptive):
    """A season of ten seconds: once it is learnt, there is a second tunnel before each peak."""
    season_s, lead_ms = 10, 2000
    adaptive = {"tunnels_max": 2, "cooldown_ms": 500, "idle_seconds": 1, "actions_max": 200,
                "forecast": {"season_seconds": season_s, "step_ms": 100, "lead_ms": lead_ms}}
    warm_up_s = 2 * season_s + 2 * lead_ms / 1000 + 20

    def test_it_is_made_ahead_of_the_peak(self):
        load = Load(pps=round(0.62 * FULL_PPS), flows=400, payload=PAYLOAD, download_bps=0, ping_per_s=0, daily_s=self.season_s)
        result, moments, begin_ms = self.drive(load, self.warm_up_s + 4 * self.season_s)
        self.assert_untouched(result)
        # Either end may see it come first, and the other agrees.
        created = [d for engine in ("a1", "b1") for d in self.engines[engine].decisions()
                   if d.unix_ms >= begin_ms and d.action.startswith("create") and d.outcome == "done"]
        ahead = [d for d in created if d.rule.startswith("forecast")]
        for decision in ahead:
            used = float(dict(decision.inputs)["utilisation"])
            crossed = [m.at_ms for m in moments if m.at_ms > decision.unix_ms and m.offered > 0.8 * RATE_KBPS * 1000]
            lead = f"{(crossed[0] - decision.unix_ms) / 1e3:.1f} s before the load crosses it" if crossed else "and it never did"
            print(f"  {(decision.unix_ms - begin_ms) / 1e3:6.1f} s: {decision.action} at utilisation {used:.2f}, {lead}")
            self.assertLess(used, 0.8)
        self.assertGreaterEqual(len(ahead), 2, created)


class Trusted(Adaptive):
    """GRE beside ESP over a path where encryption is not asked for: less work a byte, so it carries."""
    adaptive = {"tunnels_max": 2, "cooldown_ms": 1000}

    @classmethod
    def change(cls, config):
        config = super().change(config)
        beside = [t | {"name": f"{t['name']}-gre", "protocol": "gre"} for t in config["tunnel"]]
        for tunnel in beside:
            tunnel.pop("cipher", None)
        config["tunnel"] += beside
        for group in config["group"]:
            group["members"] = [*group["members"], *(t["name"] for t in beside)]
        return config

    def test_a_trusted_path_goes_on_in_gre(self):
        load = Load(pps=300, flows=100, payload=PAYLOAD, download_bps=0, ping_per_s=0)
        result, _, _ = self.drive(load, 12)
        self.assert_untouched(result)
        rules = [(d.action, d.rule) for d in self.actions()]
        self.assertTrue(any(action == f"migrate {TUNNEL} -> {TUNNEL}-gre" and "cycles" in rule for action, rule in rules), rules)
        parts = {m["tunnel"]: m["buckets"] for m in self.engines["a1"].ask("status")["groups"][0]["members"]}
        self.assertEqual(parts[f"{TUNNEL}-gre"], 65_536, parts)
