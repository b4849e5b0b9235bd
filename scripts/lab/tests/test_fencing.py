"""An owner that cannot know that its time is over: asleep, or cut off in one direction. Nothing of it gets through."""
import json
import time

from ..faults import Partition, Pause
from ..traffic import Load, Traffic
from .base import EngineLab, settle, tshark

FROM_A1 = ("l1_from", "w1_from", "s1_from")


class Fencing(EngineLab):
    """a1 owns the site at the start of each test."""

    def setUp(self):
        super().setUp()
        self.take_back()
        self.epoch = self.engines["a1"].status().epoch

    def take_back(self) -> None:
        """a1 owns the site, or does again; nothing goes back to who has just handed over."""
        deadline = time.monotonic() + 40
        while not self.engines["a1"].status().owner and time.monotonic() < deadline:
            self.engines["a1"].command("undrain", check=False)
            self.wait(1)
        self.assertTrue(self.engines["a1"].status().owner, "a1 did not get the site back")
        self.wait(6)

    def wait_takeover(self) -> None:
        status = settle(self.engines["a2"].status, lambda s: s is not None and s.owner, 25.0)
        self.assertTrue(status.owner, "the standby did not take over")
        self.assertGreater(status.epoch, self.epoch)

    def sent_by_a1(self, before: dict, after: dict) -> dict:
        return {name: after[name] - before[name] for name in FROM_A1}

    def assert_follows(self) -> None:
        """a1 knows that a2 owns the site, at a later epoch than its own."""
        woken = settle(self.engines["a1"].status, lambda s: s is not None and not s.owner and s.epoch > self.epoch, 20.0)
        self.assertFalse(woken.owner)
        self.assertEqual(woken.epoch, self.engines["a2"].status().epoch)

    def assert_flows(self, result) -> None:
        late = [at for s in result.streams for at in s.lost_at_ms if at > result.end_ms - 2000]
        self.assertEqual(late, [], "packets are still lost after the takeover")
        self.assertEqual(result.total("duplicated"), 0)

    def test_a_woken_engine_is_not_the_owner_again(self):
        traffic, pause = Traffic(self.topo, Load()), Pause(self.engines["a1"].process)
        self.wait(3)
        pause.stop()
        self.wait(5)
        self.wait_takeover()
        with self.capture("la", "l1", "arp or icmp6") as path:
            before = self.scenario.counters.read()
            pause.cont()
            self.wait(4)
            sent = self.sent_by_a1(before, self.scenario.counters.read())
        result = traffic.finish()
        print(f"\nSTOP, CONT: interruption {result.longest_gap_ms:.0f} ms; the woken engine sent {sent}", flush=True)
        self.assertEqual(sum(sent.values()), 0, f"the woken engine forwarded stream packets: {sent}")
        self.assertEqual(self._claims(path), [], "the woken engine claimed the gateway's address")
        self.assert_follows()
        self.assert_flows(result)

    def test_an_engine_that_is_not_heard_stops_by_itself(self):
        self._cut_off("mute")

    def test_an_engine_that_hears_nothing_stops_by_itself(self):
        self._cut_off("deaf")

    def _cut_off(self, way: str) -> None:
        """Its ports stay as they are: only what it knows of its lease is taken from it."""
        partition, traffic = Partition(self.topo), Traffic(self.topo, Load())
        self.wait(3)
        partition.cut("a1", way)
        try:
            self.wait_takeover()
            self.assertFalse(self.engines["a1"].status().owner, "two owners")
            self.wait(1)  # what was on its way when it stopped
            before = self.scenario.counters.read()
            self.wait(4)
            sent = self.sent_by_a1(before, self.scenario.counters.read())
        finally:
            partition.heal()
        self.wait(4)
        result = traffic.finish()
        print(f"\na1 {way}: interruption {result.longest_gap_ms:.0f} ms; then, cut off, it sent {sent}", flush=True)
        self.assertEqual(sum(sent.values()), 0, f"an engine whose lease was over forwarded stream packets: {sent}")
        self.assert_follows()
        self.assert_flows(result)

    def _claims(self, path) -> list:
        """ARP and neighbour advertisements for the gateway from a1's own MAC."""
        mac = json.loads(self.host("a1", "ip", "-j", "link", "show", "lan0"))[0]["address"]
        return tshark(path, "-Y", f"eth.src=={mac} && (arp.src.proto_ipv4==10.1.0.1 || icmpv6.nd.na.target_address==fd00:a::1)",
                      "-e", "frame.time_relative")
