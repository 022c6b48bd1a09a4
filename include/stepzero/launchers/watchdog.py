"""A small process that owns everything a stage starts. Run as a script, by path, with the standard library only.

It is the child's parent and the new parent of every orphan below it, so that nothing gets away:
not the JVM of spark-submit, not a process that made itself a session of its own. It ends all of
them when its caller is gone (the pipe on its standard input closes), when the time is over, when it
is told to (SIGTERM), and when the child itself has ended.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
SAMPLE_SECONDS = 1.0
LIBC = ctypes.CDLL(None, use_errno=True)
PAGE_MB = os.sysconf("SC_PAGE_SIZE") / 1024**2


class Watchdog:
    """Start one command, wait for its end or for a reason to end it, and leave nothing behind."""

    def __init__(self, command: list[str], timeout: float, grace: float) -> None:
        self.grace, self.deadline = grace, time.monotonic() + timeout
        self.cpu, self.peak_mb, self.reason = 0.0, 0.0, ""
        self.status: int | None = None
        self.caller = os.getppid()
        self.bell, ring = socket.socketpair()
        ring.setblocking(False)
        self._ring = ring
        signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
            signal.signal(number, lambda *_: None)
        LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        # The group dies with this process even if somebody kills it with -9.
        self.child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=lambda: LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),  # noqa: PLW1509 - one thread
        ).pid

    def run(self) -> dict[str, object]:
        """Wait, clean up and return the report."""
        started = time.monotonic()
        while self.status is None and not self.reason:
            self.reason = self._wait()
        if self.reason:
            self._end_politely()
        self._kill_all()
        return {
            "status": self.status,
            "reason": self.reason,
            "wall_seconds": round(time.monotonic() - started, 3),
            "cpu_seconds": round(self.cpu, 3),
            "peak_memory_mb": round(self.peak_mb, 1),
        }

    def _wait(self) -> str:
        """Wait a moment; return why the child must end, or nothing."""
        bell = self.bell.fileno()
        readable, _, _ = select.select([bell, 0], [], [], SAMPLE_SECONDS)
        self._sample()
        told = set(self.bell.recv(4096)) if bell in readable else set()
        self._reap()
        if self.status is not None:
            return ""
        if told & {signal.SIGTERM, signal.SIGINT}:
            return "told to end"
        if (0 in readable and not os.read(0, 1)) or os.getppid() != self.caller:
            return "its caller is gone"
        return "time is over" if time.monotonic() > self.deadline else ""

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.wait4(-1, os.WNOHANG))[0]:
                pid, status, usage = found
                self.cpu += usage.ru_utime + usage.ru_stime
                self.peak_mb = max(self.peak_mb, usage.ru_maxrss / 1024)
                if pid == self.child:
                    self.status = os.waitstatus_to_exitcode(status)

    def _end_politely(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child, signal.SIGTERM)
        until = time.monotonic() + self.grace
        while self.status is None and time.monotonic() < until:
            select.select([self.bell], [], [], 0.1)
            self._reap()

    def _kill_all(self) -> None:
        until = time.monotonic() + self.grace
        while (left := descendants(os.getpid())) and time.monotonic() < until:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            self._reap()
        self._reap()

    def _sample(self) -> None:
        self.peak_mb = max(self.peak_mb, sum(resident_mb(pid) for pid in descendants(os.getpid())))


def descendants(root: int) -> list[int]:
    """Return all living processes below one."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - `pathlib` would double this script's start
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open(f"/proc/{name}/stat", "rb") as stat:  # noqa: PTH123
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
                if state != b"Z":
                    children.setdefault(int(parent), []).append(int(name))
    found, waiting = [], [root]
    while waiting:
        below = children.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process; 0 when it is gone."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as statm:  # noqa: PTH123 - see above
            return int(statm.read().split()[1]) * PAGE_MB
    except OSError:
        return 0.0


def main() -> None:
    """Run the command after ``--`` and write the report to the given file descriptor."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--timeout", type=float, required=True)
    parser.add_argument("--grace", type=float, default=5)
    parser.add_argument("--report", type=int, required=True)
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    os.set_inheritable(asked.report, False)
    report = Watchdog(asked.command, asked.timeout, asked.grace).run()
    with contextlib.suppress(OSError):
        os.write(asked.report, json.dumps(report).encode())


if __name__ == "__main__":
    main()
