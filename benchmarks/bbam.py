"""BBAM: many objects in one pass on a frozen detector, against one at a time as published; approximations; operations.

``python benchmarks/bbam.py flops`` counts operations on the meta device. ``python benchmarks/bbam.py time CONFIG
CHECKPOINT`` times a trained toy detector, ``… approximations CONFIG CHECKPOINT`` measures what approximations change;
run them where the config's data is.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from PIL import Image
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from wsss_mm.explainers import BBAMExplainer, explained_input
from wsss_mm.explainers.adapter import DetectorAdapter
from wsss_mm.explainers.bbam_masks import MaskJob, optimise_masks
from wsss_mm.explainers.proposal_explainer import ObjectRecords

TOY = dict(scale=None, stride=(1.92, 5.76), max_batch=32)     # the published strides, from 800 px to 96


def build(config: dict) -> Any:
    from mmdet.registry import MODELS
    from mmdet.utils import register_all_modules
    register_all_modules(init_default_scope=False)
    return MODELS.build(Config(config)).eval()


def toy_objects(cfg: Config, count: int) -> dict[str, list]:
    """The first ``count`` boxes of the training set, one per image."""
    data = cfg.pseudo_labels.dataset
    content = json.loads((Path(data.data_root) / data.ann_file).read_text())
    names = {c['id']: data.metainfo.classes.index(c['name']) for c in content['categories']}
    found: dict[str, list] = {k: [] for k in ('images', 'boxes', 'labels', 'ids', 'image_ids')}
    files = {i['id']: i['file_name'] for i in content['images']}
    for annotation in content['annotations']:
        file = files.pop(annotation['image_id'], None)
        if file is None or len(found['images']) == count:
            continue
        x, y, width, height = annotation['bbox']
        found['images'].append(np.asarray(Image.open(Path(data.data_root) / 'JPEGImages' / file).convert('RGB')))
        found['boxes'].append(np.array([[x, y, x + width, y + height]], np.float32))
        found['labels'].append(np.array([names[annotation['category_id']]]))
        found['ids'].append(np.array([annotation['id']]))
        found['image_ids'].append(Path(file).stem)
    return found


def jobs_of(explainer: BBAMExplainer, model: Any, objects: dict[str, list]) -> list[MaskJob]:
    """Proposals, references and first masks of objects, before any step."""
    jobs: list[MaskJob] = []
    adapter = None
    for values in zip(*objects.values(), strict=True):
        record = ObjectRecords(*values)
        inputs, factors = explained_input(model, values[0], explainer.scale)
        adapter = adapter or DetectorAdapter(model, inputs)
        jobs += explainer.jobs(adapter, inputs, factors, record)
    return jobs


def plain(model: Any, jobs: list[MaskJob], iterations: int) -> list[np.ndarray]:
    """As published: one object at a time, all levels and the proposal network, gradients of the weights too."""
    model.requires_grad_(True)
    masks = []
    for job in jobs:
        mask = job.mask.clone().requires_grad_()
        optimiser = torch.optim.Adam([mask], lr=.02)
        for _ in range(iterations):
            enlarged = F.interpolate(mask[None, None], job.image.shape[1:], mode='bilinear', align_corners=True)
            # mmcv's RoI layers read the memory as if it were contiguous
            features = [x.contiguous() for x in model.extract_feat(job.image * enlarged)]
            model.rpn_head(features)
            found = model.roi_head._bbox_forward(features, F.pad(job.rois[0], (1, 0)))
            probability = found['cls_score'].softmax(1)[:, job.label]
            count = len(probability)
            deltas = found['bbox_pred'].view(count, -1, 4)[:, job.label]
            loss: Tensor | float = 0.
            for i in range(count):
                loss = loss + .5 * (deltas[i] - job.deltas[i]).abs().mean() + .5 * (
                    probability[i] - job.probability[i]).abs()
            variation = sum(w * (d.abs() ** 3).sum() for w, d in (
                (1, mask[1:] - mask[:-1]), (1, mask[:, 1:] - mask[:, :-1]), (2, mask[1:, 1:] - mask[:-1, :-1]),
                (2, mask[1:, :-1] - mask[:-1, 1:])))
            (loss / count + .007 * mask.abs().sum() + 1e-4 * variation).backward()
            optimiser.step()
            optimiser.zero_grad()
            model.zero_grad()
            mask.data.clamp_(0, 1)
        masks.append(mask.detach().numpy())
    return masks


def clocked(function: Any) -> tuple[Any, float]:
    start = time.process_time()
    return function(), time.process_time() - start


def top_mask(maps: Any) -> np.ndarray:
    """The top 15 % of a map within its box, at the image's size."""
    full = maps.full_size(0)
    x1, y1, x2, y2 = (int(round(float(v))) for v in maps.boxes[0])
    inside = full[y1:y2, x1:x2]
    return inside >= np.quantile(inside, .85)


