"""A program under a time cap, with the memory that it and its children took."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

_INTERVAL = .5


class Ended(NamedTuple):
    """How a program ended.

    Attributes:
        code: Exit code; None where its time was over.
        seconds: Wall time.
        memory: Largest memory in bytes of it and its children, shared pages counted once; 0 where the system does not
            say.
        output: What it printed.
    """

    code: int | None
    seconds: float
    memory: int
    output: str


def run_capped(command: Sequence[str], cwd: Path, log: Path, seconds: float,
               env: Mapping[str, str] | None = None) -> Ended:
    """Run a program; kill it and its children once its time is over.

    Args:
        command: The command line.
        cwd: Where it is started.
        log: Takes what it prints.
        seconds: The cap.
        env: Added to the environment.
    """
    start, memory = time.monotonic(), 0
    code: int | None = None
    modules = os.environ.get('PYTHONPATH', '').split(os.pathsep)   # of the user's working directory, not of cwd
    settings = dict(os.environ, PYTHONPATH=os.pathsep.join(os.path.abspath(m) for m in modules if m), **(env or {}))
    with open(log, 'wb') as stream:
        process = subprocess.Popen(command, cwd=cwd, stdout=stream, stderr=subprocess.STDOUT, env=settings,
                                   start_new_session=True)
        try:
            while (code := process.poll()) is None and time.monotonic() - start < seconds:
                memory = max(memory, _memory_of_session(process.pid))
                try:
                    code = process.wait(min(_INTERVAL, max(.01, start + seconds - time.monotonic())))
                    break
                except subprocess.TimeoutExpired:
                    continue
            took = time.monotonic() - start
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)   # the session is its own
                process.wait()
    return Ended(code, took, memory, log.read_text(errors='replace'))


def _memory_of_session(session: int) -> int:
    if not sys.platform.startswith('linux'):
        return 0
    total = 0
    for folder in Path('/proc').iterdir():
        if folder.name.isdigit():
            try:
                # behind the name, which may hold spaces: state, parent, group, session
                if int((folder / 'stat').read_text().rpartition(')')[2].split()[3]) == session:
                    lines = (folder / 'smaps_rollup').read_text().splitlines()
                    total += sum(1024 * int(line.split()[1]) for line in lines if line.startswith('Pss:'))
            except (OSError, ValueError, IndexError):   # it has just ended
                continue
    return total
