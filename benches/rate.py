"""The no-drop rate of an engine over memif (RFC 2544 §26.1), the latency at shares of it (§26.2), and a soak."""

import argparse
import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .measure import Failed, end_with_parent, prefer

MAC = "02:00:00:00:01:00"
START_S = 30
# Search until the interval is this share of the rate.
RESOLUTION = 0.02
# A trial in which the generator itself stood still for longer than its queues last says nothing about the engine.
STALL_US_MAX = 1000
RETRIES = 3
SHARES = (0.1, 0.5, 0.9)
SOAK_SHARE = 0.95

ENGINE = """\
[engine]
name = "bench"
site = "a"

[dpdk]
cores = [{core}]
control_core = {other}
idle = {{ mode = "spin" }}
memory_mb = 512
mbufs = 69632

[[port]]
name = "lan0"
device = "{lan},mac={mac}"
descriptors = 16384

[[port]]
name = "wan0"
device = "{wan}"
descriptors = 16384

[[interface]]
name = "lan"
port = "lan0"
addresses = ["10.1.0.1/24"]

[[interface]]
name = "wan"
port = "wan0"
addresses = ["192.0.2.1/24"]

[[route]]
prefix = "10.2.0.0/24"
via = "192.0.2.2"

[prediction]
mode = "observe"

[api]
socket = "{folder}/api.sock"
"""


def device(number: int, name: str, role: str, folder: Path) -> str:
    return f"net_memif{number},role={role},id={number},socket={folder}/{name}.sock,socket-abstract=no,rsize=14"


class Engine:
    """`foreshift run` between two memif ports: one worker, plain forwarding."""

    def __init__(self, options: argparse.Namespace, folder: Path):
        self.options, self.folder = options, folder
        config = folder / "engine.toml"
        config.write_text(ENGINE.format(core=options.core, other=options.generator_core, mac=MAC, folder=folder,
                                        lan=device(0, "lan", "server", folder), wan=device(1, "wan", "server", folder)))
        self.log = folder / "engine.log"
        with self.log.open("w") as output:
            self.process = subprocess.Popen([str(options.foreshift), "run", "-c", str(config)], stdout=output,
                                            stderr=subprocess.STDOUT, preexec_fn=end_with_parent)

    def __enter__(self) -> "Engine":
        deadline = time.monotonic() + START_S
        while not (self.folder / "api.sock").exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.__exit__()
                raise Failed(f"the engine did not start\n{self.log.read_text()[-2000:]}")
            time.sleep(0.1)
        self.prioritise()
        return self

    def prioritise(self) -> None:
        """The worker before everything else of the engine, whose control shares a core with the generator."""
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            worker = "worker" in (task / "comm").read_text()
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, int(task.name), -20 if worker else -10)

    def __exit__(self, *_) -> None:
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def counters(self) -> dict:
        """What `foreshift show drops` says: every packet accounted for, and the pools."""
        command = [str(self.options.foreshift), "show", "drops", "--json", "-s", f"{self.folder}/api.sock"]
        for _ in range(10):  # a busy machine may starve the engine's API for seconds
            ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
            if ran.returncode == 0:
                return json.loads(ran.stdout)
            time.sleep(0.5)
        raise Failed(f"{' '.join(command)}\n{ran.stderr[-2000:]}\n{self.log.read_text()[-1000:]}")

    def load(self, rate: float, seconds: float) -> dict:
        """Offers traffic for so long; what came of it, with the engine's own drops."""
        before = self.counters()
        command = [str(self.options.generator), "load", "--json", "--rate", str(round(rate)), "--seconds",
                   str(seconds), "--size", str(self.options.size), "--gateway-mac", MAC, "--core",
                   str(self.options.generator_core), "--tx", device(0, "lan", "client", self.folder), "--rx",
                   device(1, "wan", "client", self.folder)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60,
                             preexec_fn=lambda: os.nice(-20))
        if ran.returncode != 0:
            raise Failed(f"{' '.join(command)}\n{ran.stderr[-2000:]}\n{self.log.read_text()[-1000:]}")
        result = json.loads(ran.stdout.splitlines()[-1])
        after = self.counters()
        result["engine_dropped"] = {reason: count - before["dropped"].get(reason, 0)
                                    for reason, count in after["dropped"].items()
                                    if count != before["dropped"].get(reason, 0)}
        result["engine_balance"] = after["balance"]
        return result


def trial(engine: Engine, rate: float, seconds: float) -> dict:
    """One trial that the generator got through without a stall, or the best of a few that it did not."""
    tries = []
    for _ in range(RETRIES):
        tries.append(engine.load(rate, seconds))
        if tries[-1]["lost"] == 0 and tries[-1]["skipped"] == 0:
            break
        if tries[-1]["stall_us_max"] <= STALL_US_MAX:
            break
    result = min(tries, key=lambda one: one["lost"] + one["skipped"])
    print(f"  {rate / 1e6:8.3f} Mpps for {seconds:4.0f} s: lost {result['lost']}, skipped {result['skipped']}, "
          f"stall {result['stall_us_max']:.0f} µs, latency p50 {result['latency_ns']['p50']} ns "
          f"p99 {result['latency_ns']['p99']} ns", file=sys.stderr, flush=True)
    return result