def trained(config: str, checkpoint: str, count: int) -> tuple[Any, dict[str, list]]:
    """A toy detector and objects to explain."""
    cfg = Config.fromfile(config)
    init_default_scope('mmdet')
    cfg.model.backbone.init_cfg = None
    model = build(cfg.model)
    load_checkpoint(model, checkpoint, map_location='cpu')
    return model, toy_objects(cfg, count)


def compare_times(model: Any, objects: dict[str, list], plain_iterations: int) -> None:
    short = {**TOY, 'iterations': plain_iterations}
    jobs = jobs_of(BBAMExplainer(**short), model, objects)
    masks, seconds = clocked(lambda: plain(model, jobs, plain_iterations))
    per = 1000 / plain_iterations / len(jobs)
    print(f'\n{len(jobs)} objects of toy VOC, {plain_iterations} steps each, {torch.get_num_threads()} thread, '
          'processor time.\n')
    print('| scheme | objects in a pass | ms per step and object | ratio | differences to one at a time: mean '
          '| largest | cells beyond 1e-4 |')
    print('|---|---|---|---|---|---|---|')
    print(f'| as published, one object at a time | 1 | {seconds * per:.1f} | 1 | | | |')
    for batch in (1, 8, 32):
        explainer = BBAMExplainer(**{**short, 'max_batch': batch})
        fresh = jobs_of(explainer, model, objects)
        adapter = DetectorAdapter(model, fresh[0].image[None])
        _, taken = clocked(lambda e=explainer, a=adapter, j=fresh: optimise_masks(a, j, e.settings, e.max_batch))
        by_id = {j.record.image_id: j.mask.numpy() for j in fresh}
        apart = [np.abs(by_id[j.record.image_id] - m) for j, m in zip(jobs, masks, strict=True)]
        cells = np.concatenate([a.ravel() for a in apart])
        print(f'| ours | {batch} | {taken * per:.1f} | {seconds / taken:.1f} | {cells.mean():.1e} | {cells.max():.1e} '
              f'| {(cells > 1e-4).sum()} of {len(cells)} |')


def compare_approximations(model: Any, objects: dict[str, list], iterations: int) -> None:
    print(f'\nMaps after {iterations} steps against those of the reference, seed 0.\n')
    print('| setting | mean change of a map | IoU of the top 15 % of the box | steps | time, of the reference |')
    print('|---|---|---|---|---|')
    reference, base = clocked(lambda: BBAMExplainer(**TOY, iterations=iterations).explain(model, **objects))
    for name, options in (('another seed of the proposals', dict(seed=1)), ('another batch', dict(max_batch=3)),
                          ('crop=10', dict(crop=10)), ('early_stop', dict(early_stop=True)), ('amp', dict(amp=True))):
        found, taken = clocked(lambda o=options: BBAMExplainer(**{**TOY, **o}, iterations=iterations).explain(
            model, **objects))
        change, ious, steps = [], [], []
        for a, b in zip(found, reference, strict=True):
            if not {a.statuses[0], b.statuses[0]} <= {'ok', 'tiny'}:
                continue
            change.append(np.abs(a.grids[0] - b.grids[0]).mean())
            first, second = top_mask(a), top_mask(b)
            ious.append((first & second).sum() / (first | second).sum())
            steps.append(a.iterations[0])
        print(f'| {name} | {np.mean(change):.4f} | {np.mean(ious):.3f} | {np.mean(steps):.0f} | {taken / base:.2f} |')


