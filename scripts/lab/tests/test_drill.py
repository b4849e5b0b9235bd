"""Failovers are rehearsed under traffic, by a person's word and by an alarm that nothing is behind; both are explained afterwards."""
from ..traffic import Load, Traffic
from .base import EngineLab, settle

STAY_S = 2


class Drill(EngineLab):
    @classmethod
    def change(cls, config):
        config["prediction"]["mode"] = "auto"
        return config

    def test_there_and_back_costs_nothing_and_is_explained(self):
        traffic = Traffic(self.topo, Load(pps=400, flows=64))
        self.wait(2)
        # After any move prediction keeps still for a while; a person is asked to wait a moment only.
        said = [self._drill("prediction"), self._drill("planned")]
        self.wait(1)
        result = traffic.finish()
        print(f"\n{said[0]}", flush=True)
        for text in said:
            self.assertIn("a2 owns the site after", text)
            self.assertIn("a1 owns the site after", text)
        self.assert_untouched(result)
        decisions = self.engines["a1"].decisions()
        rehearsed = next(d for d in decisions if d.action == "shift a1 -> a2" and d.rule.startswith("probability"))
        told = self.engines["a1"].command("explain", str(rehearsed.id)).stdout
        print(told, flush=True)
        for part in (f"decision {rehearsed.id}", "probability 1.000", "rehearsal 1.000", "shift a1 -> a2 complete",
                     "somebody wanted it"):
            self.assertIn(part, told)
        last = self.engines["a1"].command("explain").stdout
        self.assertIn("somebody wanted it", last)
        refused = self.engines["a2"].command("drill", check=False)
        self.assertIn("is owned by a1: rehearse there", refused.stderr)
        unknown = self.engines["a1"].command("explain", "4711", check=False)
        self.assertIn("4711 is not known", unknown.stderr)

    def _drill(self, fault: str) -> str:
        # A standby that has only just started, or handed over, is no target yet: nothing was moved, and the reason is told.
        done = settle(lambda: self.engines["a1"].command("drill", "--fault", fault, "--stay", str(STAY_S), timeout=120, check=False),
                      lambda done: "nothing was moved" not in done.stderr, within_s=15)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done.stdout
