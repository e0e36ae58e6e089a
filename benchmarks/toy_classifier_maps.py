"""Class maps from trained classifiers on toy VOC: FickleNet, AdvCAM, RIB, W-OoD and their combinations.

Every row labels the first images of train with a shipped config, at most with single options changed; rows of one
classifier share its weights, so their differences are the localizers' alone. Resumable: finished rows are kept.

Example:
    python benchmarks/toy_classifier_maps.py --worlds 0 1 2 --jobs 2
"""

import argparse
import json
import multiprocessing
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import NamedTuple

from _toy import ROOT, call, choose_world, mean_sd, run_before, slug

from wsss_mm.config_hash import digest


class Row(NamedTuple):
    """One set of class maps.

    Attributes:
        labels: Config with the pseudo_labels section, below configs/, without `_toy.py`.
        options: Changes to how maps are made.
        training: Changes to the classifier's training; it is then trained for this row. ``{world}`` is the world.
        paper: mIoU of the paper's seeds on VOC train.
    """

    labels: str
    options: tuple[str, ...] = ()
    training: tuple[str, ...] = ()
    paper: float | None = None


_INNER = 'pseudo_labels.generator.localizer.localizer.'
_MEAN = (_INNER + '_delete_=True', _INNER + 'type=wsss_mm.CAM')   # of StochasticHead, CAM is the mean over masks
_ALL = 'model.head.drop_prob=0'
ONE_SCALE = ('pseudo_labels.generator.localizer.scales=[1.]',)
ROWS = {
    'CAM': Row('cam/classifier', ONE_SCALE, paper=49.5),
    'AdvCAM': Row('advcam/labels'),
    'AdvCAM, no regularisation': Row('advcam/labels', (_INNER + 'regularization=0',)),
    'AdvCAM, 27 steps': Row('advcam/labels', (_INNER + 'steps=27',), paper=55.6),
    'AdvCAM, 27 steps, no regularisation': Row('advcam/labels', (_INNER + 'steps=27', _INNER + 'regularization=0'),
                                               paper=50.4),
    'RIB': Row('rib/labels', paper=56.5),
    'RIB, average pooling': Row('rib/labels', ('pseudo_labels.generator.localizer.pooling=gap',), paper=54.8),
    'FickleNet': Row('ficklenet/classifier'),
    'FickleNet, mean over all masks': Row('ficklenet/classifier', _MEAN),
    'all units of the kernel, p = 0': Row('ficklenet/classifier', (*_MEAN, _ALL), (_ALL,)),
    'W-OoD': Row('wood/classifier', ONE_SCALE, paper=53.3),
    'W-OoD + AdvCAM': Row('wood/labels_advcam', paper=59.1),
    'W-OoD + RIB': Row('wood/labels_rib', paper=56.8),
    'W-OoD + AdvCAM + RIB': Row('wood/labels_advcam_rib', paper=60.7),
}
PAIRS = [('AdvCAM', 'CAM'), ('AdvCAM', 'AdvCAM, no regularisation'), ('AdvCAM, 27 steps', 'CAM'),
         ('AdvCAM, 27 steps', 'AdvCAM, 27 steps, no regularisation'), ('RIB', 'CAM'), ('RIB', 'RIB, average pooling'),
         ('FickleNet', 'CAM'), ('FickleNet', 'FickleNet, mean over all masks'),
         ('FickleNet', 'all units of the kernel, p = 0'), ('W-OoD', 'CAM'), ('W-OoD + AdvCAM', 'W-OoD'),
         ('W-OoD + RIB', 'W-OoD'), ('W-OoD + AdvCAM + RIB', 'W-OoD + AdvCAM')]


def score_row(world: int, name: str, row: Row, images: int) -> dict:
    """Make and score one row's maps in one world."""
    choose_world(world, 'tags')
    base = ROOT / f'work_dirs/classifier_maps/{slug(name)}/world{world}'
    base.mkdir(parents=True, exist_ok=True)
    data, log = ROOT / f'data/toy_voc/tags_world{world}', base / 'log.txt'
    key = digest([row, images])
    if (base / 'scores.json').is_file() and (found := json.loads((base / 'scores.json').read_text()))['key'] == key:
        return found
    ids = (data / 'ImageSets/Segmentation/train.txt').read_text().split()[:images]
    (base / 'ids.txt').write_text('\n'.join(ids) + '\n')
    config, checkpoint = f'configs/{row.labels}_toy.py', ()
    if row.training:
        if not (base / 'classifier/stage.json').exists():
            call(log, 'train', config, '--no-prerequisites', '--work-dir', str(base / 'classifier'),
                 '--cfg-options', *(option.format(world=world) for option in row.training))
        checkpoint = ('--checkpoint', str(base / 'classifier/final.pth'))
    start = time.time()
    call(log, 'generate', config, *checkpoint, '--out-dir', str(base / f'labels_{key[:8]}'), '--cfg-options',
         'pseudo_labels.num_workers=0', f'pseudo_labels.dataset.ann_file={base / "ids.txt"}', *row.options)
    found = dict(score_maps(base / f'labels_{key[:8]}/maps', data, ids), seconds=time.time() - start, key=key)
    (base / 'scores.json').write_text(json.dumps(found))
    return found


