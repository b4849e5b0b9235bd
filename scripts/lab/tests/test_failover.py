"""Who takes over, and what it costs: the owner dies, hands over by plan, or its standby dies and comes back."""
import signal

from ..topology import HOST_B4
from ..traffic import Endpoint, Load, Traffic
from .base import EngineLab, settle


class Death(EngineLab):
    def test_the_standby_carries_the_traffic_after_kill_9(self):
        traffic = Traffic(self.topo, Load())
        self.wait(4)
        self.engines["a1"].process.send_signal(signal.SIGKILL)
        self.wait(8)
        result = traffic.finish()
        print(f"\nkill -9 of the active engine: interruption {result.longest_gap_ms:.0f} ms, "
              f"{result.total('lost')} of {result.total('sent')} packets lost", flush=True)
        self.assertTrue(self.engines["a2"].status().owner)
        late = [at for s in result.streams for at in s.lost_at_ms if at > result.end_ms - 2000]
        self.assertEqual(late, [], "packets are still lost seconds after the takeover")
        self.assertLess(result.longest_gap_ms, 4000)
        self.assertEqual(result.total("duplicated"), 0)


CONNECTIONS = 1000


class Planned(EngineLab):
    """What nobody may notice."""

    def generations(self) -> dict:
        """Of the keys of every ESP tunnel, at both ends: it grows with each renewal."""
        tunnels = {(e.name, name): t for e in self.engines for name, t in e.tunnels().items()}
        return {key: t["outbound_generation"] for key, t in tunnels.items() if t["outbound_generation"] is not None}

    def test_a_thousand_connections_and_the_vpn_survive_a_planned_failover(self):
        serve = Endpoint(self.topo, "hb", "tcp-pulse", port=9003, pps=500, size=100).wait_ready()
        many = Endpoint(self.topo, "ha", "tcp-many", to=HOST_B4, port=9003, flows=CONNECTIONS).wait_ready(60)
        before = self.generations()
        traffic = Traffic(self.topo, Load(pps=400, flows=64, download_bps=2_000_000))
        self.wait(3)
        self.engines["a1"].command("drain")
        owner = settle(self.engines["a2"].status, lambda s: s is not None and s.owner, 40.0)
        self.assertTrue(owner.owner, self.engines["a2"].last_words())
        self.wait(6)
        result, after = traffic.finish(), self.generations()
        told, pulses = many.finish(), serve.finish()
        print(f"\n{CONNECTIONS} connections through {len(before)} ESP tunnel ends: {told['ended']} ended, {pulses['refused']} "
              f"refused, {pulses['retransmissions']} segments sent again by TCP's own timers, {told['received']} bytes; "
              f"keys renewed: {sum(after[key] - before[key] for key in before)}; {result}", flush=True)
        self.assertEqual((told["ended"], pulses["refused"], pulses["peers"]), (0, 0, CONNECTIONS))
        self.assertGreater(told["received"], 0.9 * pulses["sent"], "some are under way at the end")
        self.assertEqual(before, after, "no tunnel's keys are renewed for it")
        self.assert_untouched(result)

    def test_a_cold_restart_of_the_standby_disturbs_nothing(self):
        traffic, standby = Traffic(self.topo, Load()), self.engines["a2"]
        self.wait(3)
        standby.process.send_signal(signal.SIGKILL)
        standby.process.wait()
        self.wait(3)
        standby.start()
        self.assert_up(standby, 40.0)
        self.wait(3)
        result = traffic.finish()
        print(f"\nthe standby is killed and starts anew: {result}", flush=True)
        self.assert_untouched(result)
        self.assertTrue(self.engines["a1"].status().owner)
