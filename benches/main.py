"""Measures every row beside its peers, interleaved, and writes table, JSON and plot."""

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

from . import frames, instructions, peers, report, verify, vpp
from .calibrate import Calibration
from .measure import Failed, prefer
from .rows import CASES, PUBLISHED_L3FWD, ROWS, Row


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="64 byte frames only, shorter rounds")
    parser.add_argument("--cases", nargs="+", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--sizes", nargs="+", type=int, metavar="BYTES", help="only rows of these frame sizes")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of peers and ours (default: %(default)s)")
    parser.add_argument("--seconds", type=float, help="of each measurement (default: 1.0, quick: 0.3)")
    cores = sorted(os.sched_getaffinity(0))
    parser.add_argument("--core", type=int, default=cores[-1], help="the CPU to measure on (default: %(default)s)")
    parser.add_argument("--no-peers", action="store_true", help="only ours, verified and counted")
    parser.add_argument("--no-instructions", action="store_true", help="do not run callgrind")
    parser.add_argument("--readme", nargs="?", const=Path("README.md"), type=Path, metavar="FILE",
                        help="put the table between the bench markers of FILE (default: README.md), and where the "
                             "instructions are into benches/README.md")
    parser.add_argument("--out", type=Path, default=Path("target/bench"), help="folder (default: %(default)s)")
    parser.add_argument("--foreshift", type=Path, required=True, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.seconds = options.seconds or (0.3 if options.quick else 1.0)
    sizes = options.sizes or ([64] if options.quick else None)
    options.rows = [row for row in ROWS if (not options.cases or row.case in options.cases)
                    and (not sizes or row.size in sizes)]
    options.main_core = cores[0] if cores[0] != options.core else cores[-1]
    if options.rounds < 3:
        parser.error("--rounds: at least 3, or a median means nothing")
    if not options.rows:
        parser.error("no row has this case and size")
    return options


def ours(options: argparse.Namespace, row: Row, *extra: str) -> dict:
    command = [str(options.foreshift), "bench", "--json", "--case", row.case, "--size", str(row.size)]
    command += ["--cipher", row.cipher, "--seconds", str(options.seconds), "--core", str(options.core), *extra]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120 + 3 * options.seconds)
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{ran.stderr[-2000:]}")
    measured = json.loads(ran.stdout)
    if measured["drops"] != 0:
        raise Failed(f"{row.title}, {row.size} bytes: {measured['drops']} packets were dropped")
    return measured


