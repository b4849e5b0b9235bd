"""The commands a person types, against files and a running lab."""
import json
import unittest

from ..engines import binary
from ..shell import ROOT, run
from .base import EngineLab


class Check(unittest.TestCase):
    def test_check_accepts_every_file_in_configs(self):
        files = sorted((ROOT / "configs").rglob("*.toml"))
        self.assertTrue(files)
        for file in files:
            with self.subTest(file.name):
                run(binary(), "check", "-c", file)

    def test_check_names_the_path_and_the_remedy(self):
        done = run(binary(), "check", "-c", "/dev/null", check=False)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("engine", done.stdout + done.stderr)


class Commands(EngineLab):
    def test_show_prints_for_people_and_for_programs(self):
        for what in ("status", "ports", "tunnels", "workers", "drops", "shifts", "decisions"):
            with self.subTest(what):
                self.assertTrue(self.engines["a1"].command("show", what).stdout.strip())
                json.loads(self.engines["a1"].command("show", what, "--json").stdout)

    def test_drain_and_undrain_move_the_traffic_without_loss(self):
        from ..traffic import Load, Traffic
        from .base import settle
        traffic = Traffic(self.topo, Load())
        self.wait(3)
        self.engines["a1"].command("drain")
        moved = settle(self.engines["a2"].status, lambda s: s is not None and s.owner, within_s=20)
        self.wait(2)
        result = traffic.finish()
        self.assertTrue(moved.owner)
        self.assert_untouched(result)
        self.engines["a1"].command("undrain")

    def test_sigterm_ends_it_cleanly(self):
        engine = self.engines["a2"]
        engine.process.terminate()
        self.assertEqual(engine.process.wait(10), 0)
        self.assertIn("a1", [e.name for e in self.engines if e.alive()])
