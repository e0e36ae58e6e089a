"""Several processes: who this one is, which GPU is its own, starting them, training in them with or without GPUs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.distributed as dist
from mmengine.config import Config

from wsss_mm.errors import ConfigError


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


def world_size() -> int:
    """How many processes torchrun has started for one training; 1 without it."""
    return int(os.environ.get('WORLD_SIZE') or 1) if 'RANK' in os.environ else 1


def set_up_launcher(cfg: Config, launcher: str = 'none') -> None:
    """Make a config's runner train or test in the processes that torchrun has started.

    mmengine's own launcher takes a GPU for each. Where there are fewer, as without any, the processes are joined here,
    by gloo, and gradients are averaged on whatever device the model is. Parameters without a gradient in some steps,
    as of objectives that begin later, are looked for in each step unless the config has ``find_unused_parameters``.

    Args:
        cfg: Changed in place, before its runner is built.
        launcher: As of mmengine's tools; ``'none'`` in a process of torchrun's means ``'pytorch'``.
    """
    if launcher == 'none' and world_size() > 1:
        launcher = 'pytorch'
    cfg.launcher = launcher
    if launcher == 'none':
        return
    cfg.setdefault('find_unused_parameters', True)
    count = torch.cuda.device_count()
    if launcher != 'pytorch' or count >= int(os.environ.get('LOCAL_WORLD_SIZE', 1)):
        return
    if count:
        torch.cuda.set_device(local_rank() % count)
    if not dist.is_initialized():
        dist.init_process_group('gloo')
    wrapper = dict(type='MMDistributedDataParallel', broadcast_buffers=False,
                   find_unused_parameters=cfg.find_unused_parameters)
    cfg.model_wrapper_cfg = {**wrapper, **cfg.get('model_wrapper_cfg', {}), 'device_ids': None}


def shut_down() -> None:
    """Take leave of the other processes, so that torch does not warn of a group left behind."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def in_processes(line: Sequence[str], count: int) -> list[str]:
    """The command line of a tool of this package, ``[python, tools/x.py, …]``, in several processes of this machine.

    Trainings and tests are started by torchrun, labelling runs by themselves; other tools stay one process.
    """
    name = Path(line[1]).stem
    if count > 1 and name in ('train', 'test'):
        return [line[0], '-m', 'torch.distributed.run', '--standalone', f'--nproc_per_node={count}', *line[1:]]
    return [*line, '--nproc', str(count)] if count > 1 and name == 'generate' else list(line)


def checked_count(count: int | None) -> int:
    """``--nproc`` as given; 1 without it.

    Raises:
        ConfigError: below 1, or in a process that torchrun has started.
    """
    if count is None:
        return 1
    if count < 1:
        raise ConfigError(f'--nproc {count}', expected='1 or more')
    if world_size() > 1:
        raise ConfigError('--nproc under torchrun', expected='one of the two', fix='leave --nproc out')
    return count


def start_again(count: int, without: str) -> list[int]:
    """Run this very command in several processes of this machine, and wait for all.

    Args:
        count: How many; they get ``LOCAL_RANK`` 0, 1, …
        without: The option with a value that is left out of their command lines.

    Returns:
        Their exit codes; minus the signal's number for one that was killed.
    """
    line = own_line(without)
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


def own_line(without: str) -> list[str]:
    """The command line of this process, without an option and its value."""
    kept, skip, option = [sys.executable], False, without
    for word in sys.argv:
        if not skip and word != option and not word.startswith(f'{option}='):
            kept.append(word)
        skip = word == option and not skip
    return kept
