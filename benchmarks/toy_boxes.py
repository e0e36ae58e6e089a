"""BANA on toy VOC: the paper's Table 1 and Table 3 over several worlds, through the shipped configs.

Every number comes from label files or predictions that the project's own tools wrote. Resumable: finished stages are
kept, so the same command goes on.

Example:
    python benchmarks/toy_boxes.py --worlds 0 1 2 --jobs 2
"""

import argparse
import json
import multiprocessing
import statistics
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from _toy import ROOT, call, choose_world, run_stages

# name, folder below the world's work dir, the paper's figure on VOC train (Table 1)
LABELS = [
    ('box fill', 'box_baselines/box_fill/labels', 65.4),
    ('GrabCut', 'box_baselines/grabcut/labels', 65.7),
    ('GAP Y_crf, background zero', 'bap_gap/labels_zero/Y_crf', None),
    ('BAP Y_crf, background zero', 'bap/labels_zero/Y_crf', None),
    ('GAP Y_crf, background class map', 'bap_gap/labels/Y_crf', 75.5),
    ('BAP Y_crf w/o u_0 (background class map)', 'bap/labels_without_u0/Y_crf', 77.0),
    ('BAP Y_crf', 'bap/labels/Y_crf', 78.7),
    ('BAP Y_ret', 'bap/labels/Y_ret', 70.8),
    ('GAP Y_crf with u_0', 'bap_gap/labels_u0/Y_crf', None),
]
# name, config, work dir, the paper's figure on VOC val before the CRF (Table 3; Y_crf and clean: Table 4, after it)
SEGMENTORS = [
    ('box fill', 'deeplabv2_boxfill_toy', 'deeplabv2_boxfill', None),
    ('Y_ret, cross-entropy', 'deeplabv2_yret_toy', 'deeplabv2_yret', None),
    ('Y_crf, unreliable ignored', 'deeplabv2_ignore_toy', 'deeplabv2_ignore', 61.8),
    ('entropy regularisation', 'deeplabv2_entropy_toy', 'deeplabv2_entropy', 61.4),
    ('bootstrapping', 'deeplabv2_bootstrap_toy', 'deeplabv2_bootstrap', 61.9),
    ('Y_crf, cross-entropy', 'deeplabv2_ycrf_toy', 'deeplabv2_ycrf', None),
    ('NAL', 'deeplabv2_toy', 'deeplabv2', 62.4),
    ('clean masks, cross-entropy', 'deeplabv2_clean_toy', 'deeplabv2_clean', None),
]
# The differences that Table 3 is about, in points; a pair shares its world and its training seed.
PAIRS = [
    ('NAL', 'Y_crf, unreliable ignored'),
    ('NAL', 'Y_crf, cross-entropy'),
    ('Y_crf, cross-entropy', 'Y_crf, unreliable ignored'),
    ('clean masks, cross-entropy', 'NAL'),
]


def run_stage(log: Path, config: str, *, labels: bool = False) -> None:
    """Run a config's whole chain except its report; for ``labels`` its labelling stage too."""
    from wsss_mm.engine import stages
    run_stages(log, [stages.to_stage(dict(run='labels' if labels else 'train', config=config))])


def score_world(world: int, profile: str, seeds: list[int]) -> dict:
    """All scores of one world."""
    from wsss_mm.datasets.toy_voc import TOY_CLASSES
    from wsss_mm.evaluation import evaluate_folder, evaluate_maps
    choose_world(world, profile)
    base = ROOT / f'work_dirs/toy_{profile}{world}'
    base.mkdir(parents=True, exist_ok=True)
    log = base / 'benchmark.log'
    data = ROOT / f'data/toy_voc/{profile}_world{world}'
    # Labels first, since every world shares the pretraining (made by the caller).
    for config in ('box_baselines/box_fill_toy', 'box_baselines/grabcut_toy', 'bap/classifier_toy',
                   'bap/labels_without_u0_toy', 'bap/labels_zero_toy', 'bap/classifier_gap_toy',
                   'bap/labels_gap_u0_toy', 'bap/labels_gap_zero_toy'):
        run_stage(log, f'configs/{config}.py', labels=True)
    ids = (data / 'ImageSets/Segmentation/train.txt').read_text().split()
    truth = data / 'SegmentationClass'
    scores = {'labels': {}, 'auc': {}, 'segmentors': {}, 'more seeds': {}}
    for name, folder, _ in LABELS:
        scores['labels'][name] = evaluate_folder(base / folder, truth, ids, TOY_CLASSES).miou
    agree = evaluate_folder(base / 'bap/labels/Y_crf', truth, ids, TOY_CLASSES, agree_with=base / 'bap/labels/Y_ret')
    scores['labels']['agreement of Y_crf and Y_ret'] = agree.miou
    scores['unreliable share of pixels'] = agree.ignored_share
    for name, config in (('BAP', 'classifier_toy'), ('GAP', 'classifier_gap_toy')):
        # With a threshold of 0 the saved background map is the attention A itself.
        out = base / f'attention_{name}'
        call(log, 'generate', f'configs/bap/{config}.py', '--out-dir', str(out), '--cfg-options',
             'pseudo_labels.generator.rel_threshold=0', 'pseudo_labels.generator.background=attention')
        found = evaluate_maps(out / 'maps', truth, data / 'Annotations', ids, TOY_CLASSES)
        scores['auc'][f'u_c {name}'], scores['auc'][f'A {name}'] = found['class_maps'], found['background']
    for name, config, work_dir, _ in SEGMENTORS if seeds else []:
        run_stage(log, f'configs/bap/{config}.py')
        scores['segmentors'][name] = last_val(base / 'bap' / work_dir)
        print(f'world {world}: {name} {scores["segmentors"][name]:.2f}', flush=True)
    paired = {name for pair in PAIRS for name in pair}
    for seed in seeds[1:]:
        for name, config, work_dir, _ in SEGMENTORS:
            out = base / 'bap' / f'{work_dir}_seed{seed}'
            if name in paired and not (out / 'stage.json').exists():
                call(log, 'train', f'configs/bap/{config}.py', '--no-prerequisites', '--work-dir', str(out),
                     '--cfg-options', f'randomness.seed={seed}')
            if name in paired:
                scores['more seeds'].setdefault(str(seed), {})[name] = last_val(out)
                print(f'world {world}, seed {seed}: {name} {last_val(out):.2f}', flush=True)
    print(f'world {world}: {json.dumps(scores["labels"])}', flush=True)
    return scores


