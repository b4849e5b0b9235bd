"""scripts/fuzz: libFuzzer over every parser (engine/fuzz), one after the other; a crash ends it with status 1.

What a run finds stays in target/fuzz/work and is where the next one begins; --minimise writes the smallest corpus with
the same coverage to engine/fuzz/corpus, which ordinary tests replay."""
import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

from .shell import PYTHON, ROOT

TARGET = "x86_64-unknown-linux-gnu"
FUZZ = ROOT / "engine" / "fuzz"
# Each parser's package, and its longest input: what a frame, a message or a file of ours has at most.
PARSERS = {
    "wire": ("packet", 4096), "esp": ("packet", 2048), "walk": ("packet", 8192), "filter": ("packet", 1024),
    "wireguard": ("packet", 2048), "handshake": ("shell", 2048),
    "config": ("shell", 16384), "routes": ("shell", 2048), "peer": ("shell", 4096), "api": ("shell", 4096),
    "state": ("shell", 4096), "mirror": ("shell", 2048), "shadow": ("shell", 4096), "checks": ("shell", 2048),
    "handover": ("shell", 4096), "site": ("shell", 8192),
    "recording": ("model", 8192), "model": ("model", 16384), "table": ("model", 8192), "ramp": ("model", 8192),
}
# SanitizerCoverage as LLVM has it, which the stable rustc can run; all of the fuzzers' own workspace is built so.
RUSTFLAGS = " ".join((
    "-Ctarget-cpu=x86-64-v2", "--cfg", "fuzzing", "-Ccodegen-units=1", "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4", "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table", "-Cllvm-args=-sanitizer-coverage-trace-compares",
    # Without this LLVM merges the branches that coverage is to tell apart.
    "-Cllvm-args=-simplifycfg-branch-fold-threshold=0"))
STATUS = re.compile(r"^#(\d+)\s+\S+\s+cov: (\d+) ft: (\d+) corp: (\d+)/", re.M)
EXECUTED = re.compile(r"^stat::number_of_executed_units: (\d+)", re.M)
POLL_S = 0.5
# What a repository should carry of each corpus, bytes; the rest stays in target/fuzz/work.
KEPT_BYTES = 64 * 1024


def build(packages: set[str], folder: Path) -> Path:
    """The fuzzers' binaries, in a folder of their own so that a later build does not change a running one."""
    environment = os.environ | {"RUSTFLAGS": RUSTFLAGS, "CARGO_TARGET_DIR": str(folder / "build")}
    argv = ["cargo", "build", "--target", TARGET, "--manifest-path", str(FUZZ / "Cargo.toml")]
    for package in sorted(packages):
        argv += ["-p", f"foreshift-fuzz-{package}"]
    subprocess.run(argv, env=environment, check=True)
    bins = folder / "bin"
    bins.mkdir(parents=True, exist_ok=True)
    for parser, (package, _) in PARSERS.items():
        if package in packages:
            fresh = bins / f".{parser}"
            shutil.copy2(folder / "build" / TARGET / "debug" / parser, fresh)
            fresh.rename(bins / parser)
    return bins