def search(engine: Engine, options: argparse.Namespace) -> tuple[float, list[dict]]:
    """The highest rate without a loss, by halving; 0 if there is none."""
    low, high, trials = 0.0, options.max_mpps * 1e6, []
    while high - low > RESOLUTION * high:
        rate = (low + high) / 2
        if rate < 1000:
            break
        trials.append(trial(engine, rate, options.trial_seconds))
        passed = trials[-1]["lost"] == 0 and trials[-1]["skipped"] == 0
        low, high = (rate, high) if passed else (low, rate)
    return low, trials


def unaccounted(soak: dict) -> int:
    """Packets lost that neither side can say where: not refused at the queue, not dropped by the engine for a reason."""
    # The engine's own drops can be more: it counts what others than the generator sent, too.
    return max(0, soak["lost"] - soak["refused"] - soak["no_buffer"] - sum(soak["engine_dropped"].values()))


def report(result: dict) -> str:
    """What a person reads."""
    rate = result["no_drop_pps"]
    lines = [f"No-drop rate, {result['size']} byte frames, one worker between two memif ports: {rate / 1e6:.2f} Mpps",
             "", "| share of it | p0 | p10 | p50 | p90 | p99 | p99.9 | max, RX→TX and both memif rings, µs |",
             "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for one in result["latency"]:
        at = one["latency_ns"]
        cells = [f"{at[key] / 1e3:.1f}" for key in ("p0", "p10", "p50", "p90", "p99", "p99.9", "max")]
        lines.append(f"| {one['share']:.0%} | " + " | ".join(cells) + " |")
    if soak := result.get("soak"):
        lines += ["", f"{soak['seconds']:.0f} s at {SOAK_SHARE:.0%}: {soak['offered']} offered, {soak['lost']} lost, "
                  f"{soak['refused']} of them refused by a full queue, {sum(soak['engine_dropped'].values())} dropped "
                  f"by the engine for a reason it counts, {soak['unaccounted']} unaccounted for; "
                  f"buffers in use afterwards: {soak['pool_in_use']} of {soak['pool_size']}"]
    return "\n".join(lines)


def soak(engine: Engine, rate: float, seconds: float) -> dict:
    """A long run, after which every packet is accounted for and every buffer is back."""
    result = engine.load(SOAK_SHARE * rate, seconds)
    time.sleep(2)
    pools = engine.counters()["pools"]
    result |= {"seconds": seconds, "pool_in_use": sum(pool["in_use"] for pool in pools),
               "pool_size": sum(pool["size"] for pool in pools), "unaccounted": unaccounted(result)}
    return result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench --no-drop-rate", description=__doc__)
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--no-drop-rate", action="store_true", help="search for it (always done)")
    parser.add_argument("--soak", nargs="?", type=float, const=600.0, metavar="SECONDS",
                        help="afterwards, 95 %% of it for so long (default: 600)")
    parser.add_argument("--size", type=int, default=64, help="frame size (default: %(default)s)")
    parser.add_argument("--trial-seconds", type=float, default=5.0, help="of each trial (default: %(default)s)")
    parser.add_argument("--max-mpps", type=float, default=8.0, help="where the search begins (default: %(default)s)")
    parser.add_argument("--core", type=int, default=cores[0], help="the worker's CPU (default: %(default)s)")
    parser.add_argument("--generator-core", type=int, default=cores[-1],
                        help="CPU of the generator and of the engine's control (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("target/bench"), help="folder (default: %(default)s)")
    parser.add_argument("--foreshift", type=Path, required=True, help=argparse.SUPPRESS)
    parser.add_argument("--generator", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.generator = options.generator or options.foreshift
    return options


def main() -> int:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.out.mkdir(parents=True, exist_ok=True)
    prefer()
    result = {"when": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "size": options.size}
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        try:
            engine = running.enter_context(Engine(options, folder))
            rate, result["trials"] = search(engine, options)
            if rate == 0:
                raise Failed("every rate lost packets: the cores are too busy")
            result["no_drop_pps"] = rate
            result["latency"] = [trial(engine, share * rate, options.trial_seconds) | {"share": share}
                                 for share in SHARES]
            if options.soak:
                result["soak"] = soak(engine, rate, options.soak)
        except (Failed, subprocess.SubprocessError) as why:
            print(f"scripts/bench: {why}", file=sys.stderr)
            return 1
    (options.out / "rate.json").write_text(json.dumps(result, indent=1) + "\n")
    text = report(result)
    (options.out / "rate.md").write_text(text + "\n")
    print(text)
    failed = options.soak and (result["soak"]["unaccounted"] != 0 or result["soak"]["pool_in_use"] != 0)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
