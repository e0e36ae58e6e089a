"""Mixed supervision on toy VOC: mIoU against what labelling costs, for tags, boxes, masks and mixtures of equal cost.

Every arm spends the same seconds of an annotator (dissertation, Table 2.1: tags 20.0, boxes 38.1, masks 239.7 seconds
per image) on images of one list, of which the first of a fixed random order get masks, the next boxes, the next tags;
images that the budget does not reach are not there at all. One network (configs/mixed) learns from all that is left,
one run labels it, DeepLab-V2 trains on the labels; the same iterations for every arm. Worlds are drawn with 800
training images. What the labels of images with tags are made of, and the threshold where there are no boxes, were
chosen on world 100. Resumable: finished stages are kept, so the same command goes on.

Three worlds take about 65 core-minutes: 33 arms of 105 to 125 seconds, and a minute for each world's data.

Example:
    python benchmarks/toy_mixed.py --worlds 0 1 2 --jobs 2
"""

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

from _toy import ROOT, call, choose_world, mean_sd, run_stages, slug
from toy_boxes import last_val

COST = dict(tags=20.0, boxes=38.1, masks=239.7)
ARMS = {
    'tags': dict(tags=1), 'boxes': dict(boxes=1), 'masks': dict(masks=1),
    'tags + boxes': dict(tags=1 / 2, boxes=1 / 2), 'tags + masks': dict(tags=1 / 2, masks=1 / 2),
    'boxes + masks': dict(boxes=1 / 2, masks=1 / 2),
    'tags + boxes + masks': dict(tags=1 / 3, boxes=1 / 3, masks=1 / 3)}
# Seconds of labelling, and the arms that spend them: the second sum shows what more of it brings.
BUDGETS = {8000: list(ARMS), 16000: ['tags', 'boxes', 'masks', 'tags + boxes + masks']}
IMAGES = 800
LISTS = 'ImageSets/Segmentation'
# Without boxes the head learns little or nothing of the background: class maps against a constant one, as configs/cam
# does it, and averaged with the branch where masks teach one (docs/methods/mixed.md; both chosen on world 100).
CLASS_MAPS = ['threshold=.15', 'save_maps=False', 'localizer.type=wsss_mm.MultiScale', 'localizer.flip=True',
              'localizer.align16=False', 'localizer.scales=[1.,.5,1.5,2.]', 'localizer.localizer.type=wsss_mm.CAM']
INLINE = ['train_dataloader.num_workers=0', 'train_dataloader.persistent_workers=False']


def counts_of(arm: str, budget: float) -> dict[str, int]:
    """Images of each kind that the arm's shares of the budget pay for."""
    return {kind: int(share * budget / COST[kind] + 1e-9) for kind, share in ARMS[arm].items()}


def data_of(world: int) -> Path:
    """The world's data, with twice as many training images as the other benchmarks'."""
    return ROOT / f'data/toy_voc/mixed_world{world}'


def prepare(world: int) -> None:
    """Draw the data, and make the pretraining that all arms share."""
    choose_world(world, 'tags')
    from wsss_mm.engine import stages
    log = ROOT / f'work_dirs/mixed/world{world}.log'
    call(log, 'prepare_dataset', 'toy', '--root', str(data_of(world).relative_to(ROOT)), '--profile', 'tags', '--seed',
         str(world), '--counts', f'train={IMAGES}', 'val=120', 'test=0', 'test_decor=0', 'ood=0', 'ood_test=0')
    run_stages(log, [stages.to_stage(dict(run='train', config='configs/pretrain/textures_tags_toy.py'))])


def write_lists(base: Path, data: Path, counts: dict[str, int]) -> dict[str, str]:
    """The arm's images, and options that tell a dataset of them and their kinds."""
    from wsss_mm.datasets.supervision import hash_order
    order = hash_order((data / LISTS / 'train.txt').read_text().split())
    taken, options = [], {}
    for kind in ('masks', 'boxes', 'tags'):
        own = order[len(taken):len(taken) + counts.get(kind, 0)]
        taken += own
        if own and kind != 'tags':
            (base / f'{kind}.txt').write_text('\n'.join(own) + '\n')
            options[f'supervision_files.{kind}'] = str(base / f'{kind}.txt')
    (base / 'images.txt').write_text('\n'.join(sorted(taken)) + '\n')
    # without any list the dataset would give all that its folders hold
    drawn = 'None' if options else '0'
    return dict(data_root=str(data), ann_file=str(base / 'images.txt'), mask_count=drawn, box_count=drawn, **options)


def schedule(iters: int) -> list[str]:
    """Options of a training's length."""
    ramp = iters // 5
    return [f'train_cfg.max_iters={iters}', f'param_scheduler.0.end={ramp}', f'param_scheduler.1.begin={ramp}',
            f'param_scheduler.1.end={iters}']


