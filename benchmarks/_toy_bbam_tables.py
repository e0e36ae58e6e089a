"""Tables and pictures of benchmarks/toy_bbam.py."""

import json
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from _toy import mean_sd

EDGES = (26., 29., 33., 37.)   # sides that part the toy's objects into about fifths
SIDE_NAMES = ('< 26', '26 to 29', '29 to 33', '33 to 37', '> 37')
# AP, AP25, AP50, AP70, AP75, ABO of the paper's Table 5.1 and 5.4, VOC val
PAPER_AP = {'Mask R-CNN, BBAM': '29.6 / – / 61.9 / – / 25.8 / –',
            'Mask R-CNN, BBAM + proposals': '33.4 / 76.8 / 63.7 / 39.5 / 31.8 / 63.0',
            'Mask R-CNN, true masks': '– / 77.3 / 69.1 / 49.9 / 41.9 / 65.8'}
PAPER_MIOU = {'BBAM': '71.4', 'BBAM + proposals': '73.7', 'true masks': '76.8'}
AP_COLUMNS = ('AP', 'AP25', 'AP50', 'AP70', 'AP75', 'ABO')

Runs = dict[int, Any]


def write_results(folders: dict[int, Path], parts: Sequence[str], out: Path) -> str:
    """Write toy_bbam.md, toy_bbam.json and the pictures, each part over the worlds that have it; return the tables."""
    results = {part: {w: json.loads((f / f'{part}.json').read_text()) for w, f in folders.items()
                      if (f / f'{part}.json').is_file()} for part in parts}
    results = {part: runs for part, runs in results.items() if runs}
    out.mkdir(parents=True, exist_ok=True)
    (out / 'toy_bbam.json').write_text(json.dumps(results, indent=1) + '\n')
    makers: dict[str, Callable[[Runs], list[str]]] = dict(
        masks=mask_tables, variants=variant_tables, training=training_tables, segmentation=segmentation_tables,
        noise=noise_tables)
    refined = results.pop('proposals', {})
    for part, rows in (('training', 'detectors'), ('segmentation', 'segmentors')):
        trained = results.get(part, {})
        if refined and refined.keys() == trained.keys():
            for world, run in trained.items():
                run[rows].update(refined[world][rows])
    worlds = ' / '.join(map(str, folders))
    lines = [f'Made by `python benchmarks/toy_bbam.py --worlds {worlds.replace(" / ", " ")}`. Where a cell has several '
             f'numbers, they are of worlds {worlds}, or of those that its title names; ± is the standard deviation '
             'over worlds. Small, medium, '
             'large: a true area below 26², below 36², and more pixels. An object without a mask or map counts 0.']
    for part, runs in results.items():
        first = next(iter(runs.values()))
        note = f' (the first {first["images"]} training images)' if first.get('images') else ''
        of = '' if runs.keys() == folders.keys() else f', of world {" and ".join(map(str, runs))}'
        lines += ['', *(line.replace('{images}', note) + (of if line.startswith('#') else '')
                        for line in makers[part](runs))]
    text = '\n'.join(lines) + '\n'
    (out / 'toy_bbam.md').write_text(text)
    draw(results, out)
    return text


def values(runs: Runs, *path: Any) -> list[float]:
    """A number of each world; NaN where there is none."""
    found = []
    for run in runs.values():
        for key in path:
            run = run[key]
        found.append(float('nan') if run is None else float(run))
    return found


def average(runs: Runs, *path: Any) -> float:
    """Mean over the worlds."""
    return statistics.mean(values(runs, *path))


def each(runs: Runs, *path: Any) -> str:
    """A number of each world."""
    return ' / '.join(f'{v:.1f}' for v in values(runs, *path))


def cells(runs: Runs, *path: Any, keys: Sequence[str]) -> str:
    """Cells of means."""
    return ' | '.join(f'{average(runs, *path, key):.1f}' for key in keys)


