"""The lab's own instruments: pure judgement on made-up streams, and the whole lab over plain kernel routers."""
import argparse
import array
import contextlib
import io
import os
import random
import signal
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

from .. import analysis, catalogue, endpoint, report, schedule, slo, stats
from ..counters import Counters, swallowed
from ..engines import Decision
from ..faults import SHAPES, Moments, Plan, make
from ..standin import StandIn
from ..topology import Topology
from ..traffic import Load, Traffic

MS = 1_000_000


def stream(arrived, count=100, each_ms=2):
    sent = array.array("q", (i * each_ms * MS for i in range(count)))
    rows = array.array("q")
    for seq, at_ms in arrived:
        rows.extend((seq, sent[seq], int(at_ms * MS)))
    return analysis.udp(sent, rows)


class Judgement(unittest.TestCase):
    def test_loss_duplicates_and_reordering_are_told_apart(self):
        arrived = [(i, 2 * i + 1) for i in range(100) if i not in (10, 11, 50)]
        arrived[20], arrived[21] = (arrived[21][0], arrived[20][1]), (arrived[20][0], arrived[21][1])
        arrived.insert(60, arrived[59])
        result = stream(arrived)
        self.assertEqual((result.lost, result.duplicated, result.reordered), (3, 1, 1))
        self.assertEqual(result.lost_at_ms, [20.0, 22.0, 100.0])

    def test_gaps_at_the_start_in_the_middle_and_at_the_end_are_seen(self):
        result = stream([(i, 2 * i + 1) for i in range(100) if not (i < 30 or 40 <= i < 60 or i >= 70)])
        self.assertEqual([round(g["ms"]) for g in result.gaps], [61, 59])  # 42 ms is below the limit

    def test_a_download_that_never_goes_on_is_stalled_to_the_end(self):
        rows = array.array("q", (0, 0, 50 * MS, 1000, 400 * MS, 2000))
        result = analysis.tcp(rows, 1000.0)
        self.assertEqual((result.stalled_ms, result.longest_stall_ms), (950.0, 600.0))

    def test_what_a_sender_wrote_down_it_sent_wherever_it_is_ended(self):
        tried = []

        class Stopped(array.array):
            def append(self, stamp):
                super().append(stamp)
                if len(self) == 5:
                    os.kill(os.getpid(), signal.SIGTERM)
        with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
            args = argparse.Namespace(to="127.0.0.1", port=9, pps=1000, flows=1, size=40, dscp=0, stream=1, seconds=5.0, daily=0.0,
                                      growth=0.0, points=[], out=f"{folder}/sent.bin")
            network = mock.Mock(sendto=lambda packet, where: tried.append(packet))
            for number in (signal.SIGTERM, signal.SIGINT):
                self.addCleanup(signal.signal, number, signal.signal(number, endpoint._end))
            with mock.patch.object(endpoint, "_socket", lambda *_: network), mock.patch.object(endpoint.array, "array", Stopped):
                endpoint.udp_send(args)
            self.assertEqual((len(analysis.load(Path(args.out))), len(tried)), (5, 5))

    def test_reordering_is_judged_flow_by_flow(self):
        arrived = [(i, 2 * i + 1) for i in range(100)]
        arrived[20], arrived[21] = arrived[21], arrived[20]
        rows, sent = array.array("q"), array.array("q", (i * 2 * MS for i in range(100)))
        for seq, at_ms in arrived:
            rows.extend((seq, sent[seq], int(at_ms * MS)))
        self.assertEqual([analysis.udp(sent, rows, flows).reordered for flows in (1, 2)], [1, 0])

    def test_milestones_are_of_a1_and_of_the_move_that_was_completed(self):
        def said(at, action, outcome="done", engine="a1", rule=""):
            return Decision(at, engine, at, action, rule, outcome)
        found = report.milestones([said(5, "hold", "observed", "b1", "probability >= threshold"),
                                   said(20, "shift a1 -> a2", "done", rule="probability >= threshold"),
                                   said(25, "shift a1 -> a2 rolled back", "rolled_back"),
                                   said(30, "shift a1 -> a2"), said(40, "shift a1 -> a2 complete"),
                                   said(50, "handover a2 -> a1")])
        self.assertEqual(found, {"alarm": 20, "started": 30, "done": 40})
        observed = report.milestones([said(20, "shift a1 -> a2", "observed", rule="probability >= threshold"),
                                      said(60, "takeover a1 -> a2", engine="a2")])
        self.assertEqual(observed, {"alarm": 20, "started": 60, "done": 60})

    def test_the_verdict_names_what_is_wrong(self):
        good = dict.fromkeys(report.KEYS, 0) | {"packets_sent": 10, "first_alarm_ms": 1, "hard_failure_ms": 5}
        self.assertEqual(report.verdict(good), [])
        for change in ({"packets_lost_by_failover": 1}, {"packets_lost_by_failover": -1}, {"hard_failure_ms": None},
                       {"first_alarm_ms": 6}, {"first_alarm_ms": -1}, {"shift_done_ms": None}, {"packets_lost_total": 10}):
            self.assertTrue(report.verdict(good | change), change)


