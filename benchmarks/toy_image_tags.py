"""Image tags on toy VOC: class maps of all tag methods and their ablations over several worlds, the shipped configs.

Every row is one training of a shipped config, at most with single options changed, and one labelling run; class maps
are scored at every background threshold. Resumable: finished stages are kept, so the same command goes on.

Example:
    python benchmarks/toy_image_tags.py --worlds 0 1 2 --jobs 2
    the same rows with another trunk, longer, or on data with a ground for each class:
    python benchmarks/toy_image_tags.py --worlds 100 --rows GAP HSPP GPP --backbone resnet18
    python benchmarks/toy_image_tags.py --worlds 100 --rows GAP HSPP GPP --iters 1400
    python benchmarks/toy_image_tags.py --worlds 100 --rows GAP HSPP GPP --profile boxes
"""

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from _toy import ROOT, call, choose_world, mean_sd, run_before, slug


class Row(NamedTuple):
    """One classifier.

    Attributes:
        config: Below configs/, without `_toy.py`.
        options: Changes to it.
        paper: mIoU, precision, recall of the paper's seeds on VOC train; None where it gives none.
    """

    config: str
    options: tuple[str, ...] = ()
    paper: tuple[float | None, float | None, float | None] = (None, None, None)


ROWS = {
    'GAP': Row('cam/classifier', paper=(48.3, None, None)),
    'GMP': Row('cam/classifier', ('model.head.type=wsss_mm.GMPHead',)),
    'GAP + visual words': Row('vwe/classifier', ('model.head._delete_=True', 'model.head.type=wsss_mm.GAPHead',
                                                 'model.head.num_classes=6', 'model.head.in_channels=96'),
                              (51.1, None, None)),
    'HSPP': Row('hspp/classifier', paper=(50.6, None, None)),
    'HSPP, gamma 16': Row('hspp/classifier', ('model.head.gamma=16',)),
    'HSPP + visual words (VWE)': Row('vwe/classifier', paper=(52.9, None, None)),
    'GPP': Row('gpp/classifier', paper=(54.2, 66.5, 75.6)),
    'AEFT': Row('aeft/classifier', paper=(56.0, 68.4, 76.3)),
    'GAIN': Row('gain/classifier'),
    'GAIN, weights of the masked pass fixed': Row('gain/classifier', ('model.objectives.0.update=attention_only',)),
    'GAIN, masked pass with running statistics': Row('gain/classifier', ('model.objectives.0.norm=eval',)),
    'AEFT, erased pass with its own statistics': Row('aeft/classifier', ('model.objectives.0.norm=batch',)),
    'GAIN_ext, masks': Row('gain/classifier_ext_p'),
    'GAIN_ext, boxes': Row('gain/classifier_ext_b'),
    'GAIN_ext, masks and boxes': Row('gain/classifier_ext_pb'),
    '2 x 2 alone': Row('gpp/classifier', ('model.head.bins=[2]',), (49.9, None, None)),
    '4 x 4 alone': Row('gpp/classifier', ('model.head.bins=[4]',), (51.6, None, None)),
    '8 x 8 alone': Row('gpp/classifier', ('model.head.bins=[8]',), (52.9, None, None)),
    '16 x 16 alone': Row('gpp/classifier', ('model.head.bins=[16]',), (53.1, None, None)),
    'average of four': Row('gpp/classifier', ('model.head.aggregate=average',), (53.3, None, None)),
    'gated, fine to coarse': Row('gpp/classifier', ('model.head.bins=[16,8,4,2]',), (51.3, None, None)),
    'attract alone': Row('aeft/classifier', ('model.objectives.0.repel_weight=0',), (54.9, 66.6, 77.2)),
    'repel alone': Row('aeft/classifier', ('model.objectives.0.attract_weight=0',), (54.6, None, None)),
    'triplet on class maps (direct)': Row('aeft/classifier', ('model.objectives.0.embedding=cam',),
                                          (54.7, None, None)),
    'e_A instead of e_AL': Row('aeft/classifier', ('model.objectives.0.anchor_region=full',), (54.1, None, None)),
    'rigid': Row('aeft/classifier', ('model.objectives.0.masked=rigid', 'model.objectives.0.repel_weight=0'),
                 (53.4, 65.1, 76.1)),
}
TABLES = {
    'All methods': ['GAP', 'GMP', 'HSPP', 'HSPP + visual words (VWE)', 'GPP', 'AEFT', 'GAIN',
                    'GAIN, weights of the masked pass fixed', 'GAIN_ext, masks', 'GAIN_ext, boxes',
                    'GAIN_ext, masks and boxes'],
    'VWE, Table 1': ['GAP', 'GAP + visual words', 'HSPP', 'HSPP + visual words (VWE)'],
    'HSPP on its way to GAP, which is gamma without end': ['HSPP', 'HSPP, gamma 16', 'GAP'],
    'Batch norm of the further pass': ['GAIN, masked pass with running statistics', 'GAIN', 'AEFT',
                                       'AEFT, erased pass with its own statistics'],
    'AEFT, Table 1': ['GAP', '2 x 2 alone', '4 x 4 alone', '8 x 8 alone', '16 x 16 alone', 'average of four',
                      'gated, fine to coarse', 'GPP'],
    'AEFT, Table 2': ['GPP', 'attract alone', 'repel alone', 'triplet on class maps (direct)', 'e_A instead of e_AL',
                      'AEFT'],
    'AEFT, Table 3': ['GPP', 'rigid', 'attract alone', 'AEFT'],
}
# The paper's claims, in points of mIoU; a pair shares its world and its seed.
PAIRS = [('GPP', 'GAP'), ('AEFT', 'GPP'), ('HSPP', 'GAP'), ('HSPP + visual words (VWE)', 'HSPP'), ('GAIN', 'GAP'),
         ('GAIN_ext, masks', 'GAIN'), ('attract alone', 'rigid')]


