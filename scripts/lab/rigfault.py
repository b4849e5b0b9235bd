"""What the faults of the light lab have in common: a level between 0 (nothing) and 1 (surely broken), set while it ramps."""
from .faults import Fault, Plan
from .rig import Rig
from .shell import now_ms


def geometric(low: float, high: float, level: float) -> float:
    """0 at level 0, then `low` to `high` by equal factors."""
    return low * (high / low) ** level if level > 0 else 0.0


class RigFault(Fault):
    """A fault of a rig. It ends what it does when the ramp is over; only death and a dead link are hard failures."""
    step_s = 0.15

    def __init__(self, plan: Plan, rig: Rig, load_bps: float):
        super().__init__(plan)
        self.rig, self.load_bps = rig, load_bps
        self._engine = rig.engines["a1"].process

    def prepare(self) -> None:
        """What is so from the beginning of the run, the calm before the ramp included."""

    def _level(self, level: float) -> None:
        super()._level(level)
        self._note_death()

    def _note_death(self) -> None:
        if self.moments.hard_ms is None and self._engine.poll() is not None:
            self.moments.hard_ms = now_ms()

    def hard_failure(self) -> None:
        """The worst level lasts until the run ends."""
        self.set_level(1.0)
        self.moments.end_ms = now_ms()

    def lost_by_fault(self) -> int:
        return 0

    def lift(self) -> None:
        if self._engine.poll() is None:
            self.set_level(0.0)