def classifier_options(base: Path, counts: dict[str, int], dataset: dict[str, str], iters: int) -> list[str]:
    """Changes to configs/mixed/classifier_toy.py."""
    options = [*INLINE, *schedule(iters), 'pseudo_labels.num_workers=0']
    options += [f'{part}.dataset.{k}={v}' for part in ('train_dataloader', 'pseudo_labels') for k, v in dataset.items()]
    if not counts.get('tags') or len(counts) == 1:   # one kind, or none that is scarcer than the others
        options += ['train_dataloader.sampler._delete_=True', 'train_dataloader.sampler.type=InfiniteSampler',
                    'train_dataloader.sampler.shuffle=True']
    if 'tags' in counts and 'boxes' not in counts:
        options += [f'pseudo_labels.generator.tags.{option}' for option in CLASS_MAPS]
        options += ['pseudo_labels.generator.branch_weight=.5'] if 'masks' in counts else []
    return options


def run_arm(world: int, arm: str, budget: int, iters: int, segmentor_iters: int) -> dict:
    """Train, label, train on the labels and score one arm in one world."""
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.evaluation import evaluate_folder
    choose_world(world, 'tags')
    base = ROOT / f'work_dirs/mixed/{iters}_{segmentor_iters}/{slug(arm)}_{budget}/world{world}'
    base.mkdir(parents=True, exist_ok=True)
    if (base / 'scores.json').is_file():
        return json.loads((base / 'scores.json').read_text())
    counts, data, log = counts_of(arm, budget), data_of(world), base / 'log.txt'
    dataset = write_lists(base, data, counts)
    config, options = 'configs/mixed/classifier_toy.py', classifier_options(base, counts, dataset, iters)
    if not (base / 'classifier/stage.json').exists():
        call(log, 'train', config, '--no-prerequisites', '--work-dir', str(base / 'classifier'),
             '--cfg-options', *options)
    call(log, 'generate', config, '--checkpoint', str(base / 'classifier/final.pth'), '--out-dir', str(base / 'labels'),
         '--cfg-options', *options)
    if not (base / 'deeplabv2/stage.json').exists():
        call(log, 'train', 'configs/mixed/deeplabv2_toy.py', '--no-prerequisites', '--work-dir',
             str(base / 'deeplabv2'), '--cfg-options', *INLINE, *schedule(segmentor_iters),
             f'train_cfg.val_interval={segmentor_iters}',
             f'train_dataloader.dataset.data_root={data}', f'train_dataloader.dataset.ann_file={dataset["ann_file"]}',
             f'train_dataloader.dataset.label_dirs.seg_map={base / "labels/labels"}',
             f'val_dataloader.dataset.data_root={data}', 'val_dataloader.num_workers=0',
             'val_dataloader.persistent_workers=False')
    ids = (base / 'images.txt').read_text().split()
    truth = data / 'SegmentationClass'
    found = dict(counts=counts, cost=sum(COST[kind] * n for kind, n in counts.items()),
                 labels=evaluate_folder(base / 'labels/labels', truth, ids, TOY_CLASSES).miou,
                 segmentor=last_val(base / 'deeplabv2'),
                 branch=branch_miou(base / 'classifier/final.pth', data) if counts.get('masks') else None)
    (base / 'scores.json').write_text(json.dumps(found))
    return found


def branch_miou(checkpoint: Path, data: Path) -> float:
    """mIoU on val of the classifier's own segmentation branch: one scale, no flip, no CRF."""
    import torch
    import torch.nn.functional as F
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DefaultScope

    from wsss_mm.engine.stages import load_config
    from wsss_mm.evaluation.confusion import ConfusionMatrix
    from wsss_mm.pseudo_labels.run import load_weights
    from wsss_mm.registry import DATASETS, MODELS
    torch.set_num_threads(1)
    cfg = load_config('configs/mixed/classifier_toy.py')
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build({**cfg.segmentation_val.dataset, 'data_root': str(data)})
        model = MODELS.build(cfg.model)
    load_weights(model, checkpoint, cfg)
    model.eval()
    counted = ConfusionMatrix(7)
    for start in range(0, len(dataset), 24):
        batch = pseudo_collate([dataset[i] for i in range(start, min(start + 24, len(dataset)))])
        batch = model.data_preprocessor(batch, False)
        with torch.no_grad():
            logits = model.objectives[-1].logits(model.extract_feat(batch['inputs']))
        labels = F.interpolate(logits, batch['inputs'].shape[2:], mode='bilinear').argmax(1)
        for made, sample in zip(labels, batch['data_samples'], strict=True):
            counted.update(made.numpy(), sample.gt_sem_seg.data[0].numpy())
    return 100 * counted.miou()


