"""The labelling run end to end: images per second by number of workers, share of the network, peak memory.

The VOC config (``configs/bap/classifier_voc.py``: VGG-16 at stride 8, BANA's labels, dense CRF) with random weights on
toy scenes enlarged to VOC's size, through ``LabellingRun`` itself; every run in a process of its own. Needs Linux's
/proc.

    python benchmarks/labelling.py > benchmarks/results/labelling.md
"""

# Label workers import this file as their main module: what is imported up here would count in their memory.
from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / 'configs/bap/classifier_voc.py'
CLASSES = 6
VOC_SIZE, LARGE_SIZE = (500, 375), (2000, 1500)
WORKERS = (0, 1, 2)
HEADER = """# The labelling run

`python benchmarks/labelling.py`: `configs/bap/classifier_voc.py` with random weights on toy scenes enlarged to {size}
with noise; {cores} cores, one thread per process. **The machine was doing other work** (load {load:.1f} before the
first run): ratios, each of one round of runs in turn, say more than rates, and processor seconds more than either.

- *images/s*: once the queue is full; medians, with the range of the rounds. The start of the workers is in *first
  image*.
- *ratio on free cores*: what the processor seconds allow when every process has a core to itself: those without
  workers / max(parent, labels / workers), where the labels' seconds are what the parent saves.
- *network*: the share of the run in which the network is at work.
- *no trunk*: one strided convolution to as many channels, so that labels and CRF are all there is to do, as with the
  network on a GPU.
"""
COLUMNS = ('trunk', 'workers', 'images x rounds', 'images/s', 'ratio to 0 workers', 'parent, processor s/image',
           'ratio on free cores', 'network, %', 'first image, s', 'parent, peak GiB', 'worker, peak GiB')
CRF_COLUMNS = ('processes', 'CRFs/s', 'ratio to one', 'processor s of a CRF', 'cores had')


def draw(root: Path, name: str, size: tuple[int, int], count: int) -> None:
    """Write toy scenes enlarged to ``size`` (width, height), with pixel noise, in VOC's layout; ``name`` is the split.

    The noise (sigma 8) stands for the texture that enlarging lacks: the CRF's cost grows with the number of colours.
    """
    import cv2
    import numpy as np

    from wsss_mm.datasets.toy_voc import scene
    from wsss_mm.datasets.toy_voc.writer import annotation_xml
    for folder in ('JPEGImages', 'Annotations', 'ImageSets/Segmentation'):
        (root / folder).mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    ids = [f'{name}_{i:02d}' for i in range(count)]
    for i, image_id in enumerate(ids):
        drawn = scene('boxes', 0, 'train', i)
        height, width = drawn.classes.shape
        factors = np.tile([size[0] / width, size[1] / height], 2)
        image = cv2.resize(drawn.image, size, interpolation=cv2.INTER_CUBIC)
        image = np.clip(image + rng.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
        cv2.imwrite(str(root / f'JPEGImages/{image_id}.jpg'), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
        objects = tuple(replace(o, box=tuple(np.round(o.box * factors).astype(int).tolist())) for o in drawn.objects)
        classes = cv2.resize(drawn.classes, size, interpolation=cv2.INTER_NEAREST)
        enlarged = replace(drawn, objects=objects, classes=classes)
        (root / f'Annotations/{image_id}.xml').write_text(annotation_xml(image_id, enlarged))
    (root / f'ImageSets/Segmentation/{name}.txt').write_text('\n'.join(ids))


def load_config(root: Path, name: str, out: Path, num_workers: int) -> Any:
    """The VOC config on the drawn images."""
    from mmengine.config import Config
    cfg = Config.fromfile(CONFIG)
    cfg.model.backbone.init_cfg = None
    cfg.model.head.num_classes = CLASSES
    cfg.pseudo_labels.dataset.update(type='wsss_mm.ToyVOCDataset', data_root=str(root),
                                     ann_file=f'ImageSets/Segmentation/{name}.txt')
    cfg.pseudo_labels.update(out_dir=str(out), num_workers=num_workers)
    return cfg


def write_checkpoint(root: Path) -> None:
    """Random weights of the config's model, the same every time."""
    import torch
    from mmengine.registry import init_default_scope

    from wsss_mm.registry import MODELS
    init_default_scope('mmseg')
    torch.manual_seed(0)
    model = MODELS.build(load_config(root, '', root, 0).model)
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight)
    torch.save(model.state_dict(), root / 'random.pth')


def peak_memory(pid: str) -> float:
    """Largest resident memory of a process so far, GiB."""
    lines = Path(f'/proc/{pid}/status').read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith('VmHWM')) / 2**20


