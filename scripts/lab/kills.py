"""scripts/kills: real engines are killed, paused, cut off and drained in turn, and no nonce may repeat.

Each round does one of these to whoever owns site A, under traffic, and waits until the other engine owns it and until all
is whole again. All ESP on the WAN is captured, the engines write down their keys, and an oracle that shares no code with
them looks at every packet at the end (lab/nonces.py). Needs root: it makes namespaces, and removes them."""
import argparse
import contextlib
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field

from . import nonces
from .engines import Engines, build
from .faults import Partition
from .shell import LabError, stop
from .topology import Topology
from .traffic import Load, Traffic

# The cuts are those of `Partition`: each is one direction of the management network.
HAZARDS = ("kill", "pause", "deaf", "mute", "failback")
SITE_A = ("a1", "a2")
WITHIN_S, REKEY_S = 60.0, 30
LOAD = Load(pps=150, flows=8, download_bps=0, ping_per_s=0)


@dataclass
class Campaign:
    """What was done, and what the oracle says."""
    rounds: list[str] = field(default_factory=list)
    takeovers: int = 0
    keys: int = 0
    dropped: int = 0  # packets that tcpdump itself did not see
    verdict: nonces.Verdict | None = None

    def __str__(self) -> str:
        done, seen = Counter(self.rounds), self.verdict
        what = ", ".join(f"{n} x {hazard}" for hazard, n in done.items())
        return (f"{len(self.rounds)} rounds ({what}), ownership moved {self.takeovers} times\n"
                f"{seen.packets} ESP packets under {self.keys} keys, {seen.nonces} nonces: {len(seen.repeats)} repeated; "
                f"{seen.copies} packets seen twice, {seen.forged} that opened under no key, {seen.unknown_spi} of unknown "
                f"SPIs, {self.dropped} missed by the capture")


def key_file(topo, engine: str):
    """Where an engine of the lab writes its keys."""
    return topo.dir / f"{engine}.esp_sa"


def sas(topo) -> list[nonces.Sa]:
    """Every SA that any life of any engine had: lines of Wireshark's table (engine/src/peer/key_log.rs)."""
    found = {}
    for engine in topo.engines:
        for line in key_file(topo, engine).read_text().splitlines():
            _, _, _, spi, _, key, *_ = re.findall(r'"([^"]*)"', line)
            found[spi, key] = nonces.Sa(int(spi, 16), bytes.fromhex(key.removeprefix("0x")), esn=True)
    return list(found.values())


class Rounds:
    """A lab in which site A changes hands. A context manager: entered, the engines are ready and traffic flows."""

    def __init__(self, seed: int, topology=Topology):
        self.topo, self._rng, self._exits = topology(), random.Random(seed), contextlib.ExitStack()
        self.done = Campaign()

    def __enter__(self) -> "Rounds":
        try:
            self._exits.enter_context(self.topo)
            self.engines = Engines(self.topo, self._change)
            self.engines.start(WITHIN_S)
            self.topo.wait_path()
            self._partition = Partition(self.topo)
            self._start_capture()
            self._traffic = Traffic(self.topo, LOAD)
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(self, *_):
        self._exits.close()

    def _change(self, config: dict) -> dict:
        config["prediction"] = {"mode": "observe"}
        config["debug"] = {"export_esp_keys": str(key_file(self.topo, config["engine"]["name"]))}
        # Keys are renewed meanwhile, too.
        for tunnel in config["tunnel"]:
            if tunnel["protocol"] == "esp":
                tunnel["rekey_seconds"] = REKEY_S
        return config

    def _start_capture(self) -> None:
        """Of b1's port at the WAN bridge: all tunnels end there."""
        self._pcap = self.topo.dir / "esp.pcap"
        self._tcpdump = subprocess.Popen(
            self.topo.exec("wan", "tcpdump", "-U", "-n", "-B", "32768", "-i", "wb", "-w", str(self._pcap), "-Z", "root",
                           "ip proto 50 or ip6 proto 50"), stderr=subprocess.PIPE, text=True)
        self.topo.on_close(stop, self._tcpdump)
        self._tcpdump.stderr.readline()  # "listening on": the socket is open

    def owner(self) -> str | None:
        """Who owns site A by its own account."""
        for name in SITE_A:
            status = self.engines[name].status()
            if status and status.owner:
                return name
        return None

    def _wait(self, what: str, good) -> None:
        deadline = time.monotonic() + WITHIN_S
        while not good():
            if time.monotonic() > deadline:
                said = "\n".join(engine.last_words() for engine in self.engines)
                raise LabError(f"not within {WITHIN_S:.0f} s: {what}\n{said}")
            time.sleep(0.2)

    def _whole(self) -> bool:
        """Every engine is ready, its tunnels are up, and one owns the site."""
        for engine in self.engines:
            status = engine.status()
            if status is None or not status.ready:
                return False
            if any(tunnel["state"] != "up" for tunnel in engine.tunnels().values()):
                return False
        return self.owner() is not None

    def round(self, hazard: str) -> str:
        """One hazard for the owner, until the other engine owns the site and all is whole; what it was."""
        self._wait("all is whole", self._whole)
        old = self.owner()
        new = SITE_A[1 - SITE_A.index(old)]
        took_over = f"{new} owns site a after {hazard} of {old}"
        engine, moved = self.engines[old], lambda: self.engines[new].status() and self.engines[new].status().owner
        if hazard == "kill":
            engine.process.send_signal(signal.SIGKILL)
            engine.process.wait()
            self._wait(took_over, moved)
            engine.start()
        elif hazard == "pause":
            engine.process.send_signal(signal.SIGSTOP)
            self._wait(took_over, moved)
            engine.process.send_signal(signal.SIGCONT)
        elif hazard == "failback":
            self._wait("the owner lets go", lambda: engine.command("drain", check=False).returncode == 0)
            self._wait(took_over, moved)
        else:
            self._partition.cut(old, hazard)
            try:
                self._wait(took_over, moved)
            finally:
                self._partition.heal()
        time.sleep(self._rng.uniform(0.5, 1.5))
        self.done.rounds.append(hazard)
        self.done.takeovers += 1
        return f"{hazard} of {old}: {new} owns site a"

    def judge(self) -> Campaign:
        """All is captured: what the oracle says."""
        self._wait("all is whole", self._whole)
        self._traffic.finish()
        time.sleep(0.5)
        self._tcpdump.send_signal(signal.SIGINT)
        said = self._tcpdump.stderr.read()
        self._tcpdump.wait(10)
        self.done.dropped = int(re.search(r"(\d+) packets dropped by kernel", said)[1])
        found = sas(self.topo)
        self.done.keys = len({sa.keymat for sa in found})
        self.done.verdict = nonces.check([self._pcap], found)
        return self.done


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/kills", description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    build()
    with Rounds(args.seed) as lab:
        for n in range(args.rounds):
            print(f"round {n + 1}: {lab.round(HAZARDS[n % len(HAZARDS)])}", flush=True)
        done = lab.judge()
    print(done)
    return 0 if done.verdict.clean and done.verdict.forged == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
