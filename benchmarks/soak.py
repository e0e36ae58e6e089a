"""Labelling runs that are killed, stopped, starved of disk and damaged, until they are complete.

Real runs of tools/generate.py over toy images, with two workers: masks of boxes by a dense CRF, label maps, one COCO
file of all. After each scenario every file has to be, byte for byte, that of an unbroken run, ``--verify`` has to find
nothing, and no temporary file, claim or process may be left. Needs Linux; the full disk needs the right to mount a
tmpfs.

    python benchmarks/soak.py                         # writes benchmarks/results/soak.md
    python benchmarks/soak.py --only 'worker killed' --kills 20

SIGTERM ends the scenario at hand with the interruptions it has had, and the program with it.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / 'benchmarks')]
from _soak_runs import Bench, Run, labels  # noqa: E402

from wsss_mm import files  # noqa: E402

_ORPHANS = 300.   # seconds that workers may live on without their main process: on a busy machine imports take minutes
COLUMNS = ('scenario', 'interruptions', 'starts', 'complete runs', 'labels', 'left over')


class Found:
    """What a scenario counts, and what was wrong."""

    stopped = False   # by SIGTERM: no more interruptions, the run is completed and its row written

    def __init__(self, bench: Bench, minutes: float = float('inf')) -> None:
        self.bench, self.began = bench, bench.starts
        self.end = time.monotonic() + 60 * minutes
        self.interruptions, self.complete = 0, 0
        self.problems: list[str] = []
        self.left: list[str] = []
        self.note = ''

    def wants(self, kills: int) -> bool:
        """Whether there is something left to interrupt, and time for it."""
        return not self.stopped and self.interruptions < max(kills, 1) and time.monotonic() < self.end

    def check(self, out: Path, config: Path | None = None, verify: bool = False) -> None:
        """Compare a complete run."""
        self.complete += 1
        for problem in self.bench.differences(out):
            (self.left if problem.endswith('left over') else self.problems).append(problem)
        if verify:
            self.problems += self.bench.verify(out, config)
        if strays := self.bench.strays(_ORPHANS):
            self.left.append(f'{len(strays)} processes')
            self.bench.sweep()

    def finish(self, out: Path, config: Path | None = None) -> None:
        """Repeat the command until the run is complete, and compare."""
        code, said = self.bench.complete(out, config)
        if code:
            self.problems.append(f'the command ended with {code}: {said[-300:]}')
        self.check(out, config, verify=True)

    def row(self) -> dict[str, Any]:
        what = 'identical' if not self.problems else f'{len(self.problems)} problems: {"; ".join(self.problems[:5])}'
        return dict(interruptions=self.interruptions, starts=self.bench.starts - self.began, complete=self.complete,
                    labels=what + (f'; {self.note}' if self.note else ''), left='; '.join(self.left[:5]) or 'nothing')


def killed(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """SIGKILL to all processes of the run, or to the main one alone, whose workers have to end by themselves."""
    out, alone = bench.fresh('killed'), 0
    while found.wants(kills):
        run = bench.start(out)
        if not run.until_random(rng):
            if code := run.end():
                found.problems.append(f'the command ended with {code}: {run.output()[-300:]}')
            found.check(out)
            out = bench.fresh('killed')
            continue
        found.interruptions += 1
        if found.interruptions % 2:
            run.kill_group()
        else:
            alone += 1
            run.kill_main()
            if strays := bench.strays(_ORPHANS):
                found.left.append(f'{len(strays)} orphans')
                bench.sweep()
        run.end()
    found.note = f'{alone} times the main process alone'
    found.finish(out)


def full_disk(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """A file system with too little room: the run says so and ends with 2; with more room it goes on."""
    place = bench.folder / 'full'
    place.mkdir(exist_ok=True)
    # what the files take in pages, and as much again for what is there while they are written
    need = sum(-(-p.stat().st_size // 4096) * 4096 for p in bench.unbroken.rglob('*') if p.is_file())
    mounted = subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={3 * need}', 'tmpfs', str(place)],
                             capture_output=True, text=True, check=False)
    if mounted.returncode:
        found.note = f'not run: {mounted.stderr.strip()}'
        return
    try:
        out, filler = place / 'labels', place / 'filler'
        for share in sorted(rng.uniform(.02, .9) for _ in range(3)):
            used = sum(p.stat().st_blocks * 512 for p in out.rglob('*') if p.is_file()) if out.is_dir() else 0
            room = max(int(share * need), used + 8192)
            _fill(filler, place, room - used)
            run = bench.start(out)
            code = run.end()
            found.interruptions += 1
            said = run.output()
            if code != 2 or 'cannot write' not in said or 'No space left' not in said or 'Traceback' in said:
                found.problems.append(f'with {room >> 10} KiB of room it ended with {code}: {said[-400:]}')
            if strays := bench.strays(_ORPHANS):
                found.left.append(f'{len(strays)} processes')
        filler.unlink()
        found.finish(out)
    finally:
        subprocess.run(['umount', str(place)], check=False)


def _fill(filler: Path, place: Path, room: int) -> None:
    """Make a file so large that so many bytes stay free."""
    filler.unlink(missing_ok=True)
    free = os.statvfs(place).f_bavail * os.statvfs(place).f_frsize
    filler.write_bytes(bytes(max(free - room, 0)))


def worker_killed(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """SIGKILL to a worker, again and again; the run goes on by itself, or lists the image and ends with 1."""
    out = bench.fresh('worker')
    listed = 0
    while found.wants(kills // 5):
        run = bench.start(out)
        while True:   # now and then while they start, else after some more images
            count = labels(out) + (rng.randrange(25) if rng.random() < .8 else 0)
            moment = time.monotonic() + rng.uniform(0, 1)
            if not run.until(lambda run=run, count=count, moment=moment: labels(run.out) >= count
                             and time.monotonic() >= moment and bool(run.workers())):
                break
            if workers := run.workers():
                try:
                    os.kill(rng.choice(workers), signal.SIGKILL)
                except ProcessLookupError:
                    continue
                found.interruptions += 1
            if not found.wants(kills // 5):
                break
        code = run.end()
        if code == 0:
            found.check(out)
            out = bench.fresh('worker')
        elif code == 1 and 'could not be labelled' in run.output():
            listed += len(files.read_json(out / 'failures.json') or {})
        elif code != 2 or 'died' not in run.output():
            found.problems.append(f'the command ended with {code}: {run.output()[-300:]}')
    found.note = f'{listed} images listed as failed on the way'
    found.finish(out)


def bad_images(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """Images cut short, emptied or overwritten: listed, the others labelled; mended, the run is completed."""
    data = bench.fresh('damaged_data')
    shutil.copytree(bench.data, data)
    config, out = bench.write_config('damaged', data), bench.fresh('bad_images')
    paths = sorted((data / 'JPEGImages').iterdir())
    chosen = rng.sample(paths, 6)
    for i, path in enumerate(chosen):
        content = path.read_bytes()
        damaged = (content[:len(content) * 2 // 3], b'', rng.randbytes(len(content)))[i % 3]
        path.write_bytes(damaged)
    found.interruptions = len(chosen)
    run = bench.start(out, config=config)
    code = run.end()
    listed = set(files.read_json(out / 'failures.json') or {})
    if code != 1 or listed != {path.stem for path in chosen}:
        found.problems.append(f'ended with {code}, failures.json lists {sorted(listed)}: {run.output()[-300:]}')
    for path in chosen:
        if (out / f'labels/{path.stem}.png').exists():
            found.problems.append(f'a label of the damaged {path.stem}')
        shutil.copyfile(bench.data / 'JPEGImages' / path.name, path)
    found.note = f'{len(listed)} images listed until they were mended'
    found.finish(out, config)


def two_processes(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """Two processes share the run; one of them is killed, and started again."""
    out = bench.fresh('two')
    runs: list[Run] = []
    while found.wants(kills // 5):
        runs = [run for run in runs if run.running()] + [bench.start(out) for run in range(2 - len(runs))]
        victim = rng.choice(runs)
        if victim.until_random(rng):
            victim.kill_group()
            victim.end()
            found.interruptions += 1
            runs.remove(victim)
            continue
        codes = [run.end() for run in runs]
        if any(codes):
            found.problems.append(f'ended with {codes}: {[run.output()[-200:] for run in runs]}')
        found.check(out)
        out, runs = bench.fresh('two'), []
    for run in runs:   # the survivor finishes alone
        if code := run.end():
            found.problems.append(f'the survivor ended with {code}: {run.output()[-300:]}')
    found.finish(out)


def stopped(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """SIGSTOP to one of two processes, so long that the other takes it for dead, then SIGCONT."""
    out = bench.fresh('stopped')
    runs = [bench.start(out, '--stale-after', '2') for _ in range(2)]
    for _ in range(max(kills // 20, 1)):
        victim = rng.choice(runs)
        if not victim.until(lambda: any((out / 'labels').glob('*.png')) if out.is_dir() else False):
            break
        victim.kill_group(signal.SIGSTOP)
        found.interruptions += 1
        time.sleep(rng.uniform(3, 8))
        victim.kill_group(signal.SIGCONT)
        time.sleep(rng.uniform(0, 2))
    codes = [run.end() for run in runs]
    if any(codes):
        found.problems.append(f'ended with {codes}: {[run.output()[-200:] for run in runs]}')
    found.finish(out)


def torn_files(bench: Bench, found: Found, kills: int, rng: random.Random) -> None:
    """A complete run whose files were damaged afterwards: --verify says so, and the command makes them again."""
    out = bench.fresh('torn')
    shutil.copytree(bench.unbroken, out)
    # another folder's run is this one's but for its place, which is no part of the hash

    def cut(path: Path) -> None:
        path.write_bytes(path.read_bytes()[:rng.randrange(path.stat().st_size)])

    def flip(path: Path, count: int = 1) -> None:
        content = bytearray(path.read_bytes())
        for _ in range(count):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)

    pictures = sorted((out / 'labels').iterdir())
    damages: list[Callable[[], Any]] = [
        lambda: cut(out / 'manifest.jsonl'), lambda: flip(out / 'manifest.jsonl', 20),
        lambda: [flip(path) for path in rng.sample(pictures, 10)],
        lambda: [*map(cut, rng.sample(pictures, 5)), *(path.unlink() for path in rng.sample(pictures, 5))],
        lambda: [flip(out / 'instances.json'), *map(cut, rng.sample(sorted((out / 'instances').iterdir()), 5))]]
    for damage in damages:
        damage()
        found.interruptions += 1
        if not bench.verify(out):
            found.problems.append('--verify found nothing')
        code, said = bench.complete(out)
        if code:
            found.problems.append(f'the command ended with {code}: {said[-300:]}')
        found.check(out)
    cut(out / 'run.json')
    found.interruptions += 1
    run = bench.start(out)
    if run.end() != 2 or 'run.json' not in run.output():
        found.problems.append(f'a damaged run.json: {run.output()[-300:]}')
    shutil.copyfile(bench.unbroken / 'run.json', out / 'run.json')
    found.note = 'a damaged run.json is refused'
    found.finish(out)


SCENARIOS: dict[str, Callable[[Bench, Found, int, random.Random], None]] = {
    'killed at random moments': killed, 'full disk': full_disk, 'worker killed': worker_killed,
    'damaged images': bad_images, 'one of two processes killed': two_processes, 'stopped and continued': stopped,
    'files torn afterwards': torn_files}


def table(results: dict[str, Any], arguments: argparse.Namespace) -> str:
    """The page of results."""
    lines = ['# Soak: labelling runs that are interrupted', '',
             f'`python benchmarks/soak.py --kills {arguments.kills} --images {arguments.images} --seed '
             f'{arguments.seed}`: `tools/generate.py` with two workers.', '',
             'Labels: every label map, instance file, `instances.json` and `manifest.jsonl` compared with those of an '
             'unbroken run, byte for byte;', 'then `--verify`. Left over: temporary files, claims, other files, '
             'processes. Where interruptions are fewer than', '`--kills` asks for (a fifth of it for workers and one '
             'of two processes, a twentieth for stops), `--minutes` was up.', '',
             '| ' + ' | '.join(COLUMNS) + ' | minutes | processor minutes |',
             '|' + '---|' * (len(COLUMNS) + 2)]
    for name in SCENARIOS:
        row = results.get(name)
        if row is None:
            lines.append(f'| {name} | not run |' + ' |' * len(COLUMNS))
            continue
        lines.append(f'| {name} | ' + ' | '.join(str(row[k]).replace('|', '/').replace('\n', ' ') for k in (
            'interruptions', 'starts', 'complete', 'labels', 'left', 'minutes', 'cpu')) + ' |')
    return '\n'.join(lines) + '\n'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=100, help='of the first scenario; others take a part of them')
    parser.add_argument('--images', type=int, default=200)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--minutes', type=float, default=float('inf'), help='kill no more after so many of a scenario '
                        '(default: no limit); the table says how often it came to that')
    parser.add_argument('--only', nargs='+', metavar='SCENARIO', choices=SCENARIOS, help='some scenarios; the others\' '
                        'rows stay: ' + ', '.join(SCENARIOS))
    parser.add_argument('--folder', type=Path, default=ROOT / 'work_dirs/soak', help='for all runs')
    parser.add_argument('--report', type=Path, default=ROOT / 'benchmarks/results/soak.md')
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    store = folder / f'results_{arguments.kills}_{arguments.images}_{arguments.seed}.json'
    signal.signal(signal.SIGTERM, lambda *_: setattr(Found, 'stopped', True))
    bench = Bench(folder, arguments.images)
    print(f'unbroken run: {bench.make_unbroken():.0f} s', flush=True)
    try:
        for name in arguments.only or SCENARIOS:
            found, began, used = Found(bench, arguments.minutes), time.monotonic(), _processor()
            # a seed of its own for each, so that scenarios can be run alone
            SCENARIOS[name](bench, found, arguments.kills, random.Random(f'{arguments.seed} {name}'))
            results = files.read_json(store) or {}   # another process may be at other scenarios
            results[name] = found.row() | dict(minutes=f'{(time.monotonic() - began) / 60:.1f}',
                                               cpu=f'{(_processor() - used) / 60:.1f}')
            files.write_json(store, results)
            print(f'{name}: {results[name]}', flush=True)
            arguments.report.write_text(table(results, arguments), encoding='utf-8')
            if Found.stopped:
                break
    finally:
        bench.sweep()
    results = files.read_json(store) or {}
    print(table(results, arguments))
    return int(any(row['left'] != 'nothing' or 'problems' in row['labels'] for row in results.values()))


def _processor() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == '__main__':
    sys.exit(main())
