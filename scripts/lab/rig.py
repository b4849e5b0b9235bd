"""The light lab that recordings are made in: one engine at each of two sites, joined by a link that can be made worse.

    hostA -- a1 -- relay (WAN) -- b1 -- hostB          a1 -- b1 (management)

a1 is what is recorded and harmed, in a cgroup of its own; b1 is its peer and is recorded beside it.
"""
import contextlib
import json
import subprocess
from pathlib import Path

from . import configfile
from .cgroup import Cgroup
from .engines import Engines
from .shell import PYTHON, LabError, run
from .topology import HOST_B4, Link, Topology

RELAY = Path(__file__).with_name("relay.py")
SLEEP_US = 400  # several labs share the machine's cores; 100 in the first two sessions


class RigTopology(Topology):
    """Five namespaces; the WAN is no bridge but the relay."""
    links = (
        Link("a1", "lan0", "ha", "eth0", None),
        Link("a1", "wan0", "wan", "wa", None),
        Link("b1", "wan0", "wan", "wb", None),
        Link("b1", "lan0", "hb", "eth0", None),
        Link("a1", "mgmt0", "b1", "mgmt0", None),
    )
    nodes = ("ha", "a1", "wan", "b1", "hb")
    engines = ("a1", "b1")


def alone(config: dict) -> dict:
    """An engine of the demo's lab without its site's other engine."""
    kept = {"a1": "b1", "b1": "a1"}[config["engine"]["name"]]
    for section in ("ha", "gateway"):
        config.pop(section, None)
    config["port"] = [p for p in config["port"] if p["name"] != "site0"]
    config["interface"] = [i for i in config["interface"] if i["port"] != "site0"]
    if kept == "b1":  # the address that the gateway would have
        config["interface"][0]["addresses"] = ["10.1.0.1/24", "fd00:a::1/64"]
    config["control"].pop("votes_for", None)
    config["peer"] = [p for p in config["peer"] if p["name"] == kept]
    config["tunnel"] = [t for t in config["tunnel"] if t["peer"] == kept]
    names = {t["name"] for t in config["tunnel"]}
    for group in config["group"]:
        group["members"] = [m for m in group["members"] if m in names]
    config["dpdk"]["idle"]["sleep_us"] = SLEEP_US
    config["debug"] = {"faults": True}
    config["prediction"] = {"mode": "observe"}
    config["port"] = [p | {"device": p["device"] + ",qdisc_bypass=0"} for p in config["port"]]
    return config


class Rig:
    """A context manager: entered, the engines are ready and the hosts reach each other. `record` names each one's file."""

    def __init__(self, record: dict[str, Path], seed: int):
        self.topo = RigTopology()
        self._record, self._seed = record, seed
        self._exits = contextlib.ExitStack()

    def __enter__(self) -> "Rig":
        try:
            self._exits.enter_context(self.topo)
            self._relay = subprocess.Popen(self.topo.exec("wan", PYTHON, str(RELAY), "wa", "wb", str(self._seed)),
                                           stdin=subprocess.PIPE, text=True)
            self._exits.callback(self._end_relay)
            self.engines = Engines(self.topo, self._change, limited=("a1",))
            self.engines.start(60.0)
            self.topo.wait_path()
            run(*self.topo.exec("ha", "ping", "-q", "-c", "5", "-i", "0.02", HOST_B4), check=False)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_):
        self._exits.close()

    def _change(self, config: dict) -> dict:
        config = alone(config)
        config["telemetry"] = {"record": str(self._record[config["engine"]["name"]])}
        return config

    def _end_relay(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._relay.stdin.close()
        self._relay.terminate()
        self._relay.wait()

    @property
    def group(self) -> Cgroup:
        """The cgroup of a1."""
        return self.engines["a1"].group

    def wan(self, **way: float) -> None:
        """Change the link; relay.py says how."""
        try:
            self._relay.stdin.write(json.dumps(way) + "\n")
            self._relay.stdin.flush()
        except BrokenPipeError as err:
            raise LabError("the relay has ended") from err

    def fault(self, what: str, level: int) -> None:
        """A fault inside a1, see `foreshift fault`; a dead engine is not asked."""
        engine = self.engines["a1"]
        if engine.alive():
            with contextlib.suppress(LabError):  # it may die of it, or be too slow to answer
                engine.ask_with({"request": "fault", "fault": what, "level": level})

    def shape(self, bits_per_s: float | None, port: str = "wan0") -> None:
        """Bound what leaves a1 by a port; its frames wait in the kernel and then in a1."""
        argv = ["tc", "qdisc", "replace", "dev", port, "root", "tbf", "rate", f"{int(bits_per_s)}bit",
                "burst", "3200", "limit", "60000"] if bits_per_s else ["tc", "qdisc", "del", "dev", port, "root"]
        run(*self.topo.exec("a1", *argv), check=bits_per_s is not None)


