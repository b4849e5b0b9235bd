"""Clusters whose nodes ramp towards a crash, of several kinds, to compare methods on: made up here, independently of
the predictor's own generator (predictor/tests/ramps), or with real telemetry for the calm.

A world differs from the others in how a cluster is built and how it fails; each writes train/ and test/ as
`foreshift predict … --task ramp` reads them. No kind of fault of test/ is in train/."""
from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

SHAPES = ("linear", "convex", "exponential", "steps", "late")
METRIC_KINDS = ("load", "gauge", "count", "rare", "walk")


@dataclass(frozen=True)
class World:
    """How a cluster is built and how it fails."""
    name: str
    runs: tuple[int, int] = (30, 20)
    nodes: tuple[int, int] = (8, 14)
    minutes: tuple[int, int] = (420, 780)
    metrics: int = 24
    # Metrics that a fault moves, and by how many standard deviations at the crash.
    moved: tuple[int, int] = (2, 6)
    strength: tuple[float, float] = (4.0, 14.0)
    # Minutes from the injection to the crash.
    lasts: tuple[int, int] = (30, 150)
    link_share: float = 0.3
    stop_short: float = 0.2
    # What a node does after its crash: it is gone, the run ends, or it restarts after some minutes.
    after: str = "gone"
    # Benign changes a node and day: of one to three metrics, a few standard deviations, for a while.
    benign: float = 1.0
    missing: float = 0.002
    # Metrics of test that train has not.
    renamed: bool = False
    # Real telemetry behind it: smd or svc.
    real: str = ""
    shapes: tuple[str, ...] = field(default=SHAPES)


WORLDS = (
    World("plain"),
    World("one-metric", moved=(1, 1), strength=(8.0, 24.0), link_share=0.15),
    World("few-runs", runs=(10, 25), nodes=(4, 7), minutes=(600, 1000)),
    World("large", runs=(14, 10), nodes=(30, 40), metrics=40, moved=(2, 5), minutes=(300, 420)),
    World("days", runs=(14, 10), nodes=(5, 8), minutes=(2000, 3000), lasts=(60, 400)),
    World("restarts", after="restarts"),
    World("other-metrics", renamed=True),
    World("smd", real="smd", strength=(6.0, 20.0), nodes=(6, 10)),
    World("svc", real="svc", strength=(6.0, 20.0), nodes=(6, 12)),
)


class Calm:
    """Made-up calm: load that the nodes share, and metrics that follow it, drift, count or hardly ever move."""

    def __init__(self, world: World, rng: np.random.Generator):
        self.world, m = world, world.metrics
        self.kinds = rng.choice(len(METRIC_KINDS), m, p=(0.35, 0.25, 0.2, 0.1, 0.1))
        self.level = np.exp(rng.normal(3.0, 2.0, m))
        self.noise = self.level * rng.uniform(0.02, 0.15, m)
        self.follows = rng.uniform(0.3, 1.2, m)
        self.memory = rng.uniform(0.0, 0.95, m)
        self.names = [f"{METRIC_KINDS[kind]}_{at:02}" for at, kind in enumerate(self.kinds)]

    def draw(self, nodes: int, minutes: int, rng: np.random.Generator) -> np.ndarray:
        """Of nodes × minutes × metrics."""
        m, clock = len(self.kinds), np.arange(minutes)
        load = 1.0 + 0.5 * np.sin(2 * np.pi * (clock / 1440 + rng.uniform())) + 0.08 * smooth(rng, minutes, 0.9)
        for start in rng.integers(0, minutes, rng.poisson(minutes / 200)):
            load[start:start + rng.integers(5, 30)] += rng.uniform(0.2, 1.0)
        shares = rng.uniform(0.7, 1.3, (nodes, 1)) + 0.05 * np.stack([smooth(rng, minutes, 0.99) for _ in range(nodes)])
        base = np.empty((nodes, minutes, m))
        for at, kind in enumerate(self.kinds):
            own = self.level[at] * rng.uniform(0.8, 1.2, (nodes, 1))
            noise = self.noise[at] * np.stack([smooth(rng, minutes, self.memory[at]) for _ in range(nodes)])
            match METRIC_KINDS[kind]:
                case "load":
                    x = own * (1 + self.follows[at] * load * shares) + noise
                case "gauge":
                    x = own + noise
                case "count":
                    mean = np.maximum(3.0 * self.follows[at] * load * shares, 0.05)
                    x = rng.poisson(mean) * self.level[at] / 3
                case "rare":
                    x = (rng.uniform(size=(nodes, minutes)) < 0.03) * rng.exponential(self.level[at], (nodes, minutes))
                case "walk":
                    x = own + self.noise[at] * 0.15 * np.cumsum(rng.normal(size=(nodes, minutes)), axis=1)
            base[:, :, at] = x
        return np.maximum(base, 0.0)


