"""Labelling runs as a user starts them, for the soak: start, watch, kill, compare with an unbroken one."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
_CONFIG = """default_scope = 'mmseg'
pseudo_labels = dict(
    out_dir={out!r}, num_workers=2,
    dataset=dict(
        type='wsss_mm.CocoBoxDataset', data_root={root!r}, ann_file='annotations/boxes_train.json', test_mode=True,
        data_prefix=dict(img_path='JPEGImages'),
        pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels'),
                  dict(type='wsss_mm.PackWeakInputs')]),
    generator=dict(
        type='wsss_mm.BoxCRFInstances', ann_file={ann!r},
        crf=dict(type='wsss_mm.DenseCRF', bilateral_weight=2, bilateral_xy=16, bilateral_rgb=6, gaussian_weight=1,
                 gaussian_xy=2, iterations=2)))
"""
_MARK = 'WSSS_SOAK'
_PATIENCE = 1800.   # seconds that a run may take; what lasts longer hangs


class Bench:
    """The data, the config and the unbroken run that all others are compared with.

    Args:
        folder: For all files; what is there of an earlier soak is used again.
        images: Number of toy images.
    """

    def __init__(self, folder: Path, images: int) -> None:
        self.folder, self.images = folder, images
        self.data, self.token = folder / f'data{images}', secrets.token_hex(8)
        self.start_seconds = 10.   # from the start of the tool to its first label; measured as runs go
        self.starts = 0
        self._draw()
        self.config = self.write_config('boxes', self.data)
        self.unbroken = folder / f'unbroken{images}'

    def _draw(self) -> None:
        from wsss_mm.datasets.prepare_instances import write_instances
        from wsss_mm.datasets.toy_voc import draw_toy_voc
        counts = dict(train=self.images, val=0, test=0, test_decor=0, ood=0, ood_test=0)
        draw_toy_voc(self.data, 'boxes', 0, counts, workers=1)
        write_instances(self.data)

    def write_config(self, name: str, data: Path) -> Path:
        """A config that labels the images of a data folder."""
        path = self.folder / f'{name}.py'
        path.write_text(_CONFIG.format(out=str(self.folder / 'labels'), root=str(data),
                                       ann=str(self.data / 'annotations/boxes_train.json')))
        return path

    def make_unbroken(self) -> float:
        """The run without any interruption, if it is not there yet; returns its seconds."""
        run = self.unbroken / 'run.json'
        if run.is_file() and json.loads(run.read_bytes()).get('complete'):
            return 0.
        shutil.rmtree(self.unbroken, ignore_errors=True)
        began = time.monotonic()
        run = self.start(self.unbroken)
        code = run.end()
        if code:
            raise RuntimeError(f'the unbroken run ended with {code}:\n{run.output()[-3000:]}')
        return time.monotonic() - began

    def fresh(self, name: str) -> Path:
        """An empty place for a run."""
        out = self.folder / name
        shutil.rmtree(out, ignore_errors=True)
        return out

    def start(self, out: Path, *more: str, config: Path | None = None) -> Run:
        """Start the tool, in a process group of its own."""
        self.starts += 1
        return Run(self, out, [sys.executable, str(ROOT / 'tools/generate.py'), str(config or self.config), '--out-dir',
                               str(out), *more])

    def complete(self, out: Path, config: Path | None = None, tries: int = 3) -> tuple[int, str]:
        """Repeat the command until it ends with 0; returns the last exit code and output."""
        for _ in range(tries):
            run = self.start(out, config=config)
            code = run.end()
            if code == 0:
                break
        return code, run.output()

    def verify(self, out: Path, config: Path | None = None) -> list[str]:
        """What ``--verify`` finds, line by line."""
        run = self.start(out, '--verify', config=config)
        code = run.end()
        lines = run.output().strip().splitlines()
        return [] if code == 0 else [f'--verify ended with {code}', *lines]

    def differences(self, out: Path) -> list[str]:
        """Files that differ from the unbroken run's, that it has not, or that are missing."""
        expected, found = _files(self.unbroken), _files(out)
        problems = [f'{name} is missing' for name in sorted(expected - found)]
        problems += [f'{name} is left over' for name in sorted(found - expected)]
        for name in sorted(expected & found - {'run.json'}):
            if (out / name).read_bytes() != (self.unbroken / name).read_bytes():
                problems.append(f'{name} differs')
        if 'run.json' in found:
            ours, theirs = (json.loads((root / 'run.json').read_bytes()) for root in (out, self.unbroken))
            problems += [f'run.json: {k} differs' for k in ('complete', 'images', 'files')
                         if ours.get(k) != theirs.get(k)]
        return problems

    def strays(self, seconds: float = 0.) -> list[int]:
        """Processes of any run that are still there after so long."""
        end = time.monotonic() + seconds
        while (found := list(self._processes())) and time.monotonic() < end:
            time.sleep(.2)
        return found

    def _processes(self) -> Iterator[int]:
        mark = f'{_MARK}={self.token}'.encode()
        for entry in Path('/proc').iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                try:
                    environment = (entry / 'environ').read_bytes()   # empty of one that has ended
                except OSError:
                    continue
                if mark in environment.split(b'\0'):
                    yield int(entry.name)

    def sweep(self) -> None:
        """Kill what is left of all runs."""
        for pid in self._processes():
            os.kill(pid, signal.SIGKILL)