def table(results: dict[tuple[int, str, int], dict]) -> str:
    """The Markdown tables, of the runs that are there."""
    worlds = sorted({world for world, _, _ in results})
    lines = []
    for budget in sorted({budget for _, _, budget in results}):
        runs = {arm: [results[w, arm, budget] for w in worlds] for arm in ARMS
                if all((w, arm, budget) in results for w in worlds)}
        lines += [f'### {budget} seconds of labelling', '',
                  '| | images: tags / boxes / masks | seconds | labels, mIoU on the labelled images | '
                  'DeepLab-V2, mIoU on val, worlds ' + ' / '.join(map(str, worlds)) + ' | mean ± sd | '
                  'branch of the classifier, val |', '|---' * 7 + '|']
        for arm, found in runs.items():
            images = ' / '.join(str(found[0]['counts'].get(kind, 0)) for kind in COST)
            segmentors = [f['segmentor'] for f in found]
            branch = '–' if found[0]['branch'] is None else mean_sd([f['branch'] for f in found])
            lines.append(f'| {arm} | {images} | {found[0]["cost"]:.0f} | {mean_sd([f["labels"] for f in found])} | '
                         f'{" / ".join(f"{v:.1f}" for v in segmentors)} | {mean_sd(segmentors)} | {branch} |')
        lines += ['', 'Differences of the segmentors, same world, points of mIoU:', '', '| | mean ± sd | smallest | '
                  'largest |', '|---|---|---|---|']
        for arm in (a for a in runs if len(ARMS[a]) > 1):
            for part in (p for p in ARMS[arm] if p in runs):
                gaps = [a['segmentor'] - b['segmentor'] for a, b in zip(runs[arm], runs[part], strict=True)]
                lines.append(f'| {arm} − {part} | {mean_sd(gaps)} | {min(gaps):+.1f} | {max(gaps):+.1f} |')
        lines.append('')
    return '\n'.join(lines)


def plot(results: dict[tuple[int, str, int], dict], path: Path) -> None:
    """mIoU of the segmentor over the cost of labelling; bars from the lowest to the highest world."""
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot as plt
    budgets = sorted({budget for _, _, budget in results})
    figure, axes = plt.subplots(figsize=(7.8, 4.2))
    for number, arm in enumerate(ARMS):
        points = [(b, [found['segmentor'] for (_, *run), found in results.items() if run == [arm, b]]) for b in budgets]
        points = [(budget / 3600, values) for budget, values in points if values]
        if points:
            x = [hours * (1 + .012 * (number - 3)) for hours, _ in points]   # apart, so that bars do not hide bars
            means = [statistics.mean(values) for _, values in points]
            reach = [[m - min(v) for m, (_, v) in zip(means, points, strict=True)],
                     [max(v) - m for m, (_, v) in zip(means, points, strict=True)]]
            axes.errorbar(x, means, reach, label=arm, marker='os^DvPX'[number], capsize=2,
                          linestyle='-' if len(ARMS[arm]) == 1 else '--')
    axes.set_xlabel('hours of labelling')
    axes.set_ylabel('mIoU of DeepLab-V2 on val, %')
    axes.grid(alpha=.3)
    axes.legend(fontsize=8, loc='center left', bbox_to_anchor=(1.01, .5))   # beside the lines, not on them
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--arms', nargs='+', choices=list(ARMS), default=list(ARMS), metavar='ARM')
    parser.add_argument('--budgets', type=int, nargs='+', choices=list(BUDGETS), default=list(BUDGETS),
                        help='seconds of labelling')
    parser.add_argument('--iters', type=int, default=300, help='of the classifier')
    parser.add_argument('--segmentor-iters', type=int, default=200)
    parser.add_argument('--jobs', type=int, default=2, help='arms at a time, one thread each')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    args = parser.parse_args()
    for world in args.worlds:   # shared by all arms, so made before any
        prepare(world)
    results: dict[tuple[int, str, int], dict] = {}
    wanted = [(world, arm, budget) for world in args.worlds for budget in args.budgets
              for arm in args.arms if arm in BUDGETS[budget]]
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        jobs = {pool.submit(run_arm, *run, args.iters, args.segmentor_iters): run for run in wanted}
        for job in as_completed(jobs):
            world, arm, budget = jobs[job]
            results[jobs[job]] = job.result()
            print(f'{len(results)} of {len(wanted)}: world {world}, {arm}, {budget} s: {json.dumps(job.result())}',
                  flush=True)
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    rows = [dict(world=w, arm=a, budget=b, **found) for (w, a, b), found in sorted(results.items())]
    (out / 'toy_mixed.json').write_text(json.dumps(rows, indent=1) + '\n')
    text = table(results)
    (out / 'toy_mixed.md').write_text(
        f'Made by `python benchmarks/toy_mixed.py --worlds {" ".join(map(str, args.worlds))} --budgets '
        f'{" ".join(map(str, args.budgets))} --iters {args.iters} --segmentor-iters {args.segmentor_iters}`\n\n{text}\n'
        '![mIoU over hours of labelling](toy_mixed.png)\n')
    plot(results, out / 'toy_mixed.png')
    print(text)


if __name__ == '__main__':
    main()
