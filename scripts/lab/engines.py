"""The three engines of a lab: started, asked, watched, ended. Every field name of theirs is read in `Status` alone."""
import contextlib
import json
import os
import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import configfile
from .cgroup import Cgroup
from .shell import ROOT, LabError, run, stop

LCORES = {"a1": 0, "a2": 1, "b1": 1}


def binary() -> Path:
    """The engine: $FORESHIFT_BIN, or what `cargo build` made."""
    if chosen := os.environ.get("FORESHIFT_BIN"):
        return Path(chosen)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return target / "debug" / "foreshift"


def build() -> None:
    """`cargo build` of the engine; cargo shows its own progress."""
    if "FORESHIFT_BIN" not in os.environ:
        done = subprocess.run(["cargo", "build", "-p", "foreshift"], cwd=ROOT)
        if done.returncode:
            raise LabError("cargo build -p foreshift failed")


@dataclass(frozen=True)
class Status:
    """What the lab reads of an engine's status and tunnels; with `Decision`, the only place that knows the fields."""
    unix_ms: float
    started_unix_ms: float
    ready: bool
    owner: bool
    epoch: int
    probability: float | None
    threshold: float
    drift: float | None
    alarm: bool

    @staticmethod
    def of(raw: dict) -> "Status":
        return Status(
            unix_ms=raw["unix_ms"],
            started_unix_ms=raw["unix_ms"] - raw["uptime_ms"],
            ready=raw["ready"],
            owner=raw["owner"],
            epoch=raw["epoch"],
            probability=raw["probability"],
            threshold=raw["threshold"],
            drift=raw["drift"],
            alarm=raw["alarm"])


@dataclass(frozen=True)
class Decision:
    """One decision, its time turned from the engine's clock to the wall's."""
    unix_ms: float
    engine: str
    id: int
    action: str
    rule: str
    outcome: str
    inputs: tuple = ()

    @staticmethod
    def of(raw: dict, engine: str, started_unix_ms: float) -> "Decision":
        return Decision(started_unix_ms + raw["at"] / 1e6, engine, raw["id"], raw["action"], raw["rule"],
                        raw["outcome"], tuple(map(tuple, raw["inputs"])))