class Run:
    """One start of the tool."""

    def __init__(self, bench: Bench, out: Path, line: list[str]) -> None:
        self.bench, self.out = bench, out
        self.log = bench.folder / 'logs' / f'{bench.token}_{bench.starts:04d}.txt'
        self.log.parent.mkdir(exist_ok=True)
        env = {k: v for k, v in os.environ.items() if not k.startswith('TOY_')}
        env.update({'OMP_NUM_THREADS': '1', 'PYTHONPATH': str(ROOT), _MARK: bench.token})
        self.began, self.had = time.monotonic(), labels(out)
        with open(self.log, 'wb') as stream:
            self.process = subprocess.Popen(line, stdout=stream, stderr=subprocess.STDOUT, env=env, cwd=bench.folder,
                                            start_new_session=True)

    def running(self) -> bool:
        return self.process.poll() is None

    def output(self) -> str:
        return self.log.read_text(errors='replace')

    def end(self) -> int:
        """Wait for its end; a run that hangs is killed, code -9."""
        try:
            return self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill_group()
            return self.process.wait()

    def until(self, condition: Callable[[], bool]) -> bool:
        """Wait until something is so; False where the run ended first."""
        end = time.monotonic() + _PATIENCE
        while self.running() and time.monotonic() < end:
            if condition():
                return True
            time.sleep(.02)
        return False

    def until_random(self, rng: random.Random) -> bool:
        """Wait for a random moment: in the start, amid the images, or about the end; False where it ended first."""
        where = rng.random()
        if where < .4:
            moment = self.began + rng.uniform(0, self.bench.start_seconds)
            return self.until(lambda: time.monotonic() >= moment)
        count = self.bench.images - rng.randrange(2) if where > .85 else min(
            self.had + 1 + rng.randrange(25), self.bench.images)
        if self.until(lambda: labels(self.out) > self.had):
            self.bench.start_seconds = .5 * (self.bench.start_seconds + time.monotonic() - self.began)
        if not self.until(lambda: labels(self.out) >= count):
            return False
        moment = time.monotonic() + rng.uniform(0, .3)
        return self.until(lambda: time.monotonic() >= moment)

    def workers(self) -> list[int]:
        """Its label workers."""
        found = []
        for pid in self.bench._processes():
            try:
                if os.getpgid(pid) == self.process.pid and b'spawn_main' in Path(f'/proc/{pid}/cmdline').read_bytes():
                    found.append(pid)
            except (ProcessLookupError, FileNotFoundError):
                continue
        return found

    def kill_group(self, number: int = signal.SIGKILL) -> None:
        try:
            os.killpg(self.process.pid, number)
        except ProcessLookupError:
            return

    def kill_main(self) -> None:
        """The main process alone; its workers are orphans."""
        self.process.kill()
        self.process.wait()


def labels(out: Path) -> int:
    """How many label maps are there."""
    try:
        return sum(name.endswith('.png') and not name.startswith('.') for name in os.listdir(out / 'labels'))
    except FileNotFoundError:
        return 0


def _files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob('*') if not path.is_dir()}
