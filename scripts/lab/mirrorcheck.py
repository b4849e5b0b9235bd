"""scripts/mirror-check: is what is mirrored like all of it? The engine's own samplers over a public capture (nDPI's, as
scripts/replay-capture has it), tested against the whole of it at 1 % and 5 %, with the seeds 1, 2, … N.

A mirror takes two samples, and each is tested on what it represents:
  flows    whole flows, each with probability p whatever the others are. Its units are flows: packets of one flow come or stay
           away together (a cluster sample), so a test that takes them for independent would be wrong. Tested: protocol (χ²), packets
           and bytes of a flow and the median gap inside it (KS).
  packets  single packets, geometric skips. Its units are packets. Tested: length in classes and protocol (χ²), length and the gap
           to the packet before on the link (KS).

χ² and KS are corrected for a finite population (lab/stats.py). If the samples represent the whole, p-values are spread evenly over
0-1, or higher where values are tied. It passes if no p-value is below 0.01/tests (Bonferroni), and if those below 0.05 are not more
than chance explains (binomial, 0.001). So that it is known to notice: samples cut off to keep a budget, the error that a mirror must
not make, are tested too: of either sample some test has to notice it (p < 0.0001)."""
import argparse
import statistics
import subprocess
import sys
from pathlib import Path

from . import stats
from .capture import KEPT, fetch
from .shell import ROOT, LabError

SHARES = (0.01, 0.05)
EXAMPLE = ("run", "--quiet", "-p", "foreshift-dataplane", "--example", "mirror", "--")
LENGTHS = (64, 128, 256, 512, 1024, 1280, 1400, 1500)


class Traffic:
    """The whole, by packets and by flows."""

    def __init__(self):
        self.lengths, self.classes, self.protocols, self.gaps, self.inside, self.flow_of = [], [], [], [], [], []
        self.flows, self.by_length, self.by_gap = [], [], []

    def packet(self, length: int, protocol: int, gap: int, inside: int, flow: int) -> None:
        self.lengths.append(length)
        self.classes.append(sum(length > bound for bound in LENGTHS))
        self.protocols.append(protocol)
        self.gaps.append(gap)
        self.inside.append(inside)
        self.flow_of.append(flow)

    def group(self) -> None:
        """Flows: protocol, packets, bytes, median gap inside (None with fewer than three packets). Sorted once, for many tests."""
        self.by_length, self.by_gap = sorted(self.lengths), sorted(gap for gap in self.gaps if gap >= 0)
        members = {}
        for number, flow in enumerate(self.flow_of):
            members.setdefault(flow, []).append(number)
        for flow in range(len(members)):
            packets = members[flow]
            gaps = [self.inside[n] for n in packets if self.inside[n] >= 0]
            self.flows.append((self.protocols[packets[0]], len(packets), sum(self.lengths[n] for n in packets),
                               statistics.median(gaps) if len(gaps) >= 2 else None))


def column(rows, place):
    return [row[place] for row in rows if row[place] is not None]


def flow_tests(rows: list, traffic: Traffic) -> dict:
    """p-values of a sample of flows, given as rows."""
    every = traffic.flows
    return {"flows: protocol, chi2": stats.chi2(column(rows, 0), column(every, 0)),
            "flows: packets, KS": stats.ks(column(rows, 1), column(every, 1)),
            "flows: bytes, KS": stats.ks(column(rows, 2), column(every, 2)),
            "flows: median gap, KS": stats.ks(column(rows, 3), column(every, 3))}


def packet_tests(numbers: list, traffic: Traffic) -> dict:
    """p-values of a sample of packets."""
    pick = lambda values: [values[n] for n in numbers]
    gaps = [g for g in pick(traffic.gaps) if g >= 0]
    return {"packets: length class, chi2": stats.chi2(pick(traffic.classes), traffic.classes),
            "packets: protocol, chi2": stats.chi2(pick(traffic.protocols), traffic.protocols),
            "packets: length, KS": stats.ks(pick(traffic.lengths), traffic.by_length),
            "packets: gap, KS": stats.ks(gaps, traffic.by_gap)}