def score_maps(maps: Path, data: Path, ids: list[str]) -> dict:
    """Scores at the best threshold; share of the maps' mass on water (boat) and rails (train)."""
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.evaluation import evaluate_class_maps
    from wsss_mm.evaluation.context import evaluate_context
    curve = evaluate_class_maps(maps, data / 'SegmentationClass', ids, TOY_CLASSES)
    scores, best = curve.scores(), curve.best()
    found = {k: 100 * float(scores[k][best]) for k in ('miou', 'precision', 'recall')}
    found['threshold'] = float(curve.thresholds[best])
    found.update({name: 100 * float(scores['iou'][best][TOY_CLASSES.index(name)]) for name in ('boat', 'train')})
    own = {name: TOY_CLASSES.index(name) for name in ('boat', 'train')}
    shares = evaluate_context(maps, data / 'ToyExtra/Context', ids, own).values()
    found['context'] = sum(s['share'] * s['images'] for s in shares) / sum(s['images'] for s in shares)
    return found


def table(results: dict[str, dict[int, dict]], rows: dict[str, Row], pairs: list[tuple[str, str]]) -> str:
    """The Markdown tables."""
    worlds = sorted(set.intersection(*(set(r) for r in results.values())))
    lines = [f'| | mIoU, worlds {" / ".join(map(str, worlds))} | mean ± sd | precision | recall | threshold | mass on '
             'water and rails | IoU of boat, train | s / image | paper, VOC train |',
             '|---|---|---|---|---|---|---|---|---|---|']
    for name, found in results.items():
        column = {key: [found[w][key] for w in worlds] for key in found[worlds[0]] if key != 'key'}
        mean = {key: statistics.mean(values) for key, values in column.items()}
        each = ' / '.join(f'{v:.1f}' for v in column['miou'])
        lines.append(f'| {name} | {each} | {mean_sd(column["miou"])} | {mean["precision"]:.1f} | {mean["recall"]:.1f} '
                     f'| {mean["threshold"]:.2f} | {mean["context"]:.1f} % | {mean["boat"]:.1f}, {mean["train"]:.1f} '
                     f'| {mean["seconds"] / mean["images"]:.2f} | {rows[name].paper or "–"} |')
    lines += ['', '| difference, points of mIoU | ' + ' | '.join(f'world {w}' for w in worlds) +
              ' | mean ± sd | paper |', '|---' * (len(worlds) + 3) + '|']
    for one, other in (pair for pair in pairs if set(pair) <= set(results)):
        gaps = [results[one][w]['miou'] - results[other][w]['miou'] for w in worlds]
        papers = rows[one].paper, rows[other].paper
        paper = '–' if None in papers else f'{papers[0] - papers[1]:+.1f}'   # type: ignore[operator]
        lines.append(f'| {one} − {other} | {" | ".join(f"{g:+.1f}" for g in gaps)} | {mean_sd(gaps)} | {paper} |')
    return '\n'.join(lines) + '\n'


def run(rows: dict[str, Row], pairs: list[tuple[str, str]], args: argparse.Namespace, script: str) -> None:
    """Score all rows in all worlds, print the tables and write them down."""
    results: dict[str, dict[int, dict]] = {}
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        jobs = {pool.submit(score_row, world, name, rows[name], args.images): (name, world)
                for name in rows for world in args.worlds}
        for job in as_completed(jobs):
            name, world = jobs[job]
            results.setdefault(name, {})[world] = dict(job.result(), images=args.images)
            print(f'world {world}, {name}: {json.dumps(job.result())}', flush=True)
    results = {name: results[name] for name in rows}
    Path(args.out).mkdir(parents=True, exist_ok=True)
    Path(args.out, f'{args.name}.json').write_text(json.dumps(results, indent=1) + '\n')
    text = table(results, rows, pairs)
    Path(args.out, f'{args.name}.md').write_text(
        f'Made by `python benchmarks/{script}.py --worlds {" ".join(map(str, args.worlds))} --images {args.images} '
        f'--name {args.name}`, {len(rows)} rows, {describe_machine()}.\n\n{text}')
    print(text)


def describe_machine() -> str:
    """What the figures were measured on."""
    import torch
    return f'torch {torch.__version__}, CPU, one thread for each of the rows that ran at a time'


def add_arguments(parser: argparse.ArgumentParser, rows: dict[str, Row], name: str) -> None:
    """The arguments of :func:`run`."""
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--rows', nargs='+', choices=list(rows), default=list(rows), metavar='ROW')
    parser.add_argument('--images', type=int, default=120, help='the first so many of train')
    parser.add_argument('--jobs', type=int, default=2, help='rows at a time, one thread each')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    parser.add_argument('--name', default=name, help='of the two files written there')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_arguments(parser, ROWS, 'toy_classifier_maps')
    args = parser.parse_args()
    for world in args.worlds:   # shared by all rows, so made before any
        choose_world(world, 'tags')
        for config in sorted({f'configs/{ROWS[name].labels}_toy.py' for name in args.rows}):
            run_before(Path('work_dirs/classifier_maps.log'), config, own=True)
    run({name: ROWS[name] for name in args.rows}, PAIRS, args, 'toy_classifier_maps')


if __name__ == '__main__':
    main()
