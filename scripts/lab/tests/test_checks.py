"""Application checks in switchovers: servers behind the far site, asked by both engines of a site, each by its own way.

Each engine's host has an interface on the LAN and reaches site B through its own engine's address there: a2's checks leave by a2, whoever
owns the site."""
import shutil
import subprocess
import tempfile
from pathlib import Path

from ..shell import run, stop
from ..topology import HOST_B4, Link, Topology
from ..traffic import Load, Traffic
from .base import EngineLab, settle

WEB, SSH, DB = 8080, 2222, 5432
POSTGRESQL = Path("/usr/lib/postgresql/15/bin")
PROBES = {"a1": ("10.1.0.21", "10.1.0.2"), "a2": ("10.1.0.22", "10.1.0.3")}
# HTTP that says whether it is well, and a server that only listens.
SERVERS = f"""
import http.server, pathlib, socket, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        ill = pathlib.Path(sys.argv[1]).exists()
        self.send_response(503 if ill else 200); self.end_headers(); self.wfile.write(b"ill" if ill else b"all is well")
    def log_message(self, *_): pass
listener = socket.create_server(("", {SSH}))
def accept():
    while True: listener.accept()[0].close()
threading.Thread(target=accept, daemon=True).start()
server = http.server.ThreadingHTTPServer(("", {WEB}), Handler)
print("ready", flush=True)
server.serve_forever()
"""


class Probed(Topology):
    """Beside the engines' ports an interface of each one's host on the LAN."""
    links = Topology.links + (Link("a1", "chk0", "la", "c1", "br-lan"), Link("a2", "chk0", "la", "c2", "br-lan"))

    def _build(self):
        super()._build()
        for node, (address, through) in PROBES.items():
            # The lab keeps the kernel deaf on the engines' ports, and this one looks like one of them.
            run(*self.exec(node, "nft", "delete", "table", "netdev", "deaf"))
            ports = ", ".join(f'"{link.port}"' for link in self.links if link.node == node and link.port not in ("mgmt0", "chk0"))
            run(*self.exec(node, "nft", "-f", "-"), text="table netdev deaf { chain in { type filter hook ingress "
                f"devices = {{ {ports} }} priority 0; policy drop; }}; }}")
            run("ip", "-n", self.ns(node), "-batch", "-", text="\n".join((
                "link set chk0 arp on", f"addr add {address}/24 dev chk0", f"route add 10.2.0.0/24 via {through} dev chk0")))


def check(name: str, port: int, engine: str, **more) -> dict:
    return {"name": name, "address": f"{HOST_B4}:{port}", "interval_ms": 300, "timeout_ms": 1000, "rise": 2, "fall": 2,
            "group": "site-b", "source": PROBES[engine][0], "device": "chk0"} | more


