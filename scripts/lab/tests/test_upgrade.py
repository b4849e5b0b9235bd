"""A site is upgraded under traffic: the engine that is to be replaced hands over, ends, comes back as another process, and takes
its site back; then the other one. Nothing is lost, reordered or duplicated."""
import signal
import time

from ..shell import now_ms
from ..traffic import Load, Traffic
from .base import EngineLab

PATIENCE_S = 40.0


class Upgrade(EngineLab):
    def test_both_engines_of_a_site_are_replaced_under_traffic(self):
        processes = {name: self.engines[name].process.pid for name in ("a1", "a2")}
        self.steps: list[tuple] = []
        traffic, begin = Traffic(self.topo, Load(pps=400, flows=64)), time.monotonic()
        self.wait(2)
        self._hand_over("a1", "drain", to="a2")
        self._replace("a1")
        self._hand_over("a1", "undrain", to="a1")
        self._replace("a2")
        self.wait(2)
        result, took = traffic.finish(), time.monotonic() - begin
        print(f"\n  both engines of the site replaced in {took:.0f} s: {result}", flush=True)
        for name, before in processes.items():
            self.assertNotEqual(self.engines[name].process.pid, before)
        self.assertTrue(self.engines["a1"].status().owner)
        self.assert_untouched(result, self.steps)

    def _step(self, *what: str) -> None:
        self.steps.append((round(now_ms()), *what))

    def _hand_over(self, asked: str, command: str, to: str) -> None:
        self.hand_over(asked, command, to, PATIENCE_S)
        self._step(to, "owns")

    def _replace(self, name: str) -> None:
        engine = self.engines[name]
        self._step(name, "told to end")
        engine.process.send_signal(signal.SIGTERM)
        engine.process.wait(PATIENCE_S)
        self._step(name, "gone")
        engine.start()
        self.assert_up(engine, PATIENCE_S)