class Engine:
    """One engine process inside its namespace."""

    def __init__(self, topo, config: dict, group: Cgroup | None = None):
        self.name, self.group, self._topo = config["engine"]["name"], group, topo
        self.socket, self.log = config["api"]["socket"], topo.dir / f"{self.name}.log"
        self.config = topo.dir / f"{self.name}.toml"
        self.in_pair = "ha" in config
        self.config.write_text(configfile.dumps(config))
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        join = self.group.join() if self.group else []
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self._topo.exec(self.name, *join, str(binary()), "run", "-c", str(self.config)),
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
        self._topo.on_close(stop, self.process, 5.0)

    def ask(self, what: str, timeout: float = 2.0):
        """What `foreshift show WHAT --json` prints, asked over the socket itself: a poll must not cost a process."""
        return self.ask_with({"request": what}, timeout)

    def ask_with(self, request: dict, timeout: float = 2.0):
        """The answer to any request of the API."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(timeout)
            try:
                sock.connect(self.socket)
                sock.sendall(json.dumps(request).encode() + b"\n")
                with sock.makefile() as lines:
                    answer = json.loads(lines.readline() or "{}")
            except (OSError, ValueError) as err:
                raise LabError(f"{self.name} does not answer: {err}") from err
        if "ok" not in answer:
            raise LabError(f"{self.name}: {answer.get('error', 'no answer')}")
        return answer["ok"]

    def command(self, *words: str, timeout: float = 5.0, check: bool = True):
        """A command to the running engine, as a person types it."""
        return run(binary(), *words, "-s", self.socket, timeout=timeout, check=check)

    def status(self) -> Status | None:
        """None: it does not answer (starting, stopped, dead)."""
        with contextlib.suppress(LabError):
            return Status.of(self.ask("status"))
        return None

    def decisions(self) -> list[Decision]:
        with contextlib.suppress(LabError):
            started = Status.of(self.ask("status")).started_unix_ms
            return [Decision.of(d, self.name, started) for d in self.ask("decisions")]
        return []

    def tunnels(self) -> dict[str, dict]:
        """By name: state, outbound_generation, mtu and more."""
        return {t["name"]: t for t in self.ask("tunnels")}

    def packet_counts(self) -> dict:
        """received, originated, transmitted, held, dropped by reason, of all workers since the start; the pools."""
        return self.ask("drops")

    def up(self) -> bool:
        """Ready, and so are its tunnels."""
        with contextlib.suppress(LabError):
            status = self.status()
            return status is not None and status.ready and all(t["state"] == "up" for t in self.tunnels().values())
        return False

    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def last_words(self, lines: int = 15) -> str:
        text = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(f"  {self.name}: {line}" for line in text[-lines:])


class Engines:
    """The engines of one topology. `change(config)` edits each configuration before the start."""

    def __init__(self, topo, change=lambda config: config, limited: tuple[str, ...] = ()):
        self._topo = topo
        (topo.dir / "pki").mkdir()
        run(binary(), "pki", "--out", topo.dir / "pki", *(w for n in topo.engines for w in ("--name", n)))
        self.by_name: dict[str, Engine] = {}
        for name in topo.engines:
            group = Cgroup(f"fs-{topo.id}-{name}") if name in limited else None
            config = change(configfile.place(configfile.load(name), topo.dir, LCORES[name]))
            self.by_name[name] = Engine(topo, config, group)

    def __getitem__(self, name: str) -> Engine:
        return self.by_name[name]

    def __iter__(self):
        return iter(self.by_name.values())

    def start(self, timeout_s: float = 30.0) -> None:
        """Start all and wait until each is ready, its tunnels are up and a1 owns the site."""
        for engine in self:
            engine.start()
        deadline = time.monotonic() + timeout_s
        while waiting := [e.name for e in self if not _settled(e)]:
            dead = [e for e in self if not e.alive()]
            if dead or time.monotonic() > deadline:
                said = "\n".join(e.last_words() for e in (dead or [self[n] for n in waiting]))
                what = "ended" if dead else f"not ready after {timeout_s:.0f} s"
                raise LabError(f"{', '.join(e.name for e in dead) or ', '.join(waiting)}: {what}\n{said}")
            time.sleep(0.1)


def _settled(engine: Engine) -> bool:
    owns = engine.name != "a1" or not engine.in_pair or ((status := engine.status()) is not None and status.owner)
    return owns and engine.up()


class StatusLog:
    """Asks the engines in a thread; `samples[name]` grows. Decisions are kept: their engine may be killed."""

    def __init__(self, engines: Engines, every_s: float = 0.2):
        self.samples: dict[str, list[Status]] = {e.name: [] for e in engines}
        self._decisions: dict[tuple, Decision] = {}
        self._lease_expired: dict[str, int] = {}
        self._engines, self._every_s, self._stop = engines, every_s, threading.Event()
        self._thread = threading.Thread(target=self._loop, daemon=True)
        self._thread.start()

    def last(self, name: str) -> Status | None:
        return self.samples[name][-1] if self.samples[name] else None

    def lease_expired(self, name: str) -> int:
        """Packets that an engine dropped because it was no longer, or not yet again, allowed to forward."""
        return self._lease_expired.get(name, 0)

    def decisions(self) -> list[Decision]:
        return sorted(self._decisions.values(), key=lambda d: d.unix_ms)

    def _loop(self) -> None:
        turn = 0
        while not self._stop.wait(self._every_s):
            turn += 1
            for engine in self._engines:
                if not engine.alive():
                    continue
                if status := engine.status():
                    self.samples[engine.name].append(status)
                if turn % 2 == 0:
                    self._keep(engine)

    def _keep(self, engine: Engine) -> None:
        for d in engine.decisions():
            self._decisions[(d.engine, d.id)] = d  # a decision's outcome may change
        with contextlib.suppress(LabError):
            self._lease_expired[engine.name] = engine.packet_counts()["dropped"].get("lease_expired", 0)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        for engine in self._engines:
            if engine.alive():
                self._keep(engine)
