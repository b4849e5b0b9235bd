"""`foreshift trace` and `foreshift capture` on a running lab, read back with tshark."""
import contextlib
import json
import re
import subprocess
import time

from ..engines import binary
from ..shell import stop
from .base import FAMILIES, EngineLab, received, settle, tshark

STAGES = ["parse", "decap", "classify", "lookup", "steer", "forward", "encap", "transmit"]
OBSERVED = re.compile(r"packets are being observed")
ENDED = re.compile(r"packets are no longer observed")


class Observe(EngineLab):
    @contextlib.contextmanager
    def watching(self, engine: str, *words: str, stdout=subprocess.PIPE):
        """A trace or capture that runs for the block; yields its process, which is read after the block."""
        log = self.engines[engine].log
        before = len(OBSERVED.findall(log.read_text()))
        process = subprocess.Popen([str(binary()), *words, "-s", self.engines[engine].socket],
                                   stdout=stdout, stderr=subprocess.PIPE)
        self.topo.on_close(stop, process)
        begun = settle(lambda: len(OBSERVED.findall(log.read_text())) > before, bool)
        self.assertTrue(begun, "the engine does not observe")
        yield process

    def finish(self, process, interrupt=False) -> tuple[bytes, str]:
        if interrupt:
            time.sleep(0.3)
            process.send_signal(2)
        out, err = process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0, err.decode())
        return out, err.decode()

    def test_a_trace_shows_the_way_into_a_tunnel_and_out_of_it(self):
        words = ("trace", "--json", "--count", "3", "dst", "host", FAMILIES[0][1], "and", "icmp")
        with self.watching("a1", *words) as into, self.watching("b1", *words) as out:
            self.assertEqual(received(self.ping(FAMILIES[0][1])), 5)
        for process, side in ((into, "a1"), (out, "b1")):
            text, told = self.finish(process)
            traces = [json.loads(line) for line in text.splitlines()]
            self.assertEqual(len(traces), 3)
            self.assertIn("3 packets traced: as many packets as asked for", told)
            for trace in traces:
                steps = {step["stage"]: step for step in trace["steps"]}
                self.assertEqual([s for s in STAGES if s in steps][-1], "transmit")
                self.assertLess(abs(trace["unix_ns"] / 1e9 - time.time()), 60)
                if side == "a1":
                    self.assertEqual(trace["outcome"], {"sent": {"port": "wan0"}})
                    self.assertEqual(steps["steer"]["next"], "tunnel a1-b1")
                    self.assertIn("bucket", steps["steer"])
                    self.assertEqual(steps["encap"]["header"]["protocol"], "esp")
                else:
                    self.assertEqual(trace["outcome"], {"sent": {"port": "lan0"}})
                    self.assertEqual(steps["parse"]["header"]["protocol"], "esp")
                    self.assertEqual(steps["decap"]["tunnel_in"], "b1-a1")
                    self.assertEqual(steps["decap"]["header"]["protocol"], "icmp")
            sequences = [t["steps"][-2 if side == "a1" else 0]["header"]["sequence"] for t in traces]
            self.assertEqual(sequences, sorted(set(sequences)), "ESP sequence numbers increase")

    def test_a_trace_for_people(self):
        with self.watching("a1", "trace", "--count", "1", "icmp", "and", "tunnel", "a1-b1") as process:
            self.ping(FAMILIES[0][1])
        text, _ = self.finish(process)
        for line in (r"  parse     on lan0?, icmp .* > .*", r"  steer     tunnel a1-b1, bucket \d+",
                     r"  encap     .*esp .* spi 0x[0-9a-f]{8} seq \d+", r"  transmit  .*sent by port wan0"):
            self.assertRegex(text.decode(), line)

    def test_captures_of_a_tunnel_inside_and_outside(self):
        for side, shown, hidden in (("inside", "icmp || icmpv6", "esp"), ("outside", "esp", "icmp || icmpv6")):
            with self.subTest(side):
                path = self.topo.dir / f"{side}.pcapng"
                with self.watching("a1", "capture", "--tunnel", "a1-b1", "--side", side, "-w", str(path)) as process:
                    for _, address in FAMILIES:
                        self.assertEqual(received(self.ping(address)), 5)
                _, told = self.finish(process, interrupt=True)
                self.assertRegex(told, r"\d+ packets captured to .*: stopped by the client")
                rows = tshark(path, "-Y", shown, "-e", "frame.interface_name", "-e", "frame.packet_flags_direction",
                              "-e", "frame.time_epoch")
                self.assertGreaterEqual(len(rows), 20)  # and, outside, the probes
                self.assertEqual({row[0] for row in rows}, {"a1-b1"})
                self.assertEqual({int(row[1], 0) for row in rows}, {1, 2})
                self.assertLess(abs(float(rows[0][2]) - time.time()), 60)
                self.assertEqual(tshark(path, "-Y", hidden, "-e", "frame.number"), [])
                self.assertEqual(tshark(path, "-Y", "_ws.malformed", "-e", "frame.number"), [])

    def test_a_capture_of_a_port_pipes_into_tshark(self):
        with self.watching("a1", "capture", "--port", "lan0", "--direction", "rx", "--filter", "icmp6 and "
                           f"dst host {FAMILIES[1][1]}", "--count", "3", "-w", "-") as process:
            reader = subprocess.Popen(["tshark", "-n", "-i", "-", "-T", "fields", "-e", "frame.interface_name",
                                       "-e", "ipv6.dst", "-e", "eth.type"], stdin=process.stdout,
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self.topo.on_close(stop, reader)
            self.assertEqual(received(self.ping(FAMILIES[1][1])), 5)
        rows, _ = reader.communicate(timeout=30)
        process.wait(10)
        self.assertEqual(rows.splitlines(), [f"lan0\t{FAMILIES[1][1]}\t0x86dd"] * 3)
        process.stdout.close()
        process.stderr.close()

    def test_a_capture_of_a_drop_reason(self):
        before = self.engines["a1"].packet_counts()["dropped"].get("no_route", 0)
        path = self.topo.dir / "drops.pcapng"
        with self.watching("a1", "capture", "--drop", "no_route", "--filter", "host 10.9.9.9", "-w",
                           str(path)) as process:
            self.ping("10.9.9.9", check=False)
        self.finish(process, interrupt=True)
        dropped = self.engines["a1"].packet_counts()["dropped"]["no_route"] - before
        rows = tshark(path, "-e", "frame.interface_name", "-e", "frame.comment", "-e", "ip.dst", "-e", "icmp.type")
        self.assertEqual(rows, [["lan0", "dropped: no_route at lookup, worker 0", "10.9.9.9", "8"]] * 5)
        self.assertGreaterEqual(dropped, 5)

    def test_one_client_at_a_time_and_an_abandoned_one_ends(self):
        engine = self.engines["a1"]
        ended = len(ENDED.findall(engine.log.read_text()))
        with self.watching("a1", "trace", "host", "10.77.77.77") as first:
            refused = engine.command("trace", check=False)
            self.assertNotEqual(refused.returncode, 0)
            self.assertIn("another client is tracing or capturing", refused.stderr)
            first.kill()
            first.communicate()
        gone = settle(lambda: len(ENDED.findall(engine.log.read_text())) > ended, bool)
        self.assertTrue(gone, "the engine goes on observing for nobody")
        self.assertEqual(engine.command("trace", "--seconds", "1", "tunnel", "a1-b1", "and", "tcp").stdout, "")

    def test_mistakes_are_told_with_a_remedy(self):
        engine = self.engines["a1"]
        for words, told in ((("trace", "hots", "10.0.0.1"), "column 1: \"hots\" is not a test"),
                            (("trace", "tunnel", "x9"), "no tunnel is called \"x9\"; known: a1-b1"),
                            (("capture", "--port", "lan9", "-w", "/dev/null"), "no port is called \"lan9\""),
                            (("capture", "--drop", "bad_luck"), "invalid value 'bad_luck'")):
            with self.subTest(words):
                done = engine.command(*words, check=False)
                self.assertNotEqual(done.returncode, 0)
                self.assertIn(told, done.stderr)