def one_thread() -> None:
    """As a label worker does it."""
    import cv2
    import torch
    torch.set_num_threads(1)
    cv2.setNumThreads(0)


def measure(root: Path, name: str, num_workers: int, light: bool) -> dict[str, float]:
    """Label a split in this process and its workers.

    Args:
        light: Put one strided convolution to 1,024 channels in the trunk's place. What follows costs the same, the
            network next to nothing: as with the network on a GPU.

    Returns:
        ``rate``: images per second once the queue is full (see below); ``first``: seconds to the first image;
        ``network``: the network's seconds per second of the run; ``cost``: the parent's processor seconds per image;
        ``parent`` and ``worker``: peak memory in GiB.
    """
    import torch
    one_thread()
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as out:
        from wsss_mm.pseudo_labels.run import LabellingRun
        run: Any = LabellingRun(load_config(root, name, Path(out) / 'labels', num_workers), root / 'random.pth')
        if light:
            run.model.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 1024, 8, 8, padding=4), torch.nn.ReLU())
        extract, add = run.model.extract_feat, run.folder.add
        network: list[float] = []
        workers: dict[Any, float] = {}

        def timed_extract(inputs: Any) -> Any:
            begin = time.perf_counter()
            feats = extract(inputs)
            network.append(time.perf_counter() - begin)
            return feats

        def watched_add(*args: Any) -> None:
            add(*args)
            workers.update({p.pid: peak_memory(str(p.pid)) for p in multiprocessing.active_children()})
        run.model.extract_feat, run.folder.add = timed_extract, watched_add
        start, used = time.time(), time.process_time()
        result = run.run()
        used = time.process_time() - used
        if not result['complete']:
            raise RuntimeError(str(result['failures']))
        # The manifest may hear of a finished image later, when the queue is full; its last file says when it was done.
        finished = sorted(path.stat().st_mtime for path in (Path(out) / 'labels/Y_ret').iterdir())
    # While the workers start, the network runs ahead by as many images as the queue holds: these do not count.
    ahead = min(2 * num_workers + 2, len(finished) - 1)
    window = finished[-1] - finished[ahead - 1] if ahead else finished[-1] - start
    return dict(rate=(len(finished) - ahead) / window, first=finished[0] - start,
                network=sum(network) / (finished[-1] - start), cost=used / len(finished),
                parent=peak_memory('self'), worker=max(workers.values(), default=0.))


def alone(function: Any, *args: Any) -> Any:
    """Call a function in a fresh process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('spawn')) as pool:
        return pool.submit(function, *args).result()


_crf: dict[str, Any] = {}


def start_crf(barrier: Any) -> None:
    """Make an image and warm up; wait for the other processes."""
    import numpy as np

    from wsss_mm.datasets.toy_voc import scene
    from wsss_mm.refinement import DenseCRF
    one_thread()
    import cv2
    image = cv2.resize(scene('boxes', 0, 'train', 0).image, VOC_SIZE, interpolation=cv2.INTER_CUBIC)
    rng = np.random.default_rng(0)
    noise, logits = rng.normal(0, 8, image.shape), rng.normal(0, 2, (3, 6, 8))
    scores = np.exp([cv2.resize(x, VOC_SIZE) for x in logits])
    _crf.update(crf=DenseCRF(4, 55, 3, 3, 3), image=np.clip(image + noise, 0, 255).astype(np.uint8),
                probabilities=(scores / scores.sum(0)).astype(np.float32))
    run_crf(0)
    barrier.wait()


def run_crf(_: int) -> tuple[float, float, float]:
    """One dense CRF; when it began and ended, and its processor seconds."""
    start, used = time.time(), time.process_time()
    _crf['crf'](_crf['image'], _crf['probabilities'])
    return start, time.time(), time.process_time() - used


def crf_rate(processes: int, images: int) -> tuple[float, float]:
    """Dense CRFs per second, each process on one thread, and processor seconds of each CRF."""
    context = multiprocessing.get_context('spawn')
    with context.Pool(processes, start_crf, (context.Barrier(processes),)) as pool:
        begun, ended, used = zip(*pool.imap_unordered(run_crf, range(images * processes)), strict=True)
    return images * processes / (max(ended) - min(begun)), statistics.mean(used)


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and the range where there are several."""
    middle = f'{statistics.median(values):.{digits}f}'
    return middle if len(values) == 1 else f'{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})'