class Campaign:
    """Fuzzing of one parser: running time adds up over interruptions."""

    def __init__(self, parser: str, bins: Path, folder: Path, seeds: Path):
        self.parser, self.binary = parser, bins / parser
        self.work, self.crashes = folder / "work" / parser, folder / "crashes" / parser
        self.inputs = [self.work, FUZZ / "corpus" / parser, seeds / parser]
        self.log = folder / "log" / f"{parser}.log"
        for path in (self.work, self.crashes, self.log.parent):
            path.mkdir(parents=True, exist_ok=True)
        self.seconds = self.cpu_s = 0.0
        self.executions = self.coverage = self.features = self.corpus = 0

    def run(self, seconds: float, pause_file: Path | None) -> bool:
        """Until it has run for `seconds` (pauses do not count); False if it crashed."""
        while self.seconds < seconds:
            if pause_file and pause_file.exists():
                time.sleep(POLL_S)
                continue
            if not self._slice(seconds - self.seconds, pause_file):
                return False
        return True

    def _slice(self, seconds: float, pause_file: Path | None) -> bool:
        argv = [self.binary, f"-max_total_time={int(seconds) + 1}", f"-max_len={PARSERS[self.parser][1]}",
                "-print_final_stats=1", "-timeout=120", "-rss_limit_mb=2048", f"-artifact_prefix={self.crashes}/"]
        argv += [path for path in self.inputs if path.is_dir()]
        begin, size = time.monotonic(), self.log.stat().st_size if self.log.exists() else 0
        before = os.times()
        with open(self.log, "a") as log:
            process = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=subprocess.STDOUT)
            try:
                while process.poll() is None:
                    if pause_file and pause_file.exists():
                        # libFuzzer's way to be asked to end: what it found is on disk.
                        process.send_signal(signal.SIGUSR1)
                        process.wait(30)
                        break
                    time.sleep(POLL_S)
            finally:
                if process.poll() is None:
                    process.kill()
                    process.wait()
        after = os.times()
        self.seconds += time.monotonic() - begin
        self.cpu_s += after.children_user - before.children_user + after.children_system - before.children_system
        with open(self.log) as log:
            log.seek(size)
            text = log.read()
        executions = 0
        for executed, coverage, features, corpus in STATUS.findall(text)[-1:]:
            self.coverage, self.features, self.corpus = int(coverage), int(features), int(corpus)
            executions = int(executed)
        for executed in EXECUTED.findall(text)[-1:]:
            executions = int(executed)
        self.executions += executions
        return process.returncode == 0

    def report(self) -> dict:
        """Its figures."""
        crashes = sorted(path.name for path in self.crashes.iterdir())
        return {"parser": self.parser, "seconds": round(self.seconds), "cpu_seconds": round(self.cpu_s, 1),
                "executions": self.executions, "coverage_edges": self.coverage, "features": self.features,
                "corpus": self.corpus, "crashes": crashes}


def minimise(parser: str, bins: Path, folder: Path, seeds: Path) -> None:
    """The fewest inputs that reach every branch that any of them reaches, how often aside, into engine/fuzz/corpus,
    as far as there is room."""
    fresh, kept = folder / "minimal" / parser, FUZZ / "corpus" / parser
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    sources = [path for path in (kept, folder / "work" / parser, seeds / parser) if path.is_dir()]
    argv = [bins / parser, "-set_cover_merge=1", "-use_counters=0", f"-max_len={PARSERS[parser][1]}", fresh, *sources]
    subprocess.run([str(a) for a in argv], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    shutil.rmtree(kept, ignore_errors=True)
    kept.mkdir(parents=True)
    files = sorted(fresh.iterdir(), key=lambda file: (file.stat().st_size, file.name))
    chosen = within(files, KEPT_BYTES // 2)
    # The longest are whole files, of which the parser reads the most; many short ones are refused early.
    chosen += within([file for file in reversed(files) if file not in chosen], KEPT_BYTES // 2)
    for file in chosen:
        shutil.copy(file, kept)
    print(f"{parser}: {len(chosen)} of {len(files)} inputs, {sum(f.stat().st_size for f in chosen)} bytes", flush=True)


def within(files: list[Path], room: int) -> list[Path]:
    """The first of these files that have this much room together, bytes."""
    chosen = []
    for file in files:
        room -= file.stat().st_size
        if room < 0:
            break
        chosen.append(file)
    return chosen


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, metavar="N",
                        help="running time of each parser (default: %(default)s)")
    parser.add_argument("--only", nargs="+", choices=PARSERS, default=[*PARSERS], metavar="PARSER",
                        help=f"of {', '.join(PARSERS)}; all by default")
    parser.add_argument("--folder", type=Path, default=ROOT / "target" / "fuzz", help="where everything goes")
    parser.add_argument("--pause-file", type=Path, help="while this file exists nothing runs")
    parser.add_argument("--no-build", action="store_true", help="run what was built before")
    parser.add_argument("--minimise", action="store_true", help="write the minimal corpora instead of fuzzing")
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bins = args.folder / "bin"
    if not args.no_build:
        bins = build({PARSERS[name][0] for name in args.only}, args.folder)
    seeds = args.folder / "seeds"
    subprocess.run([PYTHON, str(FUZZ / "seeds.py"), str(seeds)], check=True)
    failed = False
    for name in args.only:
        if args.minimise:
            minimise(name, bins, args.folder, seeds)
            continue
        campaign = Campaign(name, bins, args.folder, seeds)
        failed |= not campaign.run(args.seconds, args.pause_file)
        report = campaign.report()
        with open(args.folder / "results.jsonl", "a") as results:
            results.write(json.dumps({"unix": round(time.time()), **report}) + "\n")
        print(json.dumps(report), flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
