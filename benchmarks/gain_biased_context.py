"""GAIN's experiment on biased data (section 5.1) on toy VOC: is an object recognised, or what always comes with it?

Plain classifier, GAIN, and GAIN_ext with three numbers of masks, on profile `biased`: boats come with water and trains
with rails. World and training seed are one number, so the spread below is that of both. A: images of `test_decor` with
the object on another ground; B: its context without the object. Resumable: finished trainings are kept, so the same
command goes on.

Example:
    python benchmarks/gain_biased_context.py --seeds 0 1 2 3 4 --jobs 2
"""

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

import numpy as np
from _toy import ROOT, call, choose_world, run_before, slug


class Method(NamedTuple):
    """One row of the tables.

    Attributes:
        config: Below configs/gain/.
        masks: Images with masks, of all classes; None where the config has none.
        paper: Accuracy in % of the paper's Table 7, for boats: VOC val, A, B, both.
    """

    config: str
    masks: int | None
    paper: tuple[int, int, int, int]


# 36, 92 and 370 of 400 images show about 9, 23 and 78 boats, which is what 200, 400 and 1,464 of VOC's show.
METHODS = {
    'plain': Method('biased_plain_toy.py', None, (83, 42, 30, 36)),
    'GAIN': Method('biased_gain_toy.py', None, (90, 48, 62, 55)),
    'GAIN_ext, 36 masks': Method('biased_ext_toy.py', 36, (93, 64, 68, 66)),
    'GAIN_ext, 92 masks': Method('biased_ext_toy.py', 92, (93, 74, 76, 75)),
    'GAIN_ext, 370 masks': Method('biased_ext_toy.py', 370, (94, 84, 84, 84)),
}
COLUMNS = {'masks': 'masks with it', 'val': 'val', 'without_context': 'A', 'context_alone': 'B',
           'overall': 'overall', 'auc': 'AUC', 'mass': 'attention inside', 'iou': 'IoU'}
LEGEND = """A: object recognised without its context; B: context without the object rejected; overall: (A + B) / 2, 50
for a network that always says the same; AUC: P(logit of an A > logit of a B); val: images on which the class is judged
rightly; attention inside: share of the class map on the object; IoU: of the object and the pixels from half the map's
maximum on. The last two are of the images of val with the object."""


def recognition(logits: np.ndarray, present: np.ndarray, context: np.ndarray) -> dict[str, float]:
    """How one class is recognised where its context does not tell, in percent.

    Args:
        logits: (N,) of the class; above 0 it is taken as recognised.
        present: (N,) bool, the class is in the image.
        context: (N,) bool, its context is.

    Returns:
        ``without_context``: images of the object without its context (A) that are recognised. ``context_alone``: images
        of the context without the object (B) that are rejected. ``overall``: their mean, 50 for a network that always
        says the same. ``auc``: P(logit of an A > logit of a B), whatever the threshold.
    """
    from wsss_mm.evaluation.ranking import auc
    a, b = logits[present & ~context], logits[context & ~present]
    recognised, rejected = 100 * (a > 0).mean(), 100 * (b <= 0).mean()
    ranking = 100 * auc(np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a))
    return dict(without_context=float(recognised), context_alone=float(rejected),
                overall=float(recognised + rejected) / 2, auc=ranking)


def inside(maps: np.ndarray, labels: np.ndarray, class_id: int) -> dict[str, float]:
    """Where a class map looks in images of its class, in percent, mean over the images.

    Args:
        maps: (N, H, W), raw; negative values count as 0.
        labels: (N, H, W) segmentation ids, 255 ignored.
        class_id: The class's.

    Returns:
        ``mass``: share of the map inside the object, 0 for an empty map. ``iou``: of the object and of the pixels from
        half the map's maximum on. ``area``: the object's share of the image, which a map that is the same everywhere
        would have as its ``mass``.
    """
    counted, own = labels != 255, labels == class_id
    maps = np.maximum(maps.astype(np.float64), 0) * counted
    total, high = maps.sum((1, 2)), maps.max((1, 2), initial=0)
    mass = np.divide((maps * own).sum((1, 2)), total, out=np.zeros(len(maps)), where=total > 0)
    marked = (maps >= high[:, None, None] / 2) & (high > 0)[:, None, None] & counted
    iou = (marked & own).sum((1, 2)) / np.maximum((marked | own).sum((1, 2)), 1)
    area = own.sum((1, 2)) / np.maximum(counted.sum((1, 2)), 1)
    return {name: 100 * float(values.mean()) for name, values in dict(mass=mass, iou=iou, area=area).items()}


