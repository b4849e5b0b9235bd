"""The table, and its place in a Markdown file."""

from pathlib import Path

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"


def number(figure: dict | None) -> str:
    """A median with its spread."""
    if figure is None:
        return "–"
    return f"{figure['median']:.0f} ({figure['min']:.0f}–{figure['max']:.0f})"


def table(result: dict) -> str:
    """The rows in Markdown."""
    lines = [
        "| case | frame | Foreshift, cycles | Mpps | Gbit/s | DPDK's | gross | source | net | ratio |",
        "| --- | ---: | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: |",
    ]
    for row in result["rows"]:
        peer = row.get("peer") or {}
        ratio = f"{row['ratio']:.1f}" if "ratio" in row else "–"
        cells = [
            row["case"],
            str(row["size"]),
            number(row["ours"]),
            f"{row['mpps']:.2f}",
            f"{row['gbit_per_s']:.1f}",
            peer.get("name", "–"),
            *(number(peer.get(part)) for part in ("gross", "source", "net")),
            ratio,
        ]
        lines.append("| " + " | ".join(cells) + " |")
    lines.append("")
    lines.append(
        f"TSC cycles a packet on one core, median (least–most) of {result['rounds']} interleaved rounds; {result['cpu']}, "
        f"TSC {result['tsc_hz'] / 1e9:.2f} GHz; DPDK {result['dpdk']}. No packet was dropped. "
        "What the columns count: [benches/README.md](benches/README.md)."
    )
    return "\n".join(lines)


def into(readme: Path, text: str) -> None:
    """Puts `text` between the markers of `readme`."""
    whole = readme.read_text()
    if whole.count(BEGIN) != 1 or whole.count(END) != 1 or whole.index(BEGIN) > whole.index(END):
        raise ValueError(f"{readme} needs one {BEGIN} and, after it, one {END}")
    before, rest = whole.split(BEGIN)
    after = rest.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}")
