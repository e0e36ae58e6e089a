"""Several processes: who this one is, which GPU is its own, starting them."""

from __future__ import annotations

import os
import subprocess
import sys

import torch


def local_rank() -> int:
    """This process's number on its machine, as torchrun, srun or ``--nproc`` gives it; 0 for one alone."""
    for name in ('LOCAL_RANK', 'SLURM_LOCALID'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return 0


def rank() -> int:
    """This process's number among all that were started together; 0 for one alone."""
    for name in ('RANK', 'SLURM_PROCID'):
        if os.environ.get(name, '').isdigit():
            return int(os.environ[name])
    return local_rank()


def local_device() -> str:
    """The GPU of this process, by its number on the machine; ``'cpu'`` where there is none."""
    count = torch.cuda.device_count()
    return f'cuda:{local_rank() % count}' if count else 'cpu'


def start_again(count: int, without: str) -> list[int]:
    """Run this very command in several processes of this machine, and wait for all.

    Args:
        count: How many; they get ``LOCAL_RANK`` 0, 1, …
        without: The option with a value that is left out of their command lines.

    Returns:
        Their exit codes; minus the signal's number for one that was killed.
    """
    line = [sys.executable, *_without(sys.argv, without)]
    started = [subprocess.Popen(line, env={**os.environ, 'LOCAL_RANK': str(i), 'LOCAL_WORLD_SIZE': str(count)})
               for i in range(count)]
    try:
        return [process.wait() for process in started]
    except BaseException:
        # Ctrl-C has reached them too; whatever else it is, none is left behind.
        for process in started:
            process.terminate()
        for process in started:
            process.wait()
        raise


def _without(line: list[str], option: str) -> list[str]:
    kept, skip = [], False
    for word in line:
        if not skip and word != option and not word.startswith(f'{option}='):
            kept.append(word)
        skip = word == option and not skip
    return kept