def prepare(seed: int) -> None:
    """Draw the world, and pretrain where that is not done."""
    choose_world(seed, 'biased')
    run_before(ROOT / 'work_dirs/gain_biased_context.log', 'configs/gain/biased_plain_toy.py')


def training_options(method: Method, seed: int, iters: int | None) -> list[str]:
    """What a training changes of its config; a schedule of ``iters`` iterations is the config's, stretched."""
    options = [f'randomness.seed={seed}']
    if method.masks is not None:
        options.append(f'train_dataloader.dataset.mask_count={method.masks}')
    if iters is not None:
        options += [f'train_cfg.max_iters={iters}', f'param_scheduler.0.end={iters // 5}',
                    f'param_scheduler.1.begin={iters // 5}', f'param_scheduler.1.end={iters}']
        objectives = dict(plain=0, gain=1, ext=2)[method.config.split('_')[1]]
        options += [f'model.objectives.{i}.begin={iters // 4}' for i in range(objectives)]
    return options


def run(name: str, seed: int, iters: int | None) -> dict:
    """Train one method in one world, and score it; what is there already is kept."""
    choose_world(seed, 'biased')
    method = METHODS[name]
    base = ROOT / f'work_dirs/toy_biased{seed}/context{iters or ""}/{slug(name)}'
    if (base / 'scores.json').is_file():
        return json.loads((base / 'scores.json').read_text())
    config = f'configs/gain/{method.config}'
    if not (base / 'stage.json').exists():
        call(base / 'log.txt', 'train', config, '--no-prerequisites', '--work-dir', str(base), '--cfg-options',
             *training_options(method, seed, iters))
    found = score(config, base / 'final.pth', seed, method.masks or 0)
    (base / 'scores.json').write_text(json.dumps(found))
    return found


def score(config: str, checkpoint: Path, seed: int, masks: int) -> dict:
    """All columns of the tables for one network, by class."""
    from wsss_mm.datasets.supervision import draw_supervision
    from wsss_mm.datasets.toy_voc import PROFILES, TOY_CLASSES, content
    from wsss_mm.files import read_json
    ids, logits, tags, maps, labels = look(config, checkpoint)
    where = [(image_id.rsplit('_', 1)[0], int(image_id[-5:])) for image_id in ids]
    grounds = np.array([content('biased', seed, *place)[1] for place in where])
    val = np.array([split == 'val' for split, _ in where])
    counts = read_json(f'data/toy_voc/biased_world{seed}/toy_voc.json')['counts']
    drawn = draw_supervision([f'train_{i:05d}' for i in range(counts['train'])], masks, 0)
    supervised = [content('biased', seed, 'train', int(image_id[-5:]))[0] for image_id in drawn]
    right = (logits > 0) == tags
    found = {}
    for name, context in PROFILES['biased'].class_grounds.items():
        index = TOY_CLASSES.index(name) - 1
        there, test = tags[:, index], ~val
        shown = val & there
        found[name] = dict(
            recognition(logits[test, index], there[test], grounds[test] == context),
            **inside(maps[shown, index], labels[shown], index + 1),
            val=100 * float(right[val, index].mean()), val_all=100 * float(right[val].mean()),
            masks=sum(name in names for names in supervised),
            images=[int(n) for n in ((test & there & (grounds != context)).sum(),
                                     (test & ~there & (grounds == context)).sum(), shown.sum())])
    return found