def read(lines, traffic: Traffic) -> dict:
    """(kind, seed, share) -> numbers."""
    samples = {}
    for line in lines:
        kind, *rest = line.split()
        if kind == "P":
            traffic.packet(*map(int, rest))
        else:
            samples[kind, int(rest[0]), float(rest[1])] = [int(n) for n in rest[2:]]
    traffic.group()
    return samples


def truncated(traffic: Traffic, numbers: list) -> dict:
    """The same flows cut off after ten packets, and packets taken from the beginning only."""
    cut = [(protocol, min(packets, 10), size * min(packets, 10) // packets, gap)
           for protocol, packets, size, gap in (traffic.flows[n] for n in numbers)]
    head = list(range(len(traffic.lengths) // 20))
    return flow_tests(cut, traffic) | packet_tests(head, traffic)


def judge(tests: list) -> tuple[bool, str]:
    """All p-values together."""
    values = [p for _, p in tests]
    bound, low = 0.01 / len(values), sum(p < 0.05 for p in values)
    chance = stats.binomial_tail(low, len(values), 0.05)
    good = min(values) >= bound and chance >= 0.001
    return good, (f"{len(values)} tests; smallest p {min(values):.5f} (bound {bound:.6f}); {low} below 0.05, "
                  f"of which chance explains so many with p {chance:.3f}")


def table(tests: list) -> None:
    print(f"\n{'share':>6}  {'test':<30} {'seeds':>5} {'min p':>8} {'median p':>9} {'p < 0.05':>9}")
    for share in SHARES:
        for name in dict.fromkeys(name for (_, name), _ in tests):
            values = [p for (s, n), p in tests if (s, n) == (share, name)]
            if values:
                print(f"{share:>6} {'':1}{name:<30} {len(values):>5} {min(values):>8.4f} {statistics.median(values):>9.4f} "
                      f"{sum(p < 0.05 for p in values):>9}")


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/mirror-check", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="captures of your own (.pcap, .pcapng) instead")
    parser.add_argument("--kept", type=Path, default=KEPT, help="where fetched ones are kept")
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="seeds 1 to N (default: %(default)s)")
    args = parser.parse_args(argv)
    try:
        folder = args.folder or fetch(args.kept)
    except (LabError, OSError, subprocess.TimeoutExpired) as error:
        raise SystemExit(f"mirror-check: {error}") from error
    done = subprocess.run(["cargo", *EXAMPLE, str(folder.resolve()), str(args.seeds), *map(str, SHARES)], cwd=ROOT,
                          stdout=subprocess.PIPE, text=True)
    if done.returncode:
        return done.returncode
    traffic = Traffic()
    samples = read(done.stdout.splitlines(), traffic)
    print(f"{folder}: {len(traffic.lengths)} packets, {len(traffic.flows)} flows; seeds 1 to {args.seeds}")
    tests = []
    for (kind, _, share), numbers in samples.items():
        found = flow_tests([traffic.flows[n] for n in numbers], traffic) if kind == "F" else \
            packet_tests(numbers, traffic)
        tests += [((share, name), p) for name, p in found.items() if p is not None]
    table(tests)
    good, why = judge(tests)
    print(f"\n{'PASS' if good else 'FAIL'}: {why}")
    wrong = {name: p for name, p in truncated(traffic, samples["F", 1, 0.05]).items() if p is not None}
    seen = [name for name, p in wrong.items() if p < 1e-4]
    noticed = all(any(name.startswith(sample) for name in seen) for sample in ("flows", "packets"))
    print(f"{'PASS' if noticed else 'FAIL'}: cut-off samples are noticed by {', '.join(seen) or 'nothing'}")
    return 0 if good and noticed else 1


if __name__ == "__main__":
    sys.exit(main())