def mask_tables(runs: Runs) -> list[str]:
    """Masks, then maps."""
    first = next(iter(runs.values()))
    lines = ['### Masks of the training objects, IoU with the true ones, percent', '',
             '| | IoU, worlds | mean ± sd | small | medium | large | decided pixels | left open '
             '| mIoU of the label maps | mIoU, open pixels wrong |', '|---' * 10 + '|']
    keys = ('small', 'medium', 'large', 'decided', 'open', 'miou', 'miou_missed')
    lines += [f'| {name} | {each(runs, "masks", name, "iou")} | {mean_sd(values(runs, "masks", name, "iou"))} | '
              f'{cells(runs, "masks", name, keys=keys)} |' for name in first['masks']]
    lines += ['', '### Maps of the training objects at their best threshold, no CRF', '', _MAP_HEAD, '|---' * 8 + '|']
    return [*lines, *(map_row(runs, name, 'maps', name) for name in first['maps'])]


_MAP_HEAD = '| | IoU, worlds | mean ± sd | small | medium | large | threshold | objects without a map, % |'


def map_row(runs: Runs, name: str, *path: Any) -> str:
    """A row of maps' IoUs."""
    return (f'| {name} | {each(runs, *path, "iou")} | {mean_sd(values(runs, *path, "iou"))} | '
            f'{cells(runs, *path, keys=("small", "medium", "large"))} | {average(runs, *path, "threshold"):.2f} | '
            f'{average(runs, *path, "without_map"):.1f} |')


def variant_tables(runs: Runs) -> list[str]:
    """Heads and strides."""
    lines: list[str] = []
    for kind, title in (('heads', 'Heads'), ('strides', 'Strides')):
        names = list(next(iter(runs.values()))[kind])
        lines += [f'### {title}: maps at their best threshold, no CRF{{images}}', '', _MAP_HEAD, '|---' * 8 + '|',
                  *(map_row(runs, name, kind, name, 'maps') for name in names), '',
                  f'### {title}: masks{{images}}', '', '| | IoU, worlds | mean ± sd | small | medium | large | '
                  'mIoU of the label maps |', '|---' * 7 + '|']
        lines += [f'| {name} | {each(runs, kind, name, "masks", "iou")} | '
                  f'{mean_sd(values(runs, kind, name, "masks", "iou"))} | '
                  f'{cells(runs, kind, name, "masks", keys=("small", "medium", "large", "miou"))} |' for name in names]
        lines += ['']
    lines += ['### Where values above .9 lie{images}', '',
              '| heads | relative radius (1: contour, 0: middle) | on the object, % | in the box, % '
              '| objects without, % |',
              '|---' * 5 + '|']
    lines += [f'| {name} | {mean_sd(values(runs, "heads", name, "maps", "radius"), 3)} | '
              f'{cells(runs, "heads", name, "maps", keys=("on_object", "in_box", "without_high"))} |'
              for name in next(iter(runs.values()))['heads']]
    return lines


def training_tables(runs: Runs) -> list[str]:
    """Detectors."""
    first = next(iter(runs.values()))
    lines = ['### Instances on val', '', f'| | AP50, worlds | {" | ".join(AP_COLUMNS)} | small | medium | large | '
             f'box AP50 | paper, VOC val: {" / ".join(AP_COLUMNS)} |', '|---' * 13 + '|']
    keys = (*AP_COLUMNS, 'AP_small', 'AP_medium', 'AP_large')
    for name, found in first['detectors'].items():
        path = ('detectors', name, 'segm')
        own = [each(runs, *path, 'AP50'), cells(runs, *path, keys=keys)] if 'segm' in found else ['–'] * 10
        lines.append(f'| {name} | {" | ".join(own)} | {average(runs, "detectors", name, "bbox", "AP50"):.1f} | '
                     f'{PAPER_AP.get(name, "–")} |')
    lines += ['', '| share of true masks, percent | AP | AP50 | AP75 |', '|---' * 4 + '|']
    for name in [n for n in first['detectors'] if n not in ('Faster R-CNN', 'Mask R-CNN, true masks')]:
        shares = []
        for key in ('AP', 'AP50', 'AP75'):
            own, full = (values(runs, 'detectors', n, 'segm', key) for n in (name, 'Mask R-CNN, true masks'))
            shares.append(mean_sd([100 * a / b if b else float('nan') for a, b in zip(own, full, strict=True)]))
        lines.append(f'| {name} | {" | ".join(shares)} |')
    return lines


