"""scripts/test: everything, one step after the other; it closes with 'N passed, N failed'."""
import argparse
import os
import re
import signal
import subprocess
import sys
import textwrap
import time

from . import again, capture as captures
from .engines import binary
from .shell import ROOT, LabError
from .stalls import Witness

CARGO_RESULT = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed", re.M)
HEADING = re.compile(r" +(?:Compiling|Checking|Finished|Running|Doc-tests|Documenting) |test result|warning|error")
FAILURES = re.compile(r"^failures:\n((?:    \S.*\n)+)", re.M)
VERBOSE = "FORESHIFT_TEST_VERBOSE"
# Instruments first: what they measure with must be right before it is believed.
LAB_MODULES = ("test_instruments", "test_nonces", "test_commands", "test_forwarding", "test_tunnels", "test_failover",
               "test_fencing", "test_kills", "test_workers", "test_observe", "test_mirror", "test_checks", "test_shift", "test_blocked",
               "test_adaptive", "test_bfd", "test_vrrp", "test_upgrade", "test_inplace", "test_drill", "test_interop", "test_cluster",
               "test_shadow", "test_takeover", "test_config", "test_learning")


class Tally:
    """What passed and failed so far; a step without counted tests is one."""

    def __init__(self):
        self.passed, self.failed, self.broken, self.told = 0, 0, [], []

    def add(self, step: str, passed: int, failed: int, told: list[str] = ()) -> None:
        """`told`: what failed and why, in a few words: they are printed again at the end."""
        self.passed, self.failed = self.passed + passed, self.failed + failed
        if failed:
            self.broken.append(step)
            self.told += told

    def close(self, seconds: float) -> None:
        """What matters of a long output, where whoever looks at its end finds it."""
        for told in self.told:
            print(f"failed: {textwrap.indent(told, '    ').lstrip()}")
        if self.broken:
            print(f"failed in: {', '.join(self.broken)}")
        print(f"({seconds:.0f} s)")
        print(f"{self.passed} passed, {self.failed} failed", flush=True)


def cargo(tally: Tally, step: str, *argv: str, env: dict | None = None) -> None:
    """Run a cargo command, its test results counted. Its headings are shown as they come and the whole output only if it fails:
    what tests that pass print on purpose (panics, ports that refuse) reads like failures. With --verbose everything is shown at once."""
    print(f"== {step}: cargo {' '.join(argv)}", flush=True)
    output, verbose = [], bool(os.environ.get(VERBOSE))
    with subprocess.Popen(["cargo", *argv], cwd=ROOT, env=os.environ | (env or {}), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        for line in process.stdout:
            output.append(line)
            if verbose or HEADING.match(line):
                print(line, end="", flush=True)
    code, text = process.returncode, "".join(output)
    told = [f"{step}: {name}" for name in failing(text)]
    if code and not verbose:
        print("\n".join([f"== {step} has failed, exit {code}", *told, f"== all that {step} printed:", text]), flush=True)
    counts = CARGO_RESULT.findall(text)
    passed, failed = sum(int(p) for p, _ in counts), sum(int(f) for _, f in counts)
    if code and not failed:
        failed = 1  # did not build, or is not tidy
    tally.add(step, passed if counts else int(code == 0), failed, told)


def failing(output: str) -> list[str]:
    """The failing tests that cargo's output names, and its first errors: what does not build or crashes has no names."""
    names = [line.strip() for block in FAILURES.findall(output) for line in block.splitlines()]
    return names + [line for line in output.splitlines() if line.startswith(("error", "Diff in"))][:5]


def lab(tally: Tally, names: list[str]) -> None:
    """The namespace tests, in this process; a class that failed while the machine stood still is run again (lab/again.py)."""
    with Witness() as witness:
        judge = again.Again(witness)
        for name in names or LAB_MODULES:
            print(f"== lab: {name}", flush=True)
            units = judge.run(f"{again.PACKAGE}{name}")
            tally.add(f"lab {name}", sum(unit.passed for unit in units), sum(len(unit.wrong) for unit in units), again.told(units))
        judge.closing()


def capture(tally: Tally) -> None:
    """Real traffic through the walk, where its captures can be had."""
    try:
        folder = captures.fetch(captures.KEPT)
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        print(f"== capture: SKIPPED, REAL TRAFFIC WAS NOT REPLAYED: {error}", flush=True)
        return
    cargo(tally, "capture", *captures.TEST, env=captures.environment(folder))


def build(tally: Tally) -> None:
    """The engine, unless `unit` has built it with its tests."""
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
    parser.add_argument("--verbose", action="store_true", help=f"everything that cargo prints, as it comes (or {VERBOSE}=1)")
    args = parser.parse_args(argv)
    if args.verbose:
        os.environ[VERBOSE] = "1"
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
    tally.close(time.monotonic() - begin)
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
