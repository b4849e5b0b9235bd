"""The state store between machines: three members of etcd with TLS, killed under traffic. Packets never notice; planned
moves wait for it, with the reason; back, all engines have the same state."""
import time
from pathlib import Path

from .. import etcd
from ..traffic import Load, Traffic
from .base import EngineLab, settle

INTENT = "/foreshift/v1/lab/site/a/intent"


class SharedState(EngineLab):
    @classmethod
    def change(cls, config: dict) -> dict:
        folder = Path(config["api"]["socket"]).parent
        config = super().change(config)
        config["cluster"] = etcd.section(folder, config["engine"]["name"])
        return config

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # The engines run already: a store that is not there keeps none of them from starting and from forwarding.
        cls.etcd = etcd.Etcd(cls.topo)

    def store(self, name: str) -> dict:
        return self.engines[name].ask("status")["store"]

    def records(self, name: str) -> dict:
        return {r["key"]: r for r in self.engines[name].ask("cluster")["records"]}

    def wait_store(self, ready: bool, within_s: float = 20.0) -> float:
        """Until every engine says so; how long that took."""
        begin = time.monotonic()
        said = settle(lambda: [self.store(e.name)["ready"] for e in self.engines], lambda s: set(s) == {ready}, within_s)
        self.assertEqual(set(said), {ready}, [self.store(e.name) for e in self.engines])
        return time.monotonic() - begin

    def assert_converged(self, owner: str) -> None:
        """Every engine has the same records, all engines are alive in them, and the intent is the owner's."""
        def views():
            return [{k: (r["revision"], r["record"]) for k, r in self.records(e.name).items()
                     if not k.endswith(("/health", "/risk"))} for e in self.engines]

        def same(seen):
            return all(v == seen[0] for v in seen) and seen[0].get(INTENT, (0, {}))[1].get("owner") == owner
        seen = settle(views, same, 15.0)
        self.assertTrue(same(seen), seen)
        intent = seen[0][INTENT][1]
        self.assertEqual(intent["epoch"], self.engines[owner].status().epoch)
        self.assertEqual(sum(share["buckets"] for share in intent["shares"]), 65_536)
        for engine in self.engines:
            self.assertIn(f"/foreshift/v1/lab/engine/{engine.name}/health", self.records(engine.name))

    def drain(self, name: str, command: str = "drain"):
        done = self.engines[name].command(command, check=False)
        return done.returncode, done.stdout + done.stderr

    def shift_percent(self, name: str) -> int:
        switchover = self.engines[name].ask("status")["switchover"]
        return switchover["percent"] if switchover and switchover["moving"] else 0

    def shifted(self) -> int:
        """Asks for a shift again where none is under way: one was refused, or given up, as the machine stalled."""
        percent = self.shift_percent("a1")
        if not percent:
            self.drain("a1")
        return percent

    def test_the_store_comes_goes_and_comes_back(self):
        code, refused = self.drain("a1")
        self.assertNotEqual(code, 0)
        self.assertIn("state store", refused)
        self.etcd.start()
        leader = self.etcd.wait_leader()
        print(f"\nthree members, leader {leader}; engines ready after {self.wait_store(True):.1f} s", flush=True)
        self.assert_converged("a1")

        print("the leader is killed during a shift: ", end="", flush=True)
        traffic = Traffic(self.topo, Load())
        self.wait(1)
        self.assertGreaterEqual(settle(self.shifted, lambda percent: percent >= 25, 20.0), 25, "the shift does not go on")
        self.etcd.kill(leader)
        self.hand_over("a1", "drain", to="a2")
        self.wait(1)
        result = traffic.finish()
        print(result, flush=True)
        self.assert_untouched(result)
        self.etcd.wait_leader()
        self.wait_store(True)
        self.assert_converged("a2")
        self.etcd.start(leader)

        print("all three are gone: ", end="", flush=True)
        traffic = Traffic(self.topo, Load())
        self.wait(5)  # nothing goes back to who has just handed over
        self.etcd.kill()
        noticed = self.wait_store(False)
        code, refused = self.drain("a2")
        print(f"noticed after {noticed:.1f} s; drain: {refused.strip()!r}; ", end="", flush=True)
        self.assertNotEqual(code, 0)
        self.assertIn("planned moves wait", refused)
        code, refused = self.drain("a1", "undrain")
        self.assertNotEqual(code, 0)
        self.assertIn("planned moves wait", refused)
        self.wait(3)
        result = traffic.finish()
        print(result, flush=True)
        self.assert_untouched(result)
        self.assertIn("state store lost", [d.action for d in self.engines["a2"].decisions()])

        self.etcd.start()
        self.etcd.wait_leader()
        back = self.wait_store(True)
        print(f"back: engines ready after {back:.1f} s", flush=True)
        self.assert_converged("a2")
        self.hand_over("a1", "undrain", to="a1")
        self.assert_converged("a1")
        self.assertEqual(self.engines["a1"].command("show", "cluster").returncode, 0)