def free_rate(num_workers: int, run: dict[str, float], base: dict[str, float]) -> float:
    """Images per second with a free core per process, by processor time: the slower side decides.

    What the parent spends less than without workers (``base``) is theirs.
    """
    label = base['cost'] - run['cost']
    return min(1 / run['cost'], num_workers / label) if num_workers else 1 / run['cost']


def print_row(*cells: Any) -> None:
    """One line of a table."""
    print(f'| {" | ".join(map(str, cells))} |', flush=True)


def print_head(columns: tuple[str, ...]) -> None:
    """The first two lines of a table."""
    print()
    print_row(*columns)
    print('|' + '---|' * len(columns))


def run_rows(root: Path, title: str, light: bool, images: int, rounds: int) -> None:
    """Print a row per number of workers; the rounds take turns, and ratios are those of one round."""
    found: dict[int, list[dict[str, float]]] = {n: [] for n in WORKERS}
    for _ in range(rounds):
        for num_workers in WORKERS:
            found[num_workers].append(alone(measure, root, f'voc{images}', num_workers, light))
    for num_workers, runs in found.items():
        pairs = list(zip(runs, found[0], strict=True))
        columns = {k: [run[k] for run in runs] for k in runs[0]}
        print_row(title, num_workers, f'{images} x {rounds}', spread(columns['rate']),
                  spread([run['rate'] / base['rate'] for run, base in pairs]), spread(columns['cost']),
                  spread([free_rate(num_workers, run, base) * base['cost'] for run, base in pairs]),
                  spread([100 * share for share in columns['network']], 0), spread(columns['first'], 1),
                  f'{max(columns["parent"]):.2f}', f'{max(columns["worker"]):.2f}' if num_workers else '–')


def crf_rows(images: int, rounds: int) -> None:
    """Print a row per number of processes that run CRFs at once."""
    found = [[crf_rate(processes, images) for processes in (1, 2)] for _ in range(rounds)]
    for i in range(2):
        print_row(i + 1, spread([round_[i][0] for round_ in found]),
                  spread([round_[i][0] / round_[0][0] for round_ in found]), spread([round_[i][1] for round_ in found]),
                  spread([rate * cost for rate, cost in (round_[i] for round_ in found)]))


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, nargs=2, default=(24, 12), help='without and with VGG-16')
    parser.add_argument('--rounds', type=int, nargs=2, default=(3, 2), help='without and with VGG-16')
    args = parser.parse_args()
    os.environ['OMP_NUM_THREADS'] = '1'   # every process inherits it
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for images in set(args.images):
            draw(root, f'voc{images}', VOC_SIZE, images)
        draw(root, 'large', LARGE_SIZE, 1)
        write_checkpoint(root)
        print(HEADER.format(size='{} x {}'.format(*VOC_SIZE), cores=os.cpu_count(), load=os.getloadavg()[0]), end='')
        print_head(COLUMNS)
        for title, light, images, rounds in zip(('no trunk', 'VGG-16'), (True, False), args.images, args.rounds,
                                                strict=True):
            run_rows(root, title, light, images, rounds)
        print('\nThe dense CRF alone (3 classes, 10 iterations, PyTorch backend) in separate processes at once. *Cores '
              'had*:\nprocessor seconds per second, of all processes; where they stay the same, so must the rates.')
        print_head(CRF_COLUMNS)
        crf_rows(6, args.rounds[0])
        large = alone(measure, root, 'large', 1, False)
        print(f'\nOne image of {LARGE_SIZE[0]} x {LARGE_SIZE[1]} with VGG-16 and one worker: peak of the parent '
              f'{large["parent"]:.2f} GiB, of the worker {large["worker"]:.2f} GiB. Load at the end: '
              f'{os.getloadavg()[0]:.1f}.')


if __name__ == '__main__':
    main()