def segmentation_tables(runs: Runs) -> list[str]:
    """Segmentors."""
    first = next(iter(runs.values()))
    lines = ['### DeepLab-V2 on val, mIoU, one scale, no CRF', '',
             '| labels | worlds | mean ± sd | paper, VOC val |', '|---' * 4 + '|']
    return [*lines, *(f'| {name} | {each(runs, "segmentors", name)} | {mean_sd(values(runs, "segmentors", name))} | '
                      f'{PAPER_MIOU.get(name, "–")} |' for name in first['segmentors'])]


def noise_tables(runs: Runs) -> list[str]:
    """One row per noise."""
    columns = ('change of the sides, %', 'box AP50 of the detector, val', 'BBAM: mask IoU, train, worlds', 'mean ± sd',
               'box fill: mask IoU', 'GrabCut: mask IoU', 'Mask R-CNN, BBAM: AP50, val, worlds', 'mean ± sd', 'AP',
               'AP75')
    lines = ['### Noisy boxes{images}', '', f'| {" | ".join(columns)} |', '|---' * len(columns) + '|']
    for noise in [n for n in next(iter(runs.values())) if n != 'images']:
        masks = ' | '.join(f'{average(runs, noise, name, "iou"):.1f}' for name in ('box fill', 'GrabCut'))
        lines.append(f'| {noise} | {average(runs, noise, "bbox", "AP50"):.1f} | {each(runs, noise, "BBAM", "iou")} | '
                     f'{mean_sd(values(runs, noise, "BBAM", "iou"))} | {masks} | {each(runs, noise, "segm", "AP50")} | '
                     f'{mean_sd(values(runs, noise, "segm", "AP50"))} | '
                     f'{cells(runs, noise, "segm", keys=("AP", "AP75"))} |')
    return lines


def draw(results: dict[str, Runs], out: Path) -> None:
    """Pictures as of the paper's Figure 5.7, means over worlds."""
    from wsss_mm.visualization.step_curves import save_step_curves

    def by_side(runs: Runs, *path: Any) -> list[float]:
        lines = zip(*(_at(run, *path)['by_side'] for run in runs.values()), strict=True)
        return [statistics.mean(line) for line in lines]
    label = dict(xlabel='side of a square of the true area, pixels', ylabel='IoU, %', names=SIDE_NAMES)
    if 'noise' in results:
        runs = results['noise']
        steps = [n for n in next(iter(runs.values())) if n not in ('images', 'random 20')]
        save_step_curves(
            out / 'toy_bbam_noise.png',
            {'Mask R-CNN on BBAM, AP50 on val': [average(runs, n, 'segm', 'AP50') for n in steps],
             **{f'{name}, mask IoU on train': [average(runs, n, name, 'iou') for n in steps]
                for name in ('BBAM', 'box fill', 'GrabCut')}},
            'Boxes with noise', 'change of the sides, %', 'percent', steps)
    if 'variants' in results:
        runs = results['variants']
        save_step_curves(out / 'toy_bbam_strides.png', {
            f'stride, {name}': by_side(runs, 'strides', name, 'maps') for name in next(iter(runs.values()))['strides']},
            'Maps by stride, best threshold', **label)
    if 'masks' in results:
        runs = results['masks']
        save_step_curves(out / 'toy_bbam_methods.png', {
            name: by_side(runs, 'maps', name) for name in next(iter(runs.values()))['maps']},
            'Maps by method, best threshold', **label)


def _at(found: Any, *path: Any) -> Any:
    for key in path:
        found = found[key]
    return found
