"""Why RIB gains nothing on toy VOC: what GNDRP pools there, and RIB with a region that lies on the object.

GNDRP pools where a class map is low, so as to raise it where the object is not seen. Counted is the share of these
positions that show the object; and RIB is run once as it is, and once with the truth's help, pooling those positions of
the same ones that lie on the object. That second run is no method, since it sees the truth: it says what is missing.

Example:
    python benchmarks/rib_region.py --worlds 0 1 2
"""

import argparse
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from _toy import ROOT, choose_world, run_before
from PIL import Image
from torch import Tensor

from wsss_mm.engine.stages import load_config
from wsss_mm.evaluation.trace import images_with_truth, read_samples, step_rows, trace_scores
from wsss_mm.localization import RIB
from wsss_mm.localization.multi_scale import normalised
from wsss_mm.pseudo_labels.run import load_model
from wsss_mm.registry import DATASETS

CONFIG = 'configs/rib/labels_toy.py'
RATES = (1e-4, 3e-4, 1e-3)


def cell_shares(truth: np.ndarray, num_classes: int, size: tuple[int, int]) -> Tensor:
    """Label map ``(H, W)`` -> share of each cell that each class fills, ``(C, h, w)``."""
    planes = torch.stack([torch.from_numpy((truth == c + 1).astype(np.float32)) for c in range(num_classes)])
    return F.adaptive_avg_pool2d(planes, size)


class GuidedRIB(RIB):
    """RIB that pools those positions of GNDRP's that lie on the object."""

    truth_dir = Path()

    def trace(self, model: Any, image: np.ndarray, tags: Tensor, image_id: str = '0') -> Iterator[list[Tensor]]:
        self._truth = np.array(Image.open(self.truth_dir / f'{image_id}.png'))
        yield from super().trace(model, image, tags, image_id)

    def _pooled(self, class_maps: Tensor, tags: Tensor) -> Tensor:
        if len(class_maps) != 2:   # the other images
            return super()._pooled(class_maps, tags)
        own = cell_shares(self._truth, tags.shape[1], tuple(class_maps.shape[2:])) > .5
        scores = class_maps.detach()
        kept = torch.stack([own, own.flip(2)]) & (scores < self.ratio * scores.amax((2, 3), keepdim=True))
        return torch.where(tags > 0, (class_maps * kept).mean((2, 3)), class_maps.mean((2, 3)))


def one_world(world: int, images: int) -> tuple[list[dict[str, float]], dict[str, list[float]]]:
    """Shares and scores, with the number of steps as index."""
    choose_world(world, 'tags')
    run_before(Path('work_dirs/rib_region.log'), CONFIG, own=True)
    cfg = load_config(CONFIG)
    model = load_model(cfg, Path(cfg.work_dir) / 'final.pth').eval()
    cfg.pseudo_labels.dataset.ann_file = 'ImageSets/Segmentation/train.txt'
    dataset = DATASETS.build(cfg.pseudo_labels.dataset)
    truth_dir = Path(cfg.data_root) / 'SegmentationClass'
    numbers = images_with_truth(dataset, truth_dir, images)
    ratio = cfg.pseudo_labels.generator.localizer.ratio
    counts = []
    for sample, tags in read_samples(dataset, numbers):
        with torch.no_grad():
            maps = model.class_maps(normalised(model, [sample.image]))[0][tags]
        shares = cell_shares(np.array(Image.open(truth_dir / f'{sample.image_id}.png')), len(tags),
                             tuple(maps.shape[1:]))[tags]
        low = maps < ratio * maps.amax((1, 2), keepdim=True)
        counts += [dict(pooled=float(s[k].mean()), image=float(s.mean()), object=float(s[k].sum() / s.sum()))
                   for s, k in zip(shares, low, strict=True) if s.any()]
    found = {}
    for rate in RATES:
        for name, kind in (('GNDRP', RIB), ('GNDRP on the object', GuidedRIB)):
            settings = dict(cfg.pseudo_labels.generator.localizer.to_dict(), lr=rate)
            localizer = kind(**{k: v for k, v in settings.items() if k not in ('type', '_delete_')})
            if isinstance(localizer, GuidedRIB):
                localizer.truth_dir = truth_dir
            curves = trace_scores(localizer, model, read_samples(dataset, numbers), truth_dir, len(tags) + 1)
            found[f'{name}, rate {rate:g}'] = [row['miou'] for row in step_rows(curves)]
            print(f'world {world}, {name}, rate {rate:g}:', *(f'{v:.1f}' for v in found[f'{name}, rate {rate:g}']),
                  flush=True)
    return counts, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--images', type=int, default=60, help='the first so many of train')
    args = parser.parse_args()
    torch.set_num_threads(1)
    results = {world: one_world(world, args.images) for world in args.worlds}
    counts = [count for found, _ in results.values() for count in found]
    mean = {key: 100 * statistics.mean(count[key] for count in counts) for key in counts[0]}
    lines = [f'Made by `python benchmarks/rib_region.py --worlds {" ".join(map(str, args.worlds))} --images '
             f'{args.images}`.', '',
             f'Of the positions that GNDRP pools, {mean["pooled"]:.0f} % show the object. It fills '
             f'{mean["image"]:.0f} % of the image, and {mean["object"]:.0f} % of it lie among these positions (mean of '
             f'{len(counts)} pairs of image and class).', '',
             f'| mIoU at the best threshold, worlds {" / ".join(map(str, args.worlds))} | CAM (step 1) | 3 steps | 5 '
             '| 10 | gain in 10 steps |', '|---|---|---|---|---|---|']
    for name in next(iter(results.values()))[1]:
        runs = [found[name] for _, found in results.values()]
        cells = [' / '.join(f'{run[min(k, len(run) - 1)]:.1f}' for run in runs) for k in (0, 2, 4, 9)]
        gain = statistics.mean(run[-1] - run[0] for run in runs)
        lines.append(f'| {name} | {" | ".join(cells)} | {gain:+.1f} |')
    text = '\n'.join(lines) + '\n'
    (ROOT / 'benchmarks/results/rib_region.md').write_text(text)
    print(text)


if __name__ == '__main__':
    main()
