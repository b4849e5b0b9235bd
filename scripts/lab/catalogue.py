"""Every kind of fault that recordings are made of, and how far those go that stop short."""
from . import links, ramps, storms
from .faults import Plan
from .rig import Rig
from .rigfault import RigFault

# The kinds of the first session, whose schedules must stay what they were, and those that came with the second.
FIRST = {"loss": links.Loss, "errors": links.Errors, "delay": links.Delay, "consumer": links.Consumer, "mbufs": ramps.Mbufs,
         "burn": ramps.Burn, "heap": ramps.Heap, "neighbour": ramps.Neighbour, "quota": ramps.Quota}
SECOND = {"detour": links.Detour, "flaps": links.Flaps, "bottleneck": links.Bottleneck, "lan": links.Lan,
          "stall": storms.Stall, "churn": storms.Churn, "pressure": storms.Pressure, "flood": storms.Flood}
# Peaks of ramps that are meant to stop short of failure; whether one did is measured.
SHORT = {"loss": (0.05, 0.25), "errors": (0.05, 0.25), "delay": (0.02, 0.1), "consumer": (0.2, 0.6),
         "mbufs": (0.3, 0.85), "burn": (0.2, 0.6), "heap": (0.3, 0.75), "neighbour": (0.05, 0.25), "quota": (0.1, 0.4),
         "detour": (0.05, 0.3), "flaps": (0.05, 0.35), "bottleneck": (0.2, 0.6), "lan": (0.2, 0.6), "stall": (0.1, 0.45),
         "churn": (0.1, 0.4), "pressure": (0.3, 0.75), "flood": (0.1, 0.35)}


def make(name: str, plan: Plan, rig: Rig, load_bps: float) -> RigFault:
    """The fault called `name`; `none` for a calm run, `death` and `cut` are abrupt."""
    if name in ("death", "cut"):
        return ramps.Abrupt(plan, rig, load_bps, name == "death")
    return (FIRST | SECOND).get(name, ramps.Nothing)(plan, rig, load_bps)
