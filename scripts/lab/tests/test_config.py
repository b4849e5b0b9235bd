"""What the engines of a site run alike is changed at either of them, at both or at none, while traffic flows; it outlives
restarts and takeovers; and what both were told while apart is a conflict that a person ends."""
import json
import signal

from ..faults import Partition
from ..topology import HOST_B4
from ..traffic import Load, Traffic
from .base import EngineLab, received, settle

PING_DENIED = """\
[acl]
default = "permit"
[[acl.rule]]
action = "deny"
protocol = "icmp"
dst = "10.2.0.0/24"
"""
ROUTES = """\
[[route]]
prefix = "10.2.0.0/24"
group = "site-b"
[[route]]
prefix = "fd00:b::/64"
group = "site-b"
[[route]]
prefix = "{prefix}"
group = "site-b"
"""
SLOWER = """\
[[group]]
name = "site-b"
sla_weight = 2.0
[[group.shaper]]
rate_kbps = 50_000
"""


def sharing(config: dict) -> dict:
    if config["engine"]["site"] == "a":
        config["site"] = {"keep": config["api"]["socket"] + "-site"}
        for tunnel in config["tunnel"]:
            if tunnel["protocol"] == "esp":
                tunnel["shaper"] = {"rate_kbps": 100_000}
    return config


