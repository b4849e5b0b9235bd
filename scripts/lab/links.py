"""Faults of what a1 is joined to: the WAN, and who takes what a1 sends."""
from .rigfault import RigFault, geometric


class Loss(RigFault):
    """Frames vanish on the WAN: 0.02 % to 60 %."""

    def set_level(self, level: float) -> None:
        self.rig.wan(loss=geometric(0.0002, 0.6, level))


class Errors(RigFault):
    """Frames are damaged on the WAN, 0.02 % to 60 %: their ICVs fail and the counters of errors climb."""

    def set_level(self, level: float) -> None:
        self.rig.wan(corrupt=geometric(0.0002, 0.6, level))


class Delay(RigFault):
    """The WAN grows longer, by up to 40 ms each way, and less steady."""

    def set_level(self, level: float) -> None:
        self.rig.wan(delay_ms=40.0 * level, jitter_ms=8.0 * level)


class Consumer(RigFault):
    """Whoever takes what a1 sends takes it more slowly: from 8 times what is offered down to half of it."""

    def set_level(self, level: float) -> None:
        self.rig.shape(8.0 * self.load_bps * (0.5 / 8.0) ** level if level > 0 else None)


class Lan(RigFault):
    """The same towards the hosts: site A's network takes what a1 hands it ever more slowly."""

    def set_level(self, level: float) -> None:
        self.rig.shape(8.0 * self.load_bps * (0.3 / 8.0) ** level if level > 0 else None, port="lan0")


class Detour(RigFault):
    """A growing share of the frames, 0.05 % to 50 %, takes a way that is 60 ms longer: a second path, out of order."""

    def set_level(self, level: float) -> None:
        self.rig.wan(detour=geometric(0.0005, 0.5, level))


class Flaps(RigFault):
    """The WAN goes dark for moments: every 4 s for 2 ms, in the end every 0.25 s for 150 ms."""

    def set_level(self, level: float) -> None:
        self.rig.wan(dark_every_ms=4000.0 * (250.0 / 4000.0) ** level, dark_ms=geometric(2.0, 150.0, level))


class Bottleneck(RigFault):
    """The WAN's rate shrinks, each way, from 8 times what is offered to half of it; 200 ms of frames wait, the rest is lost."""

    def set_level(self, level: float) -> None:
        self.rig.wan(rate_bps=8.0 * self.load_bps * (0.5 / 8.0) ** level if level > 0 else 0.0)
