"""What holds back PSA's walk on toy VOC: the walk, the network, or the areas that it learns from.

CAM's class maps walk over affinities from three sources: AffinityNet as shipped, trained on the sure areas; the same
network trained on the ground truth; the ground truth itself. The sure areas are scored where they are sure. Resumable.

Example:
    python benchmarks/walk_ceiling.py --worlds 0 1 2
"""

import argparse
import io
import statistics
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from _toy import ROOT, call, choose_world, run_stages
from PIL import Image
from toy_classifier_maps import describe_machine
from toy_image_tags import mean_sd

CONFIG = 'configs/psa/affinity_cam_toy.py'
STRIDE, RADIUS, STEPS, THRESHOLD = 2, 5, 256, .4   # of the walk over true affinities


def true_walk(world: int, ids: list[str]) -> float:
    """mIoU of CAM's maps after a walk that never leaves an object or the background."""
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.evaluation import ConfusionMatrix
    from wsss_mm.models.affinity import neighbour_offsets
    from wsss_mm.refinement import random_walk
    from wsss_mm.structures import ClassMaps
    confusion, offsets = ConfusionMatrix(len(TOY_CLASSES)), neighbour_offsets(RADIUS)
    for image_id in ids:
        found = ClassMaps.load(ROOT / f'work_dirs/toy_tags{world}/cam/labels/maps/{image_id}.npz').full_size()
        truth = np.asarray(Image.open(truth_folder(world) / f'{image_id}.png'))
        labels = torch.from_numpy(truth[STRIDE // 2::STRIDE, STRIDE // 2::STRIDE].astype(np.int64))
        height, width = labels.shape
        affinities = torch.zeros(len(offsets), height, width)
        for affinity, (dy, dx) in zip(affinities, offsets.tolist(), strict=True):
            left, right = max(-dx, 0), width - max(dx, 0)
            affinity[:height - dy, left:right] = (
                labels[:height - dy, left:right] == labels[dy:, left + dx:right + dx]).float()
        maps = F.interpolate(torch.from_numpy(found.maps)[None], (height, width), mode='bilinear')
        walked = F.interpolate(random_walk(maps[0], affinities, offsets, 1, STEPS)[None], truth.shape, mode='bilinear')
        scores = torch.cat([torch.full((1, *truth.shape), THRESHOLD), walked[0] / walked.max().clamp_min(1e-9)])
        confusion.update(np.array([0, *found.class_ids], np.uint8)[scores.argmax(0).numpy()], truth)
    return 100 * confusion.miou()


def truth_folder(world: int) -> Path:
    """The masks of a world."""
    return ROOT / f'data/toy_voc/tags_world{world}/SegmentationClass'


def true_areas(world: int, ids: list[str], out: Path) -> None:
    """The ground truth in the form of PSA's scores, so that the shipped training reads it."""
    (out / 'scores').mkdir(parents=True, exist_ok=True)
    (out / 'labels').mkdir(exist_ok=True)
    for image_id in ids:
        content = (truth_folder(world) / f'{image_id}.png').read_bytes()
        truth = np.asarray(Image.open(io.BytesIO(content)))
        classes = np.setdiff1d(np.unique(truth), [0, 255]).astype(np.int64)
        scores = np.stack([255 * (truth == c) for c in (0, *classes)]).astype(np.uint8)
        np.savez_compressed(out / f'scores/{image_id}.npz', class_ids=classes, low=scores, high=scores)
        (out / f'labels/{image_id}.png').write_bytes(content)


def score_world(world: int) -> dict[str, float]:
    """All figures of one world."""
    choose_world(world, 'tags')
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.engine import stages
    from wsss_mm.evaluation import evaluate_folder
    log, base = ROOT / f'work_dirs/walk_ceiling_world{world}.log', ROOT / f'work_dirs/toy_tags{world}'
    run_stages(log, [stages.Stage('labels', CONFIG)])
    ids = (truth_folder(world).parent / 'ImageSets/Segmentation/train.txt').read_text().split()
    out = base / 'psa/truth'
    if not (out / 'affinity/stage.json').exists():
        true_areas(world, ids, out / 'areas')
        call(log, 'train', CONFIG, '--no-prerequisites', '--work-dir', str(out / 'affinity'), '--cfg-options',
             f'train_dataloader.dataset.label_dirs.seg_map={out / "areas/labels"}')
    call(log, 'generate', CONFIG, '--checkpoint', str(out / 'affinity/final.pth'), '--out-dir', str(out / 'labels'),
         '--cfg-options', 'pseudo_labels.dataset.ann_file=ImageSets/Segmentation/train.txt')

    def score(folder: Path) -> float:
        return evaluate_folder(folder / 'labels', truth_folder(world), ids, TOY_CLASSES).miou or 0.
    sure = evaluate_folder(base / 'psa/cam/confident/labels', truth_folder(world), ids, TOY_CLASSES)
    return {
        'CAM': score(base / 'cam/labels'), 'sure areas, where they are': sure.miou or 0.,
        'share that is not sure': sure.ignored_share or 0.,
        'PSA, trained on the sure areas': score(base / 'psa/cam/labels'),
        'PSA, the same network trained on the truth': score(out / 'labels'),
        'a walk over true affinities': true_walk(world, ids)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = [score_world(world) for world in args.worlds]
    worlds = ' '.join(map(str, args.worlds))
    lines = [f'Made by `python benchmarks/walk_ceiling.py --worlds {worlds}`, {describe_machine()}.', '',
             f'| mIoU on train, % | worlds {" / ".join(worlds.split())} | mean ± sd |', '|---|---|---|']
    for name in found[0]:
        values = [scores[name] for scores in found]
        spread = mean_sd(values) if len(values) > 1 else f'{statistics.mean(values):.1f}'
        lines.append(f'| {name} | {" / ".join(f"{v:.1f}" for v in values)} | {spread} |')
    text = '\n'.join(lines) + '\n'
    (ROOT / 'benchmarks/results/walk_ceiling.md').write_text(text)
    print(text)


if __name__ == '__main__':
    main()