def fpn_detector(depth: int) -> Any:
    """Faster R-CNN with FPN and 20 classes on the meta device."""
    strides = [4, 8, 16, 32]
    config = dict(
        type='FasterRCNN', train_cfg=None, test_cfg=dict(rpn=dict(), rcnn=dict()),
        data_preprocessor=dict(type='DetDataPreprocessor'), backbone=dict(type='ResNet', depth=depth),
        neck=dict(type='FPN', in_channels=[256, 512, 1024, 2048], out_channels=256, num_outs=5),
        rpn_head=dict(
            type='RPNHead', in_channels=256, feat_channels=256,
            anchor_generator=dict(type='AnchorGenerator', scales=[8], ratios=[.5, 1., 2.], strides=[*strides, 64]),
            bbox_coder=dict(type='DeltaXYWHBBoxCoder'), loss_cls=dict(type='CrossEntropyLoss', use_sigmoid=True),
            loss_bbox=dict(type='L1Loss')),
        roi_head=dict(
            type='StandardRoIHead', bbox_roi_extractor=dict(
                type='SingleRoIExtractor', roi_layer=dict(type='RoIAlign', output_size=7, sampling_ratio=0),
                out_channels=256, featmap_strides=strides),
            bbox_head=dict(
                type='Shared2FCBBoxHead', in_channels=256, fc_out_channels=1024, roi_feat_size=7, num_classes=20,
                bbox_coder=dict(type='DeltaXYWHBBoxCoder', target_stds=[.1, .1, .2, .2]),
                loss_cls=dict(type='CrossEntropyLoss'), loss_bbox=dict(type='L1Loss'))))
    return build(config).to('meta')


def operations(model: Any, levels: tuple[int, ...] | None) -> float:
    """TFLOP of one step of one object at 800 x 1344 with 100 proposals; ``levels`` None: as published."""
    adapter = DetectorAdapter(model, torch.zeros(1, 3, 32, 32, device='meta'), plain=True)
    published = levels is None
    adapter.lazy = not published
    if published:
        adapter.model.requires_grad_(True)
    with FlopCounterMode(display=False) as counter:
        pixels = torch.zeros(1, 3, 800, 1344, device='meta', requires_grad=True)
        features = adapter.features(pixels, levels)
        if published:
            with torch.no_grad():
                adapter.model.rpn_head(features)
        crops = torch.zeros(100, 256, 7, 7, device='meta', requires_grad=True)
        score, deltas = adapter.heads[0](crops)
        # RoIAlign is not counted; its gradient goes to every level that is there
        total = score.sum() + deltas.sum() + sum(x.sum() for x in features[:4] if x is not None)
        total.backward()
    return counter.get_total_flops() / 1e12


def flops() -> None:
    init_default_scope('mmdet')
    print('\nOperations of a step (multiplications and additions counted apart) at 800 x 1344, 100 proposals, 300 '
          'steps per object.\n')
    print('| detector | scheme | TFLOP per step | TFLOP per object | ratio |')
    print('|---|---|---|---|---|')
    for depth in (50, 101):
        model = fpn_detector(depth)
        published = operations(model, None)
        for name, levels in (('as published', None), ('ours, all four levels', (0, 1, 2, 3)),
                             ('ours, RoIs on P3', (1,)), ('ours, RoIs on P4', (2,)), ('ours, RoIs on P5', (3,))):
            found = operations(model, levels)
            print(f'| R{depth}-FPN | {name} | {found:.2f} | {300 * found:.0f} | {published / found:.2f} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])   # type: ignore[union-attr]
    commands = parser.add_subparsers(dest='command', required=True)
    commands.add_parser('flops')
    for name, iterations in (('time', 30), ('approximations', 300)):
        command = commands.add_parser(name)
        command.add_argument('config')
        command.add_argument('checkpoint')
        command.add_argument('--objects', type=int, default=32)
        command.add_argument('--iterations', type=int, default=iterations)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    if arguments.command == 'flops':
        flops()
    else:
        compare = compare_times if arguments.command == 'time' else compare_approximations
        compare(*trained(arguments.config, arguments.checkpoint, arguments.objects), arguments.iterations)


if __name__ == '__main__':
    main()
