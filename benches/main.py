"""Measures every case beside its peer, interleaved, and writes table and JSON."""

import argparse
import contextlib
import datetime
import json
import os
import signal
import statistics
import subprocess
import sys
from pathlib import Path

from . import frames, peers, report
from .measure import Failed

CASES = ["ipv4", "ipv6", "gre-encap", "gre-decap", "esp-encrypt", "esp-decrypt"]
SIZES = [64, 512, 1420]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="64 byte frames only, shorter rounds")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--sizes", nargs="+", type=int, metavar="BYTES", help="frame sizes (default: 64 512 1420)")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of peer and ours (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="of each measurement (default: 1.0, quick: 0.3)")
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--core", type=int, default=cores[-1], help="the CPU to measure on (default: %(default)s)")
    parser.add_argument("--readme", nargs="?", const=Path("README.md"), type=Path, metavar="FILE",
                        help="put the table between the bench markers of FILE (default: README.md)")
    parser.add_argument("--out", type=Path, default=Path("target/bench"), help="folder (default: %(default)s)")
    parser.add_argument("--foreshift", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.sizes = options.sizes or ([64] if options.quick else SIZES)
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    if options.rounds < 3:
        parser.error("--rounds: at least 3, or a median means nothing")
    return options


def ours(options: argparse.Namespace, case: str, size: int) -> dict:
    command = [str(options.foreshift), "bench", "--json", "--case", case, "--size", str(size)]
    command += ["--seconds", str(options.seconds), "--core", str(options.core)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60 + 3 * options.seconds)
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{ran.stderr[-2000:]}")
    measured = json.loads(ran.stdout)
    if measured["drops"] != 0:
        raise Failed(f"{case}, {size} bytes: {measured['drops']} packets were dropped")
    return measured


def spread(values: list[float]) -> dict:
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": values}


def row(options: argparse.Namespace, binaries: dict[str, Path], case: str, size: int) -> dict:
    """One case at one size: peer, its source alone, and ours, by turns."""
    tsc_hz = ours(options, case, size)["tsc_hz"]
    gross, floor, own = [], [], []
    with contextlib.ExitStack() as running:
        pair = []
        if case in peers.CASES:
            pcap = options.out / f"{case}-{size}.pcap"
            frames.write(pcap, case, size)
            pair.append((running.enter_context(peers.start(case, binaries, pcap, options.core, options.out)), gross))
            log = options.out / "testpmd.log"
            pair.append((running.enter_context(peers.floor(pcap, options.core, log)), floor))
        for _ in range(options.rounds):
            for peer, cycles in pair:
                cycles.append(peer.cycles(options.seconds, tsc_hz))
            own.append(ours(options, case, size))
    result = {"case": case, "size": size, "ours": spread([one["cycles_per_packet"] for one in own])}
    for key in ("mpps", "gbit_per_s"):
        result[key] = statistics.median(one[key] for one in own)
    if pair:
        net = spread([g - f for g, f in zip(gross, floor)])
        result["peer"] = {"name": peers.CASES[case], "gross": spread(gross), "source": spread(floor), "net": net}
        if net["median"] > 0:
            result["ratio"] = result["ours"]["median"] / net["median"]
    return result | {"tsc_hz": tsc_hz}


def machine() -> dict:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    version = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True, check=False)
    cpu = next(models, "model name: unknown CPU").split(":", 1)[1].strip()
    return {"cpu": cpu, "dpdk": version.stdout.strip() or "unknown"}


def main() -> int:
    options = arguments()
    # A signal ends us like an error, so that every peer is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    try:
        binaries = peers.build(options.out / "peers")
        rows = []
        for case in options.cases:
            for size in options.sizes:
                rows.append(row(options, binaries, case, size))
                print(f"{case:12} {size:5} {report.number(rows[-1]['ours'])}", file=sys.stderr, flush=True)
    except (Failed, subprocess.TimeoutExpired) as why:
        print(f"scripts/bench: {why}", file=sys.stderr)
        return 1
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    result = {"when": when, **machine(), "tsc_hz": rows[0]["tsc_hz"], "rounds": options.rounds, "rows": rows}
    text = report.table(result)
    (options.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "bench.md").write_text(text + "\n")
    print(text)
    if options.readme:
        report.into(options.readme, text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
