"""Instructions a packet of the walk, counted by valgrind's callgrind: they repeat, so a test can guard them."""

import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from .measure import Failed

ROUNDS = 20
BUDGET = Path(__file__).parent / "instructions.json"
# What rises by no more than this is noise of another compiler's layout.
TOLERANCE = 0.03
CASES = ["ipv4", "ipv6", "gre-encap", "gre-decap", "gre-ecmp", "acl", "session", "session-begin-shadowed", "esp-encrypt",
         "esp-decrypt"]
# Valgrind shows programs a CPU of its own, and crypto libraries choose their code by the CPU: counted apart.
CRYPTO = re.compile(r"aws_lc|aws-lc|IPSec_MB|ipsec_mb|aes|gcm|GCM|ghash|chacha|poly1305|EVP_|CRYPTO_|OPENSSL_|imb_|aead",
                    re.IGNORECASE)

# A source file of ours, from its crate on.
OURS = re.compile(r"/(?:dataplane/src|dpdk/src|engine/src|sync/src)/(\S+?)(?:/mod)?\.rs")


def count(foreshift: Path, case: str, size: int = 64, cipher: str = "aes-128-gcm") -> dict:
    """Instructions a packet inside `Worker::poll`: the walk's, of that each stage's, and the crypto library's."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind.out"
        bench = [str(foreshift), "bench", "--json", "--case", case, "--size", str(size), "--cipher", cipher]
        command = ["valgrind", "--tool=callgrind", "--toggle-collect=*measured_poll*", "--compress-strings=no",
                   "--compress-pos=no", "--dump-instr=yes", f"--callgrind-out-file={out}", *bench, "--count", str(ROUNDS)]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=600)
        if ran.returncode != 0:
            raise Failed(f"{' '.join(command)}\n{ran.stderr[-2000:]}")
        packets = json.loads(ran.stdout)["packets"]
        costs, crypto = read(out, foreshift)
    walk = sum(costs.values())
    if walk == 0:
        raise Failed(f"callgrind saw nothing of measured_poll in {case}")
    stages = {name: round(cost / packets, 1) for name, cost in by_stage(foreshift, costs).items()}
    return {"walk": round(walk / packets, 1), "crypto": round(crypto / packets, 1), "stages": stages}


def read(out: Path, foreshift: Path) -> tuple[collections.Counter, int]:
    """Self cost of the walk by address in the binary (0: in a library), and that of crypto libraries."""
    costs, crypto = collections.Counter(), 0
    obj = file = function = ""
    called = False
    for line in out.read_text(errors="replace").splitlines():
        key, _, value = line.partition("=")
        if key == "ob":
            obj = value
        elif key in ("fl", "fi", "fe"):
            file = value
        elif key == "fn":
            function = value
        elif key == "calls":
            called = True
        elif line.startswith("0x"):
            if called:  # the cost of a callee, which has its own lines
                called = False
                continue
            address, _, cost = line.split()[:3]
            if CRYPTO.search(function) or CRYPTO.search(obj) or "aws-lc" in file:
                crypto += int(cost)
            else:
                costs[int(address, 16) if Path(obj).name == foreshift.name else 0] += int(cost)
    return costs, crypto


def by_stage(foreshift: Path, costs: collections.Counter) -> dict[str, int]:
    """Which part of the walk the addresses belong to: the outermost file of `stage/` that was inlined there, or else the
    outermost of ours."""
    asked = "".join(f"{address:#x}\n" for address in costs)
    ran = subprocess.run(["addr2line", "-e", str(foreshift), "-i", "-a"], input=asked, capture_output=True, text=True,
                         check=True)
    parts, files, address = collections.Counter(), [], None
    for line in [*ran.stdout.splitlines(), "0x0"]:
        if not line.startswith("0x"):
            files.append(line)
            continue
        if address is not None:
            parts[part(files)] += costs[address]
        address, files = int(line, 16), []
    return dict(parts.most_common())


def part(files: list[str]) -> str:
    """The part of the walk that code from `files`, the innermost first, stands in."""
    ours = [found[1] for found in (OURS.search(file) for file in reversed(files)) if found]
    stages = [name for name in ours if name.startswith("stage/")]
    return (stages or ours or ["libraries"])[0]


def guard(foreshift: Path) -> list[str]:
    """Where the walk takes more instructions than its budget allows."""
    budget, wrong = json.loads(BUDGET.read_text()), []
    for case, allowed in budget.items():
        found = count(foreshift, case)["walk"]
        print(f"{case:12} {found:8.1f} instructions a packet, budget {allowed}", flush=True)
        if found > allowed * (1 + TOLERANCE):
            wrong.append(f"{case}: {found} instructions a packet, budget {allowed}: find out why, or raise the budget"
                         f" (python3 -m benches.instructions --write) and say why in the commit")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(prog="python3 -m benches.instructions", description=__doc__)
    parser.add_argument("--foreshift", type=Path, required=True, help="the binary")
    parser.add_argument("--write", action="store_true", help="take the counts of now as the budget")
    parser.add_argument("--show", nargs="+", metavar="CASE", help="where the instructions of these cases are, by stage")
    options = parser.parse_args()
    for case in options.show or []:
        found = count(options.foreshift, case)
        print(f"{case}: {found['walk']:.0f} instructions a packet, and {found['crypto']:.0f} of crypto")
        for name, cost in found["stages"].items():
            if cost >= 0.5:
                print(f"{cost:9.1f}  {name}")
    if options.show:
        return 0
    if options.write:
        counts = {}
        for case in CASES:
            counts[case] = count(options.foreshift, case)["walk"]
            print(f"{case:12} {counts[case]:8.1f}", flush=True)
        BUDGET.write_text(json.dumps(counts, indent=1) + "\n")
        return 0
    wrong = guard(options.foreshift)
    print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except Failed as why:
        sys.exit(f"benches.instructions: {why}")
