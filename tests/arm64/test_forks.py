"""A fork that never came to run its program is ended, so that its parent goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from arm64.lane.forks import ForkWatch

PARENT = """
import os, sys, time
child = os.fork()
if child == 0:
    {child}
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextmanager
def watched(child: str) -> Iterator[tuple[ForkWatch, subprocess.Popen[str]]]:
    parent = [sys.executable, "-c", PARENT.format(child=child), "/usr/bin/java"]
    middle = "import subprocess, sys; subprocess.run(sys.argv[1:])"
    with subprocess.Popen([sys.executable, "-c", middle, *parent], stdout=subprocess.PIPE, text=True) as ancestor:
        watch = ForkWatch(ancestor.pid, "/bin/java", patience_seconds=1)
        try:
            yield watch, ancestor
        finally:
            watch.close()


def test_fork_that_stands_still_is_ended_and_counted() -> None:
    with watched("time.sleep(600)") as (watch, ancestor):
        assert ancestor.communicate()[0] == "-9\n"
        assert watch.ended == 1


def test_fork_that_runs_another_program_is_left_alone() -> None:
    runs = "os.execv(sys.executable, [sys.executable, '-c', 'import time; time.sleep(4)'])"
    with watched(runs) as (watch, ancestor):
        assert ancestor.communicate()[0] == "0\n"
        assert watch.ended == 0