def look(config: str, checkpoint: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Run a network on val and test_decor.

    Returns:
        Ids; logits (N, C); tags (N, C) bool; class maps (N, C, H, W) at the images' size; segmentation ids (N, H, W).
    """
    import torch
    import torch.nn.functional as F
    from mmengine.dataset import pseudo_collate
    from mmengine.registry import DefaultScope

    from wsss_mm.engine.stages import load_config
    from wsss_mm.pseudo_labels.run import load_weights
    from wsss_mm.registry import DATASETS, MODELS
    torch.set_num_threads(1)
    cfg = load_config(config)
    cfg.model.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmseg'):
        dataset = DATASETS.build(dict(
            type='wsss_mm.ToyVOCDataset', data_root=cfg.data_root, test_mode=True,
            ann_file=[f'ImageSets/Segmentation/{split}.txt' for split in ('val', 'test_decor')],
            pipeline=[dict(type='wsss_mm.LoadImage'), dict(type='wsss_mm.LoadWeakLabels', boxes=False),
                      dict(type='wsss_mm.LoadLabelMaps', keys=('gt_seg_map', )), dict(type='wsss_mm.PackWeakInputs')]))
        model = MODELS.build(cfg.model)
    load_weights(model, checkpoint, cfg)
    model.eval()
    parts = []
    for start in range(0, len(dataset), 48):
        items = [dataset[i] for i in range(start, min(start + 48, len(dataset)))]
        data = model.data_preprocessor(pseudo_collate(items), False)
        samples = data['data_samples']
        with torch.no_grad():
            feats = model.extract_feat(data['inputs'])
            maps = F.interpolate(model.head.class_maps(feats), data['inputs'].shape[2:], mode='bilinear')
            parts.append((model.head(feats), torch.stack([s.gt_label for s in samples]) > 0, maps.half(),
                          torch.cat([s.gt_sem_seg.data for s in samples])))
    logits, tags, maps, labels = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return [dataset.get_data_info(i)['img_id'] for i in range(len(dataset))], logits, tags, maps, labels


def middle(values: list[float]) -> str:
    """Median, smallest and largest."""
    return f'{statistics.median(values):.0f} ({min(values):.0f} … {max(values):.0f})'


def table(results: dict[str, dict[int, dict]]) -> str:
    """The Markdown tables of the seeds that every method has."""
    seeds = sorted(set.intersection(*(set(r) for r in results.values())))
    lines = [f'Medians (smallest … largest) over seeds {", ".join(map(str, seeds))}; all in %.', '', LEGEND, '']
    for name, context in (('boat', 'water'), ('train', 'rail')):
        runs = {method: [by_seed[s][name] for s in seeds] for method, by_seed in results.items()}
        every = [r for found in runs.values() for r in found]
        sizes = [f'{min(n)} … {max(n)}' if min(n) < max(n) else str(min(n)) for n in
                 zip(*(r['images'] for r in every), strict=True)]
        paper = name == 'boat'
        lines += [f'### {name} and {context}', '',
                  f'{sizes[0]} images A, {sizes[1]} B, {sizes[2]} of val with a {name}, which covers '
                  f'{middle([r["area"] for r in every])} % of them.', '',
                  f'| | {" | ".join(COLUMNS.values())} | val, all classes |' +
                  (' paper, VOC: val / A / B / overall |' if paper else ''),
                  '|---' * (len(COLUMNS) + 2 + paper) + '|']
        for method, found in runs.items():
            row = [middle([r[key] for r in found]) for key in (*COLUMNS, 'val_all')]
            row += [' / '.join(map(str, METHODS[method].paper))] * paper
            lines.append(f'| {method} | {" | ".join(row)} |')
        lines += ['', f'Less plain, same seed; in brackets the seeds that are ahead of plain, of {len(seeds)}:', '',
                  '| | val | A | B | AUC | attention inside | IoU |', '|---|---|---|---|---|---|---|']
        for method in (m for m in runs if m != 'plain' and 'plain' in runs):
            gaps = [[a[key] - b[key] for a, b in zip(runs[method], runs['plain'], strict=True)]
                    for key in ('val', 'without_context', 'context_alone', 'auc', 'mass', 'iou')]
            cells = [f'{statistics.median(g):+.0f} ({sum(v > 0 for v in g)})' for g in gaps]
            lines.append(f'| {method} | {" | ".join(cells)} |')
        lines.append('')
    return '\n'.join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2, 3, 4], help='worlds and training seeds')
    parser.add_argument('--methods', nargs='+', choices=list(METHODS), default=list(METHODS), metavar='METHOD')
    parser.add_argument('--iters', type=int, help='of each training (default: the configs\')')
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time, one thread each')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    args = parser.parse_args()
    results: dict[str, dict[int, dict]] = {name: {} for name in args.methods}
    for seed in args.seeds:   # shared by all methods, so made before any
        prepare(seed)
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        jobs = {pool.submit(run, name, seed, args.iters): (name, seed) for seed in args.seeds for name in args.methods}
        for job in as_completed(jobs):
            name, seed = jobs[job]
            results[name][seed] = job.result()
            print(f'seed {seed}, {name}: {json.dumps(job.result())}', flush=True)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    Path(args.out, 'gain_biased_context.json').write_text(json.dumps(results, indent=1) + '\n')
    text = table(results)
    changed = f' --iters {args.iters}' * (args.iters is not None)
    Path(args.out, 'gain_biased_context.md').write_text(
        '# GAIN on biased data\n\nMade by `python benchmarks/gain_biased_context.py --seeds '
        f'{" ".join(map(str, args.seeds))}{changed}`.\n\n{text}')
    print(text)


if __name__ == '__main__':
    main()
