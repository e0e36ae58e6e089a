"""What it costs that processes share a labelling run, and what it saves where one of them is slow.

``python benchmarks/sharing.py`` prints Markdown, in a minute or two. Files go to a temporary folder; ``TMPDIR`` names
another, as on a shared disk. Claims are timed beside the same loop without any, with the files that a run writes
for an image anyway. The makespans are of threads that sleep for each image in the place of a network: 4 of them, one of
which takes 4 times as long.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from wsss_mm.files import label_png
from wsss_mm.pseudo_labels.run_folder import RunFolder, write_files
from wsss_mm.pseudo_labels.sharing import SharedWork

IMAGES, CLAIMS = 100, 4096
ITEMS, SECONDS, PROCESSES, SLOWER = 120, .2, 4, 4
DESCRIPTION = dict(hash='h', settings={})


def picture() -> bytes:
    """A label map of VOC's size, with as much in it as one of a few objects."""
    coarse = np.random.default_rng(0).integers(0, 4, (15, 20), dtype=np.uint8)
    return label_png(np.kron(coarse, np.ones((25, 25), np.uint8)), [[0, 0, 0]] * 4)


def label(root: Path, claims: bool) -> float:
    """Seconds per image of a run that writes two label maps each and makes nothing."""
    ids, content = [f'{i:06d}' for i in range(IMAGES)], picture()
    folder = RunFolder(root, DESCRIPTION)
    folder.begin(ids)
    with folder:
        start = time.perf_counter()
        for i in folder.claimed([[i] for i in ids]) if claims else range(IMAGES):
            folder.add(ids[i], write_files(root, {f'{n}/{ids[i]}.png': content for n in ('a', 'b')}, 0), [])
        seconds = (time.perf_counter() - start) / IMAGES
        folder.finish()
    return seconds


def claim(root: Path, processes: int) -> tuple[float, float]:
    """Seconds per claim, of threads that do nothing else: by the clock, and of processor time."""
    works = [SharedWork(root).__enter__() for _ in range(processes)]
    before = time.process_time()
    seconds = run_all([lambda work=work: [0 for _ in work.claimed(CLAIMS, lambda share: True)] for work in works])
    processor = time.process_time() - before
    works[0].end()
    for work in works:
        work.__exit__()
    return seconds / CLAIMS, processor / CLAIMS


def check(root: Path) -> float:
    """Seconds per image in which a complete run is found whole."""
    label(root, True)
    start = time.perf_counter()
    assert RunFolder(root, DESCRIPTION).begin([f'{i:06d}' for i in range(IMAGES)])
    return (time.perf_counter() - start) / IMAGES


def run_all(functions: Iterable[Callable[[], object]]) -> float:
    threads = [threading.Thread(target=function) for function in functions]
    start = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - start


def makespan(root: Path | None) -> float:
    """Seconds until all images are done: with a fixed share for each (no root), or by claims."""
    def work(number: int) -> None:
        pace = SECONDS * (SLOWER if number == 0 else 1)
        if root is None:
            for _ in range(number, ITEMS, PROCESSES):
                time.sleep(pace)
            return
        with SharedWork(root) as shared:
            for _ in shared.claimed(ITEMS, lambda share: True):
                time.sleep(pace)
    return run_all([lambda number=number: work(number) for number in range(PROCESSES)])


def main() -> None:
    """Print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pairs = [(label(root / f'{i}a', False), label(root / f'{i}b', True)) for i in range(3)]
        without, shared = (sorted(values)[1] for values in zip(*pairs, strict=True))
        ratio = sorted(b / a for a, b in pairs)[1]
        print('| per image | ms |\n|---|---|')
        print(f'| two label maps and the record, written and synced | {1e3 * without:.2f} |')
        print(f'| the same, each image claimed | {1e3 * shared:.2f} (median ratio {ratio:.2f}) |')
        for processes in (1, 4):
            seconds, processor = claim(root / str(processes), processes)
            print(f'| a claim alone, {processes} at once, {CLAIMS} claims | {1e3 * seconds:.3f} '
                  f'({1e3 * processor:.3f} of processor time) |')
        print(f'| two label maps found whole on a resume | {1e3 * check(root / "whole"):.3f} |')
        print(f'\n{ITEMS} images of {SECONDS} s, {PROCESSES} processes, one of them {SLOWER} times slower:\n')
        ideal = ITEMS * SECONDS / (PROCESSES - 1 + 1 / SLOWER)
        print('| shares | seconds | of the least possible |\n|---|---|---|')
        for name, folder_of in (('fixed, every 4th image', None), ('claimed', root / 'makespan')):
            found = makespan(folder_of)
            print(f'| {name} | {found:.2f} | {found / ideal:.2f} |')


if __name__ == '__main__':
    main()
