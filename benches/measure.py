"""A DPDK process that forwards what it receives, and its CPU time for each packet."""

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

RUNTIME = Path("/var/run/dpdk")
WINDOW_S = 0.05
START_S = 20


PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """In a new process: the kernel ends it if we die without a chance to."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def prefer() -> None:
    """Lets this session, and those begun from it, have the cores before others: Linux weighs sessions, not processes."""
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")
        os.setpriority(os.PRIO_PROCESS, 0, -20)


def started() -> None:
    """In a new process, before it becomes the one that is wanted."""
    end_with_parent()
    prefer()


class Failed(Exception):
    """A peer did not start or does not forward; the text ends with what it printed."""


class Peer:
    """A running peer, stopped (SIGSTOP) except while it is measured."""

    def __init__(self, name: str, command: list[str], tx_port: int, log: Path):
        self.name, self.tx_port, self.log = name, tx_port, log
        self.prefix = f"foreshift-bench-{name}-{os.getpid()}"
        arguments = [part.replace("{prefix}", self.prefix) for part in command]
        with log.open("w") as output:
            # testpmd ends when its standard input does.
            self.process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=started,
            )
        self.socket = None

    def __enter__(self) -> "Peer":
        try:
            self.wait_until_forwarding()
            self.process.send_signal(signal.SIGSTOP)
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.end()

    def wait_until_forwarding(self) -> None:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"{self.name} ended with {self.process.returncode}\n{self.tail()}")
            time.sleep(0.1)
            try:
                if self.transmitted() > 0:
                    return
            except (OSError, ValueError, KeyError):
                self.disconnect()
        raise Failed(f"{self.name} forwarded nothing in {START_S} s\n{self.tail()}")

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-12:])

    def transmitted(self) -> int:
        """Packets that its output port has taken, by DPDK's telemetry socket."""
        if self.socket is None:
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self.socket.settimeout(5)
            self.socket.connect(str(RUNTIME / self.prefix / "dpdk_telemetry.v2"))
            self.socket.recv(4096)
        self.socket.send(f"/ethdev/stats,{self.tx_port}".encode())
        return json.loads(self.socket.recv(65536))["/ethdev/stats"]["opackets"]

    def disconnect(self) -> None:
        if self.socket is not None:
            self.socket.close()
            self.socket = None

    def cpu_s(self) -> float:
        """CPU time of the process: what others take of the core is not in it."""
        # The clock of another process, as clock_getcpuclockid(3) makes its number.
        return time.clock_gettime((~self.process.pid << 3) | 2)

    def samples(self, seconds: float, tsc_hz: float) -> list[float]:
        """TSC cycles for each transmitted packet, in short windows over `seconds`."""
        self.process.send_signal(signal.SIGCONT)
        try:
            time.sleep(WINDOW_S)
            windows, end = [], time.monotonic() + seconds
            before = (self.cpu_s(), self.transmitted())
            while time.monotonic() < end:
                time.sleep(WINDOW_S)
                now = (self.cpu_s(), self.transmitted())
                if now[1] > before[1]:
                    windows.append((now[0] - before[0]) * tsc_hz / (now[1] - before[1]))
                before = now
        finally:
            self.process.send_signal(signal.SIGSTOP)
        if not windows:
            raise Failed(f"{self.name} stopped forwarding\n{self.tail()}")
        return windows

    def end(self) -> None:
        self.disconnect()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        folder = RUNTIME / self.prefix
        for leftover in folder.glob("*") if folder.is_dir() else []:
            leftover.unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()