class Checked(EngineLab):
    """Servers behind site B; both engines of site A ask them."""
    topology = Probed

    @classmethod
    def change(cls, config):
        name = config["engine"]["name"]
        config["prediction"] = {"mode": "observe"}
        if name in PROBES:
            config["ha"]["lease_ms"] = 3000  # nothing is to change owner by itself, however long the machine stalls
            config["shift"] = {"steps": [25, 100], "verify_ms": 1000, "watch_seconds": 12}
            config["check"] = [check("web", WEB, name, kind="http", path="/health", status=[200], body="well"),
                               check("ssh", SSH, name, kind="tcp"), *cls.more(name)]
        if name == "a2":
            cls.differ(config)
        return config

    @classmethod
    def more(cls, engine: str) -> list[dict]:
        """Other checks of an engine: none."""
        return []

    @classmethod
    def differ(cls, config) -> None:
        """What is different at the target: nothing."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.illness = cls.topo.dir / "ill"
        cls.servers = subprocess.Popen(cls.topo.exec("hb", "python3", "-c", SERVERS, str(cls.illness)),
                                       stdout=subprocess.PIPE, text=True)
        cls.addClassCleanup(lambda: (stop(cls.servers), cls.servers.stdout.close()))
        cls.servers.stdout.readline()

    def views(self, engine: str, where: str = "here") -> dict[str, str]:
        return {c["name"]: c[where]["state"] for c in self.engines[engine].ask("status")["checks"]}

    def wait_views(self, engine: str, where: str, **wanted: str) -> None:
        seen = settle(lambda: self.views(engine, where), lambda views: views == wanted, within_s=20)
        self.assertEqual(seen, wanted, self.engines[engine].command("show", "checks").stdout)

    def switchover(self, engine: str = "a1") -> dict | None:
        return self.engines[engine].ask("status")["switchover"]

    def owner(self) -> str:
        return self.engines["a1"].ask("status")["site_owner"]


class Reached(Checked):
    """Both reach the applications: a drain goes through, stage by stage, and loses nothing. What is lost later comes back."""

    def test_1_a_drain_goes_through_and_loses_nothing(self):
        for engine, where in (("a1", "here"), ("a1", "there"), ("a2", "here"), ("a2", "there")):
            self.wait_views(engine, where, web="passing", ssh="passing")
        traffic = Traffic(self.topo, Load(pps=200, flows=32))
        self.wait(2)
        self.engines["a1"].command("drain")
        done = settle(self.switchover, lambda s: s["ended_ms"] is not None, within_s=60)
        result = traffic.finish()
        shown = self.engines["a1"].command("show", "switchover").stdout
        print(f"\n{shown}{self.engines['a1'].command('show', 'checks').stdout}", flush=True)
        self.assert_untouched(result, shown)
        stages = [passage["stage"] for passage in done["passages"]]
        self.assertEqual(stages, ["prewarm", "mirror_check", "shift", "verify", "hand_over", "watch", "decommission"], shown)
        self.assertFalse(any(passage["skipped"] for passage in done["passages"]))
        self.assertEqual(self.owner(), "a2")

    def test_2_an_application_that_is_down_for_both_is_not_held_against_the_target(self):
        self.illness.touch()
        self.wait_views("a2", "here", web="failing", ssh="passing")
        self.wait_views("a2", "there", web="failing", ssh="passing")
        self.engines["a1"].command("undrain")
        done = settle(lambda: self.switchover("a2"), lambda s: s and s["ended_ms"] is not None, within_s=60)
        self.assertEqual((done["stage"], self.owner()), ("decommission", "a1"), done)
        told = [d for d in self.engines["a1"].decisions() if d.action == "check web fails"]
        self.assertIn("status 503", told[-1].rule if told else "nothing told")
        self.illness.unlink()
        self.wait_views("a1", "here", web="passing", ssh="passing")
        self.wait_views("a1", "there", web="passing", ssh="passing")

    def test_3_what_is_lost_after_the_handover_comes_back(self):
        self.engines["a1"].command("drain")
        settle(self.switchover, lambda s: s["stage"] == "watch", within_s=30)
        self.assertEqual(self.owner(), "a2")
        # Site B's host no longer hears a2's prober: what leaves by a2 does not arrive.
        table = f"table ip blind {{ chain in {{ type filter hook input priority 0; ip saddr {PROBES['a2'][0]} drop; }}; }}"
        run(*self.topo.exec("hb", "nft", "-f", "-"), text=table)
        try:
            watched = settle(self.switchover, lambda s: s["stage"] != "watch", within_s=12)
            print(f"\n{self.engines['a1'].command('show', 'switchover').stdout}", flush=True)
            self.assertEqual(watched["stage"], "roll_back", watched)
            self.assertIn("fails at a2", watched["passages"][-1]["reason"])
            self.assertEqual(settle(self.owner, lambda owner: owner == "a1", within_s=20), "a1",
                             self.engines["a2"].command("show", "decisions").stdout)
        finally:
            run(*self.topo.exec("hb", "nft", "delete", "table", "ip", "blind"))


class Blocked(Checked):
    """The target's access list keeps it from one application."""

    @classmethod
    def differ(cls, config):
        rule = {"action": "deny", "protocol": "tcp", "dst_ports": str(WEB)}
        config["acl"] = {"default": "permit", "rule": [rule]}

    def test_it_is_refused_with_the_reason_unless_overruled(self):
        self.wait_views("a1", "here", web="passing", ssh="passing")
        self.wait_views("a1", "there", web="failing", ssh="passing")
        refused = self.engines["a1"].command("drain", check=False)
        print(f"\n{refused.stderr}{self.engines['a1'].command('show', 'checks').stdout}", flush=True)
        self.assertNotEqual(refused.returncode, 0)
        for part in ("a2 should not take the traffic", "check web fails at the target", "it passes here"):
            self.assertIn(part, refused.stderr)
        held = [d for d in self.engines["a1"].decisions() if d.action == "hold"]
        self.assertEqual(len(held), 1)
        self.assertIn("check web fails at the target", held[0].rule)
        told = self.engines["a1"].command("explain", str(held[0].id)).stdout
        self.assertIn("an application, or the way to it", told)
        self.assertEqual(self.owner(), "a1")
        self.engines["a1"].command("drain", "--overrule")
        self.assertEqual(settle(self.owner, lambda owner: owner == "a2", within_s=30), "a2")


