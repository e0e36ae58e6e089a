"""What the toy's quality benchmarks share: one world at a time, the project's tools, what a config stands on, and how
scores are shown."""

import os
import statistics
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))


def choose_world(world: int, profile: str) -> None:
    """Let the configs, here and in the tools called from here, speak of one world."""
    os.environ.update(TOY_WORLD=str(world), TOY_PROFILE=profile, OMP_NUM_THREADS='1')
    os.chdir(ROOT)


def call(log: Path, tool: str, *args: str) -> None:
    """Run one of the project's tools; its output goes to a log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, 'a') as stream:
        done = subprocess.run([sys.executable, f'tools/{tool}.py', *args], stdout=stream, stderr=subprocess.STDOUT,
                              check=False)
    if done.returncode:
        raise RuntimeError(f'{tool} {" ".join(args)} failed; see {log}')


def run_stages(log: Path, wanted: Iterable[Any]) -> None:
    """Run stages and what they stand on, as far as that is missing."""
    from wsss_mm.engine import stages
    for stage in stages.in_order(list(wanted)):
        if stages.why_incomplete(stage):
            line = stages.command(stage, ROOT / 'tools')
            call(log, Path(line[1]).stem, *line[2:])


def run_before(log: Path, config: str, own: bool = False) -> None:
    """Run what a config stands on; with ``own`` also its own training, so that labels can follow."""
    from wsss_mm.engine import stages
    if own:
        run_stages(log, stages.needs(stages.Stage('labels', config)))
    else:
        run_stages(log, stages.direct_prerequisites(stages.load_config(config)))


def mean_sd(values: list[float], digits: int = 1) -> str:
    """Mean and standard deviation."""
    mean = f'{statistics.mean(values):.{digits}f}'
    return f'{mean} ± {statistics.stdev(values):.{digits}f}' if len(values) > 1 else mean


def slug(name: str) -> str:
    """A row's name as a folder's."""
    return ''.join(c if c.isalnum() else '_' for c in name).lower()
