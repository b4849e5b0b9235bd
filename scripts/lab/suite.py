"""scripts/test: everything, one step after the other; it closes with 'N passed, N failed'."""
import argparse
import os
import re
import signal
import subprocess
import sys
import time
import unittest

from . import capture as captures
from .engines import binary
from .shell import ROOT, LabError

CARGO_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.M)
# Instruments first: what they measure with must be right before it is believed.
LAB_MODULES = ("test_instruments", "test_nonces", "test_commands", "test_forwarding", "test_tunnels", "test_failover",
               "test_fencing", "test_kills", "test_workers", "test_observe", "test_mirror", "test_checks", "test_shift", "test_blocked",
               "test_adaptive", "test_bfd", "test_vrrp", "test_upgrade", "test_inplace", "test_drill", "test_interop", "test_cluster",
               "test_shadow", "test_takeover", "test_config", "test_learning")


class Tally:
    """What passed and failed so far; a step without counted tests is one."""

    def __init__(self):
        self.passed, self.failed, self.broken = 0, 0, []

    def add(self, step: str, passed: int, failed: int) -> None:
        self.passed, self.failed = self.passed + passed, self.failed + failed
        if failed:
            self.broken.append(step)


def cargo(tally: Tally, step: str, *argv: str, env: dict | None = None) -> None:
    """Run a cargo command, its output shown as it comes, its test results counted."""
    print(f"== {step}: cargo {' '.join(argv)}", flush=True)
    process = subprocess.Popen(["cargo", *argv], cwd=ROOT, env=os.environ | (env or {}), text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = []
    for line in process.stdout:
        output.append(line)
        print(line, end="", flush=True)
    code = process.wait()
    counts = CARGO_RESULT.findall("".join(output))
    passed, failed = sum(int(p) for p, _ in counts), sum(int(f) for _, f in counts)
    if code and not failed:
        failed = 1  # did not build, or is not tidy
    tally.add(step, passed if counts else int(code == 0), failed)


def lab(tally: Tally, names: list[str]) -> None:
    """The namespace tests, in this process."""
    loader = unittest.TestLoader()
    for name in names or LAB_MODULES:
        print(f"== lab: {name}", flush=True)
        suite = loader.loadTestsFromName(f"lab.tests.{name}")
        result = unittest.TextTestRunner(verbosity=2, stream=sys.stdout).run(suite)
        wrong = {str(getattr(test, "test_case", test)) for test, _ in result.failures + result.errors}
        ran = max(result.testsRun, len(wrong))
        tally.add(f"lab {name}", ran - len(wrong) - len(result.skipped), len(wrong))


def capture(tally: Tally) -> None:
    """Real traffic through the walk, where its captures can be had."""
    try:
        folder = captures.fetch(captures.KEPT)
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        print(f"== capture: SKIPPED, REAL TRAFFIC WAS NOT REPLAYED: {error}", flush=True)
        return
    cargo(tally, "capture", *captures.TEST, env=captures.environment(folder))


def build(tally: Tally) -> None:
    """The engine, unless `unit` has built it with its tests: alone it has other features of what it depends on, and all of that
    would be compiled once more."""
    if "FORESHIFT_BIN" not in os.environ:
        cargo(tally, "build", "build", "-p", "foreshift")


def unit(tally: Tally) -> None:
    """Every test of every crate."""
    cargo(tally, "unit", "test", "--workspace", "--no-fail-fast")
    os.environ.setdefault("FORESHIFT_BIN", str(binary()))


def instructions(tally: Tally) -> None:
    """The walk takes no more instructions a packet than benches/instructions.json allows."""
    build(tally)
    command = [sys.executable, "-m", "benches.instructions", "--foreshift", str(binary())]
    print(f"== instructions: {' '.join(command)}", flush=True)
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    tally.add("instructions", int(code == 0), int(code != 0))


STEPS = {
    "fmt": lambda t: cargo(t, "fmt", "fmt", "--check", "--all"),
    "clippy": lambda t: cargo(t, "clippy", "clippy", "--workspace", "--all-targets", "--", "-D", "warnings"),
    "unit": unit,
    "capture": capture,
    "doc": lambda t: cargo(t, "doc", "doc", "--no-deps", "--workspace", env={"RUSTDOCFLAGS": "-D warnings"}),
    "loom": lambda t: cargo(t, "loom", "test", "-p", "foreshift-sync", "--lib", "--target-dir",
                            str(binary().parents[1] / "loom"), env={"RUSTFLAGS": "--cfg loom"}),
    "instructions": instructions,
}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/test", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[*STEPS, "lab"], help="these steps instead of all")
    parser.add_argument("--lab", nargs="+", metavar="NAME", default=[],
                        help="these lab tests, e.g. test_forwarding or test_failover.Death")
    parser.add_argument("--udp-seconds", type=float, default=10.0, metavar="N",
                        help="how long UDP must lose nothing (default: %(default)s)")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    os.environ["LAB_UDP_SECONDS"] = str(args.udp_seconds)
    tally, begin = Tally(), time.monotonic()
    chosen = args.only or (["lab"] if args.lab else [*STEPS, "lab"])
    for step in chosen:
        if step != "lab":
            STEPS[step](tally)
    if "lab" in chosen:
        build(tally)
        lab(tally, args.lab)
    if tally.broken:
        print(f"failed in: {', '.join(tally.broken)}")
    print(f"({time.monotonic() - begin:.0f} s)")
    print(f"{tally.passed} passed, {tally.failed} failed", flush=True)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
