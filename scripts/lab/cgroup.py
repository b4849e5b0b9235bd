"""A cgroup for one engine: v1 where its controllers are mounted, else v2. Limits are in shares and bytes."""
import contextlib
import os
import re
import time
from pathlib import Path

from .shell import LabError

MOUNT = Path("/sys/fs/cgroup")
MIN_QUOTA_US = 1000  # the kernel's least quota; a smaller share needs a longer period


def _own_path(controller: str) -> str:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, path = line.split(":", 2)
        if controller in names.split(",") or (controller == "" and names == ""):
            return path.strip("/")
    return ""


def _parents() -> dict[str, Path]:
    """Where groups are made, by controller. v1: under our own group. v2: at the root, which may hold both."""
    if (MOUNT / "cgroup.controllers").exists():
        return {"cpu": MOUNT, "memory": MOUNT}
    found = {}
    for controller in ("cpu", "memory"):
        base = next((MOUNT / d for d in (controller, "cpu,cpuacct") if (MOUNT / d / "cgroup.procs").exists()
                     and (controller == d or controller == "cpu")), None)
        if base:
            own = base / _own_path(controller)
            found[controller] = own if own.exists() else base
    return found


class Cgroup:
    """`Cgroup("fs-1-a1")`; `join` is a shell prefix that starts a process inside it."""

    def __init__(self, name: str):
        parents = _parents()
        if set(parents) != {"cpu", "memory"}:
            raise LabError("no cpu and memory cgroup controllers: mount cgroups, or choose --fault loss")
        self.v2 = (MOUNT / "cgroup.controllers").exists()
        if self.v2:
            with contextlib.suppress(OSError):
                (MOUNT / "cgroup.subtree_control").write_text("+cpu +memory")
        self.cpu, self.memory = parents["cpu"] / name, parents["memory"] / name
        for folder in {self.cpu, self.memory}:
            folder.mkdir(exist_ok=True)
        if self.v2 and not (self.cpu / "cpu.max").exists():
            raise LabError("the cpu controller is not delegated here; choose --fault loss")

    def join(self) -> list[str]:
        """A command prefix: memory is charged to the group only if the process starts inside it."""
        files = sorted({str(self.cpu / "cgroup.procs"), str(self.memory / "cgroup.procs")})
        return ["sh", "-c", "".join(f'echo $$ > "{f}" && ' for f in files) + 'exec "$@"', "join"]

    def set_cpu_share(self, share: float | None) -> None:
        """Limit to a share of one CPU (1.0 = all of one); None lifts the limit."""
        if share is None:
            return self._write_cpu(-1, 100_000)
        period = 20_000
        while share * period < MIN_QUOTA_US and period < 1_000_000:
            period = min(1_000_000, period * 5)
        self._write_cpu(max(MIN_QUOTA_US, int(share * period)), period)

    def _write_cpu(self, quota: int, period: int) -> None:
        if self.v2:
            (self.cpu / "cpu.max").write_text(f"{'max' if quota < 0 else quota} {period}")
            return
        # v1 checks each file against the other: lift the quota before the period changes.
        (self.cpu / "cpu.cfs_quota_us").write_text("-1")
        (self.cpu / "cpu.cfs_period_us").write_text(str(period))
        (self.cpu / "cpu.cfs_quota_us").write_text(str(quota))

    def memory_used(self) -> int:
        """Bytes charged now."""
        return int((self.memory / ("memory.current" if self.v2 else "memory.usage_in_bytes")).read_text())

    def set_memory_limit(self, limit: int | None) -> None:
        """Limit in bytes; None lifts it."""
        if self.v2:
            (self.memory / "memory.max").write_text("max" if limit is None else str(limit))
        else:
            (self.memory / "memory.limit_in_bytes").write_text("-1" if limit is None else str(limit))

    def forbid_swap(self) -> None:
        """Where there is swap, a limit would only be slow."""
        with contextlib.suppress(OSError):
            file, value = ("memory.swap.max", "0") if self.v2 else ("memory.swappiness", "0")
            (self.memory / file).write_text(value)

    def remove(self) -> None:
        for folder in {self.cpu, self.memory}:
            _remove(folder)


def _remove(folder: Path) -> None:
    for _ in range(20):  # a killed process leaves its group a moment later
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:
            time.sleep(0.05)
        else:
            return


def remove_groups(prefix: str) -> None:
    """Remove every group this lab made (by name prefix) under the parents it uses."""
    for parent in set(_parents().values()):
        for folder in parent.glob(prefix + "*"):
            if folder.is_dir() and re.match(r"^fs-\d+-", folder.name):
                _remove(folder)