class Setting(NamedTuple):
    """What all rows share.

    Attributes:
        profile: Of the toy data.
        backbone: ``'toynet'``, or ``'resnet18'`` (configs/cam/classifier_resnet18_toy.py).
        iters: Iterations of training; the schedule and the second phases are stretched with it.
    """

    profile: str = 'tags'
    backbone: str = 'toynet'
    iters: int = 700

    @property
    def name(self) -> str:
        return f'{self.profile}_{self.backbone}_{self.iters}'

    def options(self, row: Row) -> list[str]:
        """Changes to a row's config."""
        found = list(row.options)
        begin = {'aeft/classifier': 315, 'gain/classifier': 175}.get(row.config)
        if self.iters != 700:
            ramp = 140 * self.iters // 700
            found += [f'train_cfg.max_iters={self.iters}', f'param_scheduler.0.end={ramp}',
                      f'param_scheduler.1.begin={ramp}', f'param_scheduler.1.end={self.iters}']
            found += [f'model.objectives.0.begin={begin * self.iters // 700}'] if begin else []
        if self.backbone == 'resnet18':
            found += ['model.backbone._delete_=True', 'model.backbone.type=mmseg.ResNet', 'model.backbone.depth=18',
                      'model.backbone.base_channels=32', 'model.backbone.stem_channels=32',
                      'model.backbone.strides=[1,2,1,1]', 'model.backbone.dilations=[1,1,1,1]',
                      'model.backbone.out_indices=[3]', 'model.backbone.norm_cfg.type=BN',
                      'model.backbone.style=pytorch', 'model.backbone.init_cfg.type=Pretrained',
                      'model.backbone.init_cfg.checkpoint=work_dirs/pretrain/textures_resnet18/final.pth',
                      'model.backbone.init_cfg.prefix=backbone.', 'model.head.in_channels=256']
            found += ['model.objectives.0.in_channels=256'] if row.config == 'vwe/classifier' else []
        return found


def score_row(world: int, name: str, setting: Setting) -> dict:
    """Train one row in one world and score its class maps."""
    choose_world(world, setting.profile)
    row = ROWS[name]
    base = ROOT / f'work_dirs/image_tags/{setting.name}/{slug(name)}/world{world}'
    base.mkdir(parents=True, exist_ok=True)
    if (base / 'scores.json').is_file():
        return json.loads((base / 'scores.json').read_text())
    log, config = base / 'log.txt', f'configs/{row.config}_toy.py'
    options = setting.options(row)
    if not (base / 'classifier/stage.json').exists():
        call(log, 'train', config, '--no-prerequisites', '--work-dir', str(base / 'classifier'),
             *(('--cfg-options', *options) if options else ()))
    call(log, 'generate', config, '--checkpoint', str(base / 'classifier/final.pth'), '--out-dir', str(base / 'labels'),
         '--cfg-options', 'pseudo_labels.num_workers=0',
         'pseudo_labels.dataset.ann_file=ImageSets/Segmentation/train.txt', *options)
    found = score_maps(base / 'labels/maps', ROOT / f'data/toy_voc/{setting.profile}_world{world}')
    found['seconds'] = training_seconds(base / 'classifier')
    (base / 'scores.json').write_text(json.dumps(found))
    return found


def score_maps(maps: Path, data: Path) -> dict:
    """Best threshold and scores there; what thresholds chosen without ground truth give."""
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.evaluation import evaluate_class_maps
    from wsss_mm.pseudo_labels.auto_threshold import METHODS, choose_threshold, colour_threshold, score_histogram
    ids = (data / 'ImageSets/Segmentation/train.txt').read_text().split()
    curve = evaluate_class_maps(maps, data / 'SegmentationClass', ids, TOY_CLASSES)
    scores, best = curve.scores(), curve.best()
    found = {k: 100 * float(scores[k][best]) for k in ('miou', 'precision', 'recall', 'f1')}
    found['threshold'] = float(curve.thresholds[best])
    counts, edges = score_histogram(maps, ids)
    chosen = dict(colour=colour_threshold(maps, data / 'JPEGImages', ids),
                  **{method: choose_threshold(counts, edges, method) for method in METHODS})
    for method, threshold in chosen.items():
        found[method] = 100 * float(scores['miou'][curve.nearest(threshold)])
    return found


