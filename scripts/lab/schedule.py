"""What is recorded: the runs of a session, from a seed, faults and calm mixed. Pure functions.

The first session has short ramps of the first kinds. The second has ramps of half a minute to two minutes of every kind, most of
those that are new with it, and calm by the hour. The third has ramps of one to four minutes of every kind with minutes of calm among
them.
"""
import itertools
import random
from dataclasses import dataclass

from . import calm, catalogue, faults
from .traffic import Load

SLOPES = {"fast": (5.0, 8.0), "medium": (10.0, 14.0), "slow": (18.0, 25.0)}  # seconds of a ramp
LONG = {"30 s": (30.0, 45.0), "60 s": (50.0, 75.0), "120 s": (90.0, 120.0)}
LONGER = {"1 min": (45.0, 65.0), "2 min": (90.0, 120.0), "4 min": (180.0, 220.0)}
PROFILES = ("steady", "burst", "daily", "growth")
CALM_S = 300.0  # of a calm run of the second session
SECOND_OLD, SECOND_NEW = 3, 6  # ramps of each kind in a round of the second session
THIRD, THIRD_SHORT, THIRD_CALM = 4, 2, 64  # ramps of each kind, those that stop short, calm runs in a round of the third


@dataclass(frozen=True)
class Run:
    """One recording to make. `kind` is the recording format's: ramp, stopped_short, abrupt or calm."""
    name: str
    kind: str
    fault: str
    plan: faults.Plan
    slope: str
    calm_s: float
    after_s: float
    pps: int
    profile: str
    bustle: str | None
    day_s: float = 12.0
    growth_s: float = 15.0

    def load(self) -> Load:
        """The hosts' streams."""
        return Load(pps=self.pps, flows=16, download_bps=0, ping_per_s=0,
                    daily_s=self.day_s if self.profile == "daily" else 0.0,
                    growth_s=self.growth_s if self.profile == "growth" else 0.0)


def first(seed: int) -> list[Run]:
    """Every fault in every shape and slope, a third as many that stop short, some without warning, and calm of every
    kind under every load."""
    rng = random.Random(seed)
    jobs = [("ramp", f, slope, shape) for f, slope, shape in
            itertools.product(catalogue.FIRST, SLOPES, sorted(faults.SHAPES))]
    jobs += [("stopped_short", f, rng.choice(sorted(SLOPES)), rng.choice(sorted(faults.SHAPES)))
             for f in catalogue.FIRST for _ in range(6)]
    jobs += [("abrupt", f, "none", "linear") for f in ("death", "cut") for _ in range(6)]
    jobs += [("calm", what, "none", "linear") for what in ("steady", *calm.KINDS) for _ in range(10)]
    rng.shuffle(jobs)
    return [_run(rng, f"s{seed}-{i:03}", *job) for i, job in enumerate(jobs)]


def _run(rng: random.Random, number: str, kind: str, fault: str, slope: str, shape: str) -> Run:
    profile = rng.choices(PROFILES, (4, 3, 2, 2))[0]
    bustle = "burst" if profile == "burst" else None
    if kind == "calm":
        plan = faults.Plan(rng.uniform(12.0, 18.0), peak=0.0, stops_short=True)
        bustle = fault if fault in calm.KINDS else bustle
    elif kind == "abrupt":
        plan = faults.Plan(0.0)
    elif kind == "stopped_short":
        plan = faults.Plan(rng.uniform(*SLOPES[slope]), shape, rng.uniform(*catalogue.SHORT[fault]), True,
                           rng.uniform(2.0, 5.0))
    else:
        plan = faults.Plan(rng.uniform(*SLOPES[slope]), shape, 1.0)
    if kind in ("ramp", "stopped_short") and bustle is None and rng.random() < 0.15:
        bustle = rng.choice(calm.KINDS)
    return Run(f"{number}-{fault}-{kind}", kind, fault, plan, slope, rng.uniform(7.0, 11.0),
               3.0 if kind in ("calm", "stopped_short") else 4.5, rng.choice((200, 300, 400)), profile, bustle)