class Real:
    """Calm cut out of real telemetry: each node another machine, or another stretch of one."""

    def __init__(self, world: World, folder: Path):
        if world.real == "smd":
            table = pd.read_parquet(folder / "smd_telemetry.parquet")
            table = table[table["part"] == "train"].rename(columns={"machine": "unit"})
        else:
            table = pd.read_parquet(folder / "svc_telemetry.parquet").rename(columns={"service": "unit"})
            table = table[table["index"] < 5800]
        self.names = [name for name in table if name not in ("unit", "part", "index")]
        self.units = [rows[self.names].to_numpy(np.float64) for _, rows in table.sort_values("index").groupby("unit")]

    def draw(self, nodes: int, minutes: int, rng: np.random.Generator) -> np.ndarray:
        first = rng.integers(0, min(len(unit) for unit in self.units) - minutes)
        order = rng.permutation(len(self.units))
        # The same time on every machine, so that what they share is shared.
        return np.stack([self.units[order[n % len(order)]][first:first + minutes] for n in range(nodes)])


def smooth(rng: np.random.Generator, n: int, memory: float) -> np.ndarray:
    """Autoregressive noise of unit variance."""
    from scipy.signal import lfilter
    fresh = rng.normal(size=n + 100) * np.sqrt(1 - memory ** 2)
    return lfilter([1.0], [1.0, -memory], fresh)[100:]


def shape(kind: str, progress: np.ndarray) -> np.ndarray:
    """How far a ramp has come, 0 to 1, by the share of its time that has gone."""
    match kind:
        case "linear":
            return progress
        case "convex":
            return progress ** 2.5
        case "exponential":
            return np.expm1(4 * progress) / np.expm1(4)
        case "steps":
            return np.floor(progress * 5) / 5
        case _:
            return np.maximum(progress - 0.5, 0) * 2


@dataclass(frozen=True)
class Fault:
    """A kind of fault: what it moves, on one node or on both ends of a link, in which shape."""
    name: str
    moves: np.ndarray
    by: np.ndarray
    link: bool
    shape: str


def kinds(world: World, count: int, names: list[str], prefix: str, rng: np.random.Generator) -> list[Fault]:
    found = []
    for at in range(count):
        moved = rng.choice(len(names), min(len(names), rng.integers(world.moved[0], world.moved[1] + 1)), replace=False)
        sign = np.where(rng.uniform(size=len(moved)) < 0.75, 1.0, -1.0)
        by = sign * rng.uniform(*world.strength, len(moved))
        found.append(Fault(f"{prefix}{at}", moved, by, rng.uniform() < world.link_share,
                           world.shapes[rng.integers(len(world.shapes))]))
    return found


def spread(base: np.ndarray) -> np.ndarray:
    """A standard deviation of every metric's change from its own half hour, robust, over all nodes."""
    calm = base - pd.DataFrame(base.reshape(-1, base.shape[2])).rolling(30, min_periods=1).mean().to_numpy().reshape(base.shape)
    sd = np.minimum(calm[:, 30:].std(axis=(0, 1)), 3 * np.quantile(np.abs(calm[:, 30:]), 0.8, axis=(0, 1)) + 1e-9)
    return np.maximum(sd, 1e-3 * np.abs(base).mean(axis=(0, 1)) + 1e-9)


