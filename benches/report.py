"""The table, the plot, and the table's place in a Markdown file."""

from pathlib import Path

# Instructions a packet below which a part of the walk is not worth a column, in the row that has most of it.
WORTH_A_COLUMN = 40
NAMES = {"vpp": "VPP", "l3fwd": "l3fwd", "l3fwd-fib": "l3fwd (FIB)", "ipsec-secgw": "ipsec-secgw"}


def number(figure: dict | None) -> str:
    """A median with its spread."""
    if figure is None:
        return "–"
    return f"{figure['median']:.0f} ({figure['p10']:.0f}–{figure['p90']:.0f})"


def vpp(row: dict) -> tuple[str, str]:
    """VPP's cycles and our ratio to them, measured or scaled."""
    if "vpp" in row["peers"]:
        peer = row["peers"]["vpp"]
        return number(peer), f"{peer['ratio']:.2f}"
    if "scaled_reference" in row:
        reference = row["scaled_reference"]
        return f"*{reference['cycles']:.0f}, scaled reference, not measured*", f"*{reference['ratio']:.2f}*"
    return "–", "–"


def dpdk(row: dict) -> str:
    """DPDK's examples, less the cost of their source, and our ratio to each."""
    found = [f"{NAMES[name]} {number(peer)} → {peer['ratio']:.2f}" for name, peer in row["peers"].items()
             if name != "vpp" and "ratio" in peer]
    if row.get("bare_crypto"):
        found.append(f"bare PMD {row['bare_crypto']:.0f} → {row['ours']['median'] / row['bare_crypto']:.2f}")
    return "; ".join(found) or "–"


def count(row: dict) -> str:
    """Instructions a packet, the crypto library's apart."""
    counted = row.get("instructions")
    if not counted:
        return "–"
    return f"{counted['walk']:.0f}" + (f" + {counted['crypto']:.0f}" if counted["crypto"] else "")


def line(row: dict) -> str:
    """A row while the benchmark runs."""
    return (f"{row['title']:28} {row['size']:5} {number(row['ours']):>18}  VPP {vpp(row)[0]} ratio {vpp(row)[1]}"
            f"  {row['quiet']}/{len(row['rounds'])} quiet  {row.get('verified', 'not verified')}")


def table(result: dict) -> str:
    """The rows in Markdown."""
    lines = [
        "| case | frame | Foreshift | VPP | ratio | aim | DPDK, net → ratio | instructions | verified | quiet rounds |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- | ---: | --- | ---: |",
    ]
    for row in result["rows"]:
        cycles, ratio = vpp(row)
        aim = f"≤ {row['aim']}" if row["aim"] else "–"
        cells = [row["title"], str(row["size"]), number(row["ours"]), cycles, ratio, aim, dpdk(row), count(row),
                 row.get("verified", "no"), f"{row['quiet']}/{len(row['rounds'])}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines.append(
        f"TSC cycles a packet on one core: median (p10–p90) over the quiet of {result['rounds']} interleaved rounds, or "
        f"over all where none was quiet; {result['cpu']}, TSC {result['tsc_hz'] / 1e9:.2f} GHz; DPDK "
        f"{result['dpdk']}. No packet was dropped. What the columns count: [benches/README.md](benches/README.md)."
    )
    return "\n".join(lines)


def stages(result: dict) -> str:
    """Where the instructions of the rows with the smallest frames are, in Markdown."""
    rows = [row for row in result["rows"] if row.get("instructions") and row["size"] <= 66]
    most: dict[str, float] = {}
    for row in rows:
        for name, cost in row["instructions"]["stages"].items():
            most[name] = max(most.get(name, 0), cost)
    names = [name for name in sorted(most, key=most.get, reverse=True) if most[name] >= WORTH_A_COLUMN]
    lines = ["| case | " + " | ".join([*names, "other", "walk", "crypto"]) + " |",
             "| --- |" + " ---: |" * (len(names) + 3)]
    for row in rows:
        counted = row["instructions"]
        costs = [counted["stages"].get(name, 0) for name in names]
        cells = [*costs, counted["walk"] - sum(costs), counted["walk"], counted["crypto"]]
        lines.append(f"| {row['title']} | " + " | ".join(f"{cell:.0f}" if cell >= 0.5 else "" for cell in cells) + " |")
    return "\n".join(lines)


def plot(result: dict, path: Path) -> None:
    """Ours beside everyone else's, a bar each."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    rows = result["rows"]
    figure, axes = pyplot.subplots(figsize=(9, 0.6 + 0.55 * len(rows)), layout="constrained")
    colors = {"foreshift": "#0b6e4f", "vpp": "#c8553d", "l3fwd": "#8d99ae", "l3fwd-fib": "#b8c0cc",
              "ipsec-secgw": "#5c677d"}
    labelled = set()
    for at, row in enumerate(rows):
        bars = [("foreshift", row["ours"]), *row["peers"].items()]
        height = 0.8 / len(bars)
        for n, (name, figure_of) in enumerate(bars):
            y = at - 0.4 + (n + 0.5) * height
            median = max(0, figure_of["median"])
            below, above = max(0, median - figure_of["p10"]), max(0, figure_of["p90"] - median)
            axes.barh(y, median, height, color=colors[name], xerr=[[below], [above]], error_kw={"lw": 0.7},
                      label=None if name in labelled else NAMES.get(name, "Foreshift"))
            labelled.add(name)
    axes.set_yticks(range(len(rows)), [f"{row['title']} {row['size']}" for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("TSC cycles a packet (median, p10–p90)")
    axes.legend(fontsize=8)
    figure.savefig(path)
    pyplot.close(figure)


def into(readme: Path, mark: str, text: str) -> None:
    """Puts `text` between the markers of `readme` that are called `mark`."""
    whole, begin, end = readme.read_text(), f"<!-- {mark}:begin -->", f"<!-- {mark}:end -->"
    if whole.count(begin) != 1 or whole.count(end) != 1 or whole.index(begin) > whole.index(end):
        raise ValueError(f"{readme} needs one {begin} and, after it, one {end}")
    before, rest = whole.split(begin)
    after = rest.split(end)[1]
    readme.write_text(f"{before}{begin}\n{text}\n{end}{after}")