def second(seed: int) -> list[Run]:
    """Long ramps, shapes and slopes drawn so that each is as frequent; a quarter stop short; some without warning."""
    rng, jobs = random.Random(f"second {seed}"), []
    for fault in (*catalogue.FIRST, *catalogue.SECOND):
        ramps = SECOND_NEW if fault in catalogue.SECOND else SECOND_OLD
        shapes = rng.sample(sorted(faults.SHAPES) * 2, ramps)
        jobs += [("ramp", fault, sorted(LONG)[i % len(LONG)], shape) for i, shape in enumerate(shapes)]
        jobs += [("stopped_short", fault, rng.choice(sorted(LONG)), rng.choice(sorted(faults.SHAPES)))
                 for _ in range(ramps // 3)]
    jobs += [("abrupt", f, "none", "linear") for f in ("death", "cut") for _ in range(2)]
    rng.shuffle(jobs)
    return [_long(rng, f"t{seed}-{i:03}", *job) for i, job in enumerate(jobs)]


def third(seed: int) -> list[Run]:
    """Longer ramps still, every kind in every shape; a third stop short; some without warning; and calm runs among them, half of
    all the time."""
    rng, jobs = random.Random(f"third {seed}"), []
    for fault in (*catalogue.FIRST, *catalogue.SECOND):
        slopes = rng.sample(sorted(LONGER) * 2, THIRD)
        jobs += [("ramp", fault, slope, shape) for slope, shape in zip(slopes, sorted(faults.SHAPES), strict=True)]
        jobs += [("stopped_short", fault, rng.choice(sorted(LONGER)), rng.choice(sorted(faults.SHAPES)))
                 for _ in range(THIRD_SHORT)]
    jobs += [("abrupt", f, "none", "linear") for f in ("death", "cut") for _ in range(2)]
    runs = [_long(rng, f"u{seed}-{i:03}", *job) for i, job in enumerate(jobs)]
    runs += calm_hours(seed + 100, THIRD_CALM * CALM_S / 3600)
    rng.shuffle(runs)
    return runs


def _long(rng: random.Random, number: str, kind: str, fault: str, slope: str, shape: str) -> Run:
    profile, ramp_s = rng.choices(PROFILES, (4, 3, 2, 2))[0], 0.0 if kind == "abrupt" else rng.uniform(*(LONG | LONGER)[slope])
    bustle = "burst" if profile == "burst" else rng.choice((None, None, None, "any"))
    plan = faults.Plan(ramp_s, shape, 1.0)
    if kind == "stopped_short":
        plan = faults.Plan(ramp_s, shape, rng.uniform(*catalogue.SHORT[fault]), True, rng.uniform(3.0, 10.0))
    return Run(f"{number}-{fault}-{kind}", kind, fault, plan, slope, rng.uniform(10.0, 15.0),
               3.0 if kind == "stopped_short" else 4.5, rng.choice((150, 250, 350)), profile, bustle, 40.0, 60.0)


def calm_hours(seed: int, hours: float) -> list[Run]:
    """Calm runs of five minutes: every load in turn, half of them with everything that is no fault, the others with one
    kind of it or none."""
    rng = random.Random(f"calm {seed}")
    runs = []
    for i in range(round(hours * 3600 / CALM_S)):
        profile, bustle = PROFILES[i % len(PROFILES)], rng.choice(("any", rng.choice((None, *calm.KINDS))))
        plan = faults.Plan(CALM_S, peak=0.0, stops_short=True)
        runs.append(Run(f"c{seed}-{i:03}-calm", "calm", {"any": "soak", None: "steady"}.get(bustle, bustle), plan, "none", 10.0, 1.0,
                        rng.choice((50, 100, 200)), profile, bustle, rng.choice((40.0, 60.0, 120.0)), 200.0))
    return runs


def soak(seconds: float, seed: int) -> Run:
    """One long calm run with everything that is no fault."""
    plan = faults.Plan(seconds, peak=0.0, stops_short=True)
    return Run(f"soak{seed}-calm", "calm", "soak", plan, "none", 5.0, 1.0, 300, "daily", "any")
