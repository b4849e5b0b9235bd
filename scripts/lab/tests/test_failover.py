"""An engine dies, or sleeps and wakes: the traffic goes on, and only one engine is the owner."""
import json
import signal

from ..faults import Pause
from ..traffic import Load, Traffic
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


class Fencing(EngineLab):
    def test_a_woken_engine_is_not_the_owner_again(self):
        traffic, pause = Traffic(self.topo, Load()), Pause(self.engines["a1"].process)
        epoch = self.engines["a1"].status().epoch
        self.wait(3)
        pause.stop()
        self.wait(5)
        self.assertTrue(self.engines["a2"].status().owner, "the standby did not take over")
        with self.capture("la", "l1", "arp or icmp6") as path:
            before = self.scenario.counters.read()
            pause.cont()
            self.wait(4)
            after = self.scenario.counters.read()
        result = traffic.finish()
        sent = {k: after[k] - before[k] for k in ("l1_from", "w1_from", "s1_from")}
        print(f"\nSTOP, CONT: interruption {result.longest_gap_ms:.0f} ms; the woken engine sent {sent}", flush=True)
        self.assertEqual(sum(sent.values()), 0, f"the woken engine forwarded stream packets: {sent}")
        self.assertEqual(self._claims(path), [], "the woken engine claimed the gateway's address")
        woken = settle(self.engines["a1"].status, lambda s: s is not None and not s.owner and s.epoch > epoch)
        self.assertFalse(woken.owner)
        self.assertEqual(woken.epoch, self.engines["a2"].status().epoch)
        late = [at for s in result.streams for at in s.lost_at_ms if at > result.end_ms - 2000]
        self.assertEqual(late, [])

    def _claims(self, path) -> list:
        """ARP and neighbour advertisements for the gateway from a1's own MAC."""
        from .base import tshark
        mac = json.loads(self.host("a1", "ip", "-j", "link", "show", "lan0"))[0]["address"]
        return tshark(path, "-Y", f"eth.src=={mac} && (arp.src.proto_ipv4==10.1.0.1 || icmpv6.nd.na.target_address==fd00:a::1)",
                      "-e", "frame.time_relative")
