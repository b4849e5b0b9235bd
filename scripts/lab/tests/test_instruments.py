"""The lab's own instruments: pure judgement on made-up streams, and the whole lab over plain kernel routers."""
import argparse
import array
import contextlib
import io
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import types
import unittest
from pathlib import Path
from unittest import mock

from .. import again, analysis, catalogue, endpoint, report, schedule, slo, stats, suite
from ..again import AGAIN, IN_ALL, Again, told
from ..counters import Counters, swallowed
from ..engines import Decision
from ..faults import SHAPES, Moments, Plan, make
from ..shell import SCRIPTS, run
from ..stalls import PRIORITY, Stall, Witness, together
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


HOG = """
import os, sys, time
cpu, priority, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
os.sched_setaffinity(0, {cpu})
if priority:
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
begin = time.monotonic()
while time.monotonic() < begin + seconds:
    pass
print(begin, time.monotonic())
"""
WATCHED = """
import time
from lab.stalls import Witness
with Witness() as witness:
    print(len(witness.watchers), flush=True)
    time.sleep(60)
"""


class StandingStill(unittest.TestCase):
    """The witness. A hog stands for the host here: what runs before the witness looks like a machine that stands still. Both run below
    the priority of the witness of the whole run, which must not take this for a stall."""

    def setUp(self):
        probe = "import os; os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
        if "PermissionError" in run(sys.executable, "-c", probe, check=False).stderr:
            self.skipTest("SCHED_FIFO is refused here: there is no witness")

    def hog(self, cpu: int, priority: int, seconds: float) -> tuple[float, float]:
        """Keep a CPU busy; from when to when that was."""
        begin, end = run(sys.executable, "-c", HOG, cpu, priority, seconds).stdout.split()
        return float(begin), float(end)

    def test_it_sees_what_held_up_everything_and_not_what_held_up_only_ordinary_processes(self):
        cpu = max(os.sched_getaffinity(0))
        with Witness(priority=1) as witness:
            since = time.monotonic()
            ordinary = self.hog(cpu, 0, 0.6)
            begin, end = self.hog(cpu, 2, 0.4)
            stalls, before = witness.stood_still(begin, end), witness.stood_still(since, begin)
        self.assertEqual(before, [], ordinary)
        self.assertEqual([stall.cpus for stall in stalls], [(cpu,)])
        self.assertGreaterEqual(stalls[0].ms, 250)
        self.assertTrue(begin - 0.1 < stalls[0].begin < stalls[0].end < end + 0.1, (stalls, begin, end))

    def test_one_child_a_cpu_runs_before_everything_that_labs_start(self):
        with Witness() as witness:
            children = [watcher.process.pid for watcher in witness.watchers]
            self.assertEqual([os.sched_getaffinity(pid) for pid in children], [{cpu} for cpu in sorted(os.sched_getaffinity(0))])
            self.assertEqual({(os.sched_getscheduler(pid), os.sched_getparam(pid).sched_priority) for pid in children},
                             {(os.SCHED_FIFO, PRIORITY)})
        self.assertFalse([pid for pid in children if os.path.exists(f"/proc/{pid}")])

    def test_its_children_end_with_their_parent_however_that_ends(self):
        parent = subprocess.Popen([sys.executable, "-c", WATCHED], cwd=SCRIPTS, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(int(parent.stdout.readline()), len(os.sched_getaffinity(0)))
        parent.kill()
        self.assertEqual(parent.communicate(timeout=5), ("", ""))  # they have its stderr: it closes when the last of them has ended

    def test_cpus_that_stood_still_together_did_so_once(self):
        self.assertEqual(together([Stall(5, 6, (0,)), Stall(1, 3, (1,)), Stall(2, 4, (0,))]), [Stall(1, 4, (0, 1)), Stall(5, 6, (0,))])


class RunAgain(unittest.TestCase):
    """What is repeated and what counts, with classes that are made up and a witness that says what it is told to."""

    def judge(self, stalls, asked="made_up", **classes):
        """(passed, failed, classes run again), what was printed, what is told at the end."""
        module, out = types.ModuleType("made_up"), io.StringIO()
        for name, body in classes.items():
            made = type(name, (unittest.TestCase,), {"__module__": "made_up", **body}) if isinstance(body, dict) else body
            setattr(module, name, made)
        windows = []

        def stood_still(since, until):
            windows.append((since, until))
            return [Stall(since, until, (0,))] if stalls(since, until) else []
        with mock.patch.dict(sys.modules, made_up=module), mock.patch.object(Again, "_wait_quiet"):
            judge = Again(mock.Mock(stood_still=stood_still), out)
            units = judge.run(asked)
        self.assertTrue(all(since < until for since, until in windows), windows)
        passed, failed = sum(unit.passed for unit in units), sum(len(unit.wrong) for unit in units)
        return (passed, failed, len(judge.repeated)), out.getvalue(), told(units)

    def fails(self, times: int):
        """A test that fails so often and then passes; and how often it ran."""
        ran = []

        def test(_):
            ran.append(1)
            self.assertGreater(len(ran), times, "it went wrong")
        return test, ran

    def test_without_a_stall_a_failure_is_a_failure(self):
        test, ran = self.fails(1)
        counts, _, said = self.judge(lambda *_: False, A={"test_it": test, "test_other": lambda _: None})
        self.assertEqual((counts, len(ran)), ((1, 1, 0), 1))
        self.assertEqual(said, ["made_up.A.test_it\nAssertionError: 1 not greater than 1 : it went wrong"])

    def test_after_a_stall_the_repeat_counts_in_place_of_the_first_and_nothing_else_runs_again(self):
        (test, ran), (well, once) = self.fails(1), self.fails(0)
        counts, out, said = self.judge(lambda *_: True, A={"test_a": lambda _: None, "test_b": test}, B={"test_it": well})
        self.assertEqual((counts, len(ran), len(once), said), ((3, 0, 1), 2, 1, []))
        self.assertRegex(out, r"== lab: made_up.A again \(1 of 2\): the machine stood still \d+ ms \(CPU 0\) while made_up.A.test_b ")

    def test_what_never_passes_has_failed(self):
        test, ran = self.fails(99)
        counts, out, said = self.judge(lambda *_: True, A={"test_it": test})
        self.assertEqual((counts, len(ran), len(said)), ((0, 1, AGAIN), 1 + AGAIN, 1))
        self.assertIn("made_up.A has failed: the machine stood still", out)

    def test_a_repeat_waits_until_the_swarm_of_stalls_is_over_but_not_for_ever(self):
        for stalled_s, patience_s, waits in ((0.2, 2.0, 0.3), (9.0, 0.4, 0.4)):
            begin = time.monotonic()
            with mock.patch.multiple(again, QUIET_S=0.1, PATIENCE_S=patience_s):
                Again(mock.Mock(stood_still=lambda since, _, end=begin + stalled_s: since < end))._wait_quiet()
            self.assertAlmostEqual(time.monotonic() - begin, waits, delta=0.08)

    def test_a_repeat_that_fails_without_a_stall_has_failed(self):
        (test, ran), stalls = self.fails(99), iter((True, False))
        self.assertEqual(self.judge(lambda *_: next(stalls), A={"test_it": test})[0], (0, 1, 1))

    def test_a_stall_excuses_only_what_ended_after_it(self):
        (test, ran), stalls = self.fails(99), []

        def stalled(_):
            stalls.append(time.monotonic())
            test(_)
        counts, *_ = self.judge(lambda since, until: since < stalls[0] < until, A={"test_a": test, "test_b": stalled})
        self.assertEqual((counts, len(ran)), ((0, 2, 0), 2))

    def test_a_window_is_from_the_end_of_another_class_to_the_end_of_the_test(self):
        (test, _), seen, moments = self.fails(99), [], []

        def note(*_):
            time.sleep(0.001)
            moments.append(time.monotonic())
            time.sleep(0.001)
        self.judge(lambda since, until: seen.append((since, until)), A={"test_it": note},
                   B={"setUpClass": note, "test_a": lambda _: None, "test_b": test, "tearDown": note})
        (since, until), = seen
        ended, set_up, _, torn_down = moments
        self.assertTrue(ended < since < set_up < torn_down < until, (moments, seen))

    def test_a_whole_run_repeats_only_so_much(self):
        classes = {f"A{i}": {"test_it": self.fails(99)[0]} for i in range(IN_ALL)}
        counts, out, _ = self.judge(lambda *_: True, **classes)
        self.assertEqual(counts, (0, IN_ALL, IN_ALL))
        self.assertIn(f"but {IN_ALL} classes were run again before", out)

    def test_set_up_of_a_class_or_a_module_is_repeated_too(self):
        set_up, ran = self.fails(1)
        counts, *_ = self.judge(lambda *_: True, A={"setUpClass": classmethod(set_up), "test_it": lambda _: None})
        self.assertEqual((counts, len(ran)), ((1, 0, 1), 2))
        tear_down, ran = self.fails(1)
        counts, *_ = self.judge(lambda *_: True, A={"test_it": lambda _: None, "tearDownClass": classmethod(tear_down)})
        self.assertEqual((counts, len(ran)), ((1, 0, 1), 2))
        set_up, ran = self.fails(1)
        counts, *_ = self.judge(lambda *_: True, setUpModule=lambda: set_up(None), A={"test_it": lambda _: None})
        self.assertEqual((counts, len(ran)), ((1, 0, 1), 2))

    def test_a_test_that_alone_was_asked_for_is_repeated_alone(self):
        (test, ran), (other, others) = self.fails(1), self.fails(0)
        counts, *_ = self.judge(lambda *_: True, "made_up.A.test_it", A={"test_it": test, "test_other": other})
        self.assertEqual((counts, len(ran), len(others)), ((1, 0, 1), 2, 0))

    def test_a_name_that_is_not_there_has_failed_once(self):
        self.assertEqual(self.judge(lambda *_: True, "made_up.Missing")[0], (0, 1, 0))

    def test_the_end_says_how_often_the_machine_stood_still_and_whether_that_is_known(self):
        for stalls, watchers, wanted in (([Stall(1, 2.5, (0, 1)), Stall(5, 6, (0,))], [1], "2, the longest 1500 ms (CPU 0, 1)"),
                                         ([], [1], "0"), ([], [], "no witness")):
            out = io.StringIO()
            Again(mock.Mock(stood_still=lambda *_: stalls, watchers=watchers), out).closing()
            self.assertEqual(out.getvalue(), f"== lab: stalls of the machine: {wanted}; classes run again: none\n")

    def test_failures_inside_a_test_count_as_one(self):
        def test(case):
            for part in range(3):
                with case.subTest(part):
                    case.assertEqual(part, 1)
        counts, _, said = self.judge(lambda *_: False, A={"test_it": test})
        self.assertEqual((counts, said), ((0, 1, 0), ["made_up.A.test_it\nAssertionError: 0 != 1"]))


class CargoOutput(unittest.TestCase):
    def step(self, code: int, env=None) -> tuple[suite.Tally, str]:
        """A step whose cargo prints this and ends with that code."""
        output = ("   Compiling x v0.1.0\n     Running tests/x\n[port] failed, on purpose\n"
                  "test result: ok. 3 passed; 0 failed; 0 ignored\n")
        if code:
            output += ("failures:\n\n---- a::b stdout ----\nit panicked\n\n\nfailures:\n    a::b\n    a::c\n\n"
                       "test result: FAILED. 1 passed; 2 failed; 0 ignored\n\nerror: test failed, to rerun pass `--lib`\n")
        tally, out = suite.Tally(), io.StringIO()
        with tempfile.TemporaryDirectory() as folder:
            cargo = Path(folder, "cargo")
            cargo.write_text(f"#!/bin/sh\ncat <<'END'\n{output}END\nexit {code}\n")
            cargo.chmod(0o755)
            path = {"PATH": f"{folder}:{os.environ['PATH']}", suite.VERBOSE: ""}
            with mock.patch.dict(os.environ, path | (env or {})), contextlib.redirect_stdout(out):
                suite.cargo(tally, "unit", "test")
        return tally, out.getvalue()

    def test_of_a_step_that_passes_only_headings_are_shown(self):
        tally, shown = self.step(0)
        self.assertEqual((tally.passed, tally.failed), (3, 0))
        self.assertNotIn("on purpose", shown)
        self.assertEqual(len(shown.splitlines()), 4)
        self.assertIn("on purpose", self.step(0, {suite.VERBOSE: "1"})[1])

    def test_of_a_step_that_fails_everything_is_shown_and_the_failed_tests_are_named_first_and_last(self):
        tally, shown = self.step(101)
        told = ["unit: a::b", "unit: a::c", "unit: error: test failed, to rerun pass `--lib`"]
        self.assertEqual((tally.passed, tally.failed, tally.told), (4, 2, told))
        self.assertTrue(0 < shown.index(told[0]) < shown.index("on purpose") < shown.index("it panicked"), shown)
        with contextlib.redirect_stdout(io.StringIO()) as out:
            tally.close(1.0)
        self.assertEqual(out.getvalue().splitlines(),
                         [*(f"failed: {each}" for each in told), "failed in: unit", "(1 s)", "4 passed, 2 failed"])


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