class Schedules(unittest.TestCase):
    def test_the_first_session_is_what_it_was(self):
        runs = schedule.first(1)
        self.assertEqual((len(runs), runs[0].name, runs[211].name), (234, "s1-000-steady-calm", "s1-211-loss-ramp"))

    def test_the_second_session_has_every_kind_over_half_a_minute_and_more(self):
        runs = schedule.second(1)
        ramps = [run for run in runs if run.kind == "ramp"]
        self.assertEqual(len(ramps), 9 * schedule.SECOND_OLD + 8 * schedule.SECOND_NEW)
        self.assertEqual({run.fault for run in ramps}, {*catalogue.FIRST, *catalogue.SECOND})
        self.assertTrue(all(30 <= run.plan.ramp_s <= 120 for run in ramps))
        self.assertTrue(all(run.plan.peak < 1 for run in runs if run.kind == "stopped_short"))

    def test_the_third_session_has_every_kind_in_every_shape_and_calm_among_them(self):
        runs = schedule.third(1)
        ramps = [run for run in runs if run.kind == "ramp"]
        self.assertEqual({(run.fault, run.plan.shape) for run in ramps},
                         {(fault, shape) for fault in catalogue.FIRST | catalogue.SECOND for shape in SHAPES})
        self.assertTrue(all(45 <= run.plan.ramp_s <= 220 for run in ramps))
        self.assertEqual(runs, schedule.third(1))
        self.assertTrue(any(run.kind == "calm" for run in runs[:20]) and any(run.kind == "calm" for run in runs[-20:]))


class Stalls(unittest.TestCase):
    def test_only_what_broke_together_with_something_that_had_no_fault_is_the_machines(self):
        def run(slo_ms, inject_ms=None):
            events = [("slo", slo_ms)] + ([("inject", inject_ms)] if inject_ms else [])
            return slo.broke([{"type": "event", "event": event, "at_ms": at} for event, at in events])
        runs = {"calm": run(50_000), "ramp beside it": run(52_000, 20_000), "ramp later": run(54_000, 20_000),
                "calm alone": run(90_000), "two ramps": run(200_000, 150_000), "at once": run(200_500, 160_000)}
        self.assertEqual(slo.stalled(runs), {"calm", "ramp beside it"})
        self.assertIsNone(slo.broke([{"type": "event", "event": "end", "at_ms": 1}]))


class Samples(unittest.TestCase):
    """The tests of scripts/mirror-check, against tables of the distributions and on samples that are made to be right and wrong."""

    def test_the_distributions_are_those_of_the_tables(self):
        for found, wanted in ((stats.chi2_p(3.8415, 1), 0.05), (stats.chi2_p(18.307, 10), 0.05), (stats.chi2_p(135.807, 100), 0.01),
                              (stats.kolmogorov_p(1.3581), 0.05), (stats.kolmogorov_p(1.6276), 0.01), (stats.binomial_tail(3, 10, 0.5), 0.9453)):
            self.assertAlmostEqual(found, wanted, 4)

    def test_fair_samples_pass_as_often_as_they_should_and_biased_ones_do_not(self):
        dice = random.Random(1)
        population = [dice.random() for _ in range(4000)]
        low = {stats.ks: 0, stats.chi2: 0}
        for test in low:
            whole = [int(v * 8) for v in population] if test is stats.chi2 else population
            for _ in range(300):
                low[test] += test([v for v in whole if dice.random() < 0.05], whole) < 0.05
            self.assertTrue(3 <= low[test] <= 30, f"{test.__name__}: {low[test]} of 300 below 0.05")
            biased = [v for v in whole if dice.random() < 0.1 * v / max(whole)]
            self.assertLess(test(biased, whole), 1e-6)


class OverKernelRouters(unittest.TestCase):
    """The accounting is exact: what it says is known beforehand here."""

    def run_fault(self, move_after_s):
        with Topology(kernel_ports=True) as topo:
            routers = StandIn(topo)
            topo.wait_path()
            counters = Counters(topo)
            traffic = Traffic(topo, Load(download_bps=1_000_000))
            time.sleep(1)
            fault = make("loss", Plan(3.0, peak=0.3), topo, None, counters, None)
            fault.start()
            time.sleep(move_after_s)
            routers.take_over("a2", "a1")
            time.sleep(4.5 - move_after_s)
            result = traffic.finish()
            lost_by_fault, counts = fault.lost_by_fault(), fault.counts()
            inside = swallowed(counters.read(), "a1")
            fault.close()
        self.assertIsNone(fault.error)
        return report.summary("x", "loss", result, lost_by_fault, fault.moments, []), counts, inside

    def test_moved_in_time_the_failover_loses_nothing(self):
        entry, counts, inside = self.run_fault(2.0)
        self.assertGreater(entry["packets_lost_by_fault"], 10)
        self.assertEqual(entry["packets_lost_by_failover"], 0)
        self.assertEqual((counts["hard_out_stream"], counts["hard_in_stream"], inside), (0, 0, 0))

    def test_moved_too_late_the_failover_loses_what_the_dead_link_dropped(self):
        entry, counts, inside = self.run_fault(3.8)
        hard = counts["hard_out_stream"] + counts["hard_in_stream"]
        self.assertGreater(hard, 200)
        self.assertEqual(entry["packets_lost_by_failover"], hard)
        self.assertEqual(inside, 0)

    def test_moments_are_of_one_clock(self):
        moments = Moments(start_ms=1000.0, hard_ms=3500.0)
        result = analysis.UdpResult(10, 10, 0, 0, 0, [], [], [], [])
        from ..traffic import Result
        entry = report.summary("m", "loss", Result([result], None, {}, 0, 0), 0, moments, [])
        self.assertEqual(entry["hard_failure_ms"], 2500)
