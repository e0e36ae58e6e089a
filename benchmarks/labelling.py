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


def peak_memory(pid: int | str) -> float:
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
        ``network``: the network's seconds per second of the run; ``parent`` and ``worker``: peak memory in GiB.
    """
    import torch
    one_thread()
    with contextlib.redirect_stdout(sys.stderr), tempfile.TemporaryDirectory() as out:
        from wsss_mm.pseudo_labels.run import LabellingRun
        run = LabellingRun(load_config(root, name, Path(out) / 'labels', num_workers), root / 'random.pth')
        if light:
            run.model.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 1024, 8, 8, padding=4), torch.nn.ReLU())
        extract, add = run.model.extract_feat, run.folder.add
        network: list[float] = []
        workers: dict[int, float] = {}

        def timed_extract(inputs: Any) -> Any:
            begin = time.perf_counter()
            feats = extract(inputs)
            network.append(time.perf_counter() - begin)
            return feats

        def watched_add(*args: Any) -> None:
            add(*args)
            workers.update({p.pid: peak_memory(p.pid) for p in multiprocessing.active_children()})
        run.model.extract_feat, run.folder.add = timed_extract, watched_add
        start = time.time()
        result = run.run()
        if not result['complete']:
            raise RuntimeError(str(result['failures']))
        # The manifest may hear of a finished image later, when the queue is full; its last file says when it was done.
        finished = sorted(path.stat().st_mtime for path in (Path(out) / 'labels/Y_ret').iterdir())
    # While the workers start, the network runs ahead by as many images as the queue holds: these do not count.
    ahead = min(2 * num_workers + 2, len(finished) - 1)
    window = finished[-1] - finished[ahead - 1] if ahead else finished[-1] - start
    return dict(rate=(len(finished) - ahead) / window, first=finished[0] - start,
                network=sum(network) / (finished[-1] - start), parent=peak_memory('self'),
                worker=max(workers.values(), default=0.))


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


def run_crf(_: int) -> tuple[float, float]:
    """One dense CRF; when it began and ended."""
    start = time.time()
    _crf['crf'](_crf['image'], _crf['probabilities'])
    return start, time.time()


def crf_rate(processes: int, images: int) -> float:
    """Dense CRFs per second, each process on one thread."""
    context = multiprocessing.get_context('spawn')
    with context.Pool(processes, start_crf, (context.Barrier(processes),)) as pool:
        begun, ended = zip(*pool.imap_unordered(run_crf, range(images * processes)), strict=True)
    return images * processes / (max(ended) - min(begun))


def spread(values: list[float], digits: int = 2) -> str:
    """Median, and the range where there are several."""
    middle = f'{statistics.median(values):.{digits}f}'
    return middle if len(values) == 1 else f'{middle} ({min(values):.{digits}f}–{max(values):.{digits}f})'


def run_table(root: Path, title: str, light: bool, images: int, rounds: int) -> None:
    """Print a row per number of workers; the rounds take turns, and ratios are those of one round."""
    found: dict[int, list[dict[str, float]]] = {n: [] for n in WORKERS}
    for _ in range(rounds):
        for num_workers in WORKERS:
            found[num_workers].append(alone(measure, root, f'voc{images}', num_workers, light))
    for num_workers in WORKERS:
        runs = found[num_workers]
        ratios = [run['rate'] / base['rate'] for run, base in zip(runs, found[0], strict=True)]
        worker = f'{max(run["worker"] for run in runs):.2f}' if num_workers else '–'
        print(f'| {title} | {num_workers} | {images} x {rounds} | {spread([run["rate"] for run in runs], 3)} | '
              f'{spread(ratios)} | {spread([100 * run["network"] for run in runs], 0)} % | '
              f'{spread([run["first"] for run in runs], 1)} | {max(run["parent"] for run in runs):.2f} | {worker} |',
              flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, nargs=2, default=(20, 12), help='without and with VGG-16')
    parser.add_argument('--rounds', type=int, nargs=2, default=(3, 2), help='without and with VGG-16')
    args = parser.parse_args()
    # inherited by every process
    os.environ['OMP_NUM_THREADS'] = '1'
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for images in set(args.images):
            draw(root, f'voc{images}', VOC_SIZE, images)
        draw(root, 'large', LARGE_SIZE, 1)
        write_checkpoint(root)
        print(f'# The labelling run\n\n`configs/bap/classifier_voc.py` with random weights on toy scenes enlarged to '
              f'{VOC_SIZE[0]} x {VOC_SIZE[1]} with noise; {os.cpu_count()} cores, one thread per process. The machine '
              f'was doing other work (load {os.getloadavg()[0]:.1f} before the first run): the ratios, each of one '
              'round of runs in turn, say more than the rates.\n\n'
              'Rates are medians (and ranges) once the queue is full; the start of the workers shows in "first image".'
              ' "Network" is the share of the run in which the network is at work. "No trunk": one strided convolution '
              'to as many channels, so that labels and CRF are all there is to do, as with the network on a GPU.\n\n'
              '| trunk | workers | images x rounds | images/s | ratio to 0 workers | network | first image, s | '
              'peak of the parent, GiB | peak of a worker, GiB |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|', flush=True)
        for title, light, images, rounds in zip(('no trunk', 'VGG-16'), (True, False), args.images, args.rounds,
                                                strict=True):
            run_table(root, title, light, images, rounds)
        rates = [[crf_rate(processes, 8) for processes in (1, 2)] for _ in range(args.rounds[0])]
        print('\nThe dense CRF alone (3 classes, 10 iterations, PyTorch backend), in separate processes:\n\n'
              '| processes | CRFs/s | ratio to one |\n|--:|--:|--:|\n'
              f'| 1 | {spread([one for one, _ in rates])} | 1 |\n'
              f'| 2 | {spread([two for _, two in rates])} | {spread([two / one for one, two in rates])} |', flush=True)
        large = alone(measure, root, 'large', 1, False)
        print(f'\nOne image of {LARGE_SIZE[0]} x {LARGE_SIZE[1]} with VGG-16, one worker: peak of the parent '
              f'{large["parent"]:.2f} GiB, of the worker {large["worker"]:.2f} GiB; {large["first"]:.0f} s with the '
              f'start of the worker. Load at the end: {os.getloadavg()[0]:.1f}.')


if __name__ == '__main__':
    main()
