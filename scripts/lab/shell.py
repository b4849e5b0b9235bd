"""Commands, namespaces entered by a thread, and a clock shared by everything the lab starts."""
import contextlib
import ctypes
import os
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else "python3"
CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(RuntimeError):
    """What went wrong and, where known, what to do about it."""


def now_ms() -> float:
    """Wall clock in ms: the one clock that hosts, faults and engines (`unix_ms`) share on this machine."""
    return time.time_ns() / 1e6


def run(*argv, check=True, text=None, timeout=60) -> subprocess.CompletedProcess:
    """Run a command to its end with captured output; a failure carries the command and its stderr."""
    done = subprocess.run(
        [str(a) for a in argv], input=text, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr.strip()}")
    return done


@contextlib.contextmanager
def in_netns(name: str):
    """The calling thread is inside the namespace for the block: sockets made there stay there."""
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{name}", os.O_RDONLY)
    try:
        _setns(there)
        yield
    finally:
        _setns(here)
        os.close(there)
        os.close(here)


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        err = ctypes.get_errno()
        raise LabError(f"setns: {os.strerror(err)} (the lab needs root)")


def stop(process: subprocess.Popen, grace_s: float = 3.0) -> None:
    """End a process this lab started: SIGCONT and SIGTERM, then SIGKILL after `grace_s`."""
    import signal
    if process.poll() is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGCONT)
        process.terminate()
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def start_time(pid: int) -> str | None:
    """The kernel's start tick of a pid, or None: with the pid it names one process for ever."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
    except (OSError, IndexError):
        return None