def last_val(work_dir: Path) -> float:
    """mIoU of the last validation that mmengine logged."""
    found = [json.loads(line) for path in sorted(work_dir.glob('*/vis_data/scalars.json'))
             for line in path.read_text().splitlines()]
    return [f['mIoU'] for f in found if 'mIoU' in f][-1]


def differences(results: dict[int, dict]) -> list[str]:
    """Rows of paired differences over worlds and training seeds."""
    runs = [run for r in results.values() for run in (r['segmentors'], *r['more seeds'].values())]
    lines = ['| | pairs | mean ± sd | smallest | largest |', '|---|---|---|---|---|']
    for one, other in PAIRS:
        gaps = [run[one] - run[other] for run in runs]
        spread = statistics.stdev(gaps) if len(gaps) > 1 else float('nan')
        lines.append(f'| {one} − {other} | {len(gaps)} | {statistics.mean(gaps):+.2f} ± {spread:.2f} | '
                     f'{min(gaps):+.2f} | {max(gaps):+.2f} |')
    return lines


def table(results: dict[int, dict], segmentors: bool) -> str:
    """The Markdown tables."""
    worlds = sorted(results)

    def rows(part: str, papers: dict) -> list[str]:
        lines = []
        for name in results[worlds[0]][part]:
            values = [results[w][part][name] for w in worlds]
            spread = statistics.stdev(values) if len(values) > 1 else float('nan')
            paper = papers.get(name)
            lines.append(f'| {name} | {" / ".join(f"{v:.1f}" for v in values)} | {statistics.mean(values):.1f} ± '
                         f'{spread:.1f} | {paper if paper is not None else "–"} |')
        return lines
    head = f'| | worlds {" / ".join(map(str, worlds))} | mean ± sd | paper, VOC |\n|---|---|---|---|'
    lines = ['### Pseudo labels, mIoU on train', '', head,
             *rows('labels', {**{n: p for n, _, p in LABELS}, 'agreement of Y_crf and Y_ret': 85.3}),
             '', '### Maps inside boxes, AUC', '', head, *rows('auc', {})]
    if segmentors:
        lines += ['', '### Segmentor, mIoU on val, one scale, no CRF', '', head,
                  *rows('segmentors', {n: p for n, _, _, p in SEGMENTORS}),
                  '', '### Differences between segmentors, points of mIoU', '', *differences(results)]
    share = [results[w]['unreliable share of pixels'] for w in worlds]
    lines += ['', 'Y_crf and Y_ret differ on ' + ' / '.join(f'{s:.1f}' for s in share) + ' % of the pixels.']
    return '\n'.join(lines) + '\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--worlds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--profile', default='boxes', choices=['boxes', 'tags'])
    parser.add_argument('--jobs', type=int, default=2, help='worlds at a time')
    parser.add_argument('--seeds', type=int, nargs='*', default=[0, 1],
                        help='training seeds of the segmentors: 0, then more for the differences; none: labels alone')
    parser.add_argument('--out', default=str(ROOT / 'benchmarks/results'))
    args = parser.parse_args()
    choose_world(args.worlds[0], args.profile)
    Path('work_dirs').mkdir(exist_ok=True)
    run_stage(Path('work_dirs/pretrain.log'), 'configs/pretrain/textures_toy.py')
    n = len(args.worlds)
    with ProcessPoolExecutor(args.jobs, mp_context=multiprocessing.get_context('spawn')) as pool:
        found = list(pool.map(score_world, args.worlds, [args.profile] * n, [args.seeds] * n))
    results = dict(zip(args.worlds, found, strict=True))
    name = f'toy_{args.profile}'
    Path(args.out).mkdir(parents=True, exist_ok=True)
    Path(args.out, f'{name}.json').write_text(json.dumps(results, indent=1) + '\n')
    text = table(results, bool(args.seeds))
    Path(args.out, f'{name}.md').write_text(f'Made by `python benchmarks/toy_boxes.py --profile {args.profile} '
                                            f'--worlds {" ".join(map(str, args.worlds))} --seeds '
                                            f'{" ".join(map(str, args.seeds))}`\n\n{text}')
    print(text)


if __name__ == '__main__':
    main()