class LostOnTheWay(Checked):
    """An application ceases to answer the target while traffic moves."""

    @classmethod
    def change(cls, config):
        config = super().change(config)
        if config["engine"]["name"] in PROBES:
            config["shift"]["verify_ms"] = 5000
        return config

    def test_it_is_rolled_back_with_the_reason(self):
        self.wait_views("a1", "here", web="passing", ssh="passing")
        self.wait_views("a1", "there", web="passing", ssh="passing")
        self.engines["a1"].command("drain")
        table = (f"table ip blind {{ chain in {{ type filter hook input priority 0; ip saddr {PROBES['a2'][0]} "
                 f"tcp dport {SSH} drop; }}; }}")
        run(*self.topo.exec("hb", "nft", "-f", "-"), text=table)
        done = settle(self.switchover, lambda s: s["ended_ms"] is not None, within_s=30)
        print(f"\n{self.engines['a1'].command('show', 'switchover').stdout}", flush=True)
        self.assertEqual((done["stage"], self.owner()), ("roll_back", "a1"))
        reason = done["passages"][-1]["reason"]
        self.assertIn("check ssh fails at the target since the traffic moves", reason)
        rolled = [d for d in self.engines["a1"].decisions() if d.outcome == "rolled_back"]
        self.assertEqual([d.rule for d in rolled], [reason])


class Database(Checked):
    """A real PostgreSQL: reachable, refusing while it shuts down, gone."""

    @classmethod
    def more(cls, engine):
        return [check("db", DB, engine, kind="postgresql"), check("query", DB, engine, kind="postgresql", user="probe",
                                                                  database="postgres")]

    def setUp(self):
        super().setUp()
        self.folder = Path(tempfile.mkdtemp(prefix="fs-pg-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        shutil.chown(self.folder, "postgres")
        self.data = self.folder / "data"
        self.postgres("initdb", "-D", self.data, "--auth=trust", "--no-sync", "--locale=C")
        (self.data / "pg_hba.conf").write_text("local all all trust\nhost all probe 0.0.0.0/0 trust\nhost all all 0.0.0.0/0 scram-sha-256\n")
        options = f"-c listen_addresses=* -c port={DB} -c unix_socket_directories={self.folder} -c fsync=off"
        self.postgres("pg_ctl", "-D", self.data, "-w", "-l", self.folder / "log", "-o", options, "start")
        self.addCleanup(self.postgres, "pg_ctl", "-D", self.data, "-m", "immediate", "stop", check=False)
        self.postgres("psql", "-h", self.folder, "-p", str(DB), "-c", "create role probe login", "postgres")

    def command(self, program: str, *argv) -> list[str]:
        """A program of PostgreSQL beside site B's host, as its own user."""
        return self.topo.exec("hb", "setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups",
                              POSTGRESQL / program, *argv)

    def postgres(self, program: str, *argv, check=True):
        return run(*self.command(program, *argv), check=check, timeout=60)

    def reason(self, name: str) -> str:
        return next(c["here"]["reason"] or "" for c in self.engines["a1"].ask("status")["checks"] if c["name"] == name)

    def test_it_is_asked_as_its_protocol_has_it(self):
        self.wait_views("a1", "here", web="passing", ssh="passing", db="passing", query="passing")
        session = subprocess.Popen(self.command("psql", "-h", self.folder, "-p", str(DB), "-c", "select pg_sleep(60)", "postgres"))
        self.addCleanup(stop, session)
        self.wait(2)
        # It waits for the session to end, and says so to everybody else.
        self.postgres("pg_ctl", "-D", self.data, "-m", "smart", "--no-wait", "stop")
        self.wait_views("a1", "here", web="passing", ssh="passing", db="failing", query="failing")
        print(f"\n{self.engines['a1'].command('show', 'checks').stdout}", flush=True)
        for name in ("db", "query"):
            self.assertIn("57P03", self.reason(name))
        self.postgres("pg_ctl", "-D", self.data, "-m", "immediate", "stop")
        gone = settle(lambda: self.reason("db"), lambda reason: "57P03" not in reason, within_s=10)
        self.assertIn("connection refused", gone)


del Checked  # a base, not a test