def training_seconds(work_dir: Path) -> float:
    """Wall time of the iterations that mmengine logged."""
    lines = [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in path.read_text().splitlines()]
    times = [line['time'] for line in lines if 'time' in line]
    return statistics.mean(times) * lines[-1]['step'] if times else float('nan')


def table(results: dict[str, dict[int, dict]]) -> str:
    """The Markdown tables of the rows that every world has."""
    worlds = sorted(set.intersection(*(set(r) for r in results.values())))
    lines = []
    for title, rows in TABLES.items():
        if len(names := [name for name in rows if name in results]) < 2:
            continue
        lines += [f'### {title}', '',
                  f'| | mIoU, worlds {" / ".join(map(str, worlds))} | mean ± sd | precision | recall | threshold '
                  '| mIoU, threshold by mean | paper, VOC train: mIoU, precision, recall |',
                  '|---|---|---|---|---|---|---|---|']
        for name in names:
            runs = [results[name][w] for w in worlds]
            paper = ' / '.join('–' if v is None else str(v) for v in ROWS[name].paper)
            columns = {key: [run[key] for run in runs] for key in runs[0]}
            means = [statistics.mean(columns[key]) for key in ('precision', 'recall', 'threshold', 'mean')]
            lines.append(f'| {name} | {" / ".join(f"{v:.1f}" for v in columns["miou"])} | {mean_sd(columns["miou"])} | '
                         f'{means[0]:.1f} | {means[1]:.1f} | {means[2]:.2f} | {means[3]:.1f} | {paper} |')
        lines.append('')
    lines += ['### Differences, points of mIoU', '', '| | ' + ' | '.join(f'world {w}' for w in worlds) +
              ' | mean ± sd | paper |', '|---' * (len(worlds) + 3) + '|']
    for one, other in (p for p in PAIRS if set(p) <= set(results)):
        gaps = [results[one][w]['miou'] - results[other][w]['miou'] for w in worlds]
        papers = ROWS[one].paper[0], ROWS[other].paper[0]
        if {one, other} == {'GPP', 'GAP'}:
            papers = ROWS[one].paper[0], 48.4   # AEFT's own baseline
        paper = '–' if None in papers else f'{papers[0] - papers[1]:+.1f}'   # type: ignore[operator]
        each = ' | '.join(f'{g:+.1f}' for g in gaps)
        lines.append(f'| {one} − {other} | {each} | {mean_sd(gaps)} | {paper} |')
    lines += ['', '### Thresholds without ground truth: mIoU lost against the best threshold', '',
              '| method | runs | mean ± sd | largest |', '|---|---|---|---|']
    for method in ('colour', 'mean', 'otsu'):
        gaps = [r['miou'] - r[method] for rows in results.values() for r in rows.values()]
        lines.append(f'| {method} | {len(gaps)} | {mean_sd(gaps)} | {max(gaps):.1f} |')
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rows', nargs='+', choices=list(ROWS), default=list(ROWS), metavar='ROW')
    parser.add_argument('--profile', default='tags', choices=['tags', 'boxes'])
    parser.add_argument('--backbone', default='toynet', choices=['toynet', 'resnet18'])
    parser.add_argument('--iters', type=int, default=700)
    parser.add_argument('--jobs', type=int, default=2, help='trainings at a time, one thread each')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    parser.add_argument('--name', default='toy_image_tags', help='of the two files written there')
    args = parser.parse_args()
    setting = Setting(args.profile, args.backbone, args.iters)
    for world in args.worlds:   # shared by all rows, so made before any
        choose_world(world, setting.profile)
        Path('work_dirs').mkdir(exist_ok=True)
        configs = {f'configs/{ROWS[name].config}_toy.py' for name in args.rows}
        configs |= {'configs/cam/classifier_resnet18_toy.py'} if setting.backbone == 'resnet18' else set()
        for config in sorted(configs):
            run_before(Path('work_dirs/image_tags.log'), config)
    results: dict[str, dict[int, dict]] = {}
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        jobs = {pool.submit(score_row, world, name, setting): (name, world)
                for name in args.rows for world in args.worlds}
        for job in as_completed(jobs):
            name, world = jobs[job]
            results.setdefault(name, {})[world] = job.result()
            print(f'world {world}, {name}: {json.dumps(job.result())}', flush=True)
    results = {name: results[name] for name in args.rows}
    Path(args.out).mkdir(parents=True, exist_ok=True)
    Path(args.out, f'{args.name}.json').write_text(json.dumps(results, indent=1) + '\n')
    text = table(results)
    Path(args.out, f'{args.name}.md').write_text(
        f'Made by `python benchmarks/toy_image_tags.py --name {args.name} --worlds {" ".join(map(str, args.worlds))} '
        f'--profile {setting.profile} --backbone {setting.backbone} --iters {setting.iters} --rows …`\n\n{text}')
    print(text)


if __name__ == '__main__':
    main()