def benign(world: World, base: np.ndarray, sd: np.ndarray, rng: np.random.Generator) -> None:
    nodes, minutes, m = base.shape
    for _ in range(rng.poisson(world.benign * nodes * minutes / 1440)):
        node, start, lasts = rng.integers(nodes), rng.integers(minutes), rng.integers(5, 200)
        part = base[node, start:start + lasts]
        grows = np.linspace(0, 1, lasts)[:len(part), None] if rng.uniform() < 0.4 else 1.0
        moved = rng.choice(m, rng.integers(1, min(4, m)), replace=False)
        part[:, moved] += grows * rng.uniform(2, 8, len(moved)) * sd[moved]


def run(world: World, calm, faults: list[Fault], name: str, rng: np.random.Generator):
    """One run's table and its event (none for a calm run)."""
    nodes, minutes = (int(rng.integers(low, high + 1)) for low, high in (world.nodes, world.minutes))
    base = calm.draw(nodes, minutes, rng)
    sd = spread(base)
    benign(world, base, sd, rng)
    keep, event = np.ones((nodes, minutes), bool), None
    if rng.uniform() < 0.92:
        fault = faults[rng.integers(len(faults))]
        lasts = int(rng.integers(world.lasts[0], world.lasts[1] + 1))
        inject = int(rng.integers(60, max(61, minutes - lasts - 20)))
        short = rng.uniform() < world.stop_short
        end = min(inject + lasts, minutes - 1)
        at = rng.choice(nodes, 2 if fault.link else 1, replace=False)
        progress = np.clip((np.arange(minutes) - inject) / lasts, 0, 1)
        reached = shape(fault.shape, progress)
        if short:
            stop = inject + int(lasts * rng.uniform(0.3, 0.8))
            reached = np.where(np.arange(minutes) > stop, 0.0, reached)
        jitter = 1 + 0.1 * rng.normal(size=minutes)
        for node in at:
            base[node][:, fault.moves] += np.outer(reached * jitter, fault.by * rng.uniform(0.7, 1.3) * sd[fault.moves])
        if not short:
            crashed(world, base, keep, at, end, rng)
        event = (name, fault.name, inject, "" if short else end, f"n{at[0]}", f"n{at[1]}" if fault.link else "")
    base[rng.uniform(size=base.shape) < world.missing] = np.nan
    node, minute = np.nonzero(keep)
    table = pd.DataFrame(base[keep].astype(np.float32), columns=calm.names)
    table.insert(0, "minute", minute.astype(np.int32))
    table.insert(0, "node", [f"n{at}" for at in node])
    table.insert(0, "run", name)
    return table, event


def crashed(world: World, base, keep, at, end: int, rng) -> None:
    minutes = base.shape[1]
    if world.after == "restarts":
        back = end + int(rng.integers(3, 15))
        for node in at:
            base[node, end + 1:back] = 0.0
            settle = np.clip((np.arange(minutes) - back) / 20, 0, 1)[back:, None]
            clean = np.median(base[node, :60], axis=0)
            base[node, back:] = clean * (0.6 + 0.4 * settle) * (1 + 0.05 * rng.normal(size=base[node, back:].shape))
    else:
        keep[at, end + 1:] = False
    keep[:, min(minutes, end + (90 if world.after == "restarts" else 15)):] = False


def write(world: World, folder: Path, seed: int, real: Path | None = None) -> None:
    """Writes the world's train/ and test/."""
    rng = np.random.default_rng([seed, *world.name.encode()])
    calm = Real(world, real) if world.real else Calm(world, rng)
    other = Calm(world, rng) if world.renamed else calm
    for part, runs, behind, count in (("train", world.runs[0], calm, 8), ("test", world.runs[1], other, 8)):
        faults = kinds(world, count, behind.names, f"{part}-", rng)
        made = [run(world, behind, faults, f"{part}{at:03}", rng) for at in range(runs)]
        target = folder / part
        target.mkdir(parents=True, exist_ok=True)
        table = pd.concat([table for table, _ in made], ignore_index=True)
        if world.renamed and part == "test":
            table = table.rename(columns={name: f"other_{name}" for name in behind.names})
        table.to_parquet(target / "ramp_telemetry.parquet", compression="zstd")
        with open(target / "ramp_events.csv", "w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(("run", "fault", "inject_minute", "crash_minute", "node_a", "node_b"))
            rows.writerows(event for _, event in made if event)
