"""The rows of the table: what is measured, beside whom, and what we aim at."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One case at one frame size."""

    case: str
    size: int
    # Ours ÷ VPP's, at most.
    aim: float | None = None
    # VPP's TSC cycles a packet as published for another machine (least, most), where l3fwd takes 32.
    published: tuple[float, float] | None = None
    cipher: str = "aes-128-gcm"

    @property
    def title(self) -> str:
        return f"{self.case} {self.cipher}" if self.case.startswith("esp") else self.case


# l3fwd, one route, on the machine of the published figures.
PUBLISHED_L3FWD = 32

ROWS = [
    Row("ipv4", 64, 0.8, (55, 55)),
    Row("ipv4", 512),
    Row("ipv4", 1420),
    Row("ipv4-1m", 64, 0.7, (135, 135)),
    Row("ipv6", 64),
    Row("ipv6-100k", 64, 0.6, (263, 263)),
    Row("gre-encap", 64, 0.7, (99, 99)),
    Row("gre-encap", 512, 0.7, (94, 94)),
    Row("gre-encap", 1420),
    Row("gre-decap", 64, 0.7, (112, 112)),
    Row("gre-decap", 512, 0.7, (119, 119)),
    Row("gre-decap", 1420),
    Row("gre-ecmp", 64, 0.7, (124, 124)),
    Row("gre-ecmp", 512, 0.7, (115, 115)),
    Row("acl", 64, 0.7, (178, 178)),
    Row("acl-100", 64, 0.7),
    Row("session", 64, 0.9, (99, 99)),
    Row("esp-encrypt", 64, 0.8, (185, 215)),
    Row("esp-encrypt", 512, 0.8, (250, 300)),
    Row("esp-encrypt", 1420, 0.8, (380, 470)),
    Row("esp-decrypt", 64, 0.85, (205, 240)),
    Row("esp-decrypt", 512, 0.85, (260, 300)),
    Row("esp-decrypt", 1420, 0.85, (425, 470)),
    *(Row(case, size, cipher=cipher) for cipher in ("aes-256-gcm", "chacha20-poly1305")
      for case in ("esp-encrypt", "esp-decrypt") for size in (64, 1420)),
]
CASES = list(dict.fromkeys(row.case for row in ROWS))