def export(options: argparse.Namespace, row: Row) -> Path:
    """The row's traffic and tables, as the peers read them."""
    folder = options.out / f"{row.title.replace(' ', '-')}-{row.size}"
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(options.foreshift), "bench", "--case", row.case, "--size", str(row.size), "--cipher", row.cipher]
    ran = subprocess.run([*command, "--export", str(folder)], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise Failed(f"{' '.join(command)}\n{ran.stderr[-2000:]}")
    return folder


class OursPeer:
    """Ours as one of those who take turns."""

    name = "foreshift"

    def __init__(self, options: argparse.Namespace, row: Row):
        self.options, self.row, self.last = options, row, {}

    def samples(self, _seconds: float, _tsc_hz: float) -> list[float]:
        self.last = ours(self.options, self.row)
        return [self.last["cycles_p10"], self.last["cycles_per_packet"], self.last["cycles_p90"]]


def contestants(options: argparse.Namespace, row: Row, running: contextlib.ExitStack, binaries: dict) -> list:
    """Everyone who takes part in a row, started and stopped until it is their turn."""
    found = [OursPeer(options, row)]
    if options.no_peers:
        return found
    folder = export(options, row)
    where = vpp.prefix()
    if row.case.startswith("esp"):
        # Without ESN, which the peers are not asked for.
        frames.write(folder / "input.pcap", row.case, row.size, row.cipher)
    if where and row.case in vpp.CASES:
        found.append(running.enter_context(
            vpp.Vpp(where, row.case, row.cipher, folder, options.core, options.main_core)))
    names = peers.CASES.get(row.case, ()) if row.cipher != "chacha20-poly1305" else ()
    for name in names:
        pcap = folder / "input.pcap"
        found.append(running.enter_context(
            peers.start(name, row.case, binaries, pcap, options.core, folder, row.cipher)))
    if names:
        found.append(running.enter_context(peers.floor(folder / "input.pcap", options.core, folder / "testpmd.log")))
    return found


def measure(options: argparse.Namespace, row: Row, binaries: dict, calibration: Calibration) -> dict:
    """One row: everyone by turns, the machine's state noted between them."""
    tsc_hz = ours(options, row)["tsc_hz"]
    rounds = []
    with contextlib.ExitStack() as running:
        taking_part = contestants(options, row, running, binaries)
        for _ in range(options.rounds):
            states, samples = [calibration.now()], {}
            for peer in taking_part:
                samples[peer.name] = peer.samples(options.seconds, tsc_hz)
                states.append(calibration.now())
            rounds.append({"states": states, "samples": samples})
        nodes = {peer.name: peer.nodes for peer in taking_part if hasattr(peer, "nodes")}
    result = {"case": row.case, "cipher": row.cipher, "title": row.title, "size": row.size, "aim": row.aim,
              "published": row.published, "tsc_hz": tsc_hz, "rounds": rounds, "vpp_nodes": nodes.get("vpp")}
    for one in rounds:
        one["quiet"] = calibration.quiet(*one["states"])
    chosen = [one for one in rounds if one["quiet"]]
    result["quiet"] = len(chosen)
    return result | summary(chosen or rounds)


def spread(values: list[float]) -> dict:
    values = sorted(values)
    at = lambda share: values[min(len(values) - 1, round(share * (len(values) - 1)))]
    return {"median": statistics.median(values), "p10": at(0.1), "p90": at(0.9)}


def summary(rounds: list[dict]) -> dict:
    """Each contestant's cycles over these rounds, and ours ÷ theirs, round by round."""
    medians = {name: [statistics.median(one["samples"][name]) for one in rounds] for name in rounds[0]["samples"]}
    result = {"peers": {}}
    for name, values in medians.items():
        pooled = spread([value for one in rounds for value in one["samples"][name]])
        pooled["median"] = statistics.median(values)
        if name == "foreshift":
            result["ours"] = pooled
        elif name != "testpmd":
            result["peers"][name] = pooled
            net = values
            if "testpmd" in medians and name != "vpp":
                net = [gross - floor for gross, floor in zip(values, medians["testpmd"])]
                pooled["gross"], pooled["median"] = pooled["median"], statistics.median(net)
                for key in ("p10", "p90"):
                    pooled[key] -= statistics.median(medians["testpmd"])
            ratios = [own / theirs for own, theirs in zip(medians["foreshift"], net) if theirs > 0]
            if ratios:
                pooled["ratio"] = statistics.median(ratios)
    if "testpmd" in medians:
        result["floor"] = statistics.median(medians["testpmd"])
    return result


def scaled_reference(rows: list[dict]) -> None:
    """Where VPP is not installed: what was published of it, scaled by l3fwd here and there."""
    here = [row["peers"]["l3fwd"]["median"] for row in rows
            if row["case"] == "ipv4" and row["size"] == 64 and "l3fwd" in row["peers"]]
    for row in rows:
        if here and "vpp" not in row["peers"] and row["published"]:
            factor = here[0] / PUBLISHED_L3FWD
            reference = statistics.mean(row["published"]) * factor
            row["scaled_reference"] = {"cycles": reference, "ratio": row["ours"]["median"] / reference}


def extras(options: argparse.Namespace, row: Row, result: dict) -> None:
    """What is not timed beside others: the check of the output, and instruction counts."""
    folder = options.out / f"{row.title.replace(' ', '-')}-{row.size}"
    folder.mkdir(parents=True, exist_ok=True)
    ours(options, row, "--sample", str(folder))
    result["verified"] = verify.sample(folder, row.case, row.cipher)
    if not options.no_instructions:
        result["instructions"] = instructions.count(options.foreshift, row.case, row.size, row.cipher)
    if row.case == "esp-encrypt" and not options.no_peers:
        result["bare_crypto"] = peers.bare_crypto(row.size, options.core, row.cipher)


def machine() -> dict:
    models = (line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    version = subprocess.run(["pkg-config", "--modversion", "libdpdk"], capture_output=True, text=True, check=False)
    cpu = next(models, "model name: unknown CPU").split(":", 1)[1].strip()
    return {"cpu": cpu, "dpdk": version.stdout.strip() or "unknown"}


def write(options: argparse.Namespace, calibration: Calibration, rows: list[dict], failed: list[str]) -> str:
    """Table, JSON and plot of the rows so far: a run that is ended early loses only its last one."""
    scaled_reference(rows)
    when = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    result = {"when": when, **machine(), "tsc_hz": rows[0]["tsc_hz"], "rounds": options.rounds,
              "best_moment": calibration.best, "rows": rows, "failed": failed}
    text = report.table(result)
    (options.out / "bench.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.out / "bench.md").write_text(text + "\n")
    report.plot(result, options.out / "bench.svg")
    return text


def main() -> int:
    options = arguments()
    # A signal ends us like an error, so that every peer is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options.out = options.out.absolute()
    options.out.mkdir(parents=True, exist_ok=True)
    prefer()
    calibration, rows, failed = Calibration(options.core), [], []
    try:
        binaries = {} if options.no_peers else peers.build(options.out / "peers")
    except Failed as why:
        print(f"scripts/bench: {why}", file=sys.stderr)
        return 1
    for row in options.rows:
        try:
            rows.append(measure(options, row, binaries, calibration))
            extras(options, row, rows[-1])
            print(report.line(rows[-1]), file=sys.stderr, flush=True)
            write(options, calibration, rows, failed)
        except (Failed, subprocess.TimeoutExpired) as why:
            failed.append(f"{row.title} {row.size}: {why}")
            print(f"scripts/bench: {failed[-1]}", file=sys.stderr, flush=True)
    if rows:
        text = write(options, calibration, rows, failed)
        print(text)
        if options.readme:
            report.into(options.readme, "bench", text)
            if not options.no_instructions:
                report.into(Path(__file__).parent / "README.md", "stages", report.stages({"rows": rows}))
    return 1 if failed or not rows else 0


if __name__ == "__main__":
    sys.exit(main())
