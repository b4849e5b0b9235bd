"""Recordings as one Parquet file and back: `python -m lab.pack pack DIR FILE`, `python -m lab.pack unpack FILE DIR`.

Columns: run, engine (a1: harmed; b1: its peer), at_ms, then the metrics as float32, rounded to four digits. Headers and
events are JSON in the file's metadata under `foreshift.runs`.
"""
import argparse
import itertools
import json
import math
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from .slo import broke, stalled

PEER = ".peer.jsonl"
KEY = b"foreshift.runs"


def _rounded(value: float | None) -> float | None:
    if not value:
        return value
    return round(value, 3 - math.floor(math.log10(abs(value))))


def _lines(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def _told(path: Path) -> tuple[dict, list[dict]]:
    """A recording's header and events."""
    header, *lines = _lines(path)
    return header, [line for line in lines if line["type"] == "event"]


def pack(folder: Path, file: Path) -> str:
    """The recordings of a folder into `file`: of runs that the machine broke the calm before that, or nothing; says what it holds."""
    runs, columns = [], {"run": [], "engine": [], "at_ms": []}
    told = {p: _told(p) for p in folder.glob("*.jsonl") if not p.name.endswith(PEER)}
    breaks = {path: at for path, (_, events) in told.items() if (at := broke(events))}
    cut = stalled(breaks)
    metrics = max((header["metrics"] for header, _ in told.values()), key=len)
    kept = (path for path, (header, _) in told.items() if path not in cut or header["kind"] == "calm")
    for path in sorted(kept, key=lambda p: told[p][0]["started_unix_ms"]):
        (header, events), until = told[path], math.inf
        if path in cut:  # as if it had ended before the machine stood still
            until = breaks[path].at_ms - 1000.0
            events = [e for e in events if e["at_ms"] < until]
            events.append({"type": "event", "at_ms": round(until), "event": "end", "detail": "the machine stood still"})
        runs.append({"header": header, "events": events})
        if header["metrics"] != metrics[:len(header["metrics"])]:  # they are only ever appended
            raise SystemExit(f"{path}: other metrics than the other recordings")
        peer = path.with_name(path.name.removesuffix(".jsonl") + PEER)
        for engine, lines in (("a1", _lines(path)[1:]), ("b1", _lines(peer) if peer.exists() else [])):
            for line in (line for line in lines if line["type"] == "sample" and line["at_ms"] < until):
                columns["run"].append(header["run"])
                columns["engine"].append(engine)
                columns["at_ms"].append(line["at_ms"])
                for metric, value in itertools.zip_longest(metrics, line["values"]):
                    columns.setdefault(metric, []).append(_rounded(value))
    table = pa.table({"run": pa.array(columns["run"]).dictionary_encode(),
                      "engine": pa.array(columns["engine"]).dictionary_encode(),
                      "at_ms": pa.array(columns["at_ms"], pa.int64()),
                      **{m: pa.array(columns[m], pa.float32()) for m in metrics}})
    table = table.replace_schema_metadata({KEY: json.dumps(runs).encode()})
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, file, compression="zstd", compression_level=19)
    said = f"{len(runs)} runs, {table.num_rows} samples, {file.stat().st_size / 1e6:.1f} MB"
    return f"{said}; cut or left out, as the machine stood still: {', '.join(sorted(path.stem for path in cut))}" if cut else said


def unpack(file: Path, folder: Path) -> str:
    """The recordings that `pack` read, but for the rounding."""
    table = pq.read_table(file)
    metadata = pq.read_metadata(file).metadata
    if KEY not in (metadata or {}):
        raise SystemExit(f"{file}: no {KEY.decode()} in its metadata; was it made by this?")
    runs = json.loads(metadata[KEY])
    known = {run["header"]["run"]: len(run["header"]["metrics"]) for run in runs}
    names, engines = table.column("run").to_pylist(), table.column("engine").to_pylist()
    times = table.column("at_ms").to_pylist()
    metrics = table.column_names[3:]
    values = list(zip(*(table.column(m).to_pylist() for m in metrics), strict=True))
    samples: dict[tuple[str, str], list[str]] = {}
    for name, engine, at, row in zip(names, engines, times, values, strict=True):
        row = [None if v is None else float(f"{v:.6g}") for v in row[:known[name]]]
        samples.setdefault((name, engine), []).append(json.dumps({"type": "sample", "at_ms": at, "values": row}))
    folder.mkdir(parents=True, exist_ok=True)
    for run in runs:
        header = json.dumps(run["header"])
        events = [json.dumps(event) for event in run["events"]]
        name = run["header"]["run"]
        (folder / f"{name}.jsonl").write_text("\n".join([header, *samples[name, "a1"], *events]) + "\n")
        if (name, "b1") in samples:
            (folder / f"{name}{PEER}").write_text("\n".join([header, *samples[name, "b1"]]) + "\n")
    return f"{len(runs)} runs"


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.pack", description=__doc__)
    parser.add_argument("way", choices=("pack", "unpack"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    args = parser.parse_args()
    print((pack if args.way == "pack" else unpack)(args.source, args.target))
    return 0


if __name__ == "__main__":
    sys.exit(main())
