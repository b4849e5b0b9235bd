"""Sessions survive: TCP connections through NAT44 and a stateful access list go on at the standby, whatever becomes of the
engine that has them, and a standby that starts anew gets them again."""
import json
import signal
import subprocess
import threading

from ..shell import PYTHON, SCRIPTS, stop
from ..topology import HOST_B4
from .base import EngineLab, settle

POOL, PORT, MANY = "198.18.0.1", 5555, 60


def shadowed(config: dict) -> dict:
    """Site A translates and lets pass only what began inside; its engines hold each other's sessions."""
    if config["engine"]["site"] == "b":
        config["route"].append({"prefix": f"{POOL}/32", "group": "site-a"})
        return config
    config["acl"] = {"default": "deny", "rule": [
        {"action": "permit-session", "src": "10.1.0.0/24", "dst": "10.2.0.0/24"},
        {"action": "permit-session", "src": "fd00:a::/64", "dst": "fd00:b::/64"},
        # What the other engine hands over has passed its own rules.
        {"action": "permit", "interface": "site"}]}
    config["sessions"] = {"capacity": 4096}
    config["nat"] = {"inside": ["10.1.0.0/24"], "pool": [POOL]}
    config["shadow"] = {}
    return config


class Talk:
    """The connections between the two hosts, watched."""

    def __init__(self, lab: EngineLab, many: int = MANY):
        script = str(SCRIPTS / "lab" / "connections.py")
        self.live: dict = {}
        self._processes = []
        for node, role, *rest in (("hb", "server"), ("ha", "client", str(many))):
            argv = lab.topo.exec(node, PYTHON, script, role, HOST_B4, str(PORT), *rest)
            process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
            self._processes.append(process)
            lab.topo.on_close(stop, process)
            if not process.stdout.readline():
                raise AssertionError(f"{role} did not start")
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._processes[1].stdout:
            self.live = json.loads(line)

    def flows(self, within_s: float) -> dict:
        """Waits until every connection was answered within the last second or so."""
        return settle(lambda: self.live, lambda live: live.get("silent_ms", 1e9) < 1500, within_s)

    def close(self) -> None:
        for process in reversed(self._processes):
            stop(process)
            process.stdout.close()


class Sessions(EngineLab):
    @classmethod
    def change(cls, config: dict) -> dict:
        return shadowed(super().change(config))

    def shadow(self, name: str) -> dict:
        return self.engines[name].ask("status")["shadow"]

    def live(self, name: str) -> int:
        return self.engines[name].ask("status")["access"]["sessions"]["live"]

    def assert_in_sync(self, name: str) -> dict:
        """Everything of an engine is with its shadow."""
        def there():
            return self.shadow(name)["to"][0]
        row = settle(there, lambda to: to["in_sync"] and not to["pending"], 20.0)
        self.assertTrue(row["in_sync"], row)
        return row

    def assert_talking(self, talk: Talk, when: str, within_s: float = 20.0) -> None:
        live = talk.flows(within_s)
        print(f"{when}: {live['open']} of {MANY} connections talk, ended {live['ended']}, "
              f"longest silence now {live['silent_ms']:.0f} ms", flush=True)
        self.assertEqual((live["open"], live["ended"]), (MANY, []), when)
        self.assertLess(live["silent_ms"], 1500, when)

    def wait_owner(self, name: str) -> None:
        owner = settle(self.engines[name].status, lambda s: s is not None and s.owner and s.ready, 25.0)
        self.assertTrue(owner is not None and owner.owner, self.engines[name].last_words())

    def test_connections_outlive_every_engine_in_turn(self):
        talk = Talk(self)
        self.addCleanup(talk.close)
        self.assert_talking(talk, "\nbefore")
        row = self.assert_in_sync("a1")
        print(f"a1 → a2: lag p50 {row['lag_p50_us']} µs, p99 {row['lag_p99_us']} µs", flush=True)
        self.assertGreaterEqual(self.live("a2"), MANY)

        # The standby starts anew: nobody notices, and it gets everything again.
        standby = self.engines["a2"]
        standby.process.send_signal(signal.SIGKILL)
        standby.process.wait()
        standby.start()
        copied = settle(lambda: (standby.status() and self.shadow("a2")["copied"]) or 0, lambda n: n >= MANY, 25.0)
        self.assertGreaterEqual(copied, MANY, standby.last_words())
        self.assert_in_sync("a1")
        self.assert_talking(talk, "after a cold restart of the standby")
        self.assertTrue(self.engines["a1"].status().owner)

        # Planned: the owner hands everything over.
        settle(lambda: self.engines["a1"].command("drain", check=False).returncode, lambda code: code == 0, 25.0)
        self.wait_owner("a2")
        self.assert_talking(talk, "after a planned handover")
        self.assertGreaterEqual(self.shadow("a2")["adopted"], 1)
        self.assert_in_sync("a2")

        # Sudden: the new owner is killed, and the first one has the sessions back.
        self.engines["a2"].process.send_signal(signal.SIGKILL)
        self.wait_owner("a1")
        self.assert_talking(talk, "after kill -9 of the new owner")
        ports = self.engines["a1"].ask("status")["access"]["nat"]["ports_in_use"]
        self.assertGreaterEqual(ports, MANY, "the bindings came back with the sessions")