class SharedConfiguration(EngineLab):
    @classmethod
    def change(cls, config: dict) -> dict:
        return sharing(super().change(config))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.partition = Partition(cls.topo)

    def shown(self, name: str) -> dict:
        return json.loads(self.engines[name].command("config", "show", "--json").stdout)

    def state(self, name: str) -> tuple:
        shown = self.shown(name)
        return shown["generation"], shown["relation"]["is"]

    def assert_state(self, generation: int, relation: str = "in_sync", names=("a1", "a2"), within_s: float = 20.0):
        wanted = [(generation, relation)] * len(names)
        seen = settle(lambda: [self.state(n) for n in names], lambda s: s == wanted, within_s)
        self.assertEqual(seen, wanted, [self.engines[n].last_words() for n in names])

    def apply(self, name: str, text: str, *options: str, base: int | None = None):
        """As a person does: what is in force is shown, changed and applied."""
        base = self.shown(name)["generation"] if base is None else base
        path = self.topo.dir / "site.toml"
        path.write_text(f"#! generation {base}\n{text}")
        return self.engines[name].command("config", "apply", str(path), *options, check=False, timeout=15.0)

    def applied(self, name: str, text: str, *options: str) -> str:
        done = self.apply(name, text, *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def refused(self, name: str, text: str, **how) -> str:
        before = {n: self.shown(n)["head"]["revision"] for n in ("a1", "a2")}
        done = self.apply(name, text, **how)
        self.assertNotEqual(done.returncode, 0, done.stdout)
        self.assertEqual({n: self.shown(n)["head"]["revision"] for n in ("a1", "a2")}, before, "something was changed")
        return done.stderr

    def target(self, name: str, address: str) -> str:
        found = json.loads(self.engines[name].command("routes", "show", address, "--json").stdout)
        return found[0]["target"] if found else "none"

    def rate(self, name: str) -> int:
        return next(t["shaper"]["rate_kbps"] for t in self.engines[name].tunnels().values() if t["shaper"])

    def pings(self) -> int:
        return received(self.ping(HOST_B4, "-c", "3", check=False))

    def wait_owner(self, name: str) -> None:
        owner = settle(self.engines[name].status, lambda s: s is not None and s.owner and s.ready, 25.0)
        self.assertTrue(owner is not None and owner.owner, self.engines[name].last_words())

    def restart(self, name: str, how: int) -> None:
        engine = self.engines[name]
        engine.process.send_signal(how)
        engine.process.wait()
        engine.start()
        settle(engine.status, lambda s: s is not None and s.ready, 25.0)

    def test_the_life_of_a_configuration(self):
        self.assert_state(0)
        self.assertEqual(self.pings(), 3)
        self.changed_under_traffic()
        self.refused_whole()
        self.kept_over_restarts_and_takeovers()
        self.changed_while_apart()

    def changed_under_traffic(self) -> None:
        traffic = Traffic(self.topo, Load(download_bps=0, ping_per_s=0))
        self.wait(2)
        told = self.applied("a1", ROUTES.format(prefix="10.9.0.0/24") + PING_DENIED + SLOWER, "--note", "first")
        self.assertIn("generation 1 is in force: at both engines", told)
        self.assert_state(1)
        for name in ("a1", "a2"):
            settle(lambda: self.target(name, "10.9.0.7"), lambda t: t == "group site-b")
            self.assertEqual(self.target(name, "10.9.0.7"), "group site-b")
            self.assertEqual(self.rate(name), 50_000)
        self.assertEqual(self.pings(), 0, "the access list holds on the active")
        # The standby takes a change as well as the active does.
        told = self.applied("a2", ROUTES.format(prefix="10.8.0.0/24") + PING_DENIED + SLOWER)
        self.assertIn("generation 2 is in force: at both engines", told)
        self.assert_state(2)
        for name in ("a1", "a2"):
            settle(lambda: self.target(name, "10.9.0.7"), lambda t: t != "group site-b")
            self.assertNotEqual(self.target(name, "10.9.0.7"), "group site-b", "its route is gone")
            self.assertEqual(self.target(name, "10.8.0.7"), "group site-b")
        self.wait(1)
        result = traffic.finish()
        sent = sum(stream.sent for stream in result.streams)
        print(f"\nchanged at both engines under traffic: {result.total('lost')} of {sent} packets lost", flush=True)
        self.assertEqual((result.total("lost"), result.total("duplicated")), (0, 0))

    def refused_whole(self) -> None:
        why = self.refused("a1", ROUTES.format(prefix="10.7.0.0/24").replace('group = "site-b"', 'group = "site-c"', 1))
        self.assertIn('route[0].group: there is no group "site-c"', why)
        self.assertIn("acl.rule[0].action: \"pass\" is not one", self.refused("a1", '[acl]\n[[acl.rule]]\naction = "pass"\n'))
        self.assertIn("tunnel: belongs to each engine alone", self.refused("a1", '[[tunnel]]\nname = "x"\n'))
        self.assertIn("line 2", self.refused("a2", "\n[[route]\n"))
        self.assertIn("made from generation 1, and 2 is in force", self.refused("a1", PING_DENIED, base=1))
        # The active could take it: its neighbour's address is the standby's own.
        why = self.refused("a1", '[[route]]\nprefix = "10.6.0.0/24"\nvia = "10.1.0.3"\n')
        self.assertIn("refused by a2", why)
        self.assertIn("route[0].via: 10.1.0.3 is this engine itself", why)

    def kept_over_restarts_and_takeovers(self) -> None:
        self.restart("a2", signal.SIGKILL)
        self.assert_state(2)
        self.engines["a1"].process.send_signal(signal.SIGKILL)
        self.engines["a1"].process.wait()
        self.wait_owner("a2")
        self.assertEqual(settle(self.pings, lambda n: n == 0, 10.0), 0, "the access list holds on the new owner")
        # What is changed while the other engine is dead is there when it comes back.
        self.assertIn("is away", self.applied("a2", ROUTES.format(prefix="10.8.0.0/24")))
        self.assertEqual(settle(self.pings, lambda n: n == 3, 10.0), 3, "each engine's file has no access list")
        self.engines["a1"].start()
        settle(self.engines["a1"].status, lambda s: s is not None and s.ready, 25.0)
        self.assert_state(3)
        kept = json.loads(self.engines["a1"].command("config", "history", "--json").stdout)
        self.assertEqual([revision["generation"] for revision in kept], [3, 2, 1])
        told = self.engines["a1"].command("config", "rollback", "1", timeout=15.0).stdout
        self.assertIn("generation 4 is in force: at both engines", told)
        self.assertEqual(self.shown("a2")["head"]["revision"]["note"], "rollback to 1")

    def changed_while_apart(self) -> None:
        self.partition.part("a1", "a2")
        try:
            self.assert_state(4, "away")
            self.applied("a1", ROUTES.format(prefix="10.5.0.0/24"))
            self.applied("a2", ROUTES.format(prefix="10.4.0.0/24"))
        finally:
            self.partition.heal()
        self.assert_state(5, "conflict")
        for name, prefix in (("a1", "10.5.0.7"), ("a2", "10.4.0.7")):
            self.assertEqual(self.target(name, prefix), "group site-b", "each goes on with what it has")
            self.assertIn("CONFLICT", self.engines[name].command("config", "show").stdout)
        self.assertIn('+prefix = "10.4.0.0/24"', self.engines["a1"].command("config", "diff", "--theirs").stdout)
        self.assertIn("`config resolve` comes first", self.refused("a1", PING_DENIED))
        told = self.engines["a1"].command("config", "resolve", "--take", "theirs", timeout=15.0).stdout
        self.assertIn("generation 6 is in force: at both engines", told)
        self.assert_state(6)
        self.assertEqual(self.shown("a1")["text"], self.shown("a2")["text"])
        settle(lambda: self.target("a1", "10.4.0.7"), lambda t: t == "group site-b")
        self.assertEqual(self.target("a1", "10.4.0.7"), "group site-b")
